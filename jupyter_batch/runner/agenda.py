"""The order of work: of jobs, by change and time, and of each job's open shards."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Container, Iterable

from jupyter_batch.core.status import Block, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.rows import Kept
from jupyter_batch.providers.backoff import is_due
from jupyter_batch.runner.context import Wait

LONGEST = 60.0
"""The longest time without a look at a job, in seconds."""
_NOW = 0.0


class Agenda:
    """The jobs that changed, those due at a time, and those with due shards that no seat was free for.

    Times are seconds since the epoch. `touch` may be called from any thread.
    """

    def __init__(self) -> None:
        self._touched: deque[str] = deque()
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._seatless: dict[str, dict[str, None]] = {}  # by host
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
        for waiting in self._seatless.values():
            waiting.pop(job, None)

    def seat(self, job: str, host: str) -> None:
        """Have a job looked at when its host has a free seat, after those that wait already."""
        self._seatless.setdefault(host, {})[job] = None

    def next_seatless(self, has_seat: Callable[[str], bool]) -> str | None:
        """The job that has waited the longest for a seat at a host with a free one; it waits no more.

        The hosts take turns.
        """
        for host in [*self._seatless]:
            waiting = self._seatless[host]
            if waiting and not has_seat(host):
                continue
            del self._seatless[host]
            if waiting:
                job = next(iter(waiting))
                del waiting[job]
                self._seatless[host] = waiting
                return job
        return None

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


class Board:
    """The open shards of one job. A look at it costs as much as shards have moved since the last one.

    running: the (job, number) of shards that a task runs now, which are left out.
    """

    def __init__(self, running: Container[tuple[str, int]]) -> None:
        self._running = running
        self._kept: Kept | None = None
        self._terms: tuple[object, ...] = ()
        self._read = 0
        self._looked = 0.0
        self._at: dict[int, float] = {}
        self._due: list[int] = []
        self._later: list[tuple[float, int]] = []
        self._waits: dict[int, Wait] = {}
        self._back: list[int] = []
        self.open: dict[int, ShardRecord] = {}
        self.joins: set[str] = set()
        """The jobs whose answers some of the shards wait for."""

    def look(self, kept: Kept, job: JobRecord, now: float) -> None:
        """Bring it up to date. kept: the job's shards as they are now."""
        before, self._terms = self._terms, _terms(job)
        is_same = before == self._terms and now >= self._looked
        self._looked = now
        read = len(kept.log)  # it may grow, by other threads
        if kept is self._kept and is_same:
            numbers = [*kept.log[self._read : read], *self._back]
        else:
            self._at, self._due, self._later = {}, [], []
            self.open, self.joins = {}, set()
            numbers = [*kept.shards]
        self._kept, self._read = kept, read
        self._back = []
        for number in numbers:
            self._sort(kept.shards[number], job, now)
        while self._later and self._later[0][0] <= now:
            at, number = heapq.heappop(self._later)
            if self._at.get(number) == at:
                self._is_due_now(number)

    def _sort(self, shard: ShardRecord, job: JobRecord, now: float) -> None:
        number = shard.number
        self._at.pop(number, None)
        if shard.step is Step.COLLECTED:
            self.open.pop(number, None)
            self._waits.pop(number, None)
            return
        self.open[number] = shard
        self.joins.add(shard.joins)
        if _is_parked(job, shard) or (job.id, number) in self._running:
            return
        wait = self._waits.get(number)
        due_at = wait.due_at if wait is not None and wait.shard == shard else shard.due_at
        if is_due(due_at, now, job.poll_interval) or _to_cancel(job, shard):
            self._is_due_now(number)
        else:
            self._at[number] = due_at
            heapq.heappush(self._later, (due_at, number))

    def _is_due_now(self, number: int) -> None:
        self._at[number] = _NOW
        heapq.heappush(self._due, number)

    def hurry(self, batch: str | None) -> bool:
        """Have the shard of a batch that ended in this process polled now; False if none waits."""
        for number, shard in self.open.items():
            if shard.batch_id == batch and number in self._at:
                self._is_due_now(number)
                return True
        return False

    def first(self) -> ShardRecord | None:
        """The due shard with the lowest number."""
        while self._due and self._at.get(self._due[0]) != _NOW:
            heapq.heappop(self._due)
        return self.open[self._due[0]] if self._due else None

    def take(self) -> None:
        """Remove the first due shard, as it runs now, until it is `back`."""
        del self._at[heapq.heappop(self._due)]

    def wait(self, wait: Wait) -> None:
        """Remember a time that is not in the ledger."""
        self._waits[wait.shard.number] = wait

    def back(self, number: int) -> None:
        """Have a shard sorted in again at the next look, as it runs no more."""
        self._back.append(number)

    def pause(self, now: float) -> float:
        """Seconds until a shard is due that is not now; infinite where none is."""
        while self._later and self._at.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] - now if self._later else float("inf")


def _terms(job: JobRecord) -> tuple[object, ...]:
    """The fields of a job that decide when its shards are due."""
    return job.cancel_at, job.poll_interval


def _to_cancel(job: JobRecord, shard: ShardRecord) -> bool:
    """Whether to cancel before the next poll is due; a failing provider's pause is still kept."""
    return (
        bool(job.cancel_at)
        and not shard.attempts
        and shard.step in (Step.PLANNED, Step.WAITING, Step.RUNNING)
    )


def _is_parked(job: JobRecord, shard: ShardRecord) -> bool:
    """Whether a retry is useless until the user has changed something, whatever the pause."""
    return shard.blocked_by is Block.NO_BATCH_API and not job.cancel_at
