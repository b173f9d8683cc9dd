"""The one background worker that runs jobs: a thread with its own event loop, under ledger leases.

Decides when to look at a job; step.py does the work on a shard. Watchers are called in the worker's
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import threading
import time
from collections.abc import Awaitable, Callable

import msgspec

from jupyter_batch.core.errors import (
    InputError,
    JobNotFoundError,
    JupyterBatchError,
    LedgerError,
)
from jupyter_batch.core.secrets import masked
from jupyter_batch.core.status import Block, Snapshot, Step
from jupyter_batch.ledger.folder import holds
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger, this_process
from jupyter_batch.process.ending import is_ending
from jupyter_batch.process.log import logger
from jupyter_batch.providers.backoff import is_due
from jupyter_batch.providers.protocol import Provider
from jupyter_batch.runner import deadline
from jupyter_batch.runner.endings import Policy, on_ending
from jupyter_batch.runner.late_files import LateFiles

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""The interval at which a followed job of another process is read from the ledger."""
IDLE_SECONDS = 5.0
BARRED_SECONDS = 60.0
"""The time for which a process whose key was refused leaves a job to others."""
AT_ONCE = 8
"""The number of shards that run concurrently."""

LATE = ("late files", 0)
"""The key of the late-files task among the shards' tasks."""

Connect = Callable[[JobRecord], Awaitable[Provider]]
"""Connects to a job's provider. Raises InputError where this process can't (no key)."""
Watcher = Callable[[Snapshot], None]

_log = logger()


