"""Jobs whose ledger is gone, or is another machine's, are found at the provider by their tags and taken up, once."""

from __future__ import annotations

import openai
import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.core.errors import (
    AlignmentError,
    InputError,
    JobNotFoundError,
    ModelError,
    OptionError,
)
from tests.ledgers import forget, lose
from tests.waiting import wait_for

from .conftest import numbered


@pytest.fixture
def elsewhere(home, tmp_path):
    """Another ledger folder."""
    yield tmp_path / "elsewhere"
    forget(tmp_path / "elsewhere")


def where(call):
    """The fields of a submission that say where to look."""
    return {name: call[name] for name in ("model", "api_base", "api_key")}


def test_a_deleted_ledger_then_adopt_then_the_cell_again(server, call, home):
    """The ledger is gone: two batches are listed and taken up; the cell run again has its column, and pays nothing."""
    df = numbered(30)
    first = df.llm.batch("{text}", out="said", shard_size=20, **call).wait(60)
    lose(home)
    found = jobs.orphans(**where(call))
    assert sorted(o.batch.id for o in found) == sorted(batch["id"] for batch in server.batches())
    assert {(o.job, o.number, o.shards, o.rows) for o in found} == {
        (first.id, 0, 2, 30),
        (first.id, 1, 2, 30),
    }
    shown = repr(found)
    for word in (first.id, "2 of 2", "completed", "/v1/chat/completions", "0 min"):
        assert word in shown
    taken = jobs.adopt(first.id, **where(call)).follow()
    (job,) = taken
    assert job.id == first.id
    assert "run its cell again" in repr(taken)
    job.wait(60)
    assert job.is_successful
    assert job.results()["said"].tolist() == df["text"].tolist(), "by position"
    again = df[["text"]].copy()
    new = again.llm.batch("{text}", out="said", shard_size=20, **call).wait(60)
    assert again["said"].tolist() == df["text"].tolist()
    assert new.is_successful
    assert server.stats()["batches_created"] == 2


def test_adopted_elsewhere_while_the_first_goes_on(server, call, home, elsewhere, monkeypatch):
    """Another folder takes up a job that its own process still moves: both get all answers, and nothing is created."""
    server.set_faults("latency=0.05")
    df = numbered(40)
    job = df.llm.batch("{text}", out="said", shard_size=20, **call)
    wait_for(lambda: len(job.batches) == 2, job)
    files = len(list(openai.OpenAI(base_url=server.base_url, api_key=server.token).files.list()))
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(elsewhere))
    (other,) = jobs.adopt(job.id, **where(call)).follow()
    assert other is not job
    other.wait(60)
    assert other.is_successful
    assert other.results()["said"].tolist() == df["text"].tolist()
    job.wait(60)
    assert job.is_successful
    assert df["said"].tolist() == df["text"].tolist()
    assert server.stats()["batches_created"] == 2
    inputs = [
        f
        for f in openai.OpenAI(base_url=server.base_url, api_key=server.token).files.list()
        if f.purpose == "batch"
    ]
    assert len(inputs) == 2 <= files


def test_adopting_twice_is_once(server, call, home):
    """An adopted batch is an orphan no more; adopted again by its id or its batch's, it is the existing job."""
    job = numbered(3).llm.batch("{text}", **call).wait(60).id
    batch = server.batches()[0]["id"]
    lose(home)
    (first,) = jobs.adopt(batch, **where(call)).follow()
    assert first.id == job
    assert list(jobs.orphans(**where(call))) == []
    assert "No batch at" in repr(jobs.orphans(**where(call)))
    for named in (job, batch, None):
        assert [one.id for one in jobs.adopt(named, **where(call))] == (
            [] if named is None else [job]
        )
    assert [one.id for one in jobs.list_jobs()] == [job]


