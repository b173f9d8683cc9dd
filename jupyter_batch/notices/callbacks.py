"""Callbacks of a job or a group, called once at its end or at its progress; and the targets of `%llm_batch notify`.

In a kernel they run on the main thread between two cells, after the answers are merged; elsewhere in a thread of their
own, so that a slow one delays no job. Whoever waits for the job runs them before the wait returns.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.core.errors import OptionError
from jupyter_batch.notebook import kernel
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from jupyter_batch.core.status import Snapshot
    from jupyter_batch.notices.targets import Target

_log = logger()


class _Callback(NamedTuple):
    """A function, and a copy of the context in which it was given: its output is shown in that cell."""

    call: Callable[[Any], object]
    context: contextvars.Context


class Callbacks:
    """The functions that were given for a job or a group. Thread-safe; an exception of theirs is logged once."""

    def __init__(self, subject: Any) -> None:
        self._subject = subject
        self._lock = threading.Lock()
        self._turn = threading.RLock()
        self._done: list[_Callback] = []
        self._progress: list[_Callback] = []
        self._due: list[_Callback] = []
        self._failed: set[Callable[[Any], object]] = set()
        self.waits: list[None] = []  # an entry for each wait that runs

    def add(self, call: Callable[[Any], object], *, at_end: bool) -> None:
        """Add a function. Raises OptionError for anything else."""
        if not callable(call) or inspect.iscoroutinefunction(call):
            raise OptionError(
                f"expected a function that takes the job; got {call!r}; `await job` waits in a coroutine"
            )
        made = _Callback(call, contextvars.copy_context())
        with self._lock:
            (self._done if at_end else self._progress).append(made)

    def changed(self) -> None:
        """Call the progress functions soon; those that are due already are called once."""
        with self._lock:
            due = {id(one) for one in self._due}
            self._due += [one for one in self._progress if id(one) not in due]
        self.start()

    def ended(self) -> None:
        """Make the functions for the end due, each once; `run` or `start` calls them."""
        with self._lock:
            self._due += self._done
            self._done.clear()

    @contextlib.contextmanager
    def attended(self, over: threading.Event) -> Iterator[None]:
        """Leave those for the end to this wait, which calls them once it has filled the column.

        over: set before anybody else looks for waits, so that either calls them.
        """
        call = self.start
        self.waits.append(None)
        try:
            yield
            call = self.run
        finally:
            self.waits.pop()
            if over.is_set():
                self.ended()
            call()

    def start(self) -> None:
        """Call what is due: between two cells, or in a thread of its own."""
        if not self._due:
            return
        if not kernel.on_idle_kernel(self.run):
            threading.Thread(target=self.run, name="jupyter-batch-callbacks", daemon=True).start()

    def run(self) -> None:
        """Call what is due in this thread; returns once no call is running in another."""
        with self._turn:
            while (one := self._next()) is not None:
                try:
                    one.context.copy().run(one.call, self._subject)
                except Exception:
                    self._report(one.call)

    def _next(self) -> _Callback | None:
        with self._lock:
            return self._due.pop(0) if self._due else None

    def _report(self, call: Callable[[Any], object]) -> None:
        if call not in self._failed:
            self._failed.add(call)
            name = getattr(call, "__qualname__", type(call).__name__)
            _log.exception("jupyter_batch: the callback %s failed; the job is not affected", name)


# -- notices of a kernel ------------------------------------------------------------------------------

_targets: dict[str, Target] = {}


def subscribe(to: Target) -> None:
    """Add a target; the same one twice is one."""
    _targets[str(to)] = to


def unsubscribe() -> None:
    """Remove all targets."""
    _targets.clear()


def announce(snapshot: Callable[[], Snapshot]) -> None:
    """Send a notice of a job's end to each target, without waiting."""
    if not _targets:
        return
    from jupyter_batch.notices.message import message_of
    from jupyter_batch.notices.targets import deliver_soon

    message = message_of(snapshot())
    for to in list(_targets.values()):
        deliver_soon(to, message)
