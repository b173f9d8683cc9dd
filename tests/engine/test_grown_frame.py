"""A frame that grew: the answers of its old rows are in files of the earlier job, and stay when that is forgotten."""

from __future__ import annotations

import errno
import os

import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.cli import main
from tests.ledgers import forget

from .conftest import numbered


def files(home, job, pattern):
    """Files in a job's folder."""
    return sorted((home / "jobs" / job.id).glob(pattern))


@pytest.fixture
def answered(server, call, home):
    """A job of 40 rows that is complete."""
    return numbered(40).llm.batch("{text}", out="out", **call).wait(60)


def check(found, frame):
    """Each row has the echo of its text."""
    assert found["out"].tolist() == frame["text"].tolist()
    assert found.index.tolist() == frame.index.tolist()


def test_answers_are_referred_to_and_outlive_their_job(answered, call, home, tmp_path):
    """Moved rows of two generations: nothing is copied, each answer is on its row, and both jobs can be forgotten."""
    frame = numbered(50).iloc[::-1]
    second = frame.llm.batch("{text}", out="out", **call).wait(60)
    frame = numbered(60).sample(frac=1, random_state=3)
    third = frame.llm.batch("{text}", out="out", **call).wait(60)
    links = files(home, third, "reused-*.jsonl")
    assert [path.stat().st_nlink for path in links] == [2, 3]
    assert {path.stat().st_ino for path in links} == {
        path.stat().st_ino
        for job in (answered, second)
        for path in files(home, job, "output-*.jsonl")
    }
    for job in (answered, second):
        jobs.forget(job.id)
    forget(home)
    third = jobs.open_job(third.id)
    check(third.results(), frame)
    assert third.results()["_status"].value_counts().to_dict() == {"reused": 50, "succeeded": 10}
    assert third.results()["_cost"].value_counts().to_dict() == {0.0: 50}
    check(third.merge(frame[["text"]].iloc[::-1].copy()), frame.iloc[::-1])
    for label in ("k3", "k45", "k55"):
        row = third.row(label)
        assert row.answer == frame.loc[label, "text"]
        assert row.raw["custom_id"] == row.custom_id
    assert main(["export", third.id, str(tmp_path / "out.csv")]) == 0
    check(pd.read_csv(tmp_path / "out.csv", index_col=0), frame)
    again = frame[["text"]].llm.batch("{text}", out="out", **call).wait(60)
    assert again.id == third.id


def test_the_view_has_the_answers_that_are_referred_to(answered, call, home):
    """Pages, search and single rows of the row view, without the job that paid."""
    from jupyter_batch.results.rows.contents import Contents
    from jupyter_batch.runner.process import session

    frame = numbered(50).iloc[::-1]
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    jobs.forget(answered.id)
    ledger = session(home).ledger
    contents = Contents(ledger, ledger.job(job.id), ledger.shards(job.id))
    contents.start()
    assert contents.ready.wait(30)
    assert contents.error is None
    assert [contents.row(at).answer for at in (0, 20, 49)] == [
        "row number 49",
        "row number 29",
        "row number 0",
    ]
    search = contents.search("number 29")
    assert search.over.wait(30)
    assert search.error is None
    assert search.hits.nonzero()[0].tolist() == [20]


@pytest.mark.parametrize("error", [errno.EPERM, errno.EMLINK])
def test_a_disk_without_links_has_a_copy(answered, call, home, monkeypatch, error):
    """Where no hard link can be made, the file is copied, and read in the same way."""

    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    frame = numbered(45)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    jobs.forget(answered.id)
    (copy,) = files(home, job, "reused-*.jsonl")
    assert copy.stat().st_nlink == 1
    check(job.results(), frame)


def test_a_few_lines_are_copied(server, call, home):
    """A job that needs two of 40 answers does not keep the file of all of them."""
    numbered(40).llm.batch("{text}", out="out", **call).wait(60)
    frame = pd.concat([numbered(2), numbered(43).iloc[40:]])
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    (copy,) = files(home, job, "reused-*.jsonl")
    assert copy.read_bytes().count(b"\n") == 2
    assert not files(home, job, "reused*.bin")
    check(job.results(), frame)


def test_damaged_references_are_read_from_their_copy(answered, call, home):
    """Either file is enough; without both each row has a reason, and the ledger's other job has the answers."""
    frame = numbered(45)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    for path, lost in zip(files(home, job, "reused*.bin"), (0, 40), strict=True):
        path.write_bytes(b"\0")
        forget(home)
        found = jobs.open_job(job.id).results()
        assert (found["_status"] == "failed").sum() == lost
    assert "gone or damaged" in found["_error"].dropna().iloc[0]
    assert jobs.open_job(answered.id).results()["out"].notna().all()


def test_a_retry_refers_to_the_answers_of_its_job(server, call, home):
    """The answers of a job with failures are those of its retry, which stays whole without it."""
    server.set_faults("row_errors=0.4,seed=3")
    frame = numbered(30)
    job = frame.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    retried = job.retry(api_key=server.token).wait(60)
    assert [path.stat().st_nlink for path in files(home, retried, "reused-*.jsonl")] == [2]
    check(retried.results(), frame)
    jobs.forget(job.id)
    check(jobs.open_job(retried.id).results(), frame)


def test_answers_with_a_schema_and_vectors_are_referred_to(server, call, home):
    """Typed columns and vectors of an earlier job are read through its linked files."""
    call = {**call, "schema": {"label": str, "n": int}}
    first = numbered(20).llm.batch("{text}", **call).wait(60).results()
    job = numbered(22).llm.batch("{text}", **call).wait(60)
    jobs.forget(jobs.list_jobs()[-1].id)
    found = job.results()
    assert found["label"].iloc[:20].tolist() == first["label"].tolist()
    assert found["n"].dtype == first["n"].dtype
    assert [path.stat().st_nlink for path in files(home, job, "reused-*.jsonl")] == [1]
    del call["schema"]
    first = numbered(20).llm.embed("text", **call).wait(60).results()
    job = numbered(22).llm.embed("text", **call).wait(60)
    assert [path.stat().st_nlink for path in files(home, job, "reused-*.jsonl")] == [2]
    found = job.results()
    assert all((a == b).all() for a, b in zip(found.iloc[:20, 0], first.iloc[:, 0], strict=True))
