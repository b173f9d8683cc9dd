"""Request files that were damaged on this disk before they were sent, or before a retry: nothing is lost silently."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import BadRequestError, LedgerCorruptError
from jupyter_batch.core.status import State, Step
from jupyter_batch.planning.retry import plan_again
from jupyter_batch.runner.wait_for_job import _drop
from tests.engine.test_tick import ScriptedDesk, play, to_the_end


def half_a_line(path):
    """Cut within the last line."""
    path.write_bytes(path.read_bytes()[:-40])


def a_line_less(path):
    """Cut before the last line."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))


def a_bit(path):
    """One character of a prompt is another."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def zeros(path):
    """As after a power cut."""
    path.write_bytes(b"\0" * path.stat().st_size)


def gone(path):
    """Deleted."""
    path.unlink()


damages = pytest.mark.parametrize("damage", [half_a_line, a_line_less, a_bit, zeros, gone])


@pytest.fixture
def desk(tmp_path):
    """A scripted provider, and a clock that moves when it is told."""
    made = ScriptedDesk(tmp_path / "home")
    yield made
    made.ledger.close()


@damages
def test_a_damaged_request_file_is_not_uploaded(desk, damage):
    """C6: the shard ends with a reason that names the file; the same cell sends its rows, each once."""
    job = desk.plan(shard_size=4)
    damage(desk.ledger.folders.of(job).requests(0))
    play(to_the_end(desk, job))
    assert desk.provider.asked["upload"] == 0
    assert (desk.shard(job).step, desk.shard(job).ending) == (Step.COLLECTED, State.FAILED)
    assert all("requests-0.jsonl is damaged" in why for why in desk.told(job).reasons.values())
    again = desk.plan(shard_size=4)
    assert again != job
    play(to_the_end(desk, again))
    assert desk.told(again).answers == ["A", "B", "C", "D"]
    assert desk.provider.asked["create"] == 1


@damages
def test_the_same_cell_writes_a_damaged_file_again(desk, damage):
    """C6: of two shards one is damaged, and the other was paid for: the cell mends the file, retry() sends its rows."""
    job = desk.plan(shard_size=2)
    folder = desk.ledger.folders.of(job)
    whole = folder.requests(1).read_bytes()
    damage(folder.requests(1))
    play(to_the_end(desk, job))
    assert desk.snapshot(job).counts.succeeded == 2
    with pytest.raises(LedgerCorruptError, match=r"requests-1\.jsonl|request files"):
        plan_again(desk.ledger, desk.ledger.job(job), desk.ledger.shards(job), now=desk.now)
    assert desk.plan(shard_size=2) == job
    assert folder.requests(1).read_bytes() == whole
    record = plan_again(desk.ledger, desk.ledger.job(job), desk.ledger.shards(job), now=desk.now)
    play(to_the_end(desk, record.id))
    assert desk.told(record.id).answers == ["A", "B", "C", "D"]
    assert desk.provider.asked["create"] == 2


@damages
def test_a_retry_never_leaves_rows_out(desk, damage):
    """C6: a batch failed, and its request file was damaged since: the retry is refused, not made of what is left."""
    desk.provider.faults["create"] = [BadRequestError("no", status=400)]
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.snapshot(job).counts.failed == 4
    damage(desk.ledger.folders.of(job).requests(0))
    before = desk.provider.asked["create"]
    with pytest.raises(LedgerCorruptError, match="damaged"):
        plan_again(desk.ledger, desk.ledger.job(job), desk.ledger.shards(job), now=desk.now)
    assert desk.provider.asked["create"] == before


def test_a_file_that_lost_its_answered_rows_is_no_damaged_one(desk):
    """C6: a shard that waited for another job sends what is left of its file."""
    first = desk.plan(shard_size=4)
    play(desk.step())
    desk.frame = desk.frame.iloc[[2, 3, 0]]
    second = desk.plan(shard_size=4, params={})
    assert desk.shard(second).joins == first
    path = desk.ledger.folders.of(second).requests(0)
    left = _drop(path, second, {0})
    assert (left.requests, left.bytes) == (2, path.stat().st_size)
    play(to_the_end(desk, second))
    assert desk.told(second).answers == ["C", "D", "A"]
