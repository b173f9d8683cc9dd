"""The live panel out of plain ipywidgets. It draws a View and hands clicks on; it must not know jobs or a kernel.

A click runs on the main thread or on a subshell's, and its exception would be seen nowhere: so each handler catches all
and writes into the panel's own message line.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from jupyter_batch.monitor import html
from jupyter_batch.monitor.view import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_batch.monitor.view import View


class Panel:
    """Title and state, buttons, the bar with all counts, and the message line.

    cancel, refresh: called on a click; they return at once and may be called from any thread.
    """

    def __init__(self, seen: View, *, cancel: Callable[[], object], refresh: Callable[[], object]) -> None:
        import ipywidgets as widgets

        self._lock = threading.RLock()
        self._cancel, self._refresh = cancel, refresh
        self._asking, self._note = False, ""
        self._seen = seen
        self._style = widgets.HTML(html.STYLE)
        self._style.layout.display = "none"
        self._top, self._body, self._say = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.refresh_button = _button("Refresh", "Ask the provider now")
        self.confirm_button = _button("Yes, cancel", "Cancel the batch at the provider; finished rows are kept")
        self.confirm_button.button_style = "danger"
        self.cancel_button = _button("Cancel", "Cancel the batch at the provider; finished rows are kept")
        self._buttons = widgets.HBox([self.refresh_button, self.confirm_button, self.cancel_button])
        self.box = widgets.VBox([self._top, self._buttons, self._body, self._say, self._style])
        for widget, name in ((self.box, "jb-live"), (self._top, "jb-top"), (self._buttons, "jb-buttons"),
                             (self._body, "jb-rest-of-it"), (self._say, "jb-rest-of-it")):
            widget.add_class(name)
        self.refresh_button.on_click(self._guarded(self._on_refresh))
        self.cancel_button.on_click(self._guarded(self._on_cancel))
        self.confirm_button.on_click(self._guarded(self._on_confirm))
        self.draw(seen)

    def draw(self, seen: View) -> None:
        """Show this view; only what differs is sent to the page."""
        with self._lock:
            if seen.lines != self._seen.lines or seen.state != self._seen.state:
                self._note = ""  # what a click said is answered by now
            self._seen = seen
            self._asking = self._asking and seen.can_cancel
            self._draw()

    def bundle(self) -> dict[str, Any]:
        """The widget view alone: nothing at all where a widget can't live, for there the card above it speaks."""
        live = {kind: data for kind, data in self.box._repr_mimebundle_().items() if "widget" in kind}
        return {"text/plain": "", "text/html": "", **live}

    def _draw(self) -> None:
        seen = self._seen
        self._top.value = html.top(seen)
        self._body.value = html.body(seen)
        self._say.value = html.messages([*seen.lines, *([self._note] if self._note else [])])
        _show(self.refresh_button, not seen.is_final and not self._asking)
        _show(self.confirm_button, self._asking)
        _show(self.cancel_button, seen.can_cancel)
        self.cancel_button.description = "Keep running" if self._asking else "Cancel"

    def _guarded(self, handler: Callable[[], str]) -> Callable[[object], None]:
        def on_click(_: object) -> None:
            with self._lock:
                try:
                    self._note = handler()
                except Exception as error:  # nobody else would ever see it
                    self._note = clean(f"{type(error).__name__}: {error}")
                self._draw()

        return on_click

    def _on_refresh(self) -> str:
        self._refresh()
        return "Asking the provider…"

    def _on_cancel(self) -> str:
        """Ask first. The second click of a double click lands on «Keep running», never on the deed."""
        self._asking = not self._asking and self._seen.can_cancel
        return "Cancel this batch? Rows that are finished are kept." if self._asking else ""

    def _on_confirm(self) -> str:
        if not self._asking:
            return ""
        self._asking = False
        self._cancel()
        return "Asked the provider to cancel."


def _button(description: str, tooltip: str) -> Any:
    import ipywidgets as widgets

    button = widgets.Button(description=description, tooltip=tooltip)
    button.layout.width = "auto"
    return button


def _show(widget: Any, visible: bool) -> None:
    wanted = None if visible else "none"
    if widget.layout.display != wanted:
        widget.layout.display = wanted
