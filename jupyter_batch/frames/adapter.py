"""Frame libraries: an adapter for each, and the functions through which the package reads frames.

A library is added by an object with the methods of FrameAdapter and a call of `register`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_batch.core.errors import InputError
from jupyter_batch.frames.tables import Tables, is_table, names_of, table_of

if TYPE_CHECKING:
    import pandas as pd


class FrameAdapter(Protocol):
    """The operations on the frames of a library. Rows and columns are counted from 0."""

    def accepts(self, value: Any) -> bool:
        """Whether this is a frame of the library."""

    def row_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the label of each row; a library without labels returns their numbers."""

    def column_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the label of each column."""

    def column(self, frame: Any, place: int) -> pd.Series[Any]:
        """Return a column's cells."""

    def fill(self, frame: Any, place: int | None, label: Any, cells: Any) -> None:
        """Write a column in place; a new column, with this label, where place is None.

        cells: a one-dimensional array of pandas or numpy, None or NaN where there is no value.
        """

    def copy(self, frame: Any) -> Any:
        """Return a copy that later changes of the frame do not affect."""

    def take(self, frame: Any, rows: Sequence[int]) -> Any:
        """Return a new frame of these rows, in this order."""


TAKEN_ROWS = 65_536
"""Rows of a block from which rows are taken."""


class PandasFrames:
    """Frames of pandas."""

    def accepts(self, value: Any) -> bool:
        """As FrameAdapter, as all methods here; pandas is not imported before a frame exists."""
        pandas = sys.modules.get("pandas")
        return pandas is not None and isinstance(value, pandas.DataFrame)

    def row_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the index."""
        labels: pd.Index[Any] = frame.index
        return labels

    def column_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the columns' index."""
        labels: pd.Index[Any] = frame.columns
        return labels

    def column(self, frame: Any, place: int) -> pd.Series[Any]:
        """Return the column itself."""
        cells: pd.Series[Any] = frame.iloc[:, place]
        return cells

    def fill(self, frame: Any, place: int | None, label: Any, cells: Any) -> None:
        """Replace a column, or insert it as the last."""
        import pandas as pd

        if place is not None:
            frame.isetitem(place, cells)
            return
        if isinstance(frame.columns, pd.CategoricalIndex) and label not in frame.columns.categories:
            frame.columns = frame.columns.add_categories([label])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # many columns
            frame.insert(len(frame.columns), label, cells)

    def copy(self, frame: Any) -> Any:
        """Return a deep copy."""
        return frame.copy()

    def take(self, frame: Any, rows: Sequence[int]) -> Any:
        """Return a copy of these rows; rows in order by blocks, since Arrow's `take` joins all that it reads."""
        import numpy as np
        import pandas as pd

        at = np.asarray(rows, dtype=np.int64)
        if len(frame) <= TAKEN_ROWS or not len(at) or (np.diff(at) <= 0).any():
            return frame.iloc[rows].copy()
        starts = np.unique(at - at % TAKEN_ROWS)
        first = np.searchsorted(at, starts)
        parts = zip(starts.tolist(), np.split(at, first[1:]), strict=True)
        return pd.concat(
            [frame.iloc[start : start + TAKEN_ROWS].iloc[some - start] for start, some in parts]
        )


_ADAPTERS: list[FrameAdapter] = [PandasFrames(), Tables()]


def register(adapter: FrameAdapter) -> None:
    """Add a frame library: jobs accept its frames, and fill them."""
    _ADAPTERS.append(adapter)


def is_frame(value: Any) -> bool:
    """Whether a registered library accepts this value."""
    return any(adapter.accepts(value) for adapter in _ADAPTERS)


def is_readable(value: Any) -> bool:
    """Whether `as_frame` returns a frame for it."""
    return is_frame(value) or is_table(value)


def as_frame(value: Any) -> Any:
    """A frame that jobs can fill: of other libraries a Table; any other value unchanged. Raises InputError."""
    return value if is_frame(value) else table_of(value)


def adapter_of(frame: Any) -> FrameAdapter:
    """Return the adapter of a frame. Raises InputError for anything else."""
    for adapter in _ADAPTERS:
        if adapter.accepts(frame):
            return adapter
    raise InputError(f"answers are put onto a DataFrame, not a {type(frame).__name__}")


def row_labels(frame: Any) -> pd.Index[Any]:
    """Return the label of each row."""
    return adapter_of(frame).row_labels(frame)


def column_labels(frame: Any) -> pd.Index[Any]:
    """Return the label of each column."""
    return adapter_of(frame).column_labels(frame)


def column_names(value: Any) -> list[str]:
    """Return the names of a frame's columns, each once, without reading a row; also where a Table can be made of it."""
    labels = column_labels(value) if is_frame(value) else names_of(value)
    return list(dict.fromkeys(map(str, labels)))


def row_count(frame: Any) -> int:
    """Return the number of rows."""
    return len(row_labels(frame))


def taken(frame: Any, rows: Any) -> Any:
    """Return a new frame of the rows at these positions, an array."""
    return adapter_of(frame).take(frame, rows.tolist())


def sampled(frame: Any, most: int) -> Any:
    """Return a new frame of up to `most` rows, in their order; each time the same."""
    import numpy as np

    count = row_count(frame)
    chosen = np.random.default_rng(0).choice(count, min(most, count), replace=False)
    return taken(frame, np.sort(chosen))
