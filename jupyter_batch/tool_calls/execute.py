"""Execution of the tool calls in a job's answers: each once, across crashes; outcomes on disk."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jupyter_batch.config.tool_definitions import BadArgumentsError, callable_with, result_text
from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import ToolCalls
from jupyter_batch.core.secrets import masked
from jupyter_batch.telemetry.calls import tool_call
from jupyter_batch.tool_calls.call_log import CallLog, Entry, entries

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    Array: TypeAlias = np.ndarray[Any, Any]

INTERRUPTED = (
    "Error: the process that ran this call was stopped before it ended, so that its outcome is unknown: it "
    "may have taken effect, and was not run again"
)
_SHOWN = 300


class Call(NamedTuple):
    """One call. number: its index in the row, from 0. offered: the names of its row's tools."""

    row: int
    number: int
    call: Mapping[str, Any]
    offered: tuple[str, ...]


class OpenCalls(NamedTuple):
    """A row with calls that have no outcome yet, its calls, and the names of its tools."""

    row: int
    calls: ToolCalls
    offered: tuple[str, ...]


class Slots:
    """The state of each call, in a few bytes a call. counts: how many calls each row has."""

    FRESH, BEGUN, ANSWERED = 0, 1, 2

    def __init__(self, counts: Array) -> None:
        self.rows = np.flatnonzero(counts)
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._counts = counts
        self.state = np.zeros(int(self._first[-1]), dtype=np.uint8)
        self.start = np.zeros(int(self._first[-1]), dtype=np.int64)

    def of(self, row: int, number: int) -> int:
        """The index of a call here; -1 for an unknown one."""
        return (
            int(self._first[row]) + number
            if 0 <= row < len(self._counts) and number < self._counts[row]
            else -1
        )

    def span(self, row: int) -> slice:
        """The indexes of a row's calls."""
        return slice(int(self._first[row]), int(self._first[row + 1]))

    def read(self, path: Path) -> None:
        """Read the calls' states from a log."""
        for start, entry in entries(path):
            at = self.of(entry.row, entry.call)
            if at < 0:
                continue
            if entry.text is not None:
                self.state[at], self.start[at] = self.ANSWERED, start
            elif self.state[at] == self.FRESH:
                self.state[at] = self.BEGUN

    def open_rows(self) -> list[int]:
        """The rows with calls that have no outcome yet."""
        waiting = (
            np.add.reduceat(self.state != self.ANSWERED, self._first[self.rows])
            if len(self.rows)
            else self.rows
        )
        return [int(row) for row in self.rows[waiting > 0]]


class Runner:
    """Runs calls in threads of its own; `done` is set at the end. All coroutines share one loop.

    functions: by the names that the model knows. rerun: a call that was running when its process
    died is run again. own_tools: a row may call its own tools only.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        slots: Slots,
        *,
        concurrency: int,
        rerun: bool,
        own_tools: bool = False,
    ) -> None:
        self.done = threading.Event()
        self._functions = {name: callable_with(function) for name, function in functions.items()}
        self._own_tools = own_tools
        self._slots = slots
        self._rerun = rerun
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._stopping = False
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []

    def check(self, names: set[str]) -> None:
        """Raise InputError where the function of a tool offered to the model is missing."""
        missing = sorted(names - self._functions.keys())
        if missing:
            raise InputError(
                f"the answers call {', '.join(map(repr, missing))}, and no such function was given: "
                f"job.run_tools({{{missing[0]!r}: function}}). Nothing was run"
            )

    def start(self, todo: Iterator[OpenCalls], log: CallLog) -> None:
        """Start. todo: read by one thread at a time."""
        calls = (
            Call(row, number, call, offered)
            for row, held, offered in todo
            for number, call in enumerate(held)
            if self._slots.state[self._slots.of(row, number)] != Slots.ANSWERED
        )
        running = [self._concurrency]

        def work() -> None:
            try:
                while (call := self._next(calls)) is not None:
                    log.put(self._outcome(call, log))
            except BaseException as e:  # of the disk, or of this code: raised by `finish`
                self._error = self._error or e
                self._stopping = True
            with self._lock:
                running[0] -= 1
                last = not running[0]
            if last:
                self.done.set()

        for number in range(self._concurrency):
            run = (
                contextvars.copy_context().run
            )  # output appears below the cell that started the calls
            thread = threading.Thread(
                target=run, args=(work,), name=f"jupyter-batch-tool-{number}", daemon=True
            )
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def finish(self, *, stop: bool = False) -> None:
        """Wait for the end. stop: start no further call; running ones finish. Raises their error.

        An exception of a tool is an outcome, not an error.
        """
        self._stopping = self._stopping or stop
        try:
            for thread in self._threads:
                thread.join()
        finally:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
        if self._error is not None:
            raise self._error

    def _next(self, calls: Iterator[Call]) -> Call | None:
        with self._lock:
            return None if self._stopping else next(calls, None)

    def _outcome(self, one: Call, log: CallLog) -> Entry:
        name, arguments, id_ = one.call["name"], one.call["arguments"], one.call["id"]

        def entry(text: str, *, failed: bool = True) -> Entry:
            return Entry(one.row, one.number, id_, text, failed)

        if (
            self._slots.state[self._slots.of(one.row, one.number)] == Slots.BEGUN
            and not self._rerun
        ):
            return entry(INTERRUPTED)
        function, offered = self._functions.get(name), one.offered
        if function is None or (self._own_tools and name not in offered):
            there = f"there is {', '.join(sorted(offered))}" if offered else "there is none"
            return entry(f"Error: there is no tool {name!r}; {there}")
        if not isinstance(arguments, dict):
            return entry(f"Error: the arguments are no JSON object: {_shown(arguments)}")
        log.put(Entry(one.row, one.number, id_))
        try:
            with tool_call(name, id_, arguments) as answered:
                made = function(arguments)
                if inspect.isawaitable(made):
                    made = asyncio.run_coroutine_threadsafe(
                        _awaited(made), self._running_loop()
                    ).result()
                answered({"result": made})
            return entry(result_text(made), failed=False)
        except BadArgumentsError as e:
            return entry(f"Error: the arguments do not fit: {e}")
        except (Exception, SystemExit) as e:  # any exception of a tool is for the model to read
            return entry(result_text(masked(f"Error: {type(e).__name__}: {e}")))

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="jupyter-batch-tools", daemon=True
                ).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _awaited(made: Any) -> Any:
    return await made


def _shown(arguments: Any) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