def test_the_ledgers_own_and_foreign_batches_are_no_orphans(server, call, home):
    """Batches without our tag, with one that we never wrote, and those of this ledger's jobs are not listed."""
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    line = (
        b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"echo","messages":[{"role":"user","content":"x"}]}}\n'
    )
    file = client.files.create(file=("f.jsonl", line), purpose="batch").id
    for tag in (
        None,
        {"team": "nlp"},
        {"jupyter_batch": "../../etc/0"},
        {"jupyter_batch": "jbabc/0"},
        {"jupyter_batch": "jbaaaaaaaaaa/0", "jupyter_batch_of": "1/99999999/0-99999998"},
        {"jupyter_batch": "jbaaaaaaaaaa/3", "jupyter_batch_of": "2/10/0-3"},
    ):
        client.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata=tag,
        )
    numbered(3).llm.batch("{text}", **call).wait(60)
    assert list(jobs.orphans(**where(call))) == []
    with pytest.raises(JobNotFoundError, match="neither a job nor a batch of ours"):
        jobs.adopt("jbnone", **where(call))


def test_a_file_that_is_not_what_its_tag_says_is_refused(server, call, home):
    """A batch that says it is a job's, and holds other requests, is not taken up; nothing of it is kept."""
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    line = (
        b'{"custom_id":"jbbbbbbbbbbb-0","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"echo","messages":[{"role":"user","content":"x"}]}}\n'
    )
    file = client.files.create(file=("f.jsonl", line), purpose="batch").id
    client.batches.create(
        input_file_id=file,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"jupyter_batch": "jbaaaaaaaaaa/0"},
    )
    with pytest.raises(InputError, match="never asked: it was not taken up"):
        jobs.adopt("jbaaaaaaaaaa", **where(call))
    assert "was not taken up" in repr(jobs.adopt(**where(call)))
    assert list(jobs.list_jobs()) == []


def test_shards_whose_rows_lie_between_each_others(server, call, home):
    """A job that waited for another may have sent rows 0 and 2, then 1 and 4: each row is counted once."""
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    for number, rows in enumerate(([0, 2], [1, 4])):
        lines = b"".join(
            b'{"custom_id":"jbaaaaaaaaaa-%d","method":"POST","url":"/v1/chat/completions","body":'
            b'{"model":"echo","messages":[{"role":"user","content":"row %d"}]}}\n' % (n, n)
            for n in rows
        )
        file = client.files.create(file=("f.jsonl", lines), purpose="batch").id
        client.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={
                "jupyter_batch": f"jbaaaaaaaaaa/{number}",
                "jupyter_batch_of": f"2/5/{rows[0]}-{rows[1]}",
            },
        )
    job = jobs.adopt("jbaaaaaaaaaa", **where(call)).follow()[0].wait(60)
    assert job.is_successful
    counts = job.counts
    assert (counts.total, counts.succeeded, counts.skipped) == (5, 4, 1)
    results = job.results()
    assert results["response"].tolist()[:3] == ["row 0", "row 1", "row 2"]
    assert results["_status"].tolist() == ["succeeded"] * 3 + ["skipped", "succeeded"]


def test_the_cell_again_on_a_frame_that_was_sorted_and_grew(server, call, home):
    """Rows are known by what was asked: each has its own answer wherever it stands, and only the new row is sent."""
    df = numbered(20)
    df.llm.batch("{text}", out="said", **call).wait(60)
    lose(home)
    jobs.adopt(**where(call)).follow()[0].wait(60)
    grown = pd.concat(
        [df[["text"]].iloc[::-1], pd.DataFrame({"text": ["a new one"]}, index=["new"])]
    )
    grown.llm.batch("{text}", out="said", **call).wait(60)
    assert grown["said"].tolist() == grown["text"].tolist()
    assert [batch["request_counts"]["total"] for batch in server.batches()] == [20, 1]


def test_the_cell_again_while_the_adopted_batch_is_open(server, call, home):
    """The cell need not wait for the end of what was adopted: it joins it, and pays nothing."""
    server.set_faults("latency=0.1")
    df = numbered(20)
    job = df.llm.batch("{text}", out="said", **call)
    wait_for(lambda: job.batches, job)
    lose(home)
    jobs.adopt(**where(call)).follow()
    again = df[["text"]].copy()
    again.llm.batch("{text}", out="said", **call).wait(60)
    assert again["said"].tolist() == df["text"].tolist()
    assert server.stats()["batches_created"] == 1


