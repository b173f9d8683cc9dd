"""The live panel, made of ipywidgets. It draws a View and passes clicks on.

A click runs on the main thread or on a subshell's, where an exception would be invisible: each
handler catches all, and writes to the panel's message line. A long operation runs in a thread of its
own: the click gets a message at once, and another at the end.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.monitor import html
from jupyter_batch.monitor.view import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_batch.monitor.view import View

    Action = Callable[[], str]

BUTTONS = {
    "refresh": ("Refresh", "Ask the provider now", "Asking the provider…"),
    "retry": (
        "Retry failed",
        "Send the rows without an answer again, those alone",
        "Sending them again…",
    ),
    "merge": (
        "Merge",
        "Put the answers that are here into the frame now",
        "Merging, between two cells…",
    ),
    "finish": (
        "Finish now",
        "Cancel what is open and ask it in real time, at its full price",
        "Cancelling what is open, to ask it in real time…",
    ),
    "cancel": (
        "Cancel",
        "Cancel the batch at the provider; finished rows are kept",
        "Telling the provider…",
    ),
}
"""By name: the label, the description, and the message at the click."""
QUESTIONS = {
    "finish": (
        "Ask the rest in real time now, at its full price? Rows that are finished are kept, and not paid again.",
        "Yes, finish now",
        "Keep waiting",
    ),
    "cancel": (
        "Cancel this batch? Rows that are finished are kept.",
        "Yes, cancel",
        "Keep running",
    ),
}
"""What is asked once more: the question, what says yes, and what takes it back."""


def in_a_thread(work: Callable[[], None]) -> None:
    """Run it in a thread of its own."""
    threading.Thread(target=work, name="jupyter-batch-click", daemon=True).start()


class Panel:
    """Title and state, buttons, the bar with all counts, cost, first answers, batches, and the message line.

    actions: what a click does, by the button's name; it says what came of it. within: runs all widget work of a click
    or of its end. spawn: runs an action.
    """

    def __init__(
        self,
        seen: View,
        actions: Mapping[str, Action],
        *,
        within: Callable[[Callable[[], None]], None] = lambda work: work(),
        spawn: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        import ipywidgets as widgets

        self._lock = threading.RLock()
        self._actions, self._within, self._spawn = actions, within, spawn
        self._asking, self._note, self._busy, self._unfolded = "", "", set[str](), False
        self._seen, self._sent = seen, 0
        self._style = widgets.HTML(html.STYLE_LIVE)
        self._style.layout.display = "none"
        self._top, self._body, self._facts, self._peek, self._parts, self._say = (
            widgets.HTML() for _ in range(6)
        )
        self.buttons = {name: _button(label, does) for name, (label, does, _) in BUTTONS.items()}
        self.confirm_button = _button("Yes", "Do it")
        self.confirm_button.button_style = "danger"
        self.unfold_button = _button("", "Each batch: its state, rows, id, and what it waits for")
        self._row = widgets.HBox([self.confirm_button, *self.buttons.values()])
        self.box = widgets.VBox(
            [
                self._top,
                self._row,
                self._body,
                self._facts,
                self._peek,
                self.unfold_button,
                self._parts,
                self._say,
                self._style,
            ]
        )
        for widget, name in (
            (self.box, "jb-live"),
            (self._top, "jb-top"),
            (self._row, "jb-buttons"),
            (self.unfold_button, "jb-unfold"),
            *(
                (one, "jb-rest-of-it")
                for one in (self._body, self._facts, self._peek, self._parts, self._say)
            ),
            *((one, "jb-below") for one in (self._peek, self._parts, self._say)),
            (self._say, "jb-line"),
        ):
            widget.add_class(name)
        for name, button in self.buttons.items():
            button.on_click(self._guarded(partial(self._on_click, name)))
        self.confirm_button.on_click(self._guarded(self._on_confirm))
        self.unfold_button.on_click(self._guarded(self._on_unfold))
        self.draw(seen)

    def draw(self, seen: View, *, parts: bool = True) -> tuple[int, int]:
        """Show this view; only what differs is sent to the page. parts: its list of batches too, if it is unfolded.

        How many characters were sent: without that list, and of it.
        """
        with self._lock:
            if not self._busy and (
                seen.lines != self._seen.lines or seen.state != self._seen.state
            ):
                self._note = ""  # the click's message is outdated by now
            self._seen = seen
            if self._asking and not self._offered(self._asking):
                self._asking = ""
            self._draw()
            listed = self._draw_parts() if parts else 0
            sent, self._sent = self._sent - listed, 0
            return sent, listed

    def bundle(self) -> dict[str, Any]:
        """The widget view alone: nothing at all where a widget can't live, for there the card above it speaks."""
        live = {
            kind: data for kind, data in self.box._repr_mimebundle_().items() if "widget" in kind
        }
        return {"text/plain": "", "text/html": "", **live}

    def _draw(self) -> None:
        seen = self._seen
        self._put(self._top, html.top(seen))
        self._put(self._body, html.body(seen))
        self._put(self._facts, html.facts(seen))
        self._put(self._peek, html.peek(seen))
        self._put(self._say, html.messages([*seen.lines, *([self._note] if self._note else [])]))
        asking = self._asking
        for name, button in self.buttons.items():
            _show(button, name == asking if asking else self._offered(name))
            _label(button, QUESTIONS[name][2] if name == asking else BUTTONS[name][0])
        _show(self.confirm_button, bool(asking))
        if asking:
            _label(self.confirm_button, QUESTIONS[asking][1])
        (self._row.add_class if asking else self._row.remove_class)(
            "jb-asking"
        )  # what takes it back is wide then
        _show(self.unfold_button, len(seen.parts) > 1)
        many = f"{len(seen.parts)} of " if seen.more_parts else ""
        many += f"{len(seen.parts) + seen.more_parts:,} batches"
        _label(self.unfold_button, f"{'Hide' if self._unfolded else 'Show'} the {many}")

    def _draw_parts(self) -> int:
        return self._put(
            self._parts,
            html.parts(self._seen) if self._unfolded and len(self._seen.parts) > 1 else "",
        )

    def _put(self, widget: Any, markup: str) -> int:
        if widget.value == markup:
            return 0
        widget.value = markup
        self._sent += len(markup)
        return len(markup)

    def _offered(self, name: str) -> bool:
        seen = self._seen
        if name == "cancel":
            return seen.can_cancel
        return not seen.is_final if name == "refresh" else name in seen.offers

    # -- clicks ---------------------------------------------------------------------------------------------

    def _guarded(self, handler: Callable[[], str]) -> Callable[[object], None]:
        def handle() -> None:
            with self._lock:
                try:
                    self._note = handler()
                except Exception as error:  # nobody else would ever see it
                    self._note = _told(error)
                self._draw()

        return lambda _: self._within(handle)

    def _on_click(self, name: str) -> str:
        """Ask first, where it can't be undone. A double click's second one takes that back, and does no deed."""
        if name in QUESTIONS:
            self._asking = "" if self._asking else name if self._offered(name) else ""
            return QUESTIONS[name][0] if self._asking else ""
        return self._start(name)

    def _on_confirm(self) -> str:
        name, self._asking = self._asking, ""
        return self._start(name) if name else ""

    def _on_unfold(self) -> str:
        self._unfolded = not self._unfolded
        self._draw_parts()
        return self._note

    def _start(self, name: str) -> str:
        if name not in self._busy:  # else it was received before, and is not done twice
            self._busy.add(name)
            self._spawn(lambda: self._do(name))
        return BUTTONS[name][2] if name in self._busy else self._note

    def _do(self, name: str) -> None:
        try:
            said = clean(self._actions[name]())
        except Exception as error:  # as above
            said = _told(error)

        def answer() -> None:
            with self._lock:
                self._busy.discard(name)
                self._note = said
                self._draw()

        self._within(answer)


def _told(error: Exception) -> str:
    return clean(
        str(error) if isinstance(error, JupyterBatchError) else f"{type(error).__name__}: {error}"
    )


def _button(description: str, tooltip: str) -> Any:
    import ipywidgets as widgets

    button = widgets.Button(description=description, tooltip=tooltip)
    button.layout.width = "auto"
    return button


def _label(button: Any, words: str) -> None:
    if button.description != words:
        button.description = words


def _show(widget: Any, visible: bool) -> None:
    wanted = None if visible else "none"
    if widget.layout.display != wanted:
        widget.layout.display = wanted
