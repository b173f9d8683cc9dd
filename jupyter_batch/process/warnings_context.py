"""Keep warnings that a provider's library raises from becoming errors, in our calls alone.

Users run with `-W error`, and every test suite may. The libraries below us warn at import and in the
middle of a call (pydantic, about a type of litellm's); as an error such a warning ends the call after
the request went out, and leaves litellm's types half built for the rest of the process.

`warnings.catch_warnings` can't be used: up to Python 3.13 it replaces the filters of the whole
process, so two threads, or two tasks that overlap, restore each other's. Instead one filter is put
before all others, and it decides by a context variable, which every thread and task has to itself.
CPython asks a filter's message pattern for a match by calling its `match`, so the pattern may be any
object. Outside of our calls it matches nothing: what the user's own code warns of is treated as ever.
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
        """Whether a warning is to be dropped."""
        return _ours.get()

    def __reduce__(self) -> tuple[Any, ...]:
        # joblib and scikit-learn send the filters to other processes: there it is a pattern that never matches.
        return re.compile, ("(?!)",)


_FILTER: Any = ("ignore", _InOurCalls(), Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings of this context, whatever filters the process has."""
    _put_first()
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def _put_first() -> None:
    """Have our filter before those that were added since the last call.

    An insertion is one atomic step under the lock of the interpreter. Nothing is ever removed: another thread
    may be walking the list, and would skip a filter.
    """
    for filters in _lists():
        if not filters or filters[0] is not _FILTER:
            filters.insert(0, _FILTER)


def _lists() -> list[list[Any]]:
    """The process's filters, and since Python 3.14 those of this context where it has some."""
    of_context: Callable[[], list[Any]] | None = getattr(warnings, "_get_filters", None)
    process: Any = warnings.filters
    own = of_context() if of_context is not None else process
    return [process] if own is process else [process, own]