def test_rows_that_were_not_sent_say_so(server, call, home):
    """Empty cells, for which nothing was sent, are skipped rows of the adopted job; the counts add up."""
    df = pd.DataFrame({"text": ["a", None, "b", None]})
    df.llm.batch("{text}", out="said", **call).wait(60)
    lose(home)
    job = jobs.adopt(**where(call)).follow()[0].wait(60)
    assert (job.counts.total, job.counts.succeeded, job.counts.skipped) == (4, 2, 2)
    assert job.is_successful
    results = job.results()
    assert results["_status"].tolist() == ["succeeded", "skipped", "succeeded", "skipped"]
    assert "no request for this row alone" in results["_error"].iloc[1]


def test_attach_needs_the_persons_word(server, call, home):
    """Row identities are unknown: attach refuses, and by position only fills a frame of as many rows."""
    df = numbered(10)
    df.llm.batch("{text}", out="said", **call).wait(60)
    lose(home)
    job = jobs.adopt(**where(call)).follow()[0].wait(60)
    fresh = df[["text"]].copy()
    with pytest.raises(AlignmentError, match="by_position=True"):
        fresh.llm.attach(job.id)
    assert list(fresh.columns) == ["text"]
    with pytest.raises(AlignmentError, match=r"the frame has 9 rows, and job .* has 10"):
        fresh.iloc[1:].copy().llm.attach(job.id, by_position=True)
    with pytest.raises(InputError, match="run its cell again"):
        job.retry()
    fresh.llm.attach(job.id, by_position=True)
    assert fresh["said"].tolist() == df["text"].tolist()


def test_attached_by_position_and_sorted(server, call, home):
    """From the moment of attach rows are found by their content: sorted before the answers came, all are right."""
    server.set_faults("latency=0.1")
    df = numbered(20)
    job = df.llm.batch("{text}", out="said", **call)
    wait_for(lambda: job.batches, job)
    lose(home)
    job = jobs.adopt(**where(call)).follow()[0]
    fresh = df[["text"]].copy()
    fresh.llm.attach(job, by_position=True)
    fresh["text"] = fresh["text"].to_numpy()[::-1]  # turned round in place
    fresh.index = fresh.index[::-1]
    job.wait(60)
    assert fresh["said"].tolist() == fresh["text"].tolist()


def test_only_the_database_was_lost(server, call, home):
    """It is recovered from its folder, with its rows' keys; nothing is missing, the cell finds this very job."""
    df = numbered(30)
    job = df.llm.batch("{text}", out="said", shard_size=20, **call).wait(60).id
    forget(home)
    for path in home.glob("ledger.sqlite3*"):
        path.unlink()
    assert not jobs.adopt(**where(call)).follow(), "nothing is missing"
    taken = jobs.open_job(job)
    assert taken.wait(60).is_successful
    assert taken.results().index.tolist() == df.index.tolist()
    turned = df[["text"]].iloc[::-1].copy()
    turned.llm.attach(job)
    assert turned["said"].tolist() == turned["text"].tolist()
    again = df[["text"]].copy()
    assert again.llm.batch("{text}", out="said", shard_size=20, **call).id == job
    assert again["said"].tolist() == df["text"].tolist()
    assert server.stats()["batches_created"] == 2


@pytest.mark.parametrize(
    ("where_to", "kind", "says"),
    [
        ({}, ModelError, "--provider openai"),
        ({"provider": "ollama"}, ModelError, "jupyter_batch sends no batches to Ollama"),
        ({"provider": "nobody"}, ModelError, "to 'nobody'"),
        ({"provider": "openai"}, InputError, "no API key for openai"),
        ({"provider": "azure", "api_key": "k"}, OptionError, "needs api_base="),
        ({"model": "my-own-mini"}, ModelError, "my-own-mini"),
        ({"provider": "openai", "apibase": "x"}, OptionError, "unknown option `apibase`"),
        ({"provider": "openai", "days": 0}, OptionError, "`days` takes a number above 0"),
    ],
)
def test_where_to_look_must_be_reported(home, monkeypatch, where_to, kind, says):
    """A missing ledger is one sentence, and nothing is left behind."""
    for name in ("AZURE_API_BASE", "AZURE_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind, match=says):
        jobs.orphans(**where_to)
    assert not home.exists()
