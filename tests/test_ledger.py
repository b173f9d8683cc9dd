"""The ledger: one record for all processes, moved by compare-and-set, and never in the way of what was fetched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading

import msgspec
import pytest

from jupyter_batch.core.errors import (
    JobNotFoundError,
    LedgerCorruptError,
    LedgerError,
    LedgerFullError,
    LedgerNewerError,
)
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.database import FILE
from jupyter_batch.ledger.folder import disk_errors, written
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.migrations import MIGRATIONS
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger, this_process
from jupyter_batch.process.holders import machine


@pytest.fixture
def ledger(tmp_path):
    """A ledger without any job."""
    made = Ledger(tmp_path / "home")
    yield made
    made.close()


def record(job="jbaaa", fingerprint="f", **more):
    """A job of two rows."""
    return JobRecord(
        **{
            "id": job,
            "fingerprint": fingerprint,
            "created_at": 1.0,
            "model": "openai/x",
            "provider": "openai",
            "dialect": "openai",
            "endpoint": "/v1/chat/completions",
            "body_model": "x",
            "out": "out",
            "columns": ["t"],
            "rows": 2,
            **more,
        }
    )


def shard(job="jbaaa", number=0, **more):
    """Its one shard."""
    return ShardRecord(
        **{"job": job, "number": number, "requests": 2, "bytes": 9, "first": 0, "last": 1, **more}
    )


def planned(ledger, job="jbaaa", **more):
    """Both, recorded."""
    ledger.plan(record(job, **more), [shard(job)], lambda: None)
    return ledger.shards(job)[0]


def test_loading_the_extension_looks_for_open_jobs_alone(ledger, monkeypatch):
    """No ledger, one without open jobs, one with: jobs are taken up only from the last."""
    from jupyter_batch import magics

    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(ledger.home))
    assert not magics._has_open_jobs()
    assert not ledger.home.exists()
    planned(ledger, "jbaaa", finished_at=5.0)
    assert not magics._has_open_jobs()
    planned(ledger, "jbbbb")
    assert magics._has_open_jobs()


def test_asking_writes_nothing(ledger):
    """A ledger that was never written to has no jobs, and looking does not make it."""
    assert ledger.jobs() == []
    assert ledger.answering("f") is None
    with pytest.raises(JobNotFoundError):
        ledger.job("jbaaa")
    assert not ledger.home.exists()


def test_a_folder_that_was_removed_is_begun_again(ledger):
    """The folder under an open ledger is removed: its jobs are gone, and new ones are really written."""
    planned(ledger, "jbaaa")
    shutil.rmtree(ledger.home)
    assert ledger.jobs() == []
    planned(ledger, "jbabb")
    other = Ledger(ledger.home)
    assert [job.id for job in other.jobs()] == [job.id for job in ledger.jobs()] == ["jbabb"]
    other.close()


def test_a_job_is_found_by_id_beginning_and_name(ledger):
    """By its id, by the beginning of it where that is one job's alone, by its name; else it says what there is."""
    planned(ledger, "jbaaa", name="colours")
    planned(ledger, "jbabb", fingerprint="g")
    assert ledger.job("jbaaa").id == ledger.job("jbaa").id == ledger.job("colours").id == "jbaaa"
    with pytest.raises(JobNotFoundError, match="2 jobs begin with"):
        ledger.job("jb")
    with pytest.raises(JobNotFoundError, match="no job 'zz'"):
        ledger.job("zz")


def test_a_state_changes_by_compare_and_set(ledger):
    """Two that know the same state: one moves it, the other gets None and has written nothing."""
    known = planned(ledger)
    assert ledger.lease("jbaaa", "me", 0.0, 30.0)
    assert ledger.move(known, Step.SUBMITTING, "me", 1.0, note="mine").step is Step.SUBMITTING
    assert ledger.move(known, Step.SUBMITTING, "me", 1.0, note="theirs") is None
    assert ledger.shards("jbaaa")[0].note == "mine"


def test_an_illegal_move_is_refused(ledger):
    """Collected is the end: nothing goes on from there."""
    known = planned(ledger)
    with pytest.raises(LedgerError, match="can't go from"):
        ledger.move(known, Step.COLLECTED, "me", 1.0)


