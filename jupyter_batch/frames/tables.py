"""Frames of other libraries, which don't change in place: polars, and all that speak the Arrow C stream.

A job holds such a frame as a `Table`: the unchanged source, and the columns that answers fill.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from jupyter_batch.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# --- which values are frames ----------------------------------------------------------------------------------------

_INSTEAD = {
    "polars LazyFrame": "has no rows yet: give df.collect()",
    "polars Series": "is no frame: give series.to_list(), or series.to_frame()",
    "pyarrow": "is no frame: give a pyarrow.table({...})",
    "dask": "may be larger than memory: give df.compute(), or one df.get_partition(k).compute() after the other",
    "modin": "is no pandas DataFrame: give df._to_pandas()",
    "cudf": "is no pandas DataFrame: give df.to_pandas()",
    "pyspark": "is no pandas DataFrame: give df.toPandas()",
    "ibis": "is no pandas DataFrame: give table.to_pyarrow()",
}
"""Replacements for values that are not read, by library or kind."""
_STREAM = "__arrow_c_stream__"


def is_table(value: Any) -> bool:
    """Whether a Table can be made of this value; cheap, for any value."""
    if _library(value) == "polars":
        return type(value).__name__ == "DataFrame"
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        return False
    return hasattr(type(value), _STREAM) and type(value).__name__ != "ChunkedArray"


def table_of(value: Any) -> Any:
    """The Table of a frame of another library; any other value unchanged.

    Raises InputError, with what to give in its place, for one that can't be read.
    """
    library, kind = _library(value), type(value).__name__
    if is_table(value):
        return PolarsTable.of(value) if library == "polars" else ArrowTable.of(value)
    instead = _INSTEAD.get(f"{library} {kind}") or _INSTEAD.get(library)
    if instead is not None:
        raise InputError(f"{library} {kind} {instead}")
    return value


def as_given(frame: Any) -> Any:
    """The frame of its own library for a Table; any other value unchanged."""
    return frame.native() if isinstance(frame, Table) else frame


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def names_of(value: Any) -> list[str]:
    """The columns of a value that `is_table`, without reading a row; [] where that is not known."""
    names: Any = getattr(value, "column_names", None) or getattr(value, "columns", ())
    return [name for name in names if isinstance(name, str)]


# --- tables ---------------------------------------------------------------------------------------------------------


class Table(ABC):
    """A frame that stays as it is.

    source: the user's object. content: its rows at that moment. filled: cells by column, as arrays of pandas or
    numpy. kinds: filled columns whose type is not in their cells: "date" (pandas holds times), "vector" (none has
    come yet).
    """

    def __init__(self, source: Any, content: Any) -> None:
        self.source = source
        self.content = content
        self.filled: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}

    @classmethod
    @abstractmethod
    def of(cls, source: Any) -> Self:
        """The Table of a user's object. Raises InputError where it can't be read."""

    @property
    def columns(self) -> pd.Index[Any]:
        """The names of all columns, the filled ones last where the source lacks them."""
        import pandas as pd

        names = self.names()
        return pd.Index(
            [*names, *(name for name in self.filled if name not in names)], dtype=object
        )

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of rows."""

    @abstractmethod
    def names(self) -> list[str]:
        """The columns of the source."""

    @abstractmethod
    def read(self, place: int) -> pd.Series[Any]:
        """The cells of a column of the source."""

    @abstractmethod
    def part(self, rows: Sequence[int]) -> Any:
        """These rows of the content."""

    def taken(self, rows: Sequence[int]) -> Self:
        """A Table of these rows, with the filled cells in them."""
        import pandas as pd

        part = self.part(rows)
        made = type(self)(part, part)
        for name, cells in self.filled.items():
            made.filled[name] = pd.Series(cells).take(list(rows)).array
        return made

    @abstractmethod
    def native(self) -> Any:
        """A new frame of the library, with the columns filled so far."""

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """The filled columns as Arrow arrays."""
        import pyarrow as pa

        for name, cells in self.filled.items():
            made, kind = arrow_of(cells), self.kinds.get(name)
            if kind == "date" and pa.types.is_timestamp(made.type):
                made = made.cast(pa.date32())
            elif kind == "vector" and pa.types.is_null(made.type):
                made = made.cast(pa.list_(pa.float32()))
            yield name, made


