"""A ledger's database that is put back from an older copy: what was sent since is known from the job's folder."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.retry import plan_again
from tests.engine.test_tick import ScriptedDesk, desk, play, to_the_end

__all__ = ["desk"]


class Copy:
    """A copy of a ledger's database, as a backup or a synchronised folder holds one."""

    def __init__(self, desk: ScriptedDesk, path) -> None:
        self._home, self._path = desk.ledger.home, path
        with (
            contextlib.closing(sqlite3.connect(desk.ledger.path)) as source,
            contextlib.closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)

    def put_back(self, desk: ScriptedDesk) -> None:
        """The next process finds the copy in the database's place."""
        desk.ledger.close()
        for path in self._home.glob("ledger.sqlite3*"):
            path.unlink()
        (self._home / "ledger.sqlite3").write_bytes(self._path.read_bytes())
        desk.ledger = Ledger(self._home)
        desk.worker = desk.another_process()
        desk.now += 3600.0


def steps_of(desk, job, steps):
    """So many passes of the worker."""

    async def way():
        for _ in range(steps):
            await desk.step(1.0)

    play(way())


@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("steps_after", [1, 2, 40])
def test_an_older_copy_of_the_database(desk, tmp_path, steps_before, steps_after):
    """C6: a database of an earlier hour holds shards as they were then; none that was sent since is sent again."""
    job = desk.plan()
    steps_of(desk, job, steps_before)
    copy = Copy(desk, tmp_path / "copy.sqlite3")
    steps_of(desk, job, steps_after)
    copy.put_back(desk)
    play(to_the_end(desk, job))
    assert desk.provider.asked["create"] == 2
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_an_older_copy_of_a_job_that_was_retried(desk, tmp_path):
    """C6: of a retry the older database knows nothing, and its parent is open there: neither is sent again."""
    desk.provider._answer = lambda body: None if body["messages"][-1]["content"] == "a" else "x"
    first = desk.plan(shard_size=4)
    copy = Copy(desk, tmp_path / "copy.sqlite3")
    play(to_the_end(desk, first))
    desk.provider._answer = lambda _: "y"
    again = plan_again(
        desk.ledger, desk.ledger.job(first), desk.ledger.shards(first), now=desk.now
    ).id
    play(to_the_end(desk, again))
    copy.put_back(desk)
    play(to_the_end(desk, first))
    play(to_the_end(desk, again))
    assert desk.provider.asked["create"] == 2
    assert desk.told(again).answers == ["y", "x", "x", "x"]
    assert desk.shard(first).step is Step.COLLECTED
