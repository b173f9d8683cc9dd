"""Request files that were damaged on this disk before they were sent, or before a retry: nothing is lost silently."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import BadRequestError, LedgerCorruptError
from jupyter_batch.core.status import State, Step
from jupyter_batch.planning.retry import plan_again
from jupyter_batch.runner.wait_for_job import _drop
from tests.engine.test_steps import ScriptedHarness, play, to_the_end


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
def harness(tmp_path):
    """A scripted provider, and a manual clock."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


@damages
def test_a_damaged_request_file_is_not_uploaded(harness, damage):
    """The shard ends with a reason that names the file; the same cell sends its rows, each once."""
    job = harness.plan(shard_size=4)
    damage(harness.ledger.folders.of(job).requests(0))
    play(to_the_end(harness, job))
    assert harness.provider.asked["upload"] == 0
    assert (harness.shard(job).step, harness.shard(job).ending) == (Step.COLLECTED, State.FAILED)
    assert all(
        "requests-0.jsonl is damaged" in why for why in harness.outcomes(job).reasons.values()
    )
    again = harness.plan(shard_size=4)
    assert again != job
    play(to_the_end(harness, again))
    assert harness.outcomes(again).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1


@damages
def test_the_same_cell_writes_a_damaged_file_again(harness, damage):
    """Of two shards one is damaged, and the other was paid for: the cell mends the file, retry() sends its rows."""
    job = harness.plan(shard_size=2)
    folder = harness.ledger.folders.of(job)
    whole = folder.requests(1).read_bytes()
    damage(folder.requests(1))
    play(to_the_end(harness, job))
    assert harness.snapshot(job).counts.succeeded == 2
    with pytest.raises(LedgerCorruptError, match=r"requests-1\.jsonl|request files"):
        plan_again(
            harness.ledger, harness.ledger.job(job), harness.ledger.shards(job), now=harness.now
        )
    assert harness.plan(shard_size=2) == job
    assert folder.requests(1).read_bytes() == whole
    record = plan_again(
        harness.ledger, harness.ledger.job(job), harness.ledger.shards(job), now=harness.now
    )
    play(to_the_end(harness, record.id))
    assert harness.outcomes(record.id).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 2


@damages
def test_a_retry_never_leaves_rows_out(harness, damage):
    """A batch failed, and its request file was damaged since: the retry is refused, not made of what is left."""
    harness.provider.faults["create"] = [BadRequestError("no", status=400)]
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.snapshot(job).counts.failed == 4
    damage(harness.ledger.folders.of(job).requests(0))
    before = harness.provider.asked["create"]
    with pytest.raises(LedgerCorruptError, match="damaged"):
        plan_again(
            harness.ledger, harness.ledger.job(job), harness.ledger.shards(job), now=harness.now
        )
    assert harness.provider.asked["create"] == before


def test_a_file_that_lost_its_answered_rows_is_no_damaged_one(harness):
    """A shard that waited for another job sends what is left of its file."""
    first = harness.plan(shard_size=4)
    play(harness.step())
    harness.frame = harness.frame.iloc[[2, 3, 0]]
    second = harness.plan(shard_size=4, params={})
    assert harness.shard(second).joins == first
    path = harness.ledger.folders.of(second).requests(0)
    left = _drop(path, second, {0})
    assert (left.requests, left.bytes) == (2, path.stat().st_size)
    play(to_the_end(harness, second))
    assert harness.outcomes(second).answers == ["C", "D", "A"]
