"""The order of changes in a ledger: which jobs were written since a reader last looked, by any process."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import msgspec
import pytest

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.status import Step
from jupyter_batch.ledger import store
from jupyter_batch.ledger.store import Ledger
from tests.test_ledger import planned, record, shard

HOLDER = "here:1:a"


def jobs_since(ledger, mark):
    """The jobs that changed since a mark, sorted; None where any may have."""
    _, jobs = ledger.changes(mark)
    return jobs if jobs is None else sorted(jobs)


def test_each_write_by_any_process_is_a_change_of_its_job(tmp_path):
    """A job, a shard, a message, a removal: each is one change of that job alone, a renewed lease is none."""
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    for job in ("jbaaa", "jbbbb"):
        planned(mine, job=job)
    mark, jobs = mine.changes(None)
    assert jobs is None, "a reader without a mark reads all"
    assert jobs_since(mine, mark) == []
    other.say("jbaaa", "a message")
    assert jobs_since(mine, mark) == ["jbaaa"]
    other.lease("jbbbb", HOLDER, 0.0, 30.0)
    mark, jobs = mine.changes(mark)
    assert sorted(jobs) == ["jbaaa", "jbbbb"]
    other.lease("jbbbb", HOLDER, 10.0, 30.0)
    assert other.renew(HOLDER, 20.0, 30.0) == 1
    assert jobs_since(mine, mark) == []
    (shard,) = other.shards("jbbbb")[:1]
    other.move(shard, Step.SUBMITTING, HOLDER, 10.0)
    assert jobs_since(mine, mark) == ["jbbbb"]
    with contextlib.closing(sqlite3.connect(mine.path)) as db, db:
        db.execute("UPDATE job SET finished_at = 1 WHERE id = 'jbaaa'")
    mark, _ = mine.changes(mark)
    other.forget("jbaaa")
    assert jobs_since(mine, mark) == ["jbaaa"]


def test_another_file_is_a_change_of_all(tmp_path):
    """Where the database was replaced by an older copy, or removed, any job may have changed."""
    ledger = Ledger(tmp_path / "home")
    planned(ledger, job="jbaaa")
    copy = tmp_path / "copy.sqlite3"
    with (
        contextlib.closing(sqlite3.connect(copy)) as target,
        contextlib.closing(sqlite3.connect(ledger.path)) as source,
    ):
        source.backup(target)
    planned(ledger, job="jbbbb")
    mark, _ = ledger.changes(None)
    assert len(ledger.jobs()) == 2
    for path in ledger.home.glob(f"{ledger.path.name}-*"):
        path.unlink()
    copy.replace(ledger.path)
    mark, jobs = ledger.changes(mark)
    assert jobs is None
    assert [job.id for job in ledger.jobs()] == ["jbaaa"]
    shutil.rmtree(ledger.home)
    assert ledger.changes(mark) == (None, None)
    assert ledger.jobs() == []


def test_the_list_follows_what_changed(tmp_path):
    """A list that was read is brought up to date with new, changed, removed and leased jobs, in its order."""
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    for job in ("jbccc", "jbaaa"):
        planned(other, job=job)

    def both():
        here, there = mine.jobs(leases=True), Ledger(tmp_path).jobs()
        assert here == there
        return [job.id for job in here]

    assert both() == ["jbaaa", "jbccc"]
    planned(other, job="jbbbb")
    other.say("jbccc", "a message")
    assert both() == ["jbaaa", "jbbbb", "jbccc"]
    for until in (0.0, 10.0):
        other.lease("jbbbb", HOLDER, until, 30.0)
        assert both() == ["jbaaa", "jbbbb", "jbccc"]
    with contextlib.closing(sqlite3.connect(mine.path)) as db, db:
        db.execute("UPDATE job SET finished_at = 1 WHERE id = 'jbaaa'")
    other.forget("jbaaa")
    assert both() == ["jbbbb", "jbccc"]


def large(ledger, job="jbaaa", count=40):
    """A job of many shards, leased by HOLDER."""
    shards = [msgspec.structs.replace(shard(job), number=n, first=n, last=n) for n in range(count)]
    ledger.plan(record(job), shards, lambda: None)
    assert ledger.lease(job, HOLDER, 0.0, 30.0)


def test_shards_of_a_large_job_are_read_again_only_after_writes_of_others(tmp_path, monkeypatch):
    """A ledger's own moves change the shards that it keeps; those of another, and a cancel, have them read again."""
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    large(mine)
    reads = []
    read = mine._read_shards
    monkeypatch.setattr(mine, "_read_shards", lambda job: reads.append(job) or read(job))

    def same():
        assert mine.shards("jbaaa") == Ledger(tmp_path).shards("jbaaa")

    same()
    reads.clear()
    for ledger, count in ((mine, 0), (other, 1), (mine, 1)):
        for number in range(3):
            (planned_one,) = [s for s in ledger.shards("jbaaa") if s.number == number]
            assert ledger.move(
                planned_one, planned_one.step, HOLDER, 1.0, note=f"{ledger} {number}"
            )
        same()
        assert len(reads) == count
    other.wake("jbaaa")
    mine.cancel("jbaaa", 2.0)
    same()


def test_a_write_that_failed_leaves_the_kept_shards_as_they_are(tmp_path, monkeypatch):
    """A move whose transaction is rolled back is not in the kept shards, nor hides a later write under its number."""
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    large(mine)
    first = mine.shards("jbaaa")[0]
    with monkeypatch.context() as patch:
        patch.setattr(store, "encode", lambda _: None)  # NOT NULL
        with pytest.raises(LedgerError):
            mine.move(first, Step.SUBMITTING, HOLDER, 1.0)
    assert mine.shards("jbaaa")[0] == first
    assert other.move(first, Step.SUBMITTING, HOLDER, 1.0)
    assert mine.shards("jbaaa")[0].step is Step.SUBMITTING
    assert mine.move(first, Step.SUBMITTING, HOLDER, 1.0) is None
