"""The rows of a run, each called as soon as the gate admits it.

A task calls one row after another: a task, a future and a wait for each row would cost more than
the row itself.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from jupyter_batch.realtime.gate import Gate


class Row(msgspec.Struct, frozen=True):
    """A row to be called. tokens: the estimate that its admission is based on."""

    number: int
    custom_id: Any
    body: dict[str, Any]
    tokens: float


class Feed:
    """The rows of one start of a run. tasks: those that call rows, over all starts of the run.

    may_start: whether an admitted row may still be called. call: calls a row; whether its task may
    call another one.
    """

    def __init__(
        self,
        rows: Iterator[Row],
        gate: Gate,
        tasks: set[asyncio.Task[None]],
        *,
        may_start: Callable[[], bool],
        call: Callable[[Row], Awaitable[bool]],
    ) -> None:
        self._rows = rows
        self._gate = gate
        self._tasks = tasks
        self._may_start = may_start
        self._call = call
        self._context = contextvars.copy_context()
        self._over = asyncio.Event()
        self._error: Exception | None = None
        self._row: Row | None = None
        self._turn: asyncio.Future[None] | None = None
        self._is_seated = False
        self._is_ending = False

    async def run(self) -> None:
        """Call all rows, or until `stop`; raises the error of reading them."""
        try:
            self._pump()
            await self._over.wait()
        finally:
            self.stop()
            while self._tasks:
                await asyncio.wait(list(self._tasks))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Start no further row."""
        self._is_ending = True
        if self._turn is not None:
            self._turn.cancel()
        self._look_for_end()

    def _pump(self) -> None:
        """Start a task for each row that is admitted now; wait for the turn of the next."""
        while self._is_seated or self._gate.sit(self._pump):
            self._is_seated = True
            row = self._next()
            if row is None:
                break
            self._is_seated = False
            task = asyncio.get_running_loop().create_task(
                self._rows_from(row), name="jupyter_batch rows", context=self._context.copy()
            )
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if self._is_seated and self._turn is None:
            self._is_seated = False
            self._gate.rise()
        self._look_for_end()

    async def _rows_from(self, row: Row | None) -> None:
        while row is not None and await self._call(row):
            # Where another run waits for a seat, this one is left to it.
            row = None if self._gate.is_crowded else self._next()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._gate.rise()
        self._pump()

    def _came(self, turn: asyncio.Future[None]) -> None:
        """Continue after a turn, which a task may have taken since."""
        if turn.cancelled():
            self._gate.look()
            if self._turn is turn:
                self._turn = None
        self._pump()

    def _next(self) -> Row | None:
        """The next row where it is admitted now; else its turn is waited for."""
        row = self._row
        if self._turn is None:
            row = self._read()
            if row is None:
                return None
            self._turn = self._gate.turn(row.tokens)
            if self._turn is not None:
                self._turn.add_done_callback(self._came)
                return None
        elif self._turn.cancelled() or not self._turn.done():
            return None
        self._row = self._turn = None
        assert row is not None  # noqa: S101 - a turn is a row's
        try:
            if not self._is_ending and self._may_start():
                return row
        except Exception as e:  # `run` raises it, after the calls under way
            self._error = e
        self._is_ending = True
        self._gate.pacer.ended(row.tokens, 0)
        self._gate.look()
        return None

    def _read(self) -> Row | None:
        if self._is_ending:
            return None
        if self._row is None:
            try:
                self._row = next(self._rows, None)
            except Exception as e:  # as above
                self._error = e
            self._is_ending = self._row is None
        return self._row

    def _look_for_end(self) -> None:
        if self._is_ending and not self._tasks and (self._turn is None or self._turn.cancelled()):
            self._over.set()
