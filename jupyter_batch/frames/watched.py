"""A frame as it was at one moment, read in another thread, and whether it is still the same.

pandas from 3.0 on copies a column before it changes one that is shared (copy-on-write): a shallow
copy therefore stays as it was, and shares its columns as long as the frame has not changed. Numbers
can be changed without that (`df["n"].array[0] = 7`, an array that the frame shares): they are hashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from weakref import ref

import numpy as np
import pandas as pd

from jupyter_batch.frames.frame import column, is_single
from jupyter_batch.frames.tables import Table, is_same

_COPY_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3  # noqa: PLR2004 - pandas' version


class WatchedFrame:
    """A frame at the moment when this was made, in `frame`; columns: those that matter."""

    def __init__(self, frame: pd.DataFrame, columns: Sequence[Any]) -> None:
        self.frame = frame.copy(deep=False)
        self._marks = {label: _mark(column(self.frame, label)) for label in columns}

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Sequence[Any]) -> WatchedFrame | None:
        """Watch a frame; None where a change could not be noticed: another library, objects."""
        if isinstance(frame, Table):
            return WatchedTable(frame)
        if not _COPY_ON_WRITE or not isinstance(frame, pd.DataFrame):
            return None
        watched = cls(frame, columns)
        return None if None in watched._marks.values() else watched

    def is_same(self, frame: pd.DataFrame) -> bool:
        """Whether a frame has these rows, with these labels, in this order."""
        return frame.index.is_(self.frame.index) and all(
            is_single(frame, label) and _mark(column(frame, label)) == mark
            for label, mark in self._marks.items()
        )


class WatchedTable(WatchedFrame):
    """A frame of a library whose frames don't change."""

    def __init__(self, frame: Table) -> None:
        self.frame: Any = frame

    def is_same(self, frame: Any) -> bool:
        """Whether it is of the same source."""
        return is_same(self.frame, frame)


class FrameMark:
    """The state of a frame, by which a change is noticed, without its columns' memory."""

    def __init__(self, frame: pd.DataFrame, columns: Sequence[Any]) -> None:
        self._index = frame.index
        self._marks = {label: _weak_mark(column(frame, label)) for label in columns}

    @property
    def is_known(self) -> bool:
        """Whether any change would be noticed."""
        return None not in self._marks.values()

    def is_same(self, frame: pd.DataFrame, columns: Sequence[Any]) -> bool:
        """Whether a frame has the same labels and cells, in the same columns and order."""
        return (
            frame.index.is_(self._index)
            and tuple(columns) == tuple(self._marks)
            and all(_weak_mark(column(frame, label)) == self._marks[label] for label in columns)
        )


def _weak_mark(cells: pd.Series[Any]) -> object:
    """As `_mark`, of a column that may be gone by the time it is compared."""
    held = arrow_of(cells)
    return _mark(cells) if held is None else _Identity(held)


class _Identity:
    """An object that may be gone: equal to itself alone."""

    def __init__(self, held: Any) -> None:
        self._held = ref(held)

    def __eq__(self, other: object) -> bool:
        held = self._held()
        return held is not None and isinstance(other, _Identity) and other._held() is held

    __hash__ = None  # type: ignore[assignment]


def arrow_of(cells: pd.Series[Any]) -> Any:
    """The array of a column of texts in Arrow's memory, which never changes; None for others."""
    is_arrow = getattr(cells.dtype, "storage", "") == "pyarrow"
    return cells.array.__arrow_array__() if is_arrow else None


def _mark(cells: pd.Series[Any]) -> object:
    """A mark that changes with a column's cells; None where cells can change within themselves."""
    array, held = cells.array, arrow_of(cells)
    if held is not None:
        return id(held)
    if cells.dtype.kind not in "biufmM" or not isinstance(array, pd.arrays.NumpyExtensionArray):
        return None
    held = np.ascontiguousarray(array.to_numpy()).view(np.uint8)
    return str(cells.dtype), blake2b(held.data, digest_size=16).digest()
