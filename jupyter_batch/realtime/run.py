"""The run of one shard: each request is called until it has an outcome, which is written to disk.

Failures are attributed as follows. A refusal of the request (400) is the row's fault, as is an
error at all of its attempts while other rows are answered. If nothing is answered in between, the
provider is down, or, without a connection, the network: the run stops, no row is lost, the next
poll raises the error, and the one after it resumes. A refused key stops the run immediately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from jupyter_batch.core.errors import (
    AuthenticationError,
    JupyterBatchError,
    LedgerError,
    ProviderDownError,
    ProviderError,
    RateLimitError,
)
from jupyter_batch.process.ending import is_ending
from jupyter_batch.providers.backoff import DICE
from jupyter_batch.realtime.feed import Feed, Row
from jupyter_batch.realtime.gate import Gate
from jupyter_batch.realtime.journal import Book, Record, answer_line, failure_line, request_of
from jupyter_batch.realtime.litellm_call import Call, CallFailedError
from jupyter_batch.realtime.pacing import NO_TIER, ServiceTier, retry_wait
from jupyter_batch.telemetry.calls import realtime_call

_PATIENCE = 6
"""Factor on a row's attempts for rate-limit errors, which are not its fault."""
_REFUSALS = 10
"""403s in a row attributed to the key, even if accepted before; fewer to the rows (moderation)."""
_STOPS = 6
"""How often errors for every row stop the run before the rows are given up: some minutes.

Without any connection they never are: that can't be a row's fault.
"""
_STOP_FIRST = 5.0
_STOP_LAST = 300.0
_LAST_MOMENT = 1.5
_OVERLOADED = frozenset({429, 503, 529})
_BYTES_A_TOKEN = 4
_LOOK = 0.1
"""Seconds between two looks for a cancel by another process."""


class Tries(msgspec.Struct, frozen=True, kw_only=True):
    """The attempts per row, and the shortest and longest pause between them, in seconds."""

    most: int = 6
    first: float = 0.5
    last: float = 60.0


