"""Orphans at each provider: found by what it keeps of our tag, taken up with what it gives back, or refused by name."""

from __future__ import annotations

import shutil
import time

import pandas as pd
import pytest

from jupyter_batch import cli, jobs
from jupyter_batch.adoption.find import Orphans
from jupyter_batch.core.errors import InputError
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.runner import process as sessions
from jupyter_batch.server import launch
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.ledgers import forget, lose
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.xai import Xai
from tests.waiting import wait_for

from .conftest import numbered
from .test_every_provider import anthropic

FAKES = {"azure": Azure, "xai": Xai, "mistral": Mistral}


def calling(name, fake):
    """The arguments of a submission to the fake."""
    call = {"model": f"{name}/the-model", "api_base": fake.url, "api_key": fake.key}
    return {**call, "api_version": "2024-10-21"} if name == "azure" else call


def end_all(fake):
    """End each batch that is open, all its requests answered."""
    for batch in fake.batches.values():
        if batch.ending is None:
            batch.answers = {
                one: body["messages"][-1]["content"].upper() for one, body in batch.requests.items()
            }
            batch.ending = "completed"


def sent(name, fake, rows=5, shard_size=3):
    """(the call, its frame, the job's id) of a job whose batches are at the provider."""
    call, df = calling(name, fake), pd.DataFrame({"t": [f"row {n}" for n in range(rows)]})
    job = df.llm.batch("{t}", out="out", shard_size=shard_size, **call)
    wait_for(lambda: len(job.batches) == -(-rows // shard_size), job)
    return call, df, job.id


@pytest.mark.parametrize("name", list(FAKES))
def test_lost_and_adopted(name, home):
    """Two batches without a ledger are listed and taken up; the cell run again has each answer, and sends nothing."""
    with FAKES[name](time.time) as fake:
        call, df, job = sent(name, fake)
        lose(home)
        there = {key: value for key, value in call.items() if key != "model"}
        found = jobs.orphans(provider=name, **there)
        assert {(one.job, one.number, one.shards, one.rows) for one in found} == {
            (job, 0, 2, 5),
            (job, 1, 2, 5),
        }
        jobs.adopt(job, provider=name, **there).follow()
        again = df[["t"]].iloc[::-1].copy()
        joined = again.llm.batch("{t}", out="out", shard_size=3, **call)
        end_all(fake)
        joined.wait(60)
        assert again["out"].tolist() == again["t"].str.upper().tolist()
        adopted = jobs.open_job(job).wait(60)
        assert adopted.is_successful
        assert (
            adopted.results()["out" if name != "xai" else "response"].tolist()
            == df["t"].str.upper().tolist()
        )
        assert fake.asked["create"] == fake.asked["upload"] == 2


def test_a_batch_that_was_not_found(home):
    """Of two batches one is missing: its rows say so; when it comes to light it is taken up too: the job is whole."""
    with Azure(time.time) as fake:
        call, df, _ = sent("azure", fake)
        end_all(fake)
        lose(home)
        gone = next(one for one in fake.batches.values() if len(one.requests) == 2)
        del fake.batches[gone.id]
        taken = jobs.adopt(**call).follow()
        assert "1 of its 2 batches was not found" in repr(taken)
        job = taken[0].wait(60)
        assert job.is_complete
        assert not job.is_successful
        assert (job.counts.total, job.counts.succeeded, job.counts.failed) == (5, 3, 2)
        assert job.errors["_error"].str.contains("no batch of these rows was found").tolist() == [
            True,
            True,
        ]
        assert list(jobs.orphans(**call)) == []
        fake.batches[gone.id] = gone
        assert [one.batch.id for one in jobs.orphans(**call)] == [gone.id]
        del job, taken
        forget(home)
        job = jobs.adopt(gone.id, **call).follow()[0].wait(60)
        assert job.is_successful
        assert job.results()["out"].tolist() == df["t"].str.upper().tolist()
        assert fake.asked["create"] == 2


def test_what_was_not_found_is_sent_by_the_cell_alone(home):
    """The cell run again after a partial find: the found rows are reused, the others sent, and nothing else."""
    with Mistral(time.time) as fake:
        call, df, _ = sent("mistral", fake)
        end_all(fake)
        lose(home)
        gone = next(one for one in fake.batches.values() if len(one.requests) == 2)
        del fake.batches[gone.id]
        jobs.adopt(**call).follow()[0].wait(60)
        again = df[["t"]].copy()
        job = again.llm.batch("{t}", out="out", shard_size=3, **call)
        wait_for(lambda: len(fake.batches) == 2, job)
        end_all(fake)
        job.wait(60)
        assert again["out"].tolist() == again["t"].str.upper().tolist()
        assert sorted(len(batch.requests) for batch in fake.batches.values()) == [2, 3]


def test_request_files_that_are_gone(home):
    """Without them the answers are there by position, and the message says what the cell run again would cost."""
    with Azure(time.time) as fake:
        call, df, _ = sent("azure", fake)
        end_all(fake)
        lose(home)
        fake.files.clear()
        taken = jobs.adopt(**call).follow()
        assert "would pay again" in repr(taken)
        job = taken[0].wait(60)
        assert job.is_successful
        fresh = df[["t"]].copy()
        fresh.llm.attach(job, by_position=True)
        assert fresh["out"].tolist() == df["t"].str.upper().tolist()


def test_a_quota_refusal_is_left_to_who_sent_it(home):
    """A batch that the provider refused for its quota is not taken up; one that is refused later is not sent again."""
    with Azure(time.time) as fake:
        call, _, name = sent("azure", fake)
        lose(home)
        refusals = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
        first, second = fake.batches.values()
        document = fake._document

        def refused(batch):
            seen = document(batch)
            if batch.ending == "failed":
                seen["errors"] = {"object": "list", "data": [refusals]}
            return seen

        fake._document = refused
        first.ending = "failed"
        (job,) = jobs.adopt(**call).follow()
        second.ending = "failed"
        job.wait(60)
        assert job.is_complete
        assert job.state == "failed"
        assert job.counts.failed == 5
        assert fake.asked["create"] == 2
        lose(home)
        with pytest.raises(InputError, match="refused each for its quota"):
            jobs.adopt(name, **call)


def test_anthropic_tells_of_ended_batches_alone(home):
    """It keeps no tag: an ended batch is known by the ids in its results; an open one is counted, and not taken up."""
    with anthropic() as fake:
        call = {
            "model": "anthropic/claude-haiku-4-5",
            "api_base": fake.base,
            "api_key": ANTHROPIC_KEY,
        }
        df = pd.DataFrame({"t": [f"row {n}" for n in range(5)]})
        job = df.llm.batch("{t}", out="out", shard_size=3, **call).wait(60).id
        lose(home)
        over, made = sorted(fake.batches.values(), key=lambda batch: -len(batch["results"]))
        results, made["results"] = made["results"], None
        found = jobs.orphans(**call, days=3650)
        assert [(one.job, one.number, one.batch.id) for one in found] == [(job, None, over["id"])]
        assert "1 under way" in repr(found)
        first = jobs.adopt(**call, days=3650).follow()[0].wait(60)
        assert first.counts.total == 3
        made["results"] = results
        forget(home)
        taken = jobs.adopt(**call, days=3650).follow()
        assert "would pay again" in repr(taken)
        whole = taken[0].wait(60)
        assert whole.id == job
        rows = whole.results()
        assert rows["response"].tolist()[:2] == ["ROW 0", "ROW 1"]
        # The two batches are sent at once: the one that arrived first has the failed row, as its last.
        (failed,) = [at for at, status in enumerate(rows["_status"]) if status != "succeeded"]
        assert failed in (2, 4)
        assert rows["_status"].iloc[failed] == "failed"
        assert "bad prompt" in rows["_error"].iloc[failed]
        assert len(fake.batches) == 2
        assert list(jobs.orphans(**call, days=3650)) == []


def test_the_embedded_servers_own(home):
    """A model on this machine has batches, too: a ledger that was lost with its server running finds them again."""
    df = numbered(3)
    job = df.llm.batch("{text}", out="said", model="local/echo").wait(60).id
    forget(home)
    for path in home.glob("ledger.sqlite3*"):
        path.unlink()
    shutil.rmtree(home / "jobs")
    try:
        assert [one.job for one in jobs.orphans(provider="local")] == [job]
        jobs.adopt(job, model="local/echo").follow()[0].wait(60)
        again = df[["text"]].copy()
        again.llm.batch("{text}", out="said", model="local/echo").wait(60)
        assert again["said"].tolist() == df["text"].tolist()
        assert list(jobs.orphans(provider="local")) == [], "nothing was sent"
        assert all(not one.batches for one in jobs.list_jobs() if one.id != job)
    finally:
        forget(home)
        launch.stop(home)


def test_the_command(server, call, home, monkeypatch, capsys):
    """`jupyter batch adopt` lists, takes up, and leaves the rest to `watch`; what is missing is one sentence."""
    job = numbered(3).llm.batch("{text}", out="said", **call).wait(60).id
    lose(home)
    words = ["--model", "openai/echo", "--api-base", server.base_url]
    assert cli.main(["adopt"]) == 2
    assert "--provider openai" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert cli.main(["adopt", *words]) == 1
    monkeypatch.setenv("OPENAI_API_KEY", call["api_key"])
    capsys.readouterr()
    assert cli.main(["adopt", *words]) == 0
    listed = capsys.readouterr()
    assert listed.out.splitlines()[0].split() == [
        "batch",
        "job",
        "part",
        "state",
        "requests",
        "answered",
        "failed",
        "age",
        "endpoint",
    ]
    assert job in listed.out
    assert "adopts a job" in listed.err
    assert not Ledger(home).jobs()
    assert cli.main(["adopt", job, "--all", *words]) == 2
    assert cli.main(["adopt", "--all", *words]) == 0
    assert "run its cell again" in capsys.readouterr().out
    assert cli.main(["watch", "--timeout", "60"]) == 0
    assert "completed" in capsys.readouterr().out
    assert cli.main(["adopt", *words]) == 0
    assert "No batch at" in capsys.readouterr().out
    assert home in sessions._sessions


def test_the_magic(server, call, home, ip):
    """`%llm_batch adopt` does the same in a notebook; the key is named, never typed; attach takes --by-position."""
    df = numbered(3)
    df.llm.batch("{text}", out="said", **call).wait(60)
    lose(home)
    ip.user_ns.update(df=df[["text"]].copy(), KEY=call["api_key"])
    line = f"--model openai/echo --api-base {server.base_url} --api-key KEY"
    found = ip.run_line_magic("llm_batch", f"adopt {line}")
    assert isinstance(found, Orphans)
    assert "<td>completed</td>" in found._repr_html_()
    (job,) = ip.run_line_magic("llm_batch", f"adopt --all {line}")
    job.wait(60)
    ip.run_line_magic("llm_batch", f"attach {job.id} df --by-position")
    assert ip.user_ns["df"]["said"].tolist() == df["text"].tolist()


@pytest.fixture
def ip(home):
    """A shell with the extension."""
    from IPython.testing.globalipapp import get_ipython, start_ipython

    shell = start_ipython() or get_ipython()
    shell.run_line_magic("load_ext", "jupyter_batch")
    yield shell
    shell.run_line_magic("unload_ext", "jupyter_batch")
    shell.reset(new_session=False)
