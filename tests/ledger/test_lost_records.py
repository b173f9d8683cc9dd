"""The database is gone, and the records in a job's folder are damaged or gone too: nothing is paid a second time."""

from __future__ import annotations

import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.core.errors import LedgerCorruptError
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.ledger.recovery import handle_of, write_handle
from tests.ledgers import forget

from .conftest import frame

DAMAGES = {
    "garbage": lambda path: path.write_bytes(b"\0" * 100),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "deleted": lambda path: path.unlink(),
    "of no job": lambda path: path.write_bytes(b'{"job": {}, "shards": []}'),
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
def ran(call, home):
    """(the job's id, its folder, the column) of a job whose database is gone."""
    ours = frame()
    job = ours.llm.batch("{text}", out="answer", **call).wait(60)
    forget(home)
    for path in home.glob("ledger.sqlite3*"):
        path.unlink()
    return job.id, home / "jobs" / job.id, ours["answer"]


def run(call, **more):
    """The same cell."""
    ours = frame()
    return ours.llm.batch("{text}", out="answer", **{**call, **more}).wait(60), ours["answer"]


@damages
def test_one_copy_of_the_record_is_enough(ran, call, requests_sent, damage):
    """`job.json` is damaged, and the database is gone: the job is recovered from the copy, nothing is sent."""
    job, folder, answers = ran
    before = requests_sent()
    damage(folder / "job.json")
    again, column = run(call)
    assert again.id == job
    assert column.equals(answers)
    assert requests_sent() == before


@damages
@pytest.mark.parametrize("rest", [True, False], ids=["with shard-0.json", "without"])
def test_a_folder_without_a_record_is_not_passed_over(ran, call, requests_sent, damage, rest):
    """No copy can be read: the same cell and a grown frame are refused; the folder and the ways out are named."""
    job, folder, _ = ran
    before = requests_sent()
    for name in ("job.json", "job-copy.json"):
        damage(folder / name)
    if not rest:
        (folder / "shard-0.json").unlink()
    with pytest.raises(LedgerCorruptError, match=r"adopt.*nothing was sent.*reuse=False") as caught:
        run(call)
    assert str(folder) in str(caught.value)
    assert ("its batches: batch_" in str(caught.value)) == rest
    with pytest.raises(LedgerCorruptError, match=job):
        frame(9).llm.batch("{text}", out="answer", **call)
    with pytest.raises(LedgerCorruptError, match=job):
        jupyter_batch.open(job)
    assert job in repr(jupyter_batch.jobs())
    assert requests_sent() == before


def test_the_ways_out_of_a_lost_record(ran, call, requests_sent):
    """Forget and adopt, as the sentence says, bring the answers back, and nothing is paid."""
    job, folder, answers = ran
    before = requests_sent()
    for name in ("job.json", "job-copy.json"):
        (folder / name).unlink()
    with pytest.raises(LedgerCorruptError):
        run(call)
    assert jobs.forget(job) == job
    assert not folder.exists()
    jobs.adopt(job, **call).follow()[0].wait(60)
    _, column = run(call)
    assert column.equals(answers)
    assert requests_sent() == before


def test_the_user_may_pay_again(ran, call, requests_sent):
    """`reuse=False` sends all rows, as the sentence says."""
    _, folder, answers = ran
    before = requests_sent()
    for name in ("job.json", "job-copy.json"):
        (folder / name).unlink()
    _, column = run(call, reuse=False)
    assert column.equals(answers)
    assert requests_sent() > before


@damages
def test_a_lost_shard_record_does_not_send_its_batch_again(ran, call, requests_sent, damage):
    """The database and shard-0.json are gone: the batch is found at the provider before anything is sent."""
    job, folder, answers = ran
    before = requests_sent()
    damage(folder / "shard-0.json")
    for path in folder.glob("output-*"):
        path.unlink()
    again, column = run(call)
    assert again.id == job
    assert column.equals(answers)
    assert requests_sent() == before


def test_a_copy_of_a_folder_is_no_lost_job(ran, call, home):
    """A backup of a job's folder below another name refuses nothing."""
    job, folder, _ = ran
    for name in (f"{job}.bak", f"{job}2"):
        (home / "jobs" / name).mkdir()
        (home / "jobs" / name / "job.json").write_bytes((folder / "job.json").read_bytes())
    (home / "jobs" / "jbempty").mkdir()
    again, _ = run(call)
    assert again.id == job


def test_a_record_that_was_cut_off_is_passed_over(tmp_path):
    """Cut anywhere, the step before it counts, and the next one is whole; a damaged whole record is none."""
    folder = JobFolder(tmp_path)
    first, second, third = (
        ShardRecord(job="jb1", number=0, requests=1, bytes=2, first=0, last=0, moves=moves)
        for moves in (1, 2, 3)
    )
    write_handle(folder, first)
    size = folder.handle(0).stat().st_size
    write_handle(folder, second)
    both = folder.handle(0).read_bytes()
    for cut in range(size, len(both)):
        folder.handle(0).write_bytes(both[:cut])
        assert handle_of(folder, 0) == (second if cut == len(both) - 1 else first)
        write_handle(folder, third)
        assert handle_of(folder, 0) == third
    folder.handle(0).write_bytes(both[:-9] + b"damaged!\n")
    assert handle_of(folder, 0) is None
    for _ in range((1 << 16) // size + 3):
        write_handle(folder, third)
    assert folder.handle(0).stat().st_size < 1 << 14
    assert handle_of(folder, 0) == third
