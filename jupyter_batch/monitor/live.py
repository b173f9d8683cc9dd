"""The choice of the screen for a job, and the times at which it is drawn.

There is no clock here: a screen changes when update() brings a snapshot that looks different, less
often the older the job is (pace.py). A change within a pause is drawn by a timer at its end.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from jupyter_batch.core.errors import OptionError
from jupyter_batch.monitor import html
from jupyter_batch.monitor.pace import Pace
from jupyter_batch.monitor.text import Progress
from jupyter_batch.monitor.view import View, view
from jupyter_batch.notebook import bokeh_pages, kernel, marimo_cells, solara_pages
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jupyter_batch.core.status import Snapshot
    from jupyter_batch.monitor.widget import Panel

OVERTAKEN = 5.0
"""Seconds by which a snapshot may be older than the last one and be called late; more is a clock that was set back."""

HURRY = 10.0
"""Seconds after a click in which all that comes is drawn at once."""

CARDS = 20
"""Of all the cards of a job those that were displayed last are kept up to date: a cell may display it in a loop."""

FEW = 4
"""So many jobs are drawn at once at each change of state; of more only the ends are."""

_log = logger()
_open: weakref.WeakSet[LiveMonitor] = weakref.WeakSet()
"""The monitors of jobs that were displayed, and are not at their end."""


class Monitor(Protocol):
    """One job on a screen. is_live: it is a widget."""

    is_live: bool

    def widget(self, snapshot: Snapshot | None = None, /) -> Any:
        """The live panel, for the caller to display. Raises OptionError where it can't be made."""

    def show(self, cell: object = None, snapshot: Snapshot | None = None) -> None:
        """Display it here, as it stands now; for a `cell` (any key of the running one) that has it, nothing is done."""

    def update(self, snapshot: Snapshot) -> None:
        """Draw the snapshot if it looks different. From any thread; never raises."""

    def bundle(self) -> dict[str, str]:
        """The static card, for `_repr_mimebundle_`."""

    def attended(self, cell: object = None) -> contextlib.AbstractContextManager[None]:
        """While someone waits in this cell or in a terminal: text screens then draw their bar."""

    def flush(self) -> None:
        """Print here what other threads brought: called in the slices of a wait, so that it lands in that cell."""


def open_monitor(
    snapshot: Snapshot,
    *,
    actions: Mapping[str, Callable[[], str]],
    frontend: bool,
    context: contextvars.Context | None = None,
    stream: Callable[[], TextIO] | None = None,
) -> Monitor:
    """The right screen for this place: a live panel over a static card where a front end listens, else lines of text.

    actions: what the panel's buttons do, by their names in widget.py; each says what came of it, from any thread.
    frontend: a user's notebook is listening (`kernel.has_frontend()`). context: in which all widget work is done
    (`kernel.widget_context()`). stream: where text goes; looked up at each print, since IPython exchanges sys.stdout.
    """
    seen = view(snapshot)
    if frontend:
        try:
            return LiveMonitor(snapshot, actions, context=context or contextvars.copy_context())
        except (
            Exception
        ):  # no ipywidgets, or one that can't start here: the job must be shown all the same
            _log.debug("no widget", exc_info=True)
    return TextMonitor(seen, stream=stream or (lambda: sys.stdout))


