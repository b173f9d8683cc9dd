"""Which screen a job gets, and when it is drawn. Everything comes in as an argument; it must not know jobs or a kernel.

There is no clock here: a screen changes when update() brings a snapshot that looks different, at most once a poll. (A
Jupyter server keeps every message for a page that is closed; a ticking clock would pile up a day of them.)
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from jupyter_batch.monitor import html
from jupyter_batch.monitor.text import Progress
from jupyter_batch.monitor.view import View, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_batch.core.status import Snapshot

OVERTAKEN = 5.0
"""Seconds by which a snapshot may be older than the last one and be called late; more is a clock that was set back."""

_log = logging.getLogger("jupyter_batch")


class Monitor(Protocol):
    """One job on a screen."""

    def show(self, cell: object = None) -> None:
        """Display it here; again for the same `cell` (any key that names the running cell) does nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Draw the snapshot if it looks different. From any thread; never raises."""

    def bundle(self) -> dict[str, str]:
        """The static card, for `_repr_mimebundle_`."""

    def attended(self) -> contextlib.AbstractContextManager[None]:
        """While someone waits in a cell or a terminal: text screens then draw their bar."""

    def flush(self) -> None:
        """Print here what other threads brought: called in the slices of a wait, so that it lands in that cell."""


def open_monitor(
    snapshot: Snapshot, *, cancel: Callable[[], object], refresh: Callable[[], object], frontend: bool,
    context: contextvars.Context | None = None, stream: Callable[[], TextIO] | None = None,
) -> Monitor:
    """The right screen for this place: a live panel over a static card where a front end listens, else lines of text.

    frontend: a person's notebook is listening (`kernel.has_frontend()`). context: in which all widget work is done
    (`kernel.widget_context()`). stream: where text goes; looked up at each print, since IPython exchanges sys.stdout.
    """
    seen = view(snapshot)
    if frontend:
        try:
            return LiveMonitor(seen, cancel=cancel, refresh=refresh, context=context or contextvars.copy_context())
        except Exception:  # no ipywidgets, or one that can't start here: the job must be shown all the same
            _log.debug("no widget", exc_info=True)
    return TextMonitor(seen, stream=stream or (lambda: sys.stdout))


class LiveMonitor:
    """The static card and, right below it, the panel; while the panel lives, the page shows it alone."""

    def __init__(self, seen: View, *, cancel: Callable[[], object], refresh: Callable[[], object],
                 context: contextvars.Context) -> None:
        from jupyter_batch.monitor.widget import Panel

        self._lock = threading.RLock()
        self._context = context
        self._seen, self._on_card, self._as_of = seen, _milestone(seen), 0.0
        self._handles: dict[object, Any] = {}
        self._panel: Panel = self._run(Panel, seen, cancel=cancel, refresh=refresh)

    def show(self, cell: object = None) -> None:
        """Display card and panel in the cell that runs."""
        from IPython.display import display

        with self._lock:
            if cell is not None and cell in self._handles:
                return
            handle = display(html.card(self._seen, paired=True), raw=True, display_id=True)
            display(self._panel.bundle(), raw=True)
            self._handles[cell if cell is not None else object()] = handle

    def update(self, snapshot: Snapshot) -> None:
        """Draw the panel at each change, the card at milestones alone: a state, a message, a tenth of the rows."""
        try:
            seen = view(snapshot)
            with self._lock:
                if seen == self._seen or _late(snapshot, self._as_of):
                    return
                self._seen, self._as_of = seen, snapshot.now
                self._run(self._panel.draw, seen)
                if _milestone(seen) != self._on_card:
                    self._on_card = _milestone(seen)
                    for handle in self._handles.values():
                        self._run(handle.update, html.card(seen, paired=True), raw=True)
        except Exception:  # a screen must never stop a job
            _log.debug("the monitor could not be drawn", exc_info=True)

    def bundle(self) -> dict[str, str]:
        """The card as of now."""
        return html.card(self._seen)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """A live panel needs nobody's attention."""
        yield

    def flush(self) -> None:
        """Widgets are updated from any thread: nothing waits."""

    def _run(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        # A copy each time: a context can't be entered by two threads at once, a copy costs nothing.
        return self._context.copy().run(work, *args, **named)


class TextMonitor:
    """Lines: at the submission, at each change of state, at the end; a bar while someone waits at a terminal."""

    def __init__(self, seen: View, *, stream: Callable[[], TextIO]) -> None:
        self._lock = threading.RLock()
        self._stream = stream
        self._seen, self._as_of = seen, 0.0
        self._shown = False
        self._progress = Progress(cast("TextIO", _Late(stream)), tty=False)
        self._attending: int | None = None
        self._pending: View | None = None

    def show(self, cell: object = None) -> None:  # noqa: ARG002  # one stream, whatever the cell
        """Print the first line."""
        with self._lock:
            self._shown = True
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
                elif self._shown:
                    self._pending = None
                    self._progress.update(seen)
        except Exception:  # a screen must never stop a job
            _log.debug("the monitor could not be drawn", exc_info=True)

    def bundle(self) -> dict[str, str]:
        """The card as of now."""
        return html.card(self._seen)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Draw a bar on a terminal; elsewhere keep the lines for flush()."""
        with self._lock:
            self._attending, self._shown = threading.get_ident(), True
            self._progress.bars = self._stream().isatty()
            self._progress.update(self._seen)
        try:
            yield
        finally:
            self.flush()
            with self._lock:
                self._attending = None
                self._progress.bars = False
                self._progress.close()

    def flush(self) -> None:
        """Print the newest state that another thread brought."""
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
    return (seen.state, seen.is_final, seen.lines, seen.reasons, seen.batches, int(seen.fraction * 10))
