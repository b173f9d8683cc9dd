"""`job.finish()` and `deadline=`: what a batch has not answered is cancelled, and asked in real time; once."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.config.options import EVERY
from jupyter_batch.config.settings import checked
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.planning.retry import live
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import chat_path
from jupyter_batch.realtime.litellm_call import VERBS
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget
from tests.messages import messages

from .conftest import numbered


@pytest.fixture
def slow(tmp_path):
    """A server whose batches take an hour, and which answers at once in real time."""
    with Embedded(tmp_path / "slow", pace=3600.0) as running:
        yield running


@pytest.fixture
def ask(slow):
    """The options that send a job there."""
    return {
        "model": "openai/echo",
        "api_base": slow.base_url,
        "api_key": slow.token,
        "poll_interval": 0.05,
    }


def test_the_rest_now(slow, ask, home):
    """The batch is cancelled, the rows are asked at once, and the Job that the person holds goes on as one."""
    df = numbered(5)
    job = df.llm.batch("{text}", out="out", **ask)
    first = job.id
    assert job.finish() is job
    job.wait(60)
    assert (df["out"] == df["text"]).all()
    assert job.is_successful
    assert job.counts.succeeded == 5
    assert job.id != first
    assert [batch["status"] for batch in slow.batches()] in ([], ["cancelled"])
    forget(home)
    assert jupyter_batch.open(first).results()["out"].tolist() == df["text"].tolist(), (
        "the old id leads there"
    )
    again = numbered(5)
    again.llm.batch("{text}", out="out", **ask)
    assert (again["out"] == again["text"]).all(), "and so does the cell"


@pytest.mark.parametrize("provider", sorted(RECORDS))
def test_the_rest_of_any_providers_job_can_be_asked(provider):
    """A provider's name of chat in a batch is chat in real time: finish() of an Anthropic job sends its rows."""
    record = JobRecord(
        id="jb1",
        fingerprint="",
        created_at=0.0,
        model=f"{provider}/m",
        provider=provider,
        dialect="openai",
        endpoint=chat_path(provider),
        body_model="m",
        out="out",
        columns=[],
        rows=1,
    )
    assert live(record).endpoint in VERBS


@pytest.mark.parametrize("which", ["first", "last"])
def test_it_is_forgotten_as_the_one_that_it_is(slow, ask, home, which):
    """By the id that it had, or that it has: nothing of it stays in the list or on the disk."""
    job = numbered(3).llm.batch("{text}", out="out", **ask)
    first = job.id
    job.finish().wait(60)
    jobs.forget(first if which == "first" else job.id)
    assert len(jupyter_batch.jobs()) == 0
    assert not list((home / "jobs").iterdir())


PRICED = {
    "prices": {"": {"input": 2.0, "output": 8.0, "realtime": {"input": 4.0, "output": 16.0}}},
    "max_tokens": 15,
}


def test_what_real_time_may_not_cost_is_not_cancelled(slow, ask):
    """A limit that a batch keeps to and real time would not: finish() says so, the batch goes on; a higher one does."""
    df = numbered(6)
    job = df.llm.batch("{text}", out="out", max_cost=0.001, **PRICED, **ask)
    with pytest.raises(
        OptionError, match=r"max_cost=0\.001: 6 requests.*the batch goes on; job\.finish\(max_cost="
    ):
        job.finish()
    assert not job.is_complete
    assert job.finish(max_cost=0.01).wait(60).is_successful
    assert (df["out"] == df["text"]).all()
    assert 0 < job.cost < 0.01


def test_a_deadline_keeps_to_max_cost(slow, ask):
    """It passes, and the rest may cost too much in real time: the batch goes on, and every screen says why."""
    job = numbered(6).llm.batch("{text}", out="out", max_cost=0.001, deadline=0.2, **PRICED, **ask)
    while not job._record().overdue:
        job.wait(0.05)
    job.wait(0.3)
    assert not job.is_complete
    assert not job._record().cancel_at
    assert (
        "the deadline has passed, and the rest is not asked in real time: max_cost=0.001"
        in messages(job.snapshot())
    )
    assert job.finish(max_cost=0.01).wait(60).is_successful


def test_a_group_is_finished_as_a_whole_or_not_at_all(slow, ask):
    """One of its models may cost more than its share: nothing of the others is cancelled."""
    group = numbered(6).llm.batch(
        "{text}",
        out="out",
        max_cost=0.002,
        **PRICED,
        **{**ask, "model": ["openai/echo", "hosted_vllm/echo"]},
    )
    with pytest.raises(OptionError, match="max_cost"):
        group.finish()
    assert not any(job._record().cancel_at for job in group.jobs)
    group.cancel().wait(60)


def test_the_deadline_does_it(slow, ask):
    """A deadline that has passed is an automatic finish."""
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", deadline=0.2, **ask).wait(60)
    assert (df["out"] == df["text"]).all()
    assert job.is_successful


