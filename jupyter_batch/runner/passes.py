"""Passes of a worker over the jobs that changed or are due; all others cost nothing.

Looking at a job is worker.py's; this decides when.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, JupyterBatchError, LedgerError
from jupyter_batch.core.secrets import masked
from jupyter_batch.ledger.kept_shards import Kept
from jupyter_batch.ledger.queries import Mark
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger, this_process
from jupyter_batch.process.ending import is_ending
from jupyter_batch.runner.board import Board
from jupyter_batch.runner.late_files import LateFiles
from jupyter_batch.runner.loop_thread import IDLE_SECONDS, LoopThread
from jupyter_batch.runner.watchers import Watchers

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""The interval at which the ledger is read for jobs that other processes run."""
LOOKS = 50
"""The most looks in such an interval at jobs that can't be run here."""
FEW, SHARE = 20, 40
"""A job of more than FEW shards is not shown for SHARE times the time that its last snapshot took."""
AT_ONCE = 8
"""The number of shards that run concurrently."""
LATE = ("late files", 0)
"""The key of the late-files task among the shards' tasks."""
LONGEST = 60.0
"""The longest time without a look at a job, in seconds."""


class Agenda:
    """The jobs that changed, those due at a time, and those with due shards that no seat was free for.

    Times are seconds since the epoch. `touch` may be called from any thread.
    """

    def __init__(self) -> None:
        self._touched: deque[str] = deque()
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._seatless: dict[str, None] = {}
        self._now = 0.0

    def touch(self, jobs: Iterable[str]) -> None:
        """Have the next pass look at these jobs."""
        self._touched.extend(jobs)

    def at(self, job: str, when: float, now: float) -> None:
        """Have a job looked at then, and at no earlier time that was set before."""
        self._at[job] = when = min(when, now + LONGEST)
        heapq.heappush(self._heap, (when, job))

    def sooner(self, job: str, when: float, now: float) -> None:
        """Have a job looked at then, or at an earlier time that was set before."""
        if when < self._at.get(job, float("inf")):
            self.at(job, when, now)

    def drop(self, job: str) -> None:
        """Forget the time of a job."""
        self._at.pop(job, None)
        self._seatless.pop(job, None)

    def seat(self, job: str) -> None:
        """Have a job looked at when a seat is free, after those that wait already."""
        self._seatless[job] = None

    def next_seatless(self) -> str | None:
        """The job that has waited for a seat the longest, which then waits no more."""
        job = next(iter(self._seatless), None)
        if job is not None:
            del self._seatless[job]
        return job

    def due(self, now: float) -> list[str]:
        """The jobs to look at now, each once; where the clock was set back, all with a time."""
        found: dict[str, None] = {}
        while self._touched:
            found[self._touched.popleft()] = None
        if now < self._now:
            found |= dict.fromkeys(self._at)
        self._now = now
        while self._heap and self._heap[0][0] <= now:
            when, job = heapq.heappop(self._heap)
            if self._at.get(job) == when:
                found[job] = None
        return list(found)

    def pause(self, now: float) -> float:
        """Seconds until a job is due; infinite where none is."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] - now if self._heap else float("inf")


class Passes(LoopThread, ABC):
    """The passes over one ledger's jobs: those of `_mine`, or every unfinished one (`everything`).

    clock: seconds since the epoch; dice: 0 to 1, for jitter.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        dice: Callable[[], float],
        everything: bool,
    ) -> None:
        super().__init__()
        self.ledger = ledger
        self.holder = this_process()
        self.everything = everything
        self.watchers = Watchers()
        self._clock = clock
        self._mine: set[str] = set()
        self._agenda = Agenda()
        self._mark: Mark | None = None
        self._knew_everything = everything
        self._leased: set[str] = set()
        self._renewed = 0.0
        self._elsewhere: set[str] = set()
        self._reopenable: set[str] = set()
        self._show_at: dict[str, float] = {}
        self._unshown: dict[str, float] = {}
        self._shown: dict[str, tuple[JobRecord, list[ShardRecord]]] = {}
        self._boards: dict[str, Board] = {}
        self._late = LateFiles(ledger, clock=lambda: self._clock(), dice=dice)  # noqa: PLW0108 - a test sets another clock
        self._tasks: dict[tuple[str, int], asyncio.Task[float | None]] = {}
        self._changed: set[str] = set()  # jobs looked at while a task of theirs ran

    async def once(self) -> float:
        """Look at the jobs that changed or are due; return the seconds to the next pass."""
        now = self._clock()
        pause = min(IDLE_SECONDS, self._look_for_files(), self._renew(now))
        self._read_changes()
        while self._has_seat() and (waiting := self._agenda.next_seatless()):
            await self._visit(waiting, now)
        for job in self._agenda.due(now):
            await self._visit(job, now)
        if self._elsewhere:
            pause = min(pause, LOOK_SECONDS)
        return max(0.02, min(pause, self._agenda.pause(self._clock())))

    def _has_seat(self) -> bool:
        """Whether one more shard may run."""
        return len(self._tasks) < AT_ONCE

    def _read_changes(self) -> None:
        """Put the jobs on the agenda that any process has changed since the last pass; at first, all."""
        mark, changed = self.ledger.changes(self._mark)
        if changed is None or self.everything is not self._knew_everything:
            wanted = [job.id for job in self.ledger.jobs(unfinished=True)]
            changed = [*wanted, *(set(self.watchers) - set(wanted))]
        self._agenda.touch([*changed, *(job for job in self._reopenable if job not in self._late)])
        self._mark, self._knew_everything = mark, self.everything

    async def _visit(self, job: str, now: float) -> None:
        try:
            record = self.ledger.find(job) if self.ledger.exists() else None
            if record is None or record.finished_at:
                self._drop(job)
            elif self.everything or job in self._mine:
                due = now + await self._look(record)
                self._agenda.at(job, min(due, self._unshown.get(job, due)), now)
            self._warned.pop(job, None)
        except Exception as e:  # one job's error must not keep the others from their end
            self._agenda.at(job, now + IDLE_SECONDS, now)
            if not is_ending(e):
                self._warn(job, f"job {job}: {_text(e)}; it is tried again")

    def _drop(self, job: str) -> None:
        """Show a job that is finished, perhaps by another process, once more; then forget it."""
        self._agenda.drop(job)
        self._leased.discard(job)
        self._elsewhere.discard(job)
        self._show_at.pop(job, None)
        self._unshown.pop(job, None)
        self._shown.pop(job, None)
        self._boards.pop(job, None)
        self._changed.discard(job)
        if self.watchers.of(job):
            try:
                self._show(self.ledger.job(job))
            except JobNotFoundError as e:  # the ledger's folder was removed
                self._warn(job, str(e))
        if job in self._late:  # it may be reopened: its watchers are kept
            self._reopenable.add(job)
            return
        self._reopenable.discard(job)
        if self.watchers.of(job):
            self.watchers.drop(job)
            with self._lock:
                self._mine.discard(job)

    def _renew(self, now: float) -> float:
        """Renew the leases in one write if due; return the seconds until they are due again."""
        left = self._renewed + RENEW_SECONDS - now
        if not self._leased or 0 < left <= RENEW_SECONDS:
            return left if self._leased else IDLE_SECONDS
        self._renewed, held = now, 0
        with contextlib.suppress(LedgerError):  # met again by each job
            held = self.ledger.renew(self.holder, now, LEASE_SECONDS)
        if held < len(self._leased):
            self._agenda.touch(self._leased)
        return RENEW_SECONDS

    def _look_for_files(self) -> float:
        """Poll for late files if due; return the seconds until it is due again."""
        pause = self._late.pause()
        if pause <= 0 and LATE not in self._tasks:
            task = self._tasks[LATE] = asyncio.create_task(self._late.look())
            task.add_done_callback(functools.partial(self._done, LATE))
        return pause if pause > 0 else IDLE_SECONDS

    async def settled(self) -> None:
        """Wait for the running calls."""
        while tasks := list(self._tasks.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)

    @abstractmethod
    async def _look(self, job: JobRecord) -> float:
        """Start a job's due work and show it; return the seconds until it is due again."""

    def _not_here(self, job: JobRecord) -> float:
        """The pause of a job that this process can't run now; the ledger is read more often."""
        self._elsewhere.add(job.id)
        return LOOK_SECONDS * max(1.0, len(self._elsewhere) / LOOKS)

    def _done(self, key: tuple[str, int], task: asyncio.Task[float | None]) -> None:
        """Have the job of a task looked at; where nothing has changed, when its result says."""
        self._tasks.pop(key, None)
        if (board := self._boards.get(key[0])) is not None:
            board.back(key[1])
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_ending(error):
            self._warn(f"{key}", f"job {key[0]}, batch {key[1]}: {_text(error)}; it is tried again")
            now = self._clock()
            self._agenda.at(key[0], now + IDLE_SECONDS, now)
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_later(IDLE_SECONDS, self.poke)
            return
        due_at = None if task.cancelled() else task.result()
        if due_at is not None and key[0] not in self._changed:
            self._agenda.sooner(key[0], due_at, self._clock())
        elif key != LATE:
            self._changed.discard(key[0])
            self._agenda.touch([key[0]])
        if self._wake is not None:
            self._wake.set()

    def _show(self, job: JobRecord, kept: Kept | None = None) -> None:
        """Show a job to its watchers, if it has changed; one of many shards, which takes long, less often.

        kept: the job's shards, where they were read just now.
        """
        self._unshown.pop(job.id, None)
        if not self.watchers.of(job.id):
            return
        now, due = self._clock(), self._show_at.get(job.id, 0.0)
        is_early = due - LONGEST <= now < due
        if is_early and not job.finished_at and self.watchers.has_shown(job.id):
            self._unshown[job.id] = due
            return
        began = time.thread_time()
        shards = self.ledger.shards(job.id) if kept is None else kept.current()
        shown = msgspec.structs.replace(job, holder=None, lease_until=0.0), shards
        if self.watchers.has_shown(job.id) and self._shown.get(job.id) == shown:
            return
        self._shown[job.id] = shown
        self.watchers.show(job.id, snapshot_of(job, shards, now))
        if len(shards) > FEW:
            self._show_at[job.id] = now + SHARE * (time.thread_time() - began)


def _text(error: BaseException) -> str:
    return (
        str(error)
        if isinstance(error, JupyterBatchError)
        else masked(f"unexpected {type(error).__name__}: {error}")
    )
