"""Ledgers with jobs of several kinds of hashes: what was paid in any of them is not paid again."""

from __future__ import annotations

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.frames.hashing import BLAKE2B
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.row_files import request_hashes
from jupyter_batch.runner.process import Session
from tests.engine.conftest import call, numbered, server  # noqa: F401 - fixtures
from tests.engine.test_reuse import sent
from tests.ledgers import forget, lose

FAST, OTHER = "xxh3-0123456789abcdef", "xxh3-fedcba9876543210"
PLANNERS = ("jupyter_batch.planning.plan", "jupyter_batch.planning.files.requests")


@pytest.fixture
def planned_as(monkeypatch):
    """Sets the kind of the next jobs, as those of another version or of another ledger have it."""

    def choose(kind):
        for module in PLANNERS:
            monkeypatch.setattr(f"{module}.kind_in", lambda *_: kind)

    return choose


def kinds(home):
    """The kinds of the ledger's jobs, oldest first."""
    ledger = Ledger(home)
    found = [job.hashing for job in reversed(ledger.jobs())]
    ledger.close()
    return found


def test_a_new_ledger_has_a_seed_of_its_own(call, home):  # noqa: F811
    """Its jobs have one kind of hash, in every kernel; another ledger has another one."""
    numbered(2).llm.batch("{text}", out="a", **call).wait(60)
    forget(home)
    numbered(3).llm.batch("{text}", out="a", **call).wait(60)
    first = set(kinds(home))
    lose(home)
    numbered(2).llm.batch("{text}", out="a", **call).wait(60)
    (second,) = kinds(home)
    assert len(first) == 1
    assert second.startswith("xxh3-")
    assert {second} != first


def test_a_ledger_of_before_keeps_its_kind(server, call, home, monkeypatch):  # noqa: F811
    """The same cell, a grown frame, its retry and a fresh kernel's merge: no request is sent twice."""
    with monkeypatch.context() as before:
        before.setattr(request_hashes, "_own_kind", lambda _: BLAKE2B)
        server.set_faults("row_errors=0.4,seed=3")
        job = numbered(12).llm.batch("{text}", out="out", **call).wait(60)
        server.set_faults("")
    failed = job.counts.failed
    assert 0 < failed < 12
    forget(home)
    df = numbered(12).iloc[::-1].copy()
    jupyter_batch.open(job.id).merge(df)
    assert df["out"].isna().sum() == failed
    assert (df["out"].dropna() == df["text"][df["out"].notna()]).all()
    again = numbered(12)
    assert again.llm.batch("{text}", out="out", **call).wait(60).id == job.id
    jupyter_batch.open(job.id).retry(api_key=call["api_key"]).wait(60)
    assert sent(server) == 12 + failed
    grown = numbered(15)
    grown.llm.batch("{text}", out="out", **call).wait(60)
    assert (grown["out"] == grown["text"]).all()
    assert sent(server) == 12 + failed + 3
    assert set(kinds(home)) == {BLAKE2B}


@pytest.mark.parametrize(("old", "new"), [(BLAKE2B, FAST), (FAST, OTHER)])
def test_jobs_of_two_kinds_share_their_answers(server, call, home, planned_as, old, new):  # noqa: F811
    """As after a folder came from another ledger: cells find their jobs, rows their answers."""
    planned_as(old)
    first = numbered(4)
    job = first.llm.batch("{text}", out="out", **call).wait(60)
    planned_as(new)
    second = numbered(7).iloc[2:].copy()
    second.llm.batch("{text}", out="out", **call).wait(60)
    assert (second["out"] == second["text"]).all()
    assert sent(server) == 7
    assert kinds(home) == [old, new]
    for kind in (old, new):
        forget(home)
        planned_as(kind)
        same = numbered(4).iloc[::-1].copy()
        assert same.llm.batch("{text}", out="out", **call).wait(60).id == job.id
        assert (same["out"] == same["text"]).all()
    whole = numbered(9)
    whole["out"] = pd.concat([first["out"], second["out"].iloc[2:]]).reindex(whole.index)
    whole.llm.batch("{text}", out="out", **call).wait(60)  # cells that either job wrote are ours
    assert (whole["out"] == whole["text"]).all()
    assert sent(server) == 9


def test_rows_of_a_job_in_progress_of_another_kind_are_waited_for(
    server,  # noqa: F811
    call,  # noqa: F811
    home,
    planned_as,
    monkeypatch,
):
    """A grown frame takes the answers of the job that is in progress; only its new row is sent."""
    with monkeypatch.context() as held:
        held.setattr(Session, "_start", lambda _: None)  # neither job is sent yet
        planned_as(BLAKE2B)
        running = numbered(4).llm.batch("{text}", out="out", **call)
        planned_as(FAST)
        grown = numbered(5)
        job = grown.llm.batch("{text}", out="out", **call)
    running.resume()
    job.resume().wait(60)
    assert (grown["out"] == grown["text"]).all()
    assert sent(server) == 5
    assert (job.counts.succeeded, job.counts.reused) == (1, 4)


@pytest.mark.parametrize(("old", "new"), [(BLAKE2B, FAST), (FAST, BLAKE2B)])
def test_built_files_are_submitted_into_a_ledger_of_another_kind(
    server,  # noqa: F811
    call,  # noqa: F811
    home,
    planned_as,
    old,
    new,
):
    """What a job of that ledger was asked is not sent again."""
    planned_as(old)
    made = numbered(5).llm.build("{text}", out="out", **call)
    planned_as(new)
    numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    job = made.submit(api_key=call["api_key"]).wait(60)
    assert (job.counts.reused, job.counts.succeeded) == (3, 2)
    assert sent(server) == 5


def test_an_adopted_job_is_found_in_a_ledger_of_any_kind(server, call, home, planned_as):  # noqa: F811
    """The ledger is lost, its batch adopted by its requests, and the cell run as another kind."""
    planned_as(BLAKE2B)
    numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    lose(home)
    jobs.adopt(**call).follow()[0].wait(60)
    df = numbered(4)
    df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    assert sent(server) == 4
    assert kinds(home)[0].startswith("xxh3-")