def test_a_deadline_that_is_added_to_the_cell(slow, ask):
    """The cell that is run again has it from now on; once more, or with a later one, it moves nothing."""
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", **ask)
    assert df.llm.batch("{text}", out="out", deadline="2h", **ask) is job
    due = job._record().deadline
    assert due > 0
    for later in ("2h", "3h", None):
        df.llm.batch("{text}", out="out", deadline=later, **ask)
        assert job._record().deadline == due
    df.llm.batch("{text}", out="out", deadline=0.2, **ask).wait(60)
    assert job.is_successful
    assert (df["out"] == df["text"]).all()


def test_a_deadline_of_a_process_that_died(slow, ask, home, monkeypatch):
    """It is in the ledger: each process that moves the job later keeps it."""
    monkeypatch.setenv("OPENAI_API_KEY", slow.token)
    job = numbered(3).llm.batch("{text}", out="out", deadline=3600, **ask)
    record = job._record()
    assert 3500 < record.deadline - record.created_at <= 3600
    ledger = job._here.ledger
    forget(home)
    monkeypatch.setenv("OPENAI_BASE_URL", slow.base_url)  # else the key is not for that server
    ledger.rush(job.id, record.created_at)
    results = jupyter_batch.open(job.id).wait(60)
    assert results.is_successful


def test_what_is_over_asks_what_it_missed(server, call):
    """finish() of a job with failed rows is a retry in real time; with none left it says so."""
    server.set_faults("row_errors=1")
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    assert job.finish().wait(60).is_successful
    assert (df["out"] == df["text"]).all()
    with pytest.raises(InputError, match="no row is left"):
        numbered(1).llm.batch("{text}", out="other", **call).wait(60).finish()


def test_who_waits_for_it_is_answered_by_what_goes_on(slow, ask):
    """A job that waits for one which is finished in real time takes those answers: they are not asked twice."""
    few, more = numbered(4), numbered(6)
    one = few.llm.batch("{text}", out="out", **ask)
    two = more.llm.batch("{text}", out="out", **ask)
    one.finish()
    one.wait(60)
    ledger = two._here.ledger
    while any(shard.joins for shard in ledger.shards(two.id)):
        two.wait(0.05)
    assert (two.counts.reused, two.counts.running, two.counts.total) == (4, 2, 6)
    assert slow.stats()["routes"]["POST /v1/chat/completions"]["took_effect"] == 4
    assert [job.id for job in jupyter_batch.jobs()] == [one.id, two.id], (
        "what went on is shown once"
    )
    two.finish().wait(60)
    assert (more["out"] == more["text"]).all()
    assert slow.stats()["routes"]["POST /v1/chat/completions"]["took_effect"] == 6


def test_results_as_they_come_of_a_job_that_goes_on(server, call):
    """`async for` gives each row once, with its answer, though the batches' numbers start again in real time."""
    server.set_faults("enqueued_tokens=1")  # nothing gets through
    df = numbered(9)
    job = df.llm.batch("{text}", out="out", shard_size=3, **call)

    async def read():
        job.finish()
        return [(str(result.status), result.value) async for result in job]

    assert sorted(asyncio.run(read())) == sorted(("succeeded", text) for text in df["text"])


def test_results_as_they_come_where_nothing_goes_on(ask):
    """Rows that real time was to answer, and must not for their cost, are reported as such, with the reason."""
    price = {
        "openai/echo": {"input": 1, "output": 1}
    }  # of a batch; what real time costs is not known
    job = numbered(4).llm.batch("{text}", out="out", max_cost=100, prices=price, **ask)
    with pytest.raises(OptionError, match="is not known"):
        job.finish()
    job._here.ledger.rush(job.id, time.time())  # before such a thing was looked at first

    async def read():
        return [str(result.status) async for result in job]

    assert asyncio.run(read()) == ["cancelled"] * 4
    assert (
        "the rest was not asked in real time: max_cost=100" in job._repr_mimebundle_()["text/html"]
    )


def test_a_cancel_is_a_cancel(slow, ask):
    """Cancelled after a finish was asked for: nothing is asked in real time."""
    job = numbered(3).llm.batch("{text}", out="out", **ask)
    job._here.worker.stop()
    job.finish()
    job.cancel()
    assert job._record().rush_at == 0


def test_a_deadline_is_a_time():
    """Texts, seconds and timedeltas; anything else is refused in a sentence."""
    option = EVERY["deadline"]
    assert checked(option, "90m") == 5400
    assert checked(option, 30) == 30
    assert checked(option, dt.timedelta(hours=2)) == 7200
    for bad in ("soon", 0, -1, True):
        with pytest.raises(OptionError, match="deadline"):
            checked(option, bad)


def test_a_sample_is_paid_once(server, call, capsys):
    """Some rows now, with their answers, in their order; the batch and the next sample ask them no more."""
    df = numbered(40)
    seen = df.llm.sample("{text}", 4, out="out", **call)
    assert "no name leads" not in capsys.readouterr().out
    assert len(seen) == 4
    assert (seen["out"] == seen["text"]).all()
    assert seen.index.tolist() == [label for label in df.index if label in set(seen.index)]
    assert "out" not in df.columns
    again = df.llm.sample("{text}", 4, out="out", **call)
    assert again["out"].equals(seen["out"])
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    assert (job.counts.succeeded, job.counts.reused) == (36, 4)
    with pytest.raises(InputError, match="1 or more"):
        df.llm.sample("{text}", 0, **call)
