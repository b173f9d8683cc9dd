"""The one background worker that runs jobs, under ledger leases.

passes.py decides when to look at a job; step.py does the work on a shard. Watchers are called in the worker's
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable

from jupyter_batch.core.errors import InputError, JupyterBatchError, LedgerError
from jupyter_batch.core.status import Block, Step, Unanswered
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.rows import Kept
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.process.ending import is_ending
from jupyter_batch.process.holders import holds
from jupyter_batch.providers.backoff import DICE
from jupyter_batch.providers.protocol import Provider
from jupyter_batch.runner import deadline
from jupyter_batch.runner.agenda import Board
from jupyter_batch.runner.endings import Policy, on_ending
from jupyter_batch.runner.passes import (
    IDLE_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    Passes,
    Watcher,
)
from jupyter_batch.runner.unanswered import WatchedCalls
from jupyter_batch.telemetry.job import job_ended
from jupyter_batch.telemetry.spans import is_imported

BARRED_SECONDS = 60.0
"""The time for which a process whose key was refused leaves a job to others."""


Connect = Callable[[JobRecord], Awaitable[Provider]]
"""Connects to a job's provider. Raises InputError where this process can't (no key)."""


class Worker(Passes):
    """Runs the jobs it was given, or every unfinished one (`everything`), until `stop`.

    clock: seconds since the epoch. A worker is used either in its own thread (`start`) or, in tests
    and in the terminal's `watch`, pass by pass (`once`).
    """

    def __init__(
        self,
        ledger: Ledger,
        connect: Connect,
        *,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = DICE,
        everything: bool = False,
        on_ending: Policy = on_ending,
    ) -> None:
        super().__init__(ledger, clock=clock, dice=dice, everything=everything)
        self._connect = connect
        self._dice = dice
        self._on_ending = on_ending
        self._takes: dict[str, int] = {}
        self._providers: dict[str, Provider] = {}
        self._retired: list[Provider] = []
        self._barred: dict[str, float] = {}
        self.refused: set[str] = set()
        """The jobs for which this process's current key was refused."""
        self._ended_runs: set[tuple[str, str | None]] = set()
        """(job, batch id) of what ended in this process: polled now, whatever its time."""
        self._keyless: set[str] = set()
        self._key_failed: set[str] = set()
        self._calls: dict[tuple[str, int], WatchedCalls] = {}  # of the shards that run

    # -- from any thread ------------------------------------------------------------------------------------

    def take(self, job: str, watcher: Watcher | None = None) -> None:
        """Run this job from now on; `watcher` gets a Snapshot at each change (worker's thread)."""
        with self._lock:
            self._mine.add(job)
            self._takes[job] = self._takes.get(job, 0) + 1
            if not self._makes_calls(job):
                self._retire(job)  # a key may have been added
            self._barred.pop(job, None)
            self.refused.discard(job)
        if watcher is not None:
            self.watchers.add(job, watcher)
        self.watchers.refresh(job)
        self._agenda.touch([job])
        self.poke()

    def lacks_key(self, job: str) -> bool:
        """Whether this process lacks a key for a job, or has a refused one."""
        return job in self._keyless or job in self._key_failed

    def forgive(self, job: str) -> None:
        """Forget a refused or missing key: another was given, or the user wants it tried again."""
        self._keyless.discard(job)
        self._key_failed.discard(job)

    def _makes_calls(self, job: str) -> bool:
        """Whether its provider makes real-time calls, or starts to: another could not see or stop them."""
        provider = self._providers.get(job)
        busy: bool | None = getattr(provider, "busy", None)  # None: a provider of batches
        return busy is not None and (busy or any(of == job for of, _ in list(self._tasks)))

    def _retire(self, job: str) -> None:
        """Drop a job's provider. It is closed with the loop: others may share its connections."""
        provider = self._providers.pop(job, None)
        if provider is not None:
            self._retired.append(provider)

    async def _close(self) -> None:
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=3.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for provider in {id(p): p for p in (*self._providers.values(), *self._retired)}.values():
            with contextlib.suppress(Exception):
                await provider.aclose()
        for job in self._leased:
            with contextlib.suppress(JupyterBatchError):
                self.ledger.release(job, self.holder)

    async def once(self) -> float:
        """Make one pass, after showing the calls that have no answer."""
        for key, calls in self._calls.items():
            if (call := calls.to_show()) is not None:
                self._note_call(key, call)
                self.watchers.refresh(key[0])  # the time is displayed
                self._shown.pop(key[0], None)
                self._agenda.touch([key[0]])
        return await super().once()

    def _note_call(self, key: tuple[str, int], call: Unanswered | None) -> None:
        """Record a shard's call in progress; other processes show it, too."""
        with contextlib.suppress(LedgerError):
            shard = self.ledger.shard(*key)
            if shard is not None and shard.unanswered != call:
                self.ledger.move(shard, shard.step, self.holder, self._clock(), unanswered=call)

    async def _look(self, job: JobRecord) -> float:
        now = self._clock()
        if self._barred.get(job.id, 0.0) > now:
            self._show(job)
            return self._not_here(job)
        provider = await self._connected(job, now)
        if isinstance(provider, float):
            return provider
        self._keyless.discard(job.id)
        held = job.id in self._leased
        if not self._lease(job, now):
            self._show(job)
            return self._not_here(job)
        self._elsewhere.discard(job.id)
        if job.message or job.blocked_by:  # from a process without a key, before this one started
            self.ledger.say(job.id, "")
            job = self.ledger.job(job.id)
        kept = self._kept_of(job, is_new=not held)
        board = self._boards.setdefault(job.id, Board(self._tasks))
        board.look(kept, job, now)
        for other in board.joins:  # the job that it waits for has to run too
            if other and other not in self._mine:
                self.take(other)
        with self._lock:
            if self._providers.get(job.id) is not provider:  # retired by `take` since
                return 0.0
            pause = self._start(job, board, provider, now)
        if job.deadline:
            pause = min(pause, await asyncio.to_thread(deadline.press, self.ledger, job, now))
        if not board.open:
            job = await self._finish(job, kept.current(), provider, now)
        self._show(job, None if job.deadline else kept)  # others ran in between
        return pause

    async def _connected(self, job: JobRecord, now: float) -> Provider | float:
        """The job's provider; where it can't be called, the pause, with the reason in the ledger."""
        takes = self._takes.get(job.id)
        try:
            return await self._provider(job)
        except InputError as e:  # this process can't call it: another that can may run it
            if takes != self._takes.get(job.id):  # a key may have been added since
                return 0.0
            if not self._is_another_s(job, now) and not is_ending(e):
                job = await self._keyless_job(job, str(e), now)
            pause = self._not_here(job)
        except JupyterBatchError as e:
            pause = IDLE_SECONDS
            if is_ending(e):
                return pause
            self.ledger.say(job.id, str(e), unconnected=True)
        self._show(job)
        return pause

    async def _finish(
        self, job: JobRecord, shards: list[ShardRecord], provider: Provider, now: float
    ) -> JobRecord:
        """Finish a job whose shards are collected; the job of its open rows is planned before."""
        if job.rush_at:  # after a kill in between, this is repeated
            child = await asyncio.to_thread(deadline.plan_rest, self.ledger, job, shards, now)
            if child is not None:
                self.take(child.id)
        if not self.ledger.finish(job.id, self.holder, now):
            return job
        self._late.expect(job, shards, provider)
        self._leased.discard(job.id)
        self._retire(job.id)
        finished = self.ledger.job(job.id)
        if is_imported():
            job_ended(finished)
        return finished

    def _kept_of(self, job: JobRecord, *, is_new: bool) -> Kept:
        """A job's shards; is_new: for a new lease, blocks for other processes' keys are retried."""
        kept = self.ledger.kept(job.id)
        wanted = is_new and job.id in self._mine and job.id not in self._key_failed
        if not wanted or not any(map(_of_a_key, kept.set_aside())):
            return kept
        self.ledger.resume(job.id)
        return self.ledger.kept(job.id)

    def _is_another_s(self, job: JobRecord, now: float) -> bool:
        return job.holder != self.holder and holds(job.holder, job.lease_until, now)

    async def _keyless_job(self, job: JobRecord, why: str, now: float) -> JobRecord:
        """Block a job for its key; if it is cancelled, end its unsent batches, which needs none."""
        if job.cancel_at and self._lease(job, now):
            from jupyter_batch.runner.step import cancel_unsent  # imports numpy

            over = await cancel_unsent(self.ledger, job, self.holder, self._clock)
            if over and self.ledger.finish(job.id, self.holder, now):
                self.ledger.say(job.id, "")
                self._leased.discard(job.id)
                self._retire(job.id)
                return self.ledger.job(job.id)
            self._leased.discard(job.id)
            self.ledger.release(job.id, self.holder)
        return self._blocked(job, why)

    def _blocked(self, job: JobRecord, why: str) -> JobRecord:
        """Record that no process can run the job now; written once, not at each pass."""
        if job.id not in self._keyless:
            self._keyless.add(job.id)
            self.watchers.refresh(job.id)  # `wait` may have ignored the missing keys of others
        elif job.blocked_by is Block.KEY:
            return job
        self.ledger.say(job.id, why, Block.KEY)
        return self.ledger.job(job.id)

    def _lease(self, job: JobRecord, now: float) -> bool:
        if job.holder == self.holder and job.lease_until - now > LEASE_SECONDS - RENEW_SECONDS:
            return True
        held = not self._is_another_s(job, now) and self.ledger.lease(
            job.id, self.holder, now, LEASE_SECONDS
        )
        (self._leased.add if held else self._leased.discard)(job.id)
        return held

    async def _provider(self, job: JobRecord) -> Provider:
        provider = self._providers.get(job.id)
        if provider is None:
            provider = self._providers[job.id] = await self._connect(job)
            if hasattr(provider, "on_end"):
                provider.on_end = functools.partial(self._run_ended, job.id)
        return provider

    def _run_ended(self, job: str, batch: str) -> None:
        self._ended_runs.add((job, batch))
        self._agenda.touch([job])
        self.poke()

    def _start(self, job: JobRecord, board: Board, provider: Provider, now: float) -> float:
        """Start the job's due shards as far as there are seats; return the pause of the others."""
        if any(of == job.id for of, _ in self._tasks):
            self._changed.add(job.id)
        for run in [run for run in self._ended_runs if run[0] == job.id]:
            if board.hurry(run[1]):
                self._ended_runs.discard(run)
        host = job.api_base or job.provider
        while (shard := board.first()) is not None:
            if not self._has_seat(host):
                self._agenda.seat(job.id, host)
                break
            board.take()
            key = (job.id, shard.number)
            self._seats[key] = host
            task = asyncio.create_task(self._advance(job, provider, shard))
            self._tasks[key] = task
            task.add_done_callback(functools.partial(self._done, key))
        return board.pause(now)

    async def _advance(
        self, job: JobRecord, provider: Provider, shard: ShardRecord
    ) -> float | None:
        """Run a shard until it has to wait; return when it is due, where only that has changed."""
        from jupyter_batch.runner.step import Mover  # imports numpy

        key = (job.id, shard.number)
        calls = self._calls[key] = WatchedCalls(provider, lambda: self._clock())  # noqa: PLW0108 - a test sets another clock
        mover = Mover(self.ledger, calls, job, self.holder, clock=self._clock, dice=self._dice)
        mover.on_ending = self._on_ending
        try:
            await mover.advance(shard)
        finally:
            del self._calls[key]
        if mover.unwritten is not None:
            if calls.is_shown:
                self._note_call(key, None)
            if (board := self._boards.get(job.id)) is not None:
                board.wait(mover.unwritten)
            return mover.unwritten.due_at
        if not mover.key_refused:
            return None
        if self._providers.get(job.id) is not provider:
            self.ledger.resume(job.id)  # a late response to a key that was replaced since
            return None
        # Another process may have a valid key: it must not wait for this one.
        self.refused.add(job.id)
        self._key_failed.add(job.id)
        self.watchers.refresh(job.id)
        self._barred[job.id] = self._clock() + BARRED_SECONDS
        self._leased.discard(job.id)
        self.ledger.release(job.id, self.holder)
        return None


def _of_a_key(shard: ShardRecord) -> bool:
    """Whether a shard is blocked for a key that was refused."""
    return shard.blocked_by is Block.KEY and not shard.unseen and shard.step is not Step.COLLECTED