class Worker:
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
        dice: Callable[[], float] = random.random,
        everything: bool = False,
        on_ending: Policy = on_ending,
    ) -> None:
        self.ledger = ledger
        self.holder = this_process()
        self.everything = everything
        self._connect = connect
        self._clock = clock
        self._dice = dice
        self._on_ending = on_ending
        self._mine: set[str] = set()
        self._takes: dict[str, int] = {}
        self.watchers: dict[str, list[Watcher]] = {}
        self._late = LateFiles(ledger, clock=lambda: self._clock(), dice=dice)  # noqa: PLW0108 - a test sets another clock
        self._shown: dict[str, Snapshot] = {}
        self._providers: dict[str, Provider] = {}
        self._retired: list[Provider] = []
        self._leased: set[str] = set()
        self._barred: dict[str, float] = {}
        self.refused: set[str] = set()
        """The jobs for which this process's current key was refused."""
        self._keyless: set[str] = set()
        self._key_failed: set[str] = set()
        self._warned: dict[str, str] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False

    # -- from any thread ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, if it is not running."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="jupyter-batch", daemon=True)
                self._thread.start()

    def take(self, job: str, watcher: Watcher | None = None) -> None:
        """Run this job from now on; `watcher` gets a Snapshot at each change (worker's thread)."""
        with self._lock:
            self._mine.add(job)
            self._takes[job] = self._takes.get(job, 0) + 1
            self._retire(job)  # a key may have been added
            self._barred.pop(job, None)
            self.refused.discard(job)
            self._shown.pop(job, None)  # watchers receive the current state from now on
            if watcher is not None and watcher not in self.watchers.setdefault(job, []):
                self.watchers[job].append(watcher)
        self.poke()

    def lacks_key(self, job: str) -> bool:
        """Whether this process lacks a key for a job, or has a refused one."""
        return job in self._keyless or job in self._key_failed

    def forgive(self, job: str) -> None:
        """Forget a refused or missing key: another was given, or the user wants it tried again."""
        self._keyless.discard(job)
        self._key_failed.discard(job)

    def poke(self) -> None:
        """Look at all jobs now."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closing: nothing is left to be woken
                loop.call_soon_threadsafe(wake.set)

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread within about `seconds`; running calls may finish, leases are released."""
        self._stopping = True
        self.poke()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _retire(self, job: str) -> None:
        """Drop a job's provider. It is closed with the loop: others may share its connections."""
        provider = self._providers.pop(job, None)
        if provider is not None:
            self._retired.append(provider)

    # -- the loop -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._forever())
        except RuntimeError as e:
            # Python 3.12 starts no threads while the interpreter exits, and the Runner needs one to
            # close the loop's executor. All else is closed by then; that ends with the process.
            if not is_ending(e):
                raise

    async def _forever(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        try:
            while not self._stopping:
                self._wake.clear()
                pause = await self._guarded()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            await self._close()
            self._loop = self._wake = None

    async def _guarded(self) -> float:
        try:
            return await self.once()
        except LedgerError as e:
            self._warn("", str(e))
        except Exception:  # nothing else keeps jobs running: the worker must not die
            _log.exception("jupyter_batch: a pass failed; it is tried again")
        return IDLE_SECONDS

    def _warn(self, about: str, sentence: str) -> None:
        """Log once, not at each pass: a full disk, or an unsupported job, may last for hours."""
        if self._warned.get(about) != sentence:
            self._warned[about] = sentence
            _log.warning("jupyter_batch: %s", sentence)

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

    # -- one pass -------------------------------------------------------------------------------------------

    async def once(self) -> float:
        """Start due work of each job, notify watchers, return the seconds to the next pass."""
        pause = min(IDLE_SECONDS, self._look_for_files())
        for job in self._wanted():
            try:
                pause = min(pause, await self._look(job))
                self._warned.pop(job.id, None)
            except Exception as e:  # one job's error must not keep the others from their end
                if not is_ending(e):
                    self._warn(job.id, f"job {job.id}: {_text(e)}; it is tried again")
        return max(0.02, pause)

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

    def _wanted(self) -> list[JobRecord]:
        with self._lock:
            mine, watched = set(self._mine), set(self.watchers)
        unfinished = self.ledger.jobs(unfinished=True)
        there = {job.id for job in unfinished}
        for job in (
            watched - there
        ):  # finished, perhaps by another process: reported once more, then dropped
            try:
                self._tell(self.ledger.job(job))
            except JobNotFoundError as e:  # the ledger's folder was removed
                self._warn(job, str(e))
            if job in self._late:  # it may be reopened: its watchers are kept
                continue
            with self._lock:
                self.watchers.pop(job, None)
                self._mine.discard(job)
        return [job for job in unfinished if self.everything or job.id in mine]

    async def _look(self, job: JobRecord) -> float:
        now = self._clock()
        if self._barred.get(job.id, 0.0) > now:
            self._tell(job)
            return LOOK_SECONDS
        takes = self._takes.get(job.id)
        try:
            provider = await self._provider(job)
        except InputError as e:  # this process can't call it: another that can may run it
            if takes != self._takes.get(job.id):  # a key may have been added since
                return 0.0
            if not self._is_another_s(job, now) and not is_ending(e):
                job = await self._keyless_job(job, str(e), now)
            self._tell(job)
            return LOOK_SECONDS
        except JupyterBatchError as e:
            if is_ending(e):
                return IDLE_SECONDS
            self.ledger.say(job.id, str(e), unconnected=True)
            self._tell(job)
            return IDLE_SECONDS
        self._keyless.discard(job.id)
        held = job.id in self._leased
        if not self._lease(job, now):
            self._tell(job)
            return LOOK_SECONDS
        if job.message or job.blocked_by:  # from a process without a key, before this one started
            self.ledger.say(job.id, "")
            job = self.ledger.job(job.id)
        shards = self._shards_of(job, is_new=not held)
        for other in {shard.joins for shard in shards} - {
            "",
            *self._mine,
        }:  # the job that it waits for has to run too
            self.take(other)
        pause = self._start(job, shards, provider, now)
        if job.deadline:
            left = await asyncio.to_thread(deadline.press, self.ledger, job, shards, now)
            pause = min(pause, left)
        if all(s.step is Step.COLLECTED for s in shards):
            job = await self._finish(job, shards, provider, now)
        self._tell(job)
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
        return self.ledger.job(job.id)

    def _shards_of(self, job: JobRecord, *, is_new: bool) -> list[ShardRecord]:
        """A job's shards; is_new: for a new lease, blocks for other processes' keys are retried."""
        shards = self.ledger.shards(job.id)
        wanted = is_new and job.id in self._mine and job.id not in self._key_failed
        if not wanted or not any(map(_of_a_key, shards)):
            return shards
        self.ledger.resume(job.id)
        return self.ledger.shards(job.id)

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
            self._shown.pop(job.id, None)  # `wait` may have ignored the missing keys of others
        elif job.blocked_by is Block.KEY:
            return job
        self.ledger.say(job.id, why, Block.KEY)
        return self.ledger.job(job.id)

    def _lease(self, job: JobRecord, now: float) -> bool:
        if job.holder == self.holder and job.lease_until - now > LEASE_SECONDS - RENEW_SECONDS:
            return True
        held = self.ledger.lease(job.id, self.holder, now, LEASE_SECONDS)
        (self._leased.add if held else self._leased.discard)(job.id)
        return held

    async def _provider(self, job: JobRecord) -> Provider:
        provider = self._providers.get(job.id)
        if provider is None:
            provider = self._providers[job.id] = await self._connect(job)
        return provider

    def _start(
        self, job: JobRecord, shards: list[ShardRecord], provider: Provider, now: float
    ) -> float:
        pause = IDLE_SECONDS
        for shard in shards:
            key = (job.id, shard.number)
            if shard.step is Step.COLLECTED or key in self._tasks or _is_parked(job, shard):
                continue
            if not is_due(shard.due_at, now, job.poll_interval) and not _to_cancel(job, shard):
                pause = min(pause, shard.due_at - now)
            elif len(self._tasks) < AT_ONCE:
                task = asyncio.create_task(self._advance(job, provider, shard))
                self._tasks[key] = task
                task.add_done_callback(functools.partial(self._done, key))
        return pause

    async def _advance(self, job: JobRecord, provider: Provider, shard: ShardRecord) -> None:
        from jupyter_batch.runner.step import Mover  # imports numpy

        mover = Mover(
            self.ledger,
            provider,
            job,
            self.holder,
            clock=self._clock,
            dice=self._dice,
            on_ending=self._on_ending,
        )
        await mover.advance(shard)
        if not mover.key_refused:
            return
        if self._providers.get(job.id) is not mover.provider:
            self.ledger.resume(job.id)  # a late response to a key that was replaced since
            return
        # Another process may have a valid key: it must not wait for this one.
        self.refused.add(job.id)
        self._key_failed.add(job.id)
        self._shown.pop(job.id, None)
        self._barred[job.id] = self._clock() + BARRED_SECONDS
        self._leased.discard(job.id)
        self.ledger.release(job.id, self.holder)

    def _done(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_ending(error):
            self._warn(f"{key}", f"job {key[0]}, batch {key[1]}: {_text(error)}; it is tried again")
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_later(IDLE_SECONDS, self.poke)
        elif self._wake is not None:
            self._wake.set()

    def _tell(self, job: JobRecord) -> None:
        with self._lock:
            watchers = list(self.watchers.get(job.id, ()))
        if not watchers:
            return
        snapshot = job.snapshot(self.ledger.shards(job.id), self._clock())
        shown = self._shown.get(job.id)
        if shown is not None and _same(shown, snapshot):
            return
        self._shown[job.id] = snapshot
        for watcher in watchers:
            try:
                watcher(snapshot)
            except Exception:  # a screen must not stop a job
                _log.exception("jupyter_batch: a watcher of %s failed", job.id)


def _text(error: BaseException) -> str:
    return (
        str(error)
        if isinstance(error, JupyterBatchError)
        else masked(f"unexpected {type(error).__name__}: {error}")
    )


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


def _of_a_key(shard: ShardRecord) -> bool:
    """Whether a shard is blocked for a key that was refused."""
    return shard.blocked_by is Block.KEY and not shard.unseen and shard.step is not Step.COLLECTED


def _same(one: Snapshot, other: Snapshot) -> bool:
    return msgspec.structs.replace(one, now=other.now) == other