class Run:
    """The processing of one shard in this process; it can be restarted after a stop.

    stopped: why it stopped before all rows had an outcome, for `poll` to raise once. again: its
    next start follows such a stop. trouble: the last error while nothing is answered. shed: the
    rows that wait for their service tier to have capacity. on_end: called when no row is left to
    call.
    """

    def __init__(
        self,
        book: Book,
        record: Record,
        gate: Gate,
        call: Call,
        *,
        tries: Tries,
        tier: ServiceTier = NO_TIER,
        dice: Callable[[], float] = DICE,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.book = book
        self.record = record
        self.stopped: JupyterBatchError | None = None
        self.again = False
        self.trouble = ""
        self.shed = 0
        self._tier = tier
        self._gate = gate
        self._call = call
        self._tries = tries
        self._dice = dice
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._rows: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._feed: Feed | None = None
        self._unsaved: list[tuple[int, bytes, bool]] = []
        self._stopping = False
        self._refusals = 0
        self._stops = 0
        self._cancelled = False
        self._look_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether it is running."""
        return self._task is not None and not self._task.done()

    @property
    def owes(self) -> bool:
        """Whether it holds answers that could not be written to disk."""
        return bool(self._unsaved)

    def start(self) -> None:
        """Resume the rows without an outcome, unless another process runs them."""
        if not self.busy:
            if self.again:
                self._gate.pacer.restart()
            self.stopped, self.again, self._stopping = None, False, False
            self._task = asyncio.create_task(self._work(), name=f"jupyter_batch {self.record.id}")
            self._task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        if self.stopped is None and not self._stopping and self._on_end is not None:
            self._on_end()

    def stop(self, why: JupyterBatchError | None = None) -> None:
        """Start no further call; calls under way are awaited, and their answers kept."""
        self._stopping = True
        if why is not None and self.stopped is None:
            self.stopped = why
        for task in list(self._waiting):
            task.cancel()
        if self._feed is not None:
            self._feed.stop()

    async def aclose(self) -> None:
        """Stop, allow calls under way a grace period, and close the files."""
        self.stop()
        if self._task is not None and not self._task.done():
            if self._rows:
                await asyncio.wait(list(self._rows), timeout=_LAST_MOMENT)
            for task in list(self._rows):
                task.cancel()
            await asyncio.wait([self._task])

    # -- the rows --------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            if not await asyncio.to_thread(self.book.take):
                return
            try:
                self._save_late()
                await self._call.ready()
                self._feed = Feed(
                    self._unanswered(),
                    self._gate,
                    self._rows,
                    may_start=self._may_start,
                    call=self._row,
                )
                if not self._stopping:
                    await self._feed.run()
            finally:
                await asyncio.to_thread(self.book.leave)
        except JupyterBatchError as e:
            self.stop(e)
        except Exception as e:  # of any kind: `poll` must report it
            self.stop(ProviderDownError(f"the real-time run stopped: {type(e).__name__}: {e}"))

    def _unanswered(self) -> Iterator[Row]:
        """The rows to call; one that can't be read as JSON fails here."""
        for number, line in self.book.unanswered(self.record):
            custom_id, body = request_of(line)
            if body is None:
                error_object = {"message": "the request can't be read as JSON"}
                self._write(number, failure_line(number, custom_id, 400, error_object), failed=True)
                continue
            if self._tier.sent:
                body["service_tier"] = self._tier.name
            yield Row(number, custom_id, body, len(line) / _BYTES_A_TOKEN)

    def _may_start(self) -> bool:
        if self._stopping or self._is_cancelled():
            self.stop()
        return not self._stopping

    def _is_cancelled(self) -> bool:
        """Whether the run was cancelled, also by another process; looked up some times a second."""
        now = asyncio.get_running_loop().time()
        if not self._cancelled and now >= self._look_at:
            self._look_at = now + _LOOK
            self._cancelled = self.book.cancelled
        return self._cancelled

    async def _row(self, row: Row) -> bool:
        """Call a row, which is admitted, and write its outcome; whether the run continues."""
        if self._stopping:  # since then
            self._gate.pacer.ended(row.tokens, 0)
            self._gate.look()
            return False
        try:
            outcome = await self._outcome(row)
            if outcome is not None:
                self._write(row.number, outcome[0], failed=outcome[1])
        except (
            asyncio.CancelledError
        ):  # cancelled while it waited: it is called after the next start
            return False
        except JupyterBatchError as e:
            self.stop(e)
        except Exception as e:  # a row must not affect the others
            self.stop(ProviderDownError(f"the real-time run stopped: {type(e).__name__}: {e}"))
        return not self._stopping

    async def _outcome(self, row: Row) -> tuple[bytes, bool] | None:
        """Call until an outcome: (line, whether it failed); None if the run stops first."""
        before, failures, limited, sheds = self._gate.pacer.answers, 0, 0, 0
        admitted: float | None = self._gate.clock()
        while admitted is not None or not self._stopping:
            try:
                answer = await self._ask(row, admitted)
            except CallFailedError as e:
                failure = e
            else:
                return answer_line(row.number, row.custom_id, answer), False
            error, admitted = failure.error, None
            if is_ending(error):  # the next process retries the row
                self.stop(error)
                return None
            if self._tier.refuses(error):
                sheds += 1
                await self._await_tier(sheds, error)
                continue
            alone, before = self._gate.pacer.answers == before, self._gate.pacer.answers
            if failure.unreachable or (alone and error.transient):
                self.trouble = str(error)
            if isinstance(error, RateLimitError):
                limited += 1
            else:
                failures += 1
            if (
                why := self._stop_for(failure, alone=alone, over=self._over(failures, limited))
            ) is not None:
                self.stop(why)
                return None
            if not error.transient or self._over(failures, limited):
                line = failure_line(row.number, row.custom_id, error.status, failure.error_object)
                return line, True
            await self._pause(
                retry_wait(
                    self._tries.first,
                    self._tries.last,
                    failures + limited,
                    self._dice(),
                    error.retry_after,
                )
            )
        return None

    def _over(self, failures: int, limited: int) -> bool:
        return failures >= self._tries.most or limited >= self._tries.most * _PATIENCE

    async def _ask(self, row: Row, began: float | None) -> dict[str, Any]:
        """Send one call, once it is admitted; began: when it was."""
        gate, pacer, tokens = self._gate, self._gate.pacer, row.tokens
        if began is None:
            began = await self._entered(tokens)
        try:
            with realtime_call(row.body) as answered:
                answer = await self._call(self.record.endpoint, row.body)
                answered(answer)
        except CallFailedError as e:
            if e.error.status in _OVERLOADED and not self._tier.refuses(e.error):
                pacer.refused(gate.clock(), began, e.error.retry_after)
            else:
                pacer.ended(tokens)
            raise
        except BaseException:
            pacer.ended(tokens)
            raise
        else:
            self._refusals, self._stops, self.trouble = 0, 0, ""
            usage = answer.get("usage")
            pacer.answered(tokens, usage.get("total_tokens") if isinstance(usage, dict) else None)
            return answer
        finally:
            gate.look()

    async def _entered(self, tokens: float) -> float:
        """Wait for the gate before a further attempt; return when it was admitted."""
        gate = self._gate
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        self._waiting.add(task)
        try:
            began = await gate.enter(tokens)
        finally:
            self._waiting.discard(task)
        if self._is_cancelled():  # by the job's owner: another process, or another Run of it
            gate.pacer.ended(tokens, 0)
            self.stop()
            gate.look()
            raise asyncio.CancelledError
        return began

    async def _await_tier(self, sheds: int, error: ProviderError) -> None:
        """Pause a row, as long as it takes; the user or a deadline may end it at another price."""
        self.shed += 1
        try:
            tries, dice = self._tries, self._dice()
            await self._pause(retry_wait(tries.first, tries.last, sheds, dice, error.retry_after))
        finally:
            self.shed -= 1

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        self._waiting.add(task)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting.discard(task)

    def _stop_for(
        self, failure: CallFailedError, *, alone: bool, over: bool
    ) -> ProviderError | None:
        """The error to stop with, if any. alone: no answer arrived since the row's last attempt."""
        error = failure.error
        if isinstance(error, AuthenticationError):
            self._refusals += 1
            theirs = (
                error.status == 403  # noqa: PLR2004
                and self._gate.pacer.answers > 0
                and self._refusals < _REFUSALS
            )
            return None if theirs else error
        if isinstance(error, RateLimitError) and error.spent:
            return self._later(error)
        if over and (failure.unreachable or (alone and error.transient and self._stops < _STOPS)):
            return self._later(error)
        return None

    def _later(self, error: ProviderError) -> ProviderError:
        """The error with a pause that grows with each stop; simultaneous failures stop it once."""
        if self._stopping:
            return error
        pause = min(_STOP_FIRST * 2.0**self._stops, _STOP_LAST)
        self._stops += 1
        later = type(error)(
            str(error), status=error.status, retry_after=max(pause, error.retry_after or 0.0)
        )
        if isinstance(later, RateLimitError) and isinstance(error, RateLimitError):
            later.queue, later.spent = error.queue, error.spent
        return later

    # -- the disk --------------------------------------------------------------------------------------------

    def _write(self, number: int, line: bytes, *, failed: bool) -> None:
        """Write an outcome. If the disk is full, it is kept in memory for the next start."""
        try:
            self.book.add(number, line, failed=failed)
        except LedgerError as e:
            self._unsaved.append((number, line, failed))
            self.stop(e)

    def _save_late(self) -> None:
        late, self._unsaved = self._unsaved, []
        for at, (number, line, failed) in enumerate(late):
            try:
                self.book.add(number, line, failed=failed)
            except LedgerError:
                self._unsaved = late[at:]
                raise
