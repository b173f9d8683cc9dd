"""Handle: the common part of Job and Group: state, waiting, display."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from jupyter_batch import buttons
from jupyter_batch.config.arguments import ChecksArguments
from jupyter_batch.config.not_taken import NamesExplained
from jupyter_batch.core.errors import JobBlockedError, JobFailedError, JupyterBatchError
from jupyter_batch.core.status import Block, Counts, Snapshot, State
from jupyter_batch.frames.tables import Table
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.monitor import html, text
from jupyter_batch.monitor.live import Monitor, open_monitor
from jupyter_batch.monitor.view import view
from jupyter_batch.notebook import kernel, marimo_cells, waiting
from jupyter_batch.notices.callbacks import Callbacks, announce

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.results.timeline import JobEvents
    from jupyter_batch.runner.process import Session
    from jupyter_batch.viewer.opened import View


class Handle(ChecksArguments, buttons.Holder, NamesExplained):
    """A job or a group: its state from a snapshot, one wait, one screen.

    raise_on_failure: whether waiting raises JobFailedError where rows ended without an answer.
    `_over` is set once all results are here, `_idle` while no more will come without the user.
    """

    id: str
    _here: Session

    def __init__(self) -> None:
        self._over = threading.Event()
        self._idle = threading.Event()
        self._lock = threading.RLock()
        self.raise_on_failure = False
        self._monitor: Monitor | None = None
        self._callbacks = Callbacks(self)

    # -- state ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """planned, submitting, waiting, running, cancelling, completed, failed, expired or cancelled.

        For a group: the least advanced of its open jobs, else the worst ending.
        """
        return self.snapshot().state

    @property
    def blocked(self) -> str | None:
        """Why it can't continue without the user; None while any batch can.

        "key", "quota", "no batch API", "budget" or "unknown create"; call `resume()` once the cause is removed.
        For a group: the cause of its first blocked job; `wait()` raises once no job can continue.
        """
        blocked = self.snapshot().blocked
        return None if blocked is None else str(blocked)

    @property
    def counts(self) -> Counts:
        """Rows (of a group: requests) by status: total succeeded failed expired cancelled running reused skipped."""
        return self.snapshot().counts

    @property
    def cut_off(self) -> int:
        """The number of answers that were cut off (`results()["_finish"]` has the reason)."""
        return self.snapshot().cut_off

    @property
    def cost(self) -> float | None:
        """US dollars for the results so far, of all models, by the price that was known at the submission.

        With a batch whose rest was asked in real time; None where a price or usage is unknown (`results()["_cost"]`).
        """
        return self.snapshot().cost

    @property
    def saved(self) -> float | None:
        """US dollars that real time would have cost more, for all models of a group; None where unknown."""
        return getattr(self.snapshot().bill, "saved", None)

    @property
    def elapsed(self) -> float:
        """Seconds from the submission to the (last) end, or to now."""
        return self.snapshot().elapsed

    @property
    def eta(self) -> float | None:
        """Seconds until the last row at the present rate; None where there is no estimate."""
        return self.snapshot().eta

    @property
    def expires_at(self) -> float | None:
        """When the (first) open batch expires, in seconds since the epoch; None where the provider gives no time."""
        return self.snapshot().expires_at

    @property
    def batches(self) -> tuple[str, ...]:
        """The provider's ids of the batches sent so far."""
        return self.snapshot().batches

    @abstractmethod
    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Self:
        """Continue whatever waits or is blocked.

        api_key: another key for it. send_again: resend batches that may exist already, and may be paid twice.
        """

    def refresh(self) -> Self:
        """Ask the provider now."""
        return self.resume()

    # -- waiting --------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None, *, raise_on_failure: bool | None = None) -> Self:
        """Block until it is complete, for at most `timeout` seconds, and return it, complete or not.

        Clicks on the monitor still work; Ctrl-C ends the wait, not the job. Raises JobBlockedError where only the user
        can unblock it, and, with raise_on_failure, JobFailedError where rows ended without an answer.
        """
        over, error = False, None
        until = None if timeout is None else time.monotonic() + timeout
        try:
            self._follow()
            screen = self._screen()
            with self._callbacks.attended(self._over), screen.attended(kernel.current_cell()):
                while not over and error is None:
                    left = None if until is None else max(0.0, until - time.monotonic())
                    still = waiting.wait_blocking(self._idle, left, self._on_slice, stopped=None)
                    over = self._over.is_set()
                    if not still:
                        break
                    error = None if over else self._block()
                self._merge_frames() if over else self._merge_complete()
        except KeyboardInterrupt:
            if over:  # the frames were being filled
                raise
            print(waiting.STOPPED, flush=True)  # noqa: T201  # to the user who pressed Ctrl-C
            return self
        if error is not None:
            raise error
        if over:
            self._check_failures(raise_on_failure)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._awaited().__await__()

    async def _awaited(self) -> Self:
        self._follow()
        screen = self._screen()
        with self._callbacks.attended(self._over), screen.attended(kernel.current_cell()):
            while not self._over.is_set():
                await waiting.await_done(self._idle, None, self._on_slice)
                if not self._over.is_set() and (error := self._block()) is not None:
                    self._merge_complete()
                    raise error
            self._merge_frames()
        self._check_failures()
        return self

    def _check_failures(self, asked: bool | None = None) -> None:
        """Raise JobFailedError for rows without an answer, where that is asked for, once all are here."""
        seen = self.snapshot()
        failed = seen.counts.failed + seen.counts.expired + seen.counts.cancelled
        if not (self.raise_on_failure if asked is None else asked) or not failed:
            return
        named = {name: getattr(seen.counts, name) for name in ("failed", "expired", "cancelled")}
        each = [f"{count:,} {name}" for name, count in named.items() if count]
        why = f"; most often: {seen.reasons[0][0]}" if seen.reasons else ""
        raise JobFailedError(
            f"{self.id}: {failed:,} of {seen.counts.total:,} rows have no answer ({', '.join(each)}{why}); job.errors "
            "has each reason, job.retry() sends these rows again; the other answers are in place",
            job=self.id,
            counts=seen.counts,
        )

    def _on_slice(self) -> None:
        """While a cell waits: draw, and call what is due."""
        self._screen().flush()
        self._callbacks.run()

    def follow(self) -> Self:
        """Have this process move it and report changes; returns at once."""
        self._follow()
        return self

    def wait_error(self) -> JobBlockedError | None:
        """The error that `wait()` raises once the worker has tried; None where the job can continue."""
        return self._block() if self._idle.is_set() else None

    def _block(self) -> JobBlockedError | None:
        """Return the error that a wait raises; None, with `_idle` cleared, where the job can continue."""
        self._idle.clear()  # before reading: the worker sets it for later changes
        seen = self.snapshot()
        if self._blocked_here(seen) is None:
            if self._over.is_set():
                self._idle.set()
            elif self.is_complete:
                self._follow()  # sets `_over`
            return None
        self._idle.set()
        causes = "; ".join(view(seen).blocked)
        return JobBlockedError(f"{self.id}: {causes}", job=self.id, blocked=str(seen.blocked))

    def _blocked_here(self, snapshot: Snapshot) -> Block | None:
        """The block for this process; None where another process lacks a key that this one may have."""
        return snapshot.blocked

    def _note_blocked(self, snapshot: Snapshot) -> None:
        """Set or clear `_idle`."""
        if self._over.is_set() or self._blocked_here(snapshot) is not None:
            self._idle.set()
        else:
            self._idle.clear()

    def _note_end(self) -> None:
        """Note that all results are here; they are merged, and the callbacks called, between two cells."""
        self._over.set()
        self._idle.set()
        kernel.on_main(self._merge_frames)
        if not self._callbacks.waits:
            self._callbacks.ended()
            self._callbacks.start()

    def on_done(self, f: Callable[[Self], object]) -> Self:
        """Call `f(job)` once when it is complete; at once where it is already.

        In a notebook `f` runs on the main thread between two cells, once the column is filled; elsewhere in a thread
        of its own. `wait()` and `await job` return after it. What it raises is logged, once, and affects nothing.
        """
        self._callbacks.add(f, at_end=True)
        self._follow()
        if self._over.is_set():
            self._merge_frames()
            self._callbacks.ended()
            self._callbacks.run()
        return self

    def on_progress(self, f: Callable[[Self], object]) -> Self:
        """Call `f(job)` at each change of its state or counts; as `on_done`, in the same threads.

        Changes during a call, or during a cell, are one call.
        """
        self._callbacks.add(f, at_end=False)
        self._follow()
        return self

    def frame(self) -> Any:
        """The source's rows with the columns of the answers; those columns alone where this process lacks the source.

        A new frame of the source's library, else a pyarrow Table; at any time: no answer (yet) is a missing value.
        """
        source = self._source_frame()
        if isinstance(source, Table):
            self.merge(source)
            return source.native()
        from jupyter_batch.merging.columns import with_answers

        return with_answers(source, self.results())

    @abstractmethod
    def merge(self, df: Any = None) -> Self:
        """Write the answers so far into a frame."""

    @abstractmethod
    def results(self) -> pd.DataFrame:
        """A row for each row of the source, on its index."""

    @abstractmethod
    def _source_frame(self) -> Any:
        """The frame that its answers fill, or None."""

    # -- display --------------------------------------------------------------------------------------------

    def plot(self) -> Any:
        """Return a matplotlib Figure: rows done over time, batches, tokens and cost by model.

        Drawn from the ledger, at any time and in any process, with the linked jobs (retries, finishes, rounds of tool
        calls). Times are local. Raises OptionError without matplotlib: `pip install 'jupyter_batch[plot]'`.
        """
        from jupyter_batch.monitor.plot import figure
        from jupyter_batch.results.timeline import graph

        return figure(graph(self.snapshot(), self._job_events()))

    def view(self) -> View:
        """The rows, to look at, also while it runs: a page in a notebook's output, else in a browser."""
        from jupyter_batch.viewer.opened import View

        deeds = buttons.actions(self, self._shards, self._retry_by_click)
        page = View(self._here.ledger, self.id, buttons.held(deeds, **self._page_functions()))
        return page if kernel.has_frontend() else page.open()

    @abstractmethod
    def _page_functions(self) -> dict[str, Any]:
        """Further fields of `Held` (viewer/actions.py)."""

    def __repr__(self) -> str:
        try:
            return self._in_words()
        except JupyterBatchError as e:  # a repr must never fail
            return f"<{type(self).__name__} {self.id}: {e}>"

    def _in_words(self) -> str:
        seen = view(self.snapshot())
        return "\n  ".join([text.line(seen), *text.details(seen), *text.actions(seen)])

    def _ipython_display_(self) -> None:
        """As the last expression of a cell: the live monitor."""
        try:
            self._show()
        except JupyterBatchError:  # no such job any more: IPython would show three errors for it
            print(repr(self))  # noqa: T201  # in the cell's output

    def _display_(self) -> object:
        """As the last expression of a marimo cell: the live monitor; in a script, the card."""
        if kernel.has_frontend():
            return marimo_cells.element(self.widget)
        return marimo_cells.static(self._repr_mimebundle_()["text/html"])

    @property
    def widget(self) -> Any:
        """The live monitor as an ipywidget, for a layout of one's own: `VBox([first.widget, second.widget])`."""
        self._follow()
        return self._screen(live=True).widget(self.snapshot())

    def _show(self) -> None:
        self._follow()
        self._screen().show(kernel.current_cell(), self.snapshot())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return html.card(view(self.snapshot()))

    def _screen(self, *, live: bool = False) -> Monitor:
        with self._lock:
            if self._monitor is None or (live and not self._monitor.is_live):
                live = live or kernel.has_frontend()
                clicks = buttons.actions(self, self._shards, self._retry_by_click) if live else {}
                self._monitor = open_monitor(
                    self.snapshot(),
                    actions=clicks,
                    frontend=live,
                    context=kernel.widget_context(),
                    stream=kernel.stream,
                )
            return self._monitor

    def _announce_end(self) -> None:
        """Send the notices, and open a screen at a terminal, whose prompt announces jobs that were never shown."""
        announce(self.snapshot)
        if kernel.is_terminal():
            self._screen()

    def _redraw(self) -> None:
        """Update its screen, if it has one."""
        if self._monitor is not None:
            self._monitor.update(self.snapshot())

    # -- different for Job and Group ------------------------------------------------------------------------

    @abstractmethod
    def _follow(self, *, whole: bool = True) -> None:
        """Have the worker move it and report changes. whole: read result files through to find damage."""

    @abstractmethod
    def _merge_frames(self) -> None:
        """Merge the answers into the bound frames, each once."""

    def _merge_complete(self) -> None:
        """Merge the answers of the jobs that are complete, where not all are."""

    @property
    @abstractmethod
    def is_complete(self) -> bool:
        """Whether it has ended and all its results are on this disk."""

    @abstractmethod
    def _shards(self) -> list[ShardRecord]:
        """The records of its shards."""

    @abstractmethod
    def _job_events(self) -> list[JobEvents]:
        """Its events in the ledger, and those of linked jobs."""

    @abstractmethod
    def _retry_by_click(self) -> str:
        """For a click: retry the unanswered rows, and return a sentence about it."""
