"""A frame as it was at one moment, read in another thread, and whether it is still the same.

pandas from 3.0 on copies a column before it changes one that is shared (copy-on-write): a shallow
copy therefore stays as it was, and shares its columns as long as the frame has not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from jupyter_batch.frames.frame import column, is_single

_COPY_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3  # noqa: PLR2004 - pandas' version


class WatchedFrame:
    """A frame at the moment when this was made, in `frame`; columns: those that matter."""

    def __init__(self, frame: pd.DataFrame, columns: Sequence[Any]) -> None:
        self.frame = frame.copy(deep=False)
        self._columns = columns

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Sequence[Any]) -> WatchedFrame | None:
        """Watch a frame; None where a change could not be noticed: another library, objects."""
        if not _COPY_ON_WRITE or not isinstance(frame, pd.DataFrame):
            return None
        can = all(_memory(column(frame, label)) is not None for label in columns)
        return cls(frame, columns) if can else None

    def is_same(self, frame: pd.DataFrame) -> bool:
        """Whether a frame has these rows, with these labels, in this order."""
        return frame.index.is_(self.frame.index) and all(
            is_single(frame, label)
            and _memory(column(frame, label)) == _memory(column(self.frame, label))
            for label in self._columns
        )


def _memory(cells: pd.Series[Any]) -> object:
    """The identity of a column's memory; None where cells can change within it."""
    array: Any = cells.array
    if getattr(cells.dtype, "storage", "") == "pyarrow":
        return id(array.__arrow_array__())
    if cells.dtype.kind not in "biufmM" or not isinstance(array, pd.arrays.NumpyExtensionArray):
        return None
    interface = array.to_numpy().__array_interface__
    return interface["data"][0], interface["shape"], interface["strides"], interface["typestr"]
