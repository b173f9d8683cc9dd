"""Blocked is a state: what only the user can mend raises from waiting, says so on each screen, and can be resumed."""

from __future__ import annotations

import asyncio
import sqlite3

import msgspec
import pytest

import jupyter_batch
from jupyter_batch import cli
from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    JobBlockedError,
    JupyterBatchError,
    KeyMissingError,
    ProviderTimeoutError,
)
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.status import Block, Blocked, Counts, ShardView, Snapshot, State, Step
from jupyter_batch.job import Job
from jupyter_batch.lab.listing import Listing
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor import table
from jupyter_batch.monitor.view import view
from tests.ledgers import forget

from .conftest import numbered
from .test_steps import ScriptedHarness, play, to_the_end

SAID = "blocked: the key was refused"


@pytest.fixture
def harness(tmp_path):
    """One harness, its ledger closed at the end."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


def refused(server, rows=4, **more):
    """A job whose key the server refuses."""
    call = {"model": "openai/echo", "api_base": server.base_url, "api_key": "sk-wrong", **more}
    return numbered(rows).llm.batch("{text}", out="out", **call)


def test_waiting_raises_what_to_do_and_resume_goes_on(server, home):
    """`wait()` on a refused key raises a ValueError with the remedy; the job stays, and `resume` completes it."""
    job = refused(server)
    with pytest.raises(
        JobBlockedError, match=r"the key was refused.*OPENAI_API_KEY.*resume"
    ) as raised:
        job.wait(60)
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, JupyterBatchError)
    assert (raised.value.blocked, raised.value.job) == ("key", job.id)
    assert (job.blocked, str(job.state)) == ("key", "waiting")
    assert not job.is_complete
    with pytest.raises(JobBlockedError):
        job.wait()  # at once
    assert job.resume(api_key=server.token).wait(60).is_successful
    assert job.blocked is None


def test_awaiting_and_iterating_raise_too(server, home):
    """`await job`, `async for`, `abatch` and a cell with wait=True don't wait for ever either."""
    job = refused(server)

    async def waits():
        with pytest.raises(JobBlockedError):
            await job
        with pytest.raises(JobBlockedError):
            async for _ in job:
                pass
        with pytest.raises(JobBlockedError):
            await jupyter_batch.abatch(
                ["hi"], model="openai/echo", api_base=server.base_url, api_key="sk-wrong"
            )

    asyncio.run(waits())
    with pytest.raises(JobBlockedError):
        refused(server, wait=True)


def test_a_block_of_one_process_is_tried_again_by_the_next(server, home, monkeypatch):
    """After a restart with a good key in the environment the job that was blocked goes on by itself."""
    job = refused(server, api_key="sk-wrong").id
    with pytest.raises(JobBlockedError):
        jupyter_batch.open(job).wait(60)
    forget(home)
    with pytest.raises(JobBlockedError):
        jupyter_batch.open(job).resume(api_key="sk-wrong-too").wait(60)
    forget(home)
    opened = jupyter_batch.open(job)
    assert opened.resume(api_key=server.token).wait(60).is_successful


def test_every_screen_has_the_same_sentence(server, home, capsys):
    """Repr, card, list, the Jupyter panel's list and the command line name cause and remedy; none says running."""
    job = refused(server)
    with pytest.raises(JobBlockedError):
        job.wait(60)
    sentence = view(job.snapshot()).blocked[0]
    assert sentence.startswith(SAID)
    capsys.readouterr()
    listing = Listing(Ledger(home)).json().decode()
    assert cli.main(["show", job.id]) == 0
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert out.count(sentence) == 2
    html = job._repr_mimebundle_()["text/html"]
    shown = [repr(job), repr(jupyter_batch.jobs()), listing]
    assert all(sentence in screen for screen in shown)
    assert SAID in html
    assert SAID in jupyter_batch.jobs()._repr_html_()
    assert not any("running," in screen or "submitting," in screen for screen in [*shown, html])
    assert jupyter_batch.jobs().to_frame()["state"].tolist() == ["waiting"]
    assert jupyter_batch.jobs().to_frame()["blocked"].tolist() == ["key"]