class PolarsTable(Table):
    """A polars DataFrame."""

    @classmethod
    def of(cls, source: Any) -> Self:
        """A clone, without its memory: later changes in place, such as `df[0, "text"] = ""`, are not in it."""
        _arrow("polars")
        return cls(source, source.clone())

    @property
    def rows(self) -> int:
        """The frame's height."""
        return int(self.content.height)

    def names(self) -> list[str]:
        """The frame's columns."""
        return list(self.content.columns)

    def read(self, place: int) -> pd.Series[Any]:
        """A column by way of Arrow; Python objects, and integers of 128 bits, which Arrow lacks, as they are."""
        import pandas as pd
        import polars as pl

        column = self.content.to_series(place)
        if str(column.dtype).startswith(("Object", "Int128", "UInt128")):
            return pd.Series(column.to_list(), dtype=object)
        return series(column.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def part(self, rows: Sequence[int]) -> Any:
        """A frame of these rows."""
        import polars as pl

        return self.content[pl.Series(rows, dtype=pl.Int64)]

    def native(self) -> Any:
        """A polars DataFrame; a column of the source keeps its position."""
        import polars as pl

        return self.content.with_columns([pl.Series(name, made) for name, made in self.arrays()])


class ArrowTable(Table):
    """A table of pyarrow, read from whatever speaks the Arrow C stream."""

    @classmethod
    def of(cls, source: Any) -> Self:
        """The table, or a stream's rows, which are all read."""
        return cls(source, _read(source))

    @property
    def rows(self) -> int:
        """The table's rows."""
        return int(self.content.num_rows)

    def names(self) -> list[str]:
        """The table's columns."""
        return list(self.content.column_names)

    def read(self, place: int) -> pd.Series[Any]:
        """A column of the table."""
        return series(_without_views(self.content.select([place])).column(0))

    def part(self, rows: Sequence[int]) -> Any:
        """A table of these rows."""
        import pyarrow as pa

        return _without_views(self.content).take(pa.array(rows, pa.int64()))

    def native(self) -> Any:
        """A pyarrow Table; a column of the source keeps its position."""
        table, names = self.content, self.names()
        for name, made in self.arrays():
            if name in names:
                table = table.set_column(names.index(name), name, made)
            else:
                table = table.append_column(name, made)
        return table


def _read(source: Any) -> Any:
    """The pyarrow Table of a stream. Raises InputError for one that has no columns."""
    kind = f"{_library(source)} {type(source).__name__}"
    pa = _arrow(kind)
    try:
        return source if isinstance(source, pa.Table) else _from_stream(pa, source)
    except (pa.ArrowException, TypeError, ValueError) as e:
        raise InputError(f"the {kind} is not read as a table: {e}") from None


def _without_views(table: Any) -> Any:
    """The table with plain columns in place of views, which few functions of pyarrow take."""
    import pyarrow as pa

    kinds = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
    for place, field in enumerate(table.schema):
        if (kind := kinds.get(str(field.type))) is not None:
            column = table.column(place)
            try:
                plain = column.cast(kind)
            except pa.ArrowNotImplementedError:  # in older versions
                plain = pa.chunked_array([pa.array(column.to_pylist(), kind)])
            table = table.set_column(place, field.name, plain)
    return table


def _from_stream(pa: Any, source: Any) -> Any:
    """All rows of a stream, without its empty batches, which pyarrow can't take rows from."""
    reader = pa.RecordBatchReader.from_stream(source)
    return pa.Table.from_batches([one for one in reader if one.num_rows], reader.schema)


def _arrow(kind: str) -> Any:
    """The module pyarrow. Raises InputError where it is not installed."""
    try:
        import pyarrow as pa
    except ImportError:
        raise InputError(f"{kind} frames are read by pyarrow: pip install pyarrow") from None
    return pa


def is_same(one: Any, other: Any) -> bool:
    """Whether two Tables have the same content."""
    return isinstance(one, Table) and isinstance(other, Table) and one.content is other.content


# --- cells ----------------------------------------------------------------------------------------------------------


def series(column: Any) -> pd.Series[Any]:
    """The cells of an Arrow column, in its memory where pandas can: integers stay integers next to missing cells."""
    import pandas as pd
    import pyarrow as pa

    held = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    kinds = pa.types
    if kinds.is_dictionary(held.type):
        held = held.cast(held.type.value_type)
    if kinds.is_string(held.type) or kinds.is_large_string(held.type):
        texts: Any = pd.Series([""]).dtype
        if getattr(texts, "storage", "") == "pyarrow":  # pandas' own, which is read fastest
            return pd.Series(texts.__from_arrow__(held.cast(pa.large_string())))
    numbers = kinds.is_integer(held.type) or kinds.is_floating(held.type)
    if numbers and not held.null_count:
        return pd.Series(held.to_numpy())
    return pd.Series(pd.arrays.ArrowExtensionArray(held))


def arrow_of(cells: Any) -> Any:
    """The Arrow array of a filled column; cells that have no type in common are JSON texts."""
    import pyarrow as pa

    from jupyter_batch.core.request import ToolCalls
    from jupyter_batch.frames.table_file import whole

    mixed = cells.dtype == object and any(isinstance(cell, ToolCalls) for cell in cells)
    try:
        if not mixed:
            return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, TypeError):
        pass
    return pa.array([whole(cell) for cell in cells], from_pandas=True)


# --- the adapter ----------------------------------------------------------------------------------------------------


class Tables:
    """The FrameAdapter of Tables."""

    def accepts(self, value: Any) -> bool:
        """Whether it is a Table."""
        return isinstance(value, Table)

    def row_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the rows' numbers."""
        import pandas as pd

        return pd.RangeIndex(frame.rows)

    def column_labels(self, frame: Any) -> pd.Index[Any]:
        """Return the columns' names."""
        labels: pd.Index[Any] = frame.columns
        return labels

    def column(self, frame: Any, place: int) -> pd.Series[Any]:
        """Return the filled cells, else those of the source."""
        import pandas as pd

        label = frame.columns[place]
        cells: pd.Series[Any] = (
            pd.Series(frame.filled[label]) if label in frame.filled else frame.read(place)
        )
        return cells

    def fill(self, frame: Any, place: int | None, label: Any, cells: Any) -> None:
        """Keep the column with the source."""
        frame.filled[label if place is None else frame.columns[place]] = cells

    def copy(self, frame: Any) -> Any:
        """Return a Table of the same source, which stays as it is."""
        made = copy(frame)
        made.filled = dict(frame.filled)
        return made

    def take(self, frame: Any, rows: Sequence[int]) -> Any:
        """Return a Table of these rows."""
        return frame.taken(rows)
