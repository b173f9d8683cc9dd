"""What a Job and a Group have in common: each stands somehow, is waited for, and is shown on one screen.

It knows neither of them, and no ledger: how it stands comes as a snapshot.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

from jupyter_batch import buttons
from jupyter_batch.buttons import Holder
from jupyter_batch.core.errors import JobBlockedError, JupyterBatchError
from jupyter_batch.core.status import Block, Counts, Snapshot, State
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.monitor import html, text
from jupyter_batch.monitor.live import Monitor, open_monitor
from jupyter_batch.monitor.view import view
from jupyter_batch.notebook import kernel, terminal

if TYPE_CHECKING:
    from jupyter_batch.results.timeline import JobEvents
    from jupyter_batch.runner.process import Session
    from jupyter_batch.viewer.opened import View


class Standing(Holder):
    """What is under way at a provider, and what it came to.

    `_over` is set once nothing more can come, `_still` while nothing more comes without the user.
    """

    id: str
    _here: Session

    def __init__(self) -> None:
        self._over = threading.Event()
        self._still = threading.Event()
        self._lock = threading.RLock()
        self._monitor: Monitor | None = None

    # -- how it stands --------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """planned, submitting, waiting, running, cancelling, completed, failed, expired or cancelled.

        Of a group: the least advanced of the jobs that are open, else the worst ending.
        """
        return self.snapshot().state

    @property
    def blocked(self) -> str | None:
        """Why nothing that is open can go on without the user; None while something can.

        "key", "quota", "no batch API", "budget" or "unknown create"; `resume()` goes on when the cause is mended.
        Of a group: the cause of the first job that is blocked, also while others are running; `wait()` raises once no
        job is left that can go on.
        """
        blocked = self.snapshot().blocked
        return None if blocked is None else str(blocked)

    @property
    def counts(self) -> Counts:
        """Rows by what became of them: total succeeded failed expired cancelled running reused skipped.

        Of a group: the requests of all models.
        """
        return self.snapshot().counts

    @property
    def cut_off(self) -> int:
        """Answers that were cut off (`results()["_finish"]` says why)."""
        return self.snapshot().cut_off

    @property
    def cost(self) -> float | None:
        """US dollars of what was collected so far, by the price that was known at the submission.

        With what a batch cost whose rest was then asked in real time; `results()["_cost"]` tells of the rest alone.
        None where no price is known, or a row came back without its usage: `results()["_cost"]` shows which. Of a
        group: of all models.
        """
        return self.snapshot().cost

    @property
    def saved(self) -> float | None:
        """US dollars that real time would have cost on top, of a group for all models; None where it is not known."""
        bill = self.snapshot().bill
        return bill.saved if bill is not None else None

    @property
    def elapsed(self) -> float:
        """Seconds from the submission to the (last) end, or to now."""
        return self.snapshot().elapsed

    @property
    def eta(self) -> float | None:
        """Seconds until the last row, if it goes on like this; None where that can't be told."""
        return self.snapshot().eta

    @property
    def expires_at(self) -> float | None:
        """When the (first) provider gives up on what is open, in seconds since the epoch; None where it did not say."""
        return self.snapshot().expires_at

    @property
    def batches(self) -> tuple[str, ...]:
        """The provider's ids of the batches sent so far."""
        return self.snapshot().batches

    @abstractmethod
    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Self:
        """Go on now with what waits, or is blocked; what is still blocked says so again.

        api_key: another key for it. send_again: also send what may have been created before, and may be paid twice.
        """

    def refresh(self) -> Self:
        """Ask the provider now."""
        return self.resume()

    # -- waiting --------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Self:
        """Block until it is complete, for at most `timeout` seconds; it is returned, complete or not.

        In a notebook clicks on the monitor work meanwhile. Ctrl-C ends the waiting, and nothing else. Raises
        JobBlockedError where nothing that is open can go on without the user.
        """
        over, error = False, None
        until = None if timeout is None else time.monotonic() + timeout
        try:
            self._follow()
            screen = self._screen()
            with screen.attended(kernel.current_cell()):
                while not over and error is None:
                    left = None if until is None else max(0.0, until - time.monotonic())
                    still = kernel.wait_blocking(self._still, left, screen.flush, stopped=None)
                    over = self._over.is_set()
                    if not still:
                        break
                    error = None if over else self._block()
                self._land() if over else self._land_done()
        except KeyboardInterrupt:
            if over:  # while the answers came into the frame
                raise
            print(kernel.STOPPED, flush=True)  # noqa: T201  # behind the bar, to the person who pressed Ctrl-C
            return self
        if error is not None:
            raise error
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._awaited().__await__()

    async def _awaited(self) -> Self:
        self._follow()
        screen = self._screen()
        with screen.attended(kernel.current_cell()):
            while not self._over.is_set():
                await kernel.await_done(self._still, None, screen.flush)
                if not self._over.is_set() and (error := self._block()) is not None:
                    self._land_done()
                    raise error
        self._land()
        return self

    def _block(self) -> JobBlockedError | None:
        """What a wait raises, by the ledger as it is now; None, and `_still` says so, where it goes on."""
        self._still.clear()  # before the look: the worker sets it for what comes after
        seen = self.snapshot()
        if self._blocked_here(seen) is None:
            if self._over.is_set():
                self._still.set()
            elif self.is_complete:
                self._follow()  # it notes the end
            return None
        self._still.set()
        said = "; ".join(view(seen).blocked)
        return JobBlockedError(f"{self.id}: {said}", job=self.id, blocked=str(seen.blocked))

    def _blocked_here(self, seen: Snapshot) -> Block | None:
        """Why a wait of this process has no end; None where another process lacks a key that this one may have."""
        return seen.blocked

    def _stands(self, seen: Snapshot) -> None:
        """Note whether anything more comes by itself."""
        if self._over.is_set() or self._blocked_here(seen) is not None:
            self._still.set()
        else:
            self._still.clear()

    def _ends(self) -> None:
        """Note that nothing more can come."""
        self._over.set()
        self._still.set()

    # -- how it is shown ------------------------------------------------------------------------------------

    def plot(self) -> Any:
        """Return a matplotlib Figure: rows done over time, batches, tokens and cost by model.

        Drawn from the ledger, at any time and in any process, with the linked jobs (retries,
        finishes in real time, rounds of tool calls). Times are local, unknown values are named as
        such. Raises OptionError without matplotlib: `pip install 'jupyter_batch[plot]'`.
        """
        from jupyter_batch.monitor.plot import figure
        from jupyter_batch.results.timeline import graph

        return figure(graph(self.snapshot(), self._job_events()))

    def view(self) -> View:
        """The rows, to look at: filter, search, open one. A page in a notebook's output, else in a browser.

        Works while it runs; `jupyter batch view ID` does the same without a kernel.
        """
        from jupyter_batch.viewer.opened import View

        made = View(self._here.ledger, self.id)
        return made if kernel.has_frontend() else made.open()

    def __repr__(self) -> str:
        try:
            return self._in_words()
        except JupyterBatchError as e:  # a repr must never fail
            return f"<{type(self).__name__} {self.id}: {e}>"

    def _in_words(self) -> str:
        seen = view(self.snapshot())
        return "\n".join([text.line(seen), *(f"  {line}" for line in text.details(seen))])

    def _ipython_display_(self) -> None:
        """As the last expression of a cell: the live monitor."""
        try:
            self._show()
        except (
            JupyterBatchError
        ):  # it was forgotten, or its ledger is gone: IPython would show three errors for that
            print(repr(self))  # noqa: T201  # said in the cell that shows it

    def _show(self) -> None:
        self._follow()
        self._screen().show(kernel.current_cell(), self.snapshot())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return html.card(view(self.snapshot()))

    def _screen(self) -> Monitor:
        with self._lock:
            if self._monitor is None:
                self._monitor = open_monitor(
                    self.snapshot(),
                    actions=buttons.actions(self, self._shards, self._send_again),
                    frontend=kernel.has_frontend(),
                    context=kernel.widget_context(),
                    stream=terminal.stream,
                )
            return self._monitor

    def _tell_end(self) -> None:
        """At a terminal's prompt a line tells of the end of a job that was never shown, too: open a screen for that."""
        if terminal.is_terminal():
            self._screen()

    def _redraw(self) -> None:
        """Bring its screen, if it has one, to how it stands now."""
        if self._monitor is not None:
            self._monitor.update(self.snapshot())

    # -- what each of them does in its own way --------------------------------------------------------------

    @abstractmethod
    def _follow(self, *, whole: bool = True) -> None:
        """Have the worker move it and tell us; create nothing that needs a screen.

        whole: result files are read through, to see whether one is damaged.
        """

    @abstractmethod
    def _land(self) -> None:
        """The answers into the frames that are bound; each once."""

    def _land_done(self) -> None:
        """The answers of those of its jobs that are complete, where not all are."""

    @property
    @abstractmethod
    def is_complete(self) -> bool:
        """It has ended, and all that came back is on this disk."""

    @abstractmethod
    def _shards(self) -> list[ShardRecord]:
        """How its batches stand."""

    @abstractmethod
    def _job_events(self) -> list[JobEvents]:
        """What the ledger has of it, and of the jobs that are linked with it."""

    @abstractmethod
    def _send_again(self) -> str:
        """For a click: retry what was missed, and say so."""