def test_a_lease_is_one_holders_until_its_time_is_over(ledger):
    """A second process gets it when the time is over, or at once when the holder died on this machine."""
    planned(ledger)
    mine, other = this_process(), this_process()
    assert ledger.lease("jbaaa", mine, 0.0, 30.0)
    assert not ledger.lease("jbaaa", other, 29.0, 30.0)
    assert ledger.lease("jbaaa", mine, 20.0, 30.0), "renewed"
    assert not ledger.lease("jbaaa", other, 40.0, 30.0)
    assert ledger.lease("jbaaa", other, 51.0, 30.0)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    host, _, rest = mine.split(":", 2)
    assert ledger.lease("jbaaa", f"{host}:{child}:{rest}", 100.0, 30.0)
    assert ledger.lease("jbaaa", mine, 101.0, 30.0), "its holder is dead"


def test_many_threads_and_connections_lose_nothing(ledger):
    """Eight connections that move one shard 25 times each by compare-and-set: every change counts once."""
    known = planned(ledger)
    ledger.lease("jbaaa", "me", 0.0, 1e9)
    del known

    def work():
        mine = Ledger(ledger.home)
        done = 0
        while done < 25:
            now = mine.shards("jbaaa")[0]
            assert mine.move(now, Step.PLANNED, "me", 1.0, completed=now.completed) is not None
            with mine._transaction() as db:
                db.execute(
                    "UPDATE job SET message = CAST(message AS INTEGER) + 1 WHERE id = 'jbaaa'"
                )
            done += 1
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.job("jbaaa").message == "200"


def test_a_newer_ledger_is_refused_clearly(ledger):
    """A ledger of a later version is not touched: the error says to upgrade."""
    planned(ledger)
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(LedgerNewerError, match="upgrade jupyter_batch"):
        ledger.jobs()


def test_a_ledger_that_became_newer_is_not_written_to_any_more(ledger):
    """A kernel, or a Jupyter server, that runs for days while another process of a newer version brings it up to date.

    What it would write lacks what that version has put into the records.
    """
    planned(ledger)
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(LedgerNewerError, match="upgrade jupyter_batch"):
        ledger.cancel("jbaaa", 5.0)
    with pytest.raises(LedgerNewerError, match="upgrade jupyter_batch"):
        ledger.jobs()
    with sqlite3.connect(ledger.path) as db:
        assert db.execute("SELECT cancel_at FROM job").fetchall() == [(0.0,)]
    db.close()


def test_a_damaged_ledger_is_refused_clearly(ledger):
    """A file that is no database: the error says what to do, and where the answers are."""
    planned(ledger)
    ledger.close()
    ledger.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerCorruptError, match="damaged"):
        ledger.jobs()


def test_a_full_disk_is_reported_and_leaves_no_half_file(tmp_path):
    """ENOSPC becomes a sentence; the file that was being written is not there, the one before it still is."""
    target = tmp_path / "output-0.jsonl"
    target.write_bytes(b"before")

    def fill_it_up():
        with written(target) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(LedgerFullError, match="free some space"):
        fill_it_up()
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["output-0.jsonl"]
    with pytest.raises(LedgerFullError), disk_errors(tmp_path):
        raise OSError(28, "No space left on device")


def test_files_are_private(ledger):
    """Folders are 0700, files 0600, whatever the umask."""
    previous = os.umask(0)
    try:
        with ledger.folders.drafted("jbaaa") as draft:
            draft.write(draft.keys, b"x")
            assert stat.S_IMODE(draft.keys.stat().st_mode) == 0o600
            assert stat.S_IMODE(draft.path.stat().st_mode) == 0o700
            ledger.folders.keep(draft, "jbaaa")
        planned(ledger)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((ledger.home / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.home.stat().st_mode) == 0o700


def test_a_draft_of_a_dead_process_is_swept_and_a_jobs_folder_never(tmp_path):
    """Planning again removes what died half-way; a job's folder stays, in the ledger or not."""
    folders = Folders(tmp_path / "home")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    mine, another = f".draft-{machine()}-{os.getpid()}-jby", f".draft-elsewhere-{child}-jbw"
    for name in (f".draft-{machine()}-{child}-jbx", mine, another, "jbz"):
        (folders.root / name).mkdir(parents=True)
    folders.sweep()
    assert sorted(path.name for path in folders.root.iterdir()) == sorted([mine, another, "jbz"])


def test_counts_always_add_up():
    """A shard's counts add up to its requests, for any counts of the provider."""
    for completed, failed in ((0, 0), (1, 0), (2, 0), (5, 0), (1, 5), (0, 7)):
        counts = msgspec.structs.replace(shard(), completed=completed, failed=failed).row_counts()
        assert counts.total == 2
    snapshot = snapshot_of(record(rows=7, skipped=4, unsendable=1), [shard()], 2.0)
    assert snapshot.counts.total == 7
    assert snapshot.state is State.PLANNED
