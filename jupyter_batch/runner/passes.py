"""A worker's thread, and its passes over the jobs that changed or are due; all others cost nothing.

Looking at a job is worker.py's; this decides when.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, JupyterBatchError, LedgerError
from jupyter_batch.core.secrets import masked
from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.queries import Mark
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.rows import Kept
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger, this_process
from jupyter_batch.process.ending import is_ending
from jupyter_batch.process.log import logger
from jupyter_batch.runner.agenda import LONGEST, Agenda, Board
from jupyter_batch.runner.endings import LateFiles

Watcher = Callable[[Snapshot], None]

IDLE_SECONDS = 5.0
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""The interval at which the ledger is read for jobs that other processes run."""
LOOKS = 50
"""The most looks in such an interval at jobs that can't be run here."""
FEW, SHARE = 20, 150
"""A job of more than FEW shards is not shown for SHARE times the time that its last snapshot took."""
AT_ONCE, AT_ALL_HOSTS = 8, 64
"""The number of shards that run concurrently at one host, and at all: a silent host holds up no other."""
LATE = ("late files", 0)
"""The key of the late-files task among the shards' tasks."""

_log = logger()


class LoopThread:
    """Calls `once` until `stop`, then `_close`, in a daemon thread that `start` starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._warned: dict[str, str] = {}

    async def once(self) -> float:
        """Make one pass; return the seconds to the next."""
        return IDLE_SECONDS

    async def _close(self) -> None:
        """Close what the passes opened."""

    def start(self) -> None:
        """Start the thread, if it is not running."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="jupyter-batch", daemon=True)
                self._thread.start()

    def poke(self) -> None:
        """Make the next pass now. From any thread."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closing: nothing waits any more
                loop.call_soon_threadsafe(wake.set)

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread within about `seconds`; running calls may finish."""
        self._stopping = True
        self.poke()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

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
        except Exception:  # nothing else keeps jobs running: the thread must not die
            _log.exception("jupyter_batch: a pass failed; it is tried again")
        return IDLE_SECONDS

    def _warn(self, about: str, sentence: str) -> None:
        """Log once, not at each pass: a full disk, or an unsupported job, may last for hours."""
        if self._warned.get(about) != sentence:
            self._warned[about] = sentence
            _log.warning("jupyter_batch: %s", sentence)


class Watchers:
    """The watchers of a process, by job. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, list[Watcher]] = {}
        self._shown: dict[str, Snapshot] = {}

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._watchers))

    def of(self, job: str) -> list[Watcher]:
        """The watchers of a job."""
        with self._lock:
            return list(self._watchers.get(job, ()))

    def add(self, job: str, watcher: Watcher) -> None:
        """Add a watcher; the same one is added once."""
        with self._lock:
            watchers = self._watchers.setdefault(job, [])
            if watcher not in watchers:
                watchers.append(watcher)

    def drop(self, job: str) -> None:
        """Drop the watchers of a job."""
        with self._lock:
            self._watchers.pop(job, None)

    def refresh(self, job: str) -> None:
        """Show the job's state again, changed or not."""
        self._shown.pop(job, None)

    def has_shown(self, job: str) -> bool:
        """Whether the watchers of a job have seen it, since the last `refresh`."""
        return job in self._shown

    def show(self, job: str, snapshot: Snapshot) -> None:
        """Call the watchers with a snapshot that differs from the last one in more than its time."""
        shown = self._shown.get(job)
        if shown is not None and msgspec.structs.replace(shown, now=snapshot.now) == snapshot:
            return
        self._shown[job] = snapshot
        for watcher in self.of(job):
            try:
                watcher(snapshot)
            except Exception:  # a screen must not stop a job
                _log.exception("jupyter_batch: a watcher of %s failed", job)


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
        self._seats: dict[tuple[str, int], str] = {}  # the hosts of the shards that run
        self._changed: set[str] = set()  # jobs looked at while a task of theirs ran

    async def once(self) -> float:
        """Look at the jobs that changed or are due; return the seconds to the next pass."""
        now = self._clock()
        pause = min(IDLE_SECONDS, self._look_for_files(), self._renew(now))
        self._read_changes()
        while waiting := self._agenda.next_seatless(self._has_seat):
            await self._visit(waiting, now)
        for job in self._agenda.due(now):
            await self._visit(job, now)
        if self._elsewhere:
            pause = min(pause, LOOK_SECONDS)
        return max(0.02, min(pause, self._agenda.pause(self._clock())))

    def _has_seat(self, host: str) -> bool:
        """Whether one more shard may run at a host."""
        taken = self._seats.values()
        return len(taken) < AT_ALL_HOSTS and sum(one == host for one in taken) < AT_ONCE

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
        self._seats.pop(key, None)
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