def test_watch_says_so_and_ends(server, home, monkeypatch, capsys):
    """`jupyter batch watch` prints the sentence and ends with 1: cron and systemd would wait for ever else."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    job = refused(server)
    with pytest.raises(JobBlockedError):
        job.wait(60)
    forget(home)
    assert cli.main(["watch"]) == 1
    assert f"{job.id}: blocked:" in capsys.readouterr().err


def test_a_process_without_a_key_is_no_reason_while_another_moves_it(harness):
    """A job is blocked for a missing key only while no process moves it, and not by the lease of a dead one."""
    job = harness.plan(shard_size=4)

    async def no_key(_):
        raise KeyMissingError("no API key for scripted")

    keyless = harness.another_process()
    keyless._connect = no_key

    async def way():
        assert harness.ledger.lease(job, "elsewhere:1:x", harness.now, 60)
        await harness.step(worker=keyless)
        assert harness.snapshot(job).blocked is None
        await harness.step(3600, worker=keyless)  # that lease is over
        seen = harness.snapshot(job)
        assert (seen.blocked, seen.state) == (Block.KEY, State.WAITING)
        assert "no API key for scripted" in view(seen).blocked[0]
        await to_the_end(harness, job)
        assert harness.snapshot(job).blocked is None

    play(way())


def test_a_block_of_some_batches_is_no_block_of_the_job(harness):
    """While one batch runs, a wait goes on though another's key was refused; the reason is shown all the same."""
    harness.provider.faults["create"] = [None, AuthenticationError("not this one", status=403)]
    job = harness.plan(shard_size=2)

    async def way():
        await harness.step()
        seen = harness.snapshot(job)
        assert seen.blocked is None
        assert [block.by for block in seen.blocks] == [Block.KEY]
        assert "not this one" in view(seen).lines[0]
        await to_the_end(harness, job)

    play(way())
    assert harness.snapshot(job).blocks == ()


def test_results_that_the_key_may_not_fetch_are_blocked(harness):
    """A batch that has ended, and whose files the key may not read, is blocked, not "collecting"."""
    harness.provider.faults["fetch"] = [AuthenticationError("not yours", status=401)] * 3
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(3):
            await harness.step(10.0)
        seen = harness.snapshot(job)
        assert harness.shard(job).step is Step.ENDED
        assert (seen.blocked, seen.state) == (Block.KEY, State.WAITING)
        harness.ledger.resume(job)
        assert harness.snapshot(job).blocked is None
        await to_the_end(harness, job, pause=600)

    play(way())


def test_a_group_waits_for_what_can_go_on_and_is_blocked_by_the_rest(server, home):
    """Of two models one has a refused key: the other's answers are merged before `wait` raises."""
    df = numbered(3)
    good = df.llm.batch(
        "{text}", out="a", model="openai/echo", api_base=server.base_url, api_key=server.token
    )
    bad = df.llm.batch(
        "{text}!", out="b", model="openai/echo", api_base=server.base_url, api_key="sk-wrong"
    )
    from jupyter_batch.group import keep

    group = keep(good._here, [good, bad])
    with pytest.raises(JobBlockedError, match="the key was refused"):
        group.wait(60)
    assert (df["a"] == df["text"]).all()
    assert (group.blocked, str(group.state)) == ("key", "waiting")
    assert group.resume(api_key=server.token).wait(60).is_successful
    assert (df["b"] == df["text"] + "!").all()


def test_a_cancelled_job_that_was_never_sent_is_waited_for(server, home):
    """`cancel().wait()` returns the cancelled job, also before the worker has ended what its key blocked."""
    job = refused(server)
    with pytest.raises(JobBlockedError):
        job.wait(60)
    blocked = job.snapshot()
    assert job._blocked_here(blocked) is Block.KEY
    job.cancel()
    assert job._blocked_here(blocked) is None
    assert str(job.wait(60).state) == "cancelled"


