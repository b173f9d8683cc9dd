"""Lookup of a frame's column by a name given outside of a template."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from jupyter_batch.core.errors import ColumnError, InputError
from jupyter_batch.frames.adapter import is_frame, row_labels


def label_of(name: Any, columns: Sequence[Any], *, of: str = "the frame") -> Any:
    """Return the label equal to this name, else the one with the same string.

    Raises ColumnError with the nearest label, or with all.
    """
    same = [label for label in columns if type(label) is type(name) and label == name]
    found = same or [label for label in columns if str(label) == str(name)]
    if found:
        return found[0]
    near = difflib.get_close_matches(str(name), list(map(str, columns)), n=1)
    first = ", ".join(map(str, columns[:20]))
    hint = (
        f"; did you mean {near[0]!r}?"
        if near
        else f". Columns: {first}{', ...' if len(columns) > 20 else ''}"  # noqa: PLR2004
    )
    raise ColumnError(f"{of} has no column {name!r}{hint}", column=name)


@contextlib.contextmanager
def hints_at_index(source: Any) -> Iterator[None]:
    """Add the remedy to an error about a name that is no column, but a name of the frame's index."""
    try:
        yield
    except InputError as e:
        hinted = _with_index_hint(str(e), source, e.column)
        if hinted == str(e):
            raise
        raise type(e)(hinted, column=e.column) from None


def _with_index_hint(sentence: str, frame: Any, name: Any) -> str:
    """A sentence about a name that is no column, with the remedy where it is one of the index."""
    names = row_labels(frame).names if is_frame(frame) else ()
    if name is None or not any(str(name) == str(one) for one in names):
        return sentence
    dot = "" if sentence.endswith((".", ")")) else "."
    return f"{sentence}{dot} {name!r} is a name of the index: .reset_index() makes it a column"
