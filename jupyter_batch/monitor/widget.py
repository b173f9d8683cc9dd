"""The live panel: one anywidget for each job. It sends a View to the page and passes clicks on.

A click runs on the main thread or on a subshell's, where an exception would be invisible: each
handler catches all, and writes to the panel's message line. A long operation runs in a thread of its
own: the click gets a message at once, and another at the end. The page's side is panel.js.
"""

from __future__ import annotations

import functools
import json
import threading
import uuid
from importlib import resources
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.monitor import html, style
from jupyter_batch.monitor.words import clean
from jupyter_batch.notebook.pulse import PULSE, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_batch.monitor.view import View

    Action = Callable[[], str]

PROCESS = uuid.uuid4().hex
"""By which a page tells this process from the one before a restart."""
SECTIONS = ("top", "body", "facts", "peek", "parts", "say", "gone")
"""The parts of the panel, each a list of html.Node."""
GONE = "As its kernel left it."
RERUN = "To follow the job, run the cell again."
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
    or of its end. run: the same for what no click has caused. spawn: runs an action. pulse: sends the page its beats.
    is_lossy: whether what is sent while the page loads is lost.
    """

    def __init__(
        self,
        seen: View,
        actions: Mapping[str, Action],
        *,
        within: Callable[[Callable[[], None]], None] = lambda work: work(),
        run: Callable[[Callable[[], None]], None] = lambda work: work(),
        spawn: Callable[[Callable[[], None]], None] = in_a_thread,
        pulse: Pulse = PULSE,
        is_lossy: bool = False,
    ) -> None:
        self._lock = threading.RLock()
        self._actions, self._within, self._spawn = actions, within, spawn
        self._run, self._pulse, self._resends = run, pulse, is_lossy
        self._asking, self._note, self._busy, self._unfolded = "", "", set[str](), False
        self._seen, self._sent = seen, 0
        self.id = uuid.uuid4().hex
        self.widget = _widget_class()(ids={"job": seen.id, "process": PROCESS, "panel": self.id})
        self.widget.on_msg(self._on_message)
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
            with self.widget.hold_sync():
                self._draw()
                listed = self._draw_parts() if parts else 0
            sent, self._sent = self._sent - listed, 0
            return sent, listed

    @property
    def is_closed(self) -> bool:
        """Whether the front end has closed its widget, as marimo does when the cell that made it runs again."""
        return bool(getattr(self.widget.comm, "_closed", self.widget.comm is None))

    def begin(self) -> None:
        """Beat for the page in which it is being displayed."""
        self._pulse.begin(self.id, self._beat)

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget view alone: nothing at all where a widget can't live, for there the card above it speaks."""
        self.begin()
        data, metadata = self.widget._repr_mimebundle_()
        live = {kind: shown for kind, shown in data.items() if "widget" in kind}
        return {"text/plain": "", "text/html": "", **live}, metadata

    def _draw(self) -> None:
        seen = self._seen
        self._put("top", html.top(seen))
        self._put("body", html.body(seen))
        self._put("facts", html.facts(seen, live=True))
        self._put("peek", html.peek(seen))
        self._put("say", html.messages([*seen.lines, *filter(None, [self._note])]))
        back = html.attach(seen)
        gone = html.messages([GONE if seen.is_final else f"{GONE} {RERUN}"])
        self._put("gone", [*gone, *([html.el("div", "", *back)] if back else [])])
        self._put("buttons", self._drawn_buttons())

    def _drawn_buttons(self) -> list[list[Any]]:
        """Of each button its name, label, description, whether it is shown, and its price, in their order."""
        seen, asking, prices = self._seen, self._asking, dict(self._seen.prices)
        answer = QUESTIONS[asking][1] if asking else "Yes"
        confirm = ["confirm", answer, "Do it", bool(asking), prices.get(asking, "")]
        many = f"{len(seen.parts)} of " if seen.more_parts else ""
        many += f"{len(seen.parts) + seen.more_parts:,} batches"
        unfold = f"{'Hide' if self._unfolded else 'Show'} the {many}"
        about = "Each batch: its state, rows, id, and what it waits for"
        return [
            confirm,
            *(
                [
                    name,
                    QUESTIONS[name][2] if name == asking else label,
                    description,
                    name == asking if asking else self._offered(name),
                    "" if name == asking else prices.get(name, ""),
                ]
                for name, (label, description, _) in BUTTONS.items()
            ),
            ["unfold", unfold, about, len(seen.parts) > 1, ""],
        ]

    def _draw_parts(self) -> int:
        return self._put(
            "parts",
            html.parts(self._seen) if self._unfolded and len(self._seen.parts) > 1 else [],
        )

    def _put(self, name: str, nodes: list[Any]) -> int:
        if getattr(self.widget, name) == nodes:
            return 0
        setattr(self.widget, name, nodes)
        size = len(json.dumps(nodes))
        self._sent += size
        return size

    def _offered(self, name: str) -> bool:
        seen = self._seen
        if name == "cancel":
            return seen.can_cancel
        return not seen.is_final if name == "refresh" else name in seen.offers

    # -- messages from the page -----------------------------------------------------------------------------

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        """`{"here": true}` from time to time from a page that is open; `{"click": button}`."""
        message = content if isinstance(content, dict) else {}
        if message.get("here"):
            self._pulse.listen(self.id, self._beat)
            if self._resends:
                self._resends = False
                self._run(self.widget.send_state)
        click = message.get("click")
        if click == "confirm":
            self._handle(self._on_confirm)
        elif click == "unfold":
            self._handle(self._on_unfold)
        elif click in BUTTONS:
            self._handle(functools.partial(self._on_click, str(click)))

    def _beat(self, beat: dict[str, Any]) -> None:
        self._run(lambda: self.widget.send({"beat": beat}))

    def _handle(self, handler: Callable[[], str]) -> None:
        def handle() -> None:
            with self._lock, self.widget.hold_sync():
                try:
                    self._note = handler()
                except Exception as error:  # nobody else would ever see it
                    self._note = _error_text(error)
                self._draw()
            self.widget.send({"answer": True})

        self._within(handle)

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
            note = clean(self._actions[name]())
        except Exception as error:  # as above
            note = _error_text(error)

        def answer() -> None:
            with self._lock, self.widget.hold_sync():
                self._busy.discard(name)
                self._note = note
                self._draw()

        self._within(answer)


def _error_text(error: Exception) -> str:
    return clean(
        str(error) if isinstance(error, JupyterBatchError) else f"{type(error).__name__}: {error}"
    )


@functools.cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    sections: dict[str, Any] = {
        name: traitlets.List().tag(sync=True) for name in (*SECTIONS, "buttons")
    }
    return type(
        "JobPanel",
        (anywidget.AnyWidget,),
        {
            "__module__": __name__,
            "_esm": resources.files(__package__).joinpath("panel.js").read_text("utf-8"),
            "_css": style.CARD + style.LIVE,
            "layout": None,  # else each panel had a second model, of its layout
            "ids": traitlets.Dict().tag(sync=True),
            **sections,
        },
    )
