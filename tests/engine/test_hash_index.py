"""The index of earlier jobs' request hashes: it reads a file once, and never misses a job."""

from __future__ import annotations

import numpy as np
import pytest

from jupyter_batch.cli import main
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.row_files import hash_index
from jupyter_batch.row_files.hash_index import index_of
from jupyter_batch.row_files.request_hashes import hash_array

from .conftest import numbered


def hashes_of(ledger, job):
    """The request hashes on disk."""
    return hash_array(ledger.folders.of(job.id).request_hashes.read_bytes())


def found(ledger, job, hashes):
    """The jobs of the scope of `job` that may have one of these requests."""
    space = ledger.job(job.id).space
    return [one.id for one in index_of(ledger).candidates(ledger, space, [hashes])]


@pytest.fixture
def ledger(home):
    """A connection of its own to the ledger, as another process has."""
    with_own_index = Ledger(home)
    yield with_own_index
    with_own_index.close()


def ask(call, word):
    """A complete job with three rows."""
    df = numbered(3)
    df["text"] = word + " " + df["text"]
    return df.llm.batch("{text}", out="out", **call).wait(60)


def test_a_job_of_another_process_is_found_at_once(call, ledger):
    """A job planned through another connection after the first search is among the next candidates."""
    first = ask(call, "first")
    assert found(ledger, first, hashes_of(ledger, first)) == [first.id]
    second = ask(call, "second")
    assert found(ledger, first, hashes_of(ledger, second)) == [second.id]
    both = np.concatenate([hashes_of(ledger, first), hashes_of(ledger, second)])
    assert found(ledger, first, both) == [second.id, first.id]


def test_a_file_is_read_once(call, ledger, monkeypatch):
    """A second search opens no hash file."""
    job = ask(call, "first")
    hashes = hashes_of(ledger, job)
    assert found(ledger, job, hashes[:1]) == [job.id]
    monkeypatch.setattr(hash_index, "_read", lambda *_: pytest.fail("read again"))
    assert found(ledger, job, hashes[1:]) == [job.id]
    assert found(ledger, job, hashes + 1) == []


def test_few_files_are_looked_at_however_many_jobs_there_are(call, ledger, monkeypatch):
    """A search looks at the files of jobs that changed in the ledger, and in turn at LOOKS of the others."""
    jobs = [ask(call, word) for word in ("a", "b", "c", "d")]
    monkeypatch.setattr(hash_index, "LOOKS", 1)
    hashes = hashes_of(ledger, jobs[0])
    assert found(ledger, jobs[0], hashes) == [jobs[0].id]
    looked, files = [], hash_index._files
    monkeypatch.setattr(
        hash_index,
        "_files",
        lambda ledger, job: looked.append(job) or files(ledger, job),
    )
    for _ in jobs:
        assert found(ledger, jobs[0], hashes) == [jobs[0].id]
    assert len(looked) == len(set(looked)) == len(jobs), "each in its turn"
    looked.clear()
    for job in jobs:
        Ledger(ledger.home).amend(job.id, overdue="a change")
    assert found(ledger, jobs[0], hashes) == [jobs[0].id]
    assert set(looked) == {job.id for job in jobs}


def test_the_hashes_of_a_forgotten_job_are_gone(call, ledger):
    """A forgotten job is no candidate, and takes no memory."""
    kept, gone = ask(call, "kept"), ask(call, "gone")
    hashes = hashes_of(ledger, gone)
    assert found(ledger, kept, hashes) == [gone.id]
    assert main(["forget", gone.id]) == 0
    assert found(ledger, kept, hashes) == []
    assert len(ledger.all_asked(9)) == 3


@pytest.mark.parametrize("name", ["request_hashes", "changed"])
def test_a_changed_file_is_read_again(call, ledger, name):
    """Requests that a repair or an adoption adds to a job's file are found at the next search."""
    job = ask(call, "first")
    hashes = hashes_of(ledger, job)
    assert found(ledger, job, hashes + 1) == []
    folder = ledger.folders.of(job.id)
    folder.write(getattr(folder, name), (hashes + 1).tobytes())
    assert found(ledger, job, hashes + 1) == [job.id]


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_job_with_a_damaged_file_is_always_a_candidate(call, ledger, damage):
    """Planning reads the job itself, derives the hashes or refuses; the index does not hide it."""
    job = ask(call, "first")
    hashes = hashes_of(ledger, job)
    path = ledger.folders.of(job.id).request_hashes
    assert found(ledger, job, hashes + 1) == []
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-1])
    assert found(ledger, job, hashes + 1) == [job.id]


def test_memory_is_bounded(call, ledger, monkeypatch):
    """Jobs beyond the limit are not held, and are candidates of each search."""
    monkeypatch.setattr(hash_index, "TABLE_ROWS", 2)
    monkeypatch.setattr(hash_index, "MAX_ROWS", 5)
    first, second = ask(call, "first"), ask(call, "second")
    other = hashes_of(ledger, first) + 1
    assert len(found(ledger, second, other)) == 1
    assert ledger.all_asked(9) == []
    assert len(index_of(ledger)._halves) == 3