def test_a_group_names_a_blocked_member_while_others_are_open():
    """`group.blocked` is the member's cause; the state is that of the members that go on."""
    shot = Snapshot(
        id="jb1",
        name=None,
        state=State.RUNNING,
        counts=Counts(running=1),
        model="m/a",
        provider="m",
        out="a",
        created_at=0.0,
        now=1.0,
        shards=(ShardView(number=0, step=Step.RUNNING),),
    )
    held = msgspec.structs.replace(
        shot,
        state=State.WAITING,
        blocked=Block.KEY,
        blocks=(Blocked(by=Block.KEY, key="X_KEY"),),
        shards=(ShardView(number=0, step=Step.WAITING),),
    )
    whole = group_snapshot("jg1", [shot, held])
    assert (whole.blocked, whole.state) == (Block.KEY, State.RUNNING)
    assert [block.of for block in whole.blocks] == ["m/a"]


def test_a_wait_that_is_no_block_shows_its_cause_in_the_repr():
    """The server's own sentence is in the repr of a job that waits for the server, as it is in the card."""
    shot = Snapshot(
        id="jb1",
        name=None,
        state=State.WAITING,
        counts=Counts(running=1),
        model="m/a",
        provider="m",
        out="a",
        created_at=0.0,
        now=1.0,
        message="http://h/v1: the disk of the server is full (HTTP 500)",
    )

    class Shown(Job):
        def snapshot(self):
            return shot

    assert "the disk of the server is full" in Shown._in_words(Shown.__new__(Shown))


def test_a_ledger_of_the_older_version_opens(harness):
    """A block that an older version wrote as the beginning of a note is one here, once it was opened."""
    job = harness.plan(shard_size=2)
    home = harness.ledger.home
    harness.ledger.close()
    notes = {
        0: ("planned", "paused: the key was refused (no). Set X and run the cell again"),
        1: ("waiting", "waiting for quota: the queue is full"),
    }
    with sqlite3.connect(home / "ledger.sqlite3") as db:
        for number, (step, note) in notes.items():
            db.execute(
                "UPDATE shard SET step = ?, facts = json_remove(json_set(facts, '$.note', ?, '$.step', ?, '$.held',"
                " 'queue'), '$.blocked_by', '$.blocked_until', '$.key', '$.send_again') WHERE number = ?",
                (step, note, step, number),
            )
        for kind, name in db.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql NOT NULL"
        ).fetchall():
            db.execute(f"DROP {kind} {name}")
        for table in ("asked", "hashed", "state"):
            db.execute(f"DROP TABLE {table}")
        for column in ("space", "hashing", "frame_digest", "asked_digest", "parent"):
            db.execute(f"ALTER TABLE job DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 3")
    db.close()
    first, second = harness.ledger.shards(job)
    assert first.blocked_by is Block.KEY
    assert first.note.startswith("the key was refused")
    assert (second.blocked_by, second.note) == (None, "the queue is full")
    lines = view(harness.snapshot(job)).lines
    assert "waiting for quota: the queue is full" in lines


@pytest.mark.parametrize("listed", [True, False])
def test_an_unknown_create_is_lifted_only_by_the_user_s_word(harness, listed):
    """`resume()` looks again; `resume(send_again=True)` alone sends it again, with and without a readable list."""
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    if not listed:
        harness.provider.faults["find"] = [BadRequestError("no list here", status=405)] * 50
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(12):
            await harness.step(600)
        seen = harness.snapshot(job)
        assert (seen.blocked, seen.state) == (Block.UNKNOWN_CREATE, State.WAITING)
        assert "send_again=True" in view(seen).blocked[0]
        harness.ledger.resume(job)
        for _ in range(3):
            await harness.step(600)
        assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE
        assert harness.provider.asked["create"] == 1
        harness.ledger.resume(job, send_again=True)
        await to_the_end(harness, job, pause=600)

    play(way())
    assert harness.provider.asked["create"] == 2
    assert not harness.shard(job).send_again


def test_the_table_names_what_is_blocked(harness):
    """Below a list of jobs the cause and the remedy of each that is blocked."""
    harness.provider.faults["upload"] = [AuthenticationError("bad key", status=401)]
    job = harness.plan(shard_size=4)
    play(harness.step())
    assert table.text([harness.snapshot(job)]).splitlines()[-1].startswith(f"{job}: {SAID}")
