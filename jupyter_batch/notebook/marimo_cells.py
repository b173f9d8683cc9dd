"""Display in marimo, whose cells run without an IPython shell. marimo is used only if already imported."""

from __future__ import annotations

import weakref
from typing import Any

from jupyter_batch.process.log import logger

_log = logger()
_contexts: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""The runtime contexts that displayed something: one a session, and `marimo run` has several in a process."""


def element(widget: Any) -> Any:
    """The widget as marimo displays it."""
    import marimo

    _remember()
    return marimo.ui.anywidget(widget)


def append(widget: Any) -> None:
    """Display the widget in the output of the running cell."""
    import marimo

    marimo.output.append(element(widget))


def static(markup: str) -> Any:
    """HTML as marimo displays it."""
    import marimo

    return marimo.Html(markup)


def is_busy() -> bool:
    """Whether a cell runs in a session of this process that has displayed something."""
    return any(
        getattr(context, "execution_context", None) is not None for context in _contexts.values()
    )


def _remember() -> None:
    try:
        from marimo._runtime.context import get_context

        context = get_context()
        _contexts[id(context)] = context
    except (
        Exception
    ):  # a private name: without it the page only does not show that the kernel is busy
        _log.debug("no context of marimo", exc_info=True)
