"""The batches' state machine.

    validating -> in_progress -> finalizing -> completed        validating -> failed
    validating | in_progress | finalizing -> cancelling -> cancelled        in_progress -> expired

After a server was killed, the next one continues each batch from the lines on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from jupyter_batch.process.log import logger
from jupyter_batch.server.answers import Answers
from jupyter_batch.server.faults import FaultBox, Room
from jupyter_batch.server.run import SLICE, Run, allowed
from jupyter_batch.server.storage.objects import OPEN, Errors, File, LineError, Record
from jupyter_batch.server.storage.output import BLOCK, CANCELLED, EXPIRED
from jupyter_batch.server.storage.store import Store, is_full

SAVED_EACH = 0.5
CANCEL_GRACE = 60.0
"""Seconds that requests which are under way at an upstream may still take after a cancel."""
DISK_GRACE = 15.0
"""Seconds that a batch waits for room on a full disk before it fails."""
_DISK_RETRY = 0.5
_EACH = 8
_BYTES_A_TOKEN = 4
_LOG = logger(__name__)
_VALIDATING, _RUNNING, _FINALIZING = 0.1, 0.8, 0.1


class Runner:
    """Moves all open batches. pace: the least seconds that a batch takes, over all its states; clock: epoch seconds."""

    def __init__(
        self,
        store: Store,
        answers: Answers,
        faults: FaultBox,
        *,
        pace: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.answers = answers
        self.faults = faults
        self.pace = pace
        self.clock = clock
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: dict[str, int] = {}
        self._reading = asyncio.Semaphore(1)
        self._room = Room()

    def take_room(self, size: int) -> None:
        """For one more batch, of so many bytes. Raises ApiError where a fault says that there is none."""
        self._room.take(
            self.faults.now,
            now=self.clock(),
            batches=len(self._runs),
            wanted=size // _BYTES_A_TOKEN,
            tokens=sum(
                run.tokens or self._size(run) // _BYTES_A_TOKEN for run in self._runs.values()
            ),
        )

    def _size(self, run: Run) -> int:
        """Of a batch's input, before it is read."""
        file = self.store.file(run.batch.input_file_id, self.clock())
        return file.bytes if file is not None else 0

    def start(self) -> None:
        """Go on with what an earlier process left."""
        self.store.sweep(self.clock())
        for record in self.store.open_batches():
            self.submit(record)

    def submit(self, record: Record) -> None:
        """Move a batch that is in the store."""
        run = Run(record, self.store, self.answers, self.faults.now)
        if record.batch.status == "cancelling":
            run.cancelling.set()
        self._runs[record.batch.id] = run
        task = asyncio.get_running_loop().create_task(self._drive(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def is_busy(self) -> bool:
        """Whether any batch is open."""
        return bool(self._runs)

    def record(self, batch_id: str) -> Record | None:
        """A batch as it is at this moment."""
        run = self._runs.get(batch_id)
        return run.record if run else self.store.batch(batch_id)

    def hides_output(self, batch_id: str, *, retrieved: bool) -> bool:
        """The fault `late_output`: whether the file ids of an ended batch are not shown yet."""
        left = self._late.get(batch_id, 0)
        if left and retrieved:
            self._late[batch_id] = left - 1
        return left > 0

    def cancel(self, batch_id: str) -> None:
        """Ask an open batch to stop; it ends as `cancelled` a little later."""
        run = self._runs[batch_id]
        if not run.cancelling.is_set():
            run.batch.status, run.batch.cancelling_at = "cancelling", int(self.clock())
            self.store.save_batch(run.record)
            run.cancelling.set()

    async def close(self) -> None:
        """Stop at once; open batches continue at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- one batch

    async def _drive(self, run: Run) -> None:
        try:
            if await self._validate(run):
                run.open()
                await self._answer(run)
                await self._end(run)
        except asyncio.CancelledError:
            if run.batch.status in OPEN:
                with suppress(OSError):
                    run.flush()
                self.store.save_batch(run.record)
            raise
        except Exception as error:
            _LOG.exception("%s broke off", run.batch.id)
            await self._break_off(run, is_disk_full=is_full(error))
        finally:
            run.close()
            self._runs.pop(run.batch.id, None)

    async def _validate(self, run: Run) -> bool:
        """Read the input. False: the batch ended here."""
        batch, began = run.batch, time.perf_counter()
        fresh = batch.in_progress_at is None
        errors = await self._read(run, fresh=fresh)
        if not fresh:
            return True
        await self._pause(run, began, _VALIDATING)
        if run.cancelling.is_set():
            batch.status, batch.cancelled_at = "cancelled", int(self.clock())
            await self._close_record(run, [])
            return False
        if errors:
            batch.status, batch.failed_at, batch.errors = (
                "failed",
                int(self.clock()),
                Errors(data=errors),
            )
            await self._close_record(run, [])
            return False
        batch.status, batch.in_progress_at = "in_progress", int(self.clock())
        batch.request_counts.total = len(run.scan.offsets)
        self.store.save_batch(run.record)
        return True

    async def _read(self, run: Run, *, fresh: bool) -> list[LineError]:
        """What is wrong with the input; one file is read at a time."""
        file_id = run.batch.input_file_id
        if fresh and self.store.file(file_id, self.clock()) is None:
            return [
                LineError(
                    code="invalid_request",
                    param="file_id",
                    message=(
                        f"Cannot find file {file_id}, or organization org-local does not have access to it."
                    ),
                )
            ]
        async with self._reading:
            scan = await run.read_input(self._turn)
        return scan.errors or (self._over_limit(run) if fresh else [])

    def _over_limit(self, run: Run) -> list[LineError]:
        """The fault `enqueued_tokens`, in OpenAI's words."""
        limit = run.faults.enqueued_tokens
        if limit is None or sum(other.tokens for other in self._runs.values()) <= limit:
            return []
        run.tokens = 0
        return [
            LineError(
                code="token_limit_exceeded",
                message=(
                    f"Enqueued token limit reached for {run.batch.model} in organization org-local. Limit: {limit:,} enqueued "  # noqa: E501
                    "tokens. Please try again once some in_progress batches have been completed."
                ),
            )
        ]

    async def _answer(self, run: Run) -> None:
        """Answer the rows that have no line yet; those that a cancel or the expiry leaves over get one that says so."""
        rows, began = run.rows(), time.perf_counter()
        if not run.cancelling.is_set() and not run.record.expired:
            if self.answers.at_once(run.batch.model or "", run.batch.endpoint):
                await self._answer_at_once(run, rows)
            else:
                await self._answer_beside(run, rows)
            if not self._is_expired(run):  # few rows are answered sooner than the pace asks for
                await self._flush(run)
                await self._pause(run, began, _RUNNING)
        if _done(run) >= run.batch.request_counts.total:
            return
        reason = CANCELLED if run.cancelling.is_set() else EXPIRED
        run.record.expired = reason is EXPIRED
        self.store.save_batch(run.record)
        until = time.perf_counter() + self._turn()
        for count, row in enumerate(run.rows()):
            run.leave(row, reason)
            if count % _EACH == 0 and time.perf_counter() > until:
                if run.held > BLOCK:
                    await self._flush(run)
                await asyncio.sleep(0)
                until = time.perf_counter() + self._turn()

    async def _answer_at_once(self, run: Run, rows: Iterator[int]) -> None:
        """Rows of the built-in model, in slices, no faster than the pace."""
        total, done = run.batch.request_counts.total, _done(run)
        began = saved = time.perf_counter()
        lasting = self.pace * _RUNNING
        while not run.cancelling.is_set() and not self._is_expired(run) and done < total:
            until, may = (
                time.perf_counter() + self._turn(),
                allowed(total, time.perf_counter() - began, lasting),
            )
            while (
                done < may
                and not self._is_expired(run)
                and (done % _EACH or time.perf_counter() < until)
            ):
                run.answer_now(next(rows))
                done += 1
            is_due = time.perf_counter() - saved > SAVED_EACH
            if is_due or run.held > BLOCK:
                await self._flush(run)
            if is_due:
                saved = time.perf_counter()
                self.store.save_batch(run.record)
            await self._sleep(run, 0 if done < may else min(lasting / 20, 0.1))

    async def _answer_beside(self, run: Run, rows: Iterator[int]) -> None:
        """Rows of a model that takes its time: as many side by side as the upstream takes."""

        async def work() -> None:
            for row in rows:
                if run.cancelling.is_set() or self._is_expired(run):
                    return
                await run.answer_later(row)
                await self._flush(run)

        places = self.answers.upstream_of(run.batch.endpoint).concurrency
        tasks = [asyncio.ensure_future(work()) for _ in range(places)]
        cancelled = asyncio.ensure_future(run.cancelling.wait())
        try:
            while (
                not all(task.done() for task in tasks)
                and not cancelled.done()
                and not any(task.done() and task.exception() for task in tasks)
            ):
                await asyncio.wait(
                    [cancelled, *(task for task in tasks if not task.done())],
                    timeout=SAVED_EACH,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                self.store.save_batch(run.record)
            await asyncio.wait(
                tasks, timeout=CANCEL_GRACE
            )  # what is under way is paid for: it may come to its end
        finally:
            for task in (*tasks, cancelled):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(cancelled, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _is_expired(self, run: Run) -> bool:
        after, batch = run.faults.expire_after, run.batch
        return (after is not None and after <= _done(run) < batch.request_counts.total) or (
            batch.expires_at is not None and self.clock() >= batch.expires_at
        )

    async def _end(self, run: Run) -> None:
        """Close the files and let the batch end, both in one transaction."""
        batch, began = run.batch, time.perf_counter()
        await self._flush(run)
        if not run.record.expired and not run.cancelling.is_set():
            batch.status, batch.finalizing_at = "finalizing", int(self.clock())
            self.store.save_batch(run.record)
        await self._pause(run, began, _FINALIZING)
        run.close()
        now = int(self.clock())
        if run.cancelling.is_set():
            batch.status, batch.cancelled_at = "cancelled", now
        elif run.record.expired:
            batch.status, batch.expired_at = "expired", now
        else:
            batch.status, batch.completed_at = "completed", now
        await self._publish(run, now)

    async def _publish(self, run: Run, now: int) -> None:
        batch, record, files = run.batch, run.record, []
        for id_, kind in ((record.output_id, "output"), (record.error_id, "error")):
            path = self.store.path(id_)
            size = path.stat().st_size if path.exists() else 0
            if size:
                files.append(
                    File(
                        id=id_,
                        bytes=size,
                        created_at=now,
                        expires_at=now + record.output_life,
                        filename=f"{batch.id}_{kind}.jsonl",
                        purpose="batch_output",
                    )
                )
                setattr(batch, f"{kind}_file_id", id_)
        if run.faults.late_output:
            self._late[batch.id] = run.faults.late_output
        await self._close_record(run, files)

    async def _close_record(self, run: Run, files: list[File]) -> None:
        """Store a batch's end. On a full disk clients see it at once, and it is stored when there is room."""
        run.tokens = 0
        self.store.end_batch(run.record, files)
        while not self.store.settle():  # noqa: ASYNC110 - nothing says when a disk has room
            await asyncio.sleep(_DISK_RETRY)

    async def _flush(self, run: Run) -> None:
        """Bring lines to the disk; wait for room where it is full. Raises OSError after a cancel or `DISK_GRACE`."""
        until = time.monotonic() + DISK_GRACE
        while True:
            try:
                run.flush()
            except OSError as error:
                if not is_full(error) or run.cancelling.is_set() or time.monotonic() > until:
                    raise
                _LOG.warning("%s waits: the disk is full", run.batch.id)
            else:
                return
            await self._sleep(run, _DISK_RETRY)

    async def _break_off(self, run: Run, *, is_disk_full: bool) -> None:
        """An error on our side (a full disk): the batch ends, and keeps the lines that are on disk."""
        with suppress(OSError):
            run.flush()
        run.recount()
        now = int(self.clock())
        if run.cancelling.is_set():
            run.batch.status, run.batch.cancelled_at = "cancelled", now
        else:
            cause = (
                "The server's disk is full: free some space, and send the requests that have no "
                "answer again."
                if is_disk_full
                else "The server had an error while processing this batch."
            )
            run.batch.status, run.batch.failed_at = "failed", now
            error = LineError(
                code="server_error", message=f"{cause} What was answered before is in its files."
            )
            run.batch.errors = Errors(data=[error])
        await self._publish(run, now)

    # --- time

    def _turn(self) -> float:
        return SLICE / max(1, len(self._runs))

    async def _pause(self, run: Run, began: float, share: float) -> None:
        """Stay in a state for its share of the pace, since `began`; a cancel ends it."""
        await self._sleep(run, self.pace * share - (time.perf_counter() - began))

    async def _sleep(self, run: Run, seconds: float) -> None:
        if seconds <= 0 or run.cancelling.is_set():
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await run.cancelling.wait()
        except TimeoutError:
            pass


def _done(run: Run) -> int:
    return run.batch.request_counts.completed + run.batch.request_counts.failed
