"""Suppression of library warnings in our calls, so that they are not raised as errors.

Users run with `-W error`, and every test suite may. Third-party libraries warn at import and in the
middle of a call (pydantic, about a litellm type); as an error such a warning ends the call after
the request was sent, and leaves litellm's types half built for the rest of the process.

`warnings.catch_warnings` can't be used: up to Python 3.13 it replaces the process's filters, so two
threads, or overlapping tasks, restore each other's. Instead one filter is inserted before all
others, controlled by a context variable, which every thread and task has to itself. CPython calls
`match` of a filter's message pattern, so the pattern may be any object. Outside our calls it
matches nothing: the user's own warnings are unaffected.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ours: ContextVar[bool] = ContextVar("jupyter_batch_provider_call", default=False)


class _InOurCalls:
    """A pattern for `warnings.filters` that matches every warning while this context is in a call."""

    pattern = "(a warning in a provider call of jupyter_batch)"

    def match(self, text: str) -> bool:  # noqa: ARG002 - as re.Pattern has it
        """Whether a warning is suppressed."""
        return _ours.get()

    def __reduce__(self) -> tuple[Any, ...]:
        # joblib and scikit-learn send filters to other processes: there it matches nothing.
        return re.compile, ("(?!)",)


_FILTER: Any = ("ignore", _InOurCalls(), Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings in this context, regardless of the process's filters."""
    _put_first()
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def _put_first() -> None:
    """Move our filter before those added since the last call.

    An insertion is atomic under the interpreter's lock. Nothing is ever removed: another thread may
    be iterating over the list, and would skip a filter.
    """
    for filters in _lists():
        if not filters or filters[0] is not _FILTER:
            filters.insert(0, _FILTER)


def _lists() -> list[list[Any]]:
    """Return the process's filters and, since Python 3.14, this context's where it has some."""
    of_context: Callable[[], list[Any]] | None = getattr(warnings, "_get_filters", None)
    process: Any = warnings.filters
    own = of_context() if of_context is not None else process
    return [process] if own is process else [process, own]
