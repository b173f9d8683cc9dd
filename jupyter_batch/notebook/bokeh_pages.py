"""The page of a Bokeh server (`panel serve`), whose widgets may send in callbacks of their document alone.

Bokeh is used only if already imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol


class Document(Protocol):
    """The part of Bokeh's Document that is used."""

    def add_next_tick_callback(self, callback: Callable[[], None]) -> Any:
        """Run it in the document's own loop; from any thread. Raises RuntimeError where the page is gone."""


def current() -> Document | None:
    """The document of the page that is being made; None outside of a Bokeh server."""
    io = sys.modules.get("bokeh.io")
    document: Any = None if io is None else io.curdoc()
    return None if document is None or document.session_context is None else document


def run(document: Document | None, work: Callable[[], Any]) -> Any:
    """Run it here where that is allowed; else in the document's loop, soon, without its value."""
    if document is None or current() is document:
        return work()

    def callback() -> None:  # Bokeh would await a value
        work()

    document.add_next_tick_callback(callback)
    return None
