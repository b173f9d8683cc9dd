"""A ledger's database that is put back from an older copy: what was sent since is known from the job's folder."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.retry import plan_again
from tests.engine.test_steps import ScriptedHarness, harness, play, to_the_end

__all__ = ["harness"]


class Copy:
    """A copy of a ledger's database, as a backup or a synchronised folder holds one."""

    def __init__(self, harness: ScriptedHarness, path) -> None:
        self._home, self._path = harness.ledger.home, path
        with (
            contextlib.closing(sqlite3.connect(harness.ledger.path)) as source,
            contextlib.closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)

    def put_back(self, harness: ScriptedHarness) -> None:
        """The next process finds the copy in the database's place."""
        harness.ledger.close()
        for path in self._home.glob("ledger.sqlite3*"):
            path.unlink()
        (self._home / "ledger.sqlite3").write_bytes(self._path.read_bytes())
        harness.ledger = Ledger(self._home)
        harness.worker = harness.another_process()
        harness.now += 3600.0


def steps_of(harness, job, steps):
    """So many passes of the worker."""

    async def way():
        for _ in range(steps):
            await harness.step(1.0)

    play(way())


@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("steps_after", [1, 2, 40])
def test_an_older_copy_of_the_database(harness, tmp_path, steps_before, steps_after):
    """A database of an earlier hour holds shards as they were then; none that was sent since is sent again."""
    job = harness.plan()
    steps_of(harness, job, steps_before)
    copy = Copy(harness, tmp_path / "copy.sqlite3")
    steps_of(harness, job, steps_after)
    copy.put_back(harness)
    play(to_the_end(harness, job))
    assert harness.provider.asked["create"] == 2
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_an_older_copy_of_a_job_that_was_retried(harness, tmp_path):
    """Of a retry the older database knows nothing, and its parent is open there: neither is sent again."""
    harness.provider._answer = lambda body: None if body["messages"][-1]["content"] == "a" else "x"
    first = harness.plan(shard_size=4)
    copy = Copy(harness, tmp_path / "copy.sqlite3")
    play(to_the_end(harness, first))
    harness.provider._answer = lambda _: "y"
    again = plan_again(
        harness.ledger, harness.ledger.job(first), harness.ledger.shards(first), now=harness.now
    ).id
    play(to_the_end(harness, again))
    copy.put_back(harness)
    play(to_the_end(harness, first))
    play(to_the_end(harness, again))
    assert harness.provider.asked["create"] == 2
    assert harness.outcomes(again).answers == ["y", "x", "x", "x"]
    assert harness.shard(first).step is Step.COLLECTED