def _timer(seconds: float, work: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


class LiveMonitor:
    """The static card and, right below it, the panel; while the panel lives, the page shows it alone.

    In marimo there is no card, and a panel for each cell: marimo closes it when the cell runs again. In Solara each
    page has a panel, which Solara closes. In a page of a Bokeh server widget work is passed on to the page's document.

    delay: calls back once, after so many seconds.
    """

    is_live = True

    def __init__(
        self,
        snapshot: Snapshot,
        actions: Mapping[str, Callable[[], str]],
        *,
        context: contextvars.Context,
        delay: Callable[[float, Callable[[], None]], None] = _timer,
    ) -> None:
        self._lock = threading.RLock()
        self._context, self._delay, self._actions = context, delay, actions
        self._document, self._page = bokeh_pages.current(), solara_pages.current()
        self._seen, self._as_of, self._age = view(snapshot), 0.0, 0.0
        self._drawn, self._on_card = self._seen, _milestone(self._seen)
        self._body, self._news, self._parts, self._card = Pace(), Pace(0.5), Pace(4.0), Pace(2.0)
        self._clicked, self._waits = -HURRY, False
        self._handles: dict[object, Any] = {}
        self._panel = self._new_panel()
        self._more: list[tuple[str | None, Panel]] = []
        self._is_given = False

    def widget(self, snapshot: Snapshot | None = None) -> Any:
        """The panel, to be displayed by the caller."""
        with self._lock:
            self._take_up(snapshot)
            page, shown = solara_pages.current(), self._panel
            if page != self._page or (self._is_given and kernel.is_marimo()):
                mine = [one for of, one in self._more if page is not None and of == page]
                shown = mine[0] if mine else self._new_panel()
                if not mine:
                    self._more.append((page, shown))
            self._is_given = True
            shown.begin()
            return shown.widget

    def _new_panel(self) -> Panel:
        from jupyter_batch.monitor.widget import Panel

        is_lossy, within = self._document is not None, self._on_click
        make = functools.partial(Panel, within=within, run=self._run, is_lossy=is_lossy)
        made: Panel = self._run(make, self._seen, self._actions)
        return made

    def _take_up(self, snapshot: Snapshot | None) -> None:
        """Draw what is known now; from here on the job is on a screen."""
        if snapshot is not None and not _late(snapshot, self._as_of):
            self._seen, self._as_of, self._age = view(snapshot), snapshot.now, snapshot.elapsed
        if not self._seen.is_final:
            _open.add(self)
        self._draw()

    def show(self, cell: object = None, snapshot: Snapshot | None = None) -> None:
        """Display card and panel in the cell that runs."""
        from IPython.display import display

        with self._lock:
            if cell is not None and cell in self._handles:
                return
            if kernel.is_marimo():
                marimo_cells.append(self.widget(snapshot))
                return
            self._take_up(snapshot)
            handle = display(self._paired_card(), raw=True, display_id=True)
            bundle, metadata = self._panel.bundle()
            display(bundle, raw=True, metadata=metadata)
            self._handles[cell if cell is not None else object()] = handle
            if len(self._handles) > CARDS:
                del self._handles[next(iter(self._handles))]

    def update(self, snapshot: Snapshot) -> None:
        """Draw the panel, the card at milestones alone: a state, a message, a tenth of the rows."""
        try:
            seen = view(snapshot)
            with self._lock:
                if _late(snapshot, self._as_of):
                    return
                self._seen, self._as_of, self._age = seen, snapshot.now, snapshot.elapsed
                left = self._left()
                if left and not self._waits:
                    self._waits = True
                    self._delay(left, self._over)
                elif not left and seen != self._drawn:
                    self._draw()
        except Exception:  # a screen must never stop a job
            _log.debug("the monitor could not be drawn", exc_info=True)

    def bundle(self) -> dict[str, str]:
        """The card as of now."""
        return html.card(self._seen)

    def _paired_card(self) -> dict[str, str]:
        return html.card(self._seen, panel=self._panel.id)

    @contextlib.contextmanager
    def attended(self, cell: object = None) -> Iterator[None]:
        """Display it in the cell that waits, if there is anything to wait for."""
        if not self._seen.is_final:
            self.show(cell)
        yield

    def flush(self) -> None:
        """Widgets are updated from any thread: nothing waits."""

    def _left(self) -> float:
        """Seconds until what is new may be drawn: an end or a change of state at once, words sooner than figures."""
        seen, was = self._seen, self._drawn
        if seen == was or self._hurries() or self._turned():
            return 0.0
        before = (was.state, was.lines, was.offers, was.answers)
        news = (seen.state, seen.lines, seen.offers, seen.answers) != before
        return (self._news if news else self._body).left(self._as_of)

    def _turned(self) -> bool:
        """Whether it has reached its end since it was drawn or, of few jobs, another state."""
        seen, was = self._seen, self._drawn
        return seen.is_final != was.is_final or (len(_open) <= FEW and seen.state != was.state)

    def _hurries(self) -> bool:
        return time.monotonic() - self._clicked < HURRY

    def _over(self) -> None:
        """The pause is over: the newest is drawn."""
        with self._lock:
            self._waits = False
            try:
                self._draw()
            except Exception:  # as in update()
                _log.debug("the monitor could not be drawn", exc_info=True)

    def _draw(self) -> None:
        seen, now = self._seen, self._as_of
        at_once, turned, jobs = self._hurries() or seen.is_final, self._turned(), len(_open)
        if seen != self._drawn:
            sent, listed = self._draw_panels(parts=at_once or not self._parts.left(now))
            self._body.drawn(now, self._age, sent, jobs)
            self._news.drawn(now, self._age, sent, jobs)
            if listed:
                self._parts.drawn(now, self._age, listed, jobs)
        self._drawn = seen
        if seen.is_final:
            _open.discard(self)
        if _milestone(seen) != self._on_card and (
            turned or seen.is_final or not self._card.left(now)
        ):
            self._on_card = _milestone(seen)
            bundle = self._paired_card()
            size = sum(map(len, bundle.values())) * len(self._handles)
            self._card.drawn(now, self._age, size, jobs)
            for handle in self._handles.values():
                self._run(handle.update, bundle, raw=True)

    def _draw_panels(self, *, parts: bool) -> tuple[int, int]:
        """How many characters were sent: without the list of batches, and of it."""
        self._more = [one for one in self._more if not one[1].is_closed]
        panels = (self._panel, *(panel for _, panel in self._more))
        sizes = [self._run(panel.draw, self._seen, parts=parts) or (0, 0) for panel in panels]
        return sum(sent for sent, _ in sizes), sum(listed for _, listed in sizes)

    def _on_click(self, work: Callable[[], None]) -> None:
        """In a click's thread, or when its action has ended."""
        self._clicked = time.monotonic()
        self._run(work)

    def _run(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        # A copy each time: a context can't be entered by two threads at once, a copy costs nothing.
        run = functools.partial(self._context.copy().run, work, *args, **named)
        return bokeh_pages.run(self._document, run)


class TextMonitor:
    """Lines: at the submission, at each change of state, at the end; a bar while someone waits at a terminal.

    Of a job that was never shown, the end alone.
    """

    is_live = False

    def __init__(self, seen: View, *, stream: Callable[[], TextIO]) -> None:
        self._lock = threading.RLock()
        self._stream = stream
        self._seen, self._as_of = seen, 0.0
        self._shown = False
        self._progress = Progress(cast("TextIO", _Late(stream)), tty=False)
        self._shown_in: object = None
        self._attending: int | None = None
        self._cell: int | None = None
        self._pending: View | None = None

    def show(self, cell: object = None, snapshot: Snapshot | None = None) -> None:
        """Print the state; in a cell without earlier output, with all details."""
        with self._lock:
            self._shown, self._cell, self._pending = True, kernel.cell_number(), None
            if snapshot is not None and not _late(snapshot, self._as_of):
                self._seen, self._as_of = view(snapshot), snapshot.now
            if cell is None or cell != self._shown_in:
                self._progress.forget()
            self._shown_in = cell
            self._progress.update(self._seen)

    def update(self, snapshot: Snapshot) -> None:
        """Print a line if the state or the message is new, or move the bar."""
        try:
            seen = view(snapshot)
            with self._lock:
                if _late(snapshot, self._as_of):
                    return
                self._seen, self._as_of = seen, snapshot.now
                if self._attending not in {None, threading.get_ident()} and not self._progress.bars:
                    self._pending = seen  # flush() prints it in the cell that waits
                elif not (self._shown or seen.is_final):
                    return
                elif kernel.may_print(self._cell):
                    self._pending = None
                    self._progress.update(seen)
                else:
                    self._hold(seen)
        except Exception:  # a screen must never stop a job
            _log.debug("the monitor could not be drawn", exc_info=True)

    def bundle(self) -> dict[str, str]:
        """The card as of now."""
        return html.card(self._seen)

    @contextlib.contextmanager
    def attended(self, cell: object = None) -> Iterator[None]:
        """Draw a bar on a terminal; elsewhere keep the lines for flush()."""
        before = self._progress.writes
        try:
            with self._lock:  # a Ctrl-C may come in here, too
                self._attending, self._shown = threading.get_ident(), True
                self._cell, self._pending = kernel.cell_number(), None
                self._progress.bars = self._stream().isatty()
                self._progress.update(self._seen)
            yield
        finally:
            self.flush()
            with self._lock:
                self._attending = None
                self._progress.bars = False
                self._progress.close()
                if self._progress.writes != before:
                    self._shown_in = cell

    def widget(self, _snapshot: Snapshot | None = None) -> Any:
        """Refuse: this screen was chosen because no widget can be made."""
        raise OptionError("no widget can be made here; `pip install ipywidgets anywidget`")

    def _hold(self, seen: View) -> None:
        """Keep it for the next cell that shows the job, or for the prompt of a terminal."""
        waits, self._pending = self._pending is not None, seen
        if not waits and not kernel.is_kernel():
            kernel.on_main(self.flush)

    def flush(self) -> None:
        """Print the newest state that another thread brought, or that was held."""
        with self._lock:
            seen, self._pending = self._pending, None
            if seen is not None:
                self._progress.update(seen)


class _Late:
    """A stream that is looked up at each use."""

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


def _late(snapshot: Snapshot, as_of: float) -> bool:
    """Two threads bring snapshots: the older one must not come out on top."""
    return 0 < as_of - snapshot.now < OVERTAKEN


def _milestone(seen: View) -> tuple[object, ...]:
    """What the saved card is redrawn for."""
    return (
        seen.state,
        seen.is_final,
        seen.lines,
        seen.reasons,
        seen.batches,
        seen.answers,
        int(seen.fraction * 10),
    )
