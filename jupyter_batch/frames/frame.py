"""Rows out of a frame and cells back in: one file, because both must agree on a row's key and fingerprint.

A row's key is its label in the index; its fingerprint is a hash of its cells in the columns that the prompt uses. It
knows pandas, and nothing of prompts, requests or jobs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.core.errors import AlignmentError, ColumnError
from jupyter_batch.core.schema import Field
from jupyter_batch.frames.canonical import HOLDERS, content, ordered
from jupyter_batch.frames.cells import column as array_of
from jupyter_batch.frames.labels import index_from_bytes, index_to_bytes, label_hashes
from jupyter_batch.frames.row_keys import Keys, by_content, pairs

__all__ = [
    "Block",
    "Keys",
    "align",
    "blocks",
    "column_label",
    "fill",
    "fill_all",
    "has_column",
    "index_from_bytes",
    "index_to_bytes",
    "missing_reason",
    "row_hashes",
    "used",
]

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # pandas' own types are not told apart by their stubs in the way that they are at run time
    Series: TypeAlias = Any

BLOCK_ROWS = 512
BLOCK_CHARS = 1 << 22
FINGERPRINT_BYTES = 16

# --- rows out -------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some rows that follow each other.

    start: the first one's position. values: for each used column a list of plain Python values, None where one is
    missing. missing: offset in the block -> the first column whose cell is missing. fingerprints: 16 bytes a row.
    """

    start: int
    values: list[list[Any]]
    missing: dict[int, Any]
    fingerprints: list[bytes]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.fingerprints)


def used(frame: pd.DataFrame, columns: Sequence[Any]) -> None:
    """Each label stands for exactly one column of the frame, else ColumnError."""
    for label in columns:
        where = _places(frame, label)
        if not where:
            names = ", ".join(map(str, frame.columns[:20]))
            raise ColumnError(f"the frame has no column {label!r}. Columns: {names}")
        if len(where) > 1:
            raise ColumnError(
                f"{len(where)} columns are called {label!r}, so that none can be meant: rename one"
            )


def _places(frame: pd.DataFrame, label: Any) -> list[int]:
    """Where this very label stands among the columns (0 is no False, and a tuple is no path)."""
    label = label.item() if isinstance(label, np.generic) else label
    return [
        at
        for at, name in enumerate(frame.columns)
        if name is label or (type(name) is type(label) and name == label)
    ]


def missing_reason(column: Any) -> str:
    """Why a row was skipped."""
    return f"no value in column {column!r}"


def blocks(frame: pd.DataFrame, columns: Sequence[Any], size: int = BLOCK_ROWS) -> Iterator[Block]:
    """The rows' cells in these columns, a block at a time, in one pass. Raises ColumnError as `used` does.

    A block is of at most `size` rows, and of fewer where cells are long: of some megabytes, or of one row.
    """
    used(frame, columns)
    series: list[Series] = [frame.iloc[:, _places(frame, label)[0]] for label in columns]
    start, rows = 0, min(size, _FIRST_ROWS)
    while start < len(frame):
        stop = min(start + rows, len(frame))
        missing: dict[int, Any] = {}
        values, texts = [], []
        for label, column in zip(columns, series, strict=True):
            cells, absent = _cells(column.iloc[start:stop])
            for offset in absent:
                missing.setdefault(offset, label)
            values.append(cells)
            texts.append(_texts(cells))
        yield Block(start, values, missing, _fingerprints(texts, stop - start))
        chars = sum(len(text) for column in texts for text in column if text is not None)
        chars += sum(len(cell) for cells in values for cell in cells if isinstance(cell, bytes))
        rows = max(1, min(size, rows * 2, rows * BLOCK_CHARS // (chars + 1)))
        start = stop


_FIRST_ROWS = 8  # before it is known how long the cells are


def _cells(column: Series) -> tuple[list[Any], list[int]]:
    """(plain Python values with None for missing ones, the offsets of those)."""
    values: list[Any] = column.tolist()
    absent: list[int] = np.flatnonzero(column.isna().to_numpy(dtype=bool)).tolist()
    kinds = set(map(type, values))
    if float in kinds and not isinstance(
        column.dtype, np.dtype
    ):  # arrow's own NaN, which pandas may not call missing
        nans = (
            at for at, value in enumerate(values) if isinstance(value, float) and math.isnan(value)
        )
        absent = sorted({*absent, *nans})
    if any(issubclass(kind, np.generic) for kind in kinds):
        values = [_own(value) if isinstance(value, np.generic) else value for value in values]
    if not kinds.isdisjoint(HOLDERS):
        values = [ordered(value) for value in values]
    for at in absent:
        values[at] = None
    return values, absent


def _own(value: np.generic) -> Any:
    """A plain Python value, or pandas' own for a time: numpy makes integers of nanoseconds."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    return pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item()


_PLAIN = frozenset({str, int, bool, type(None)})


def _texts(cells: list[Any]) -> list[str | None]:
    """What a fingerprint sees of each cell; None for a missing one.

    1 and 1.0 are the same: pandas turns one into the other as soon as a value is missing somewhere.
    """
    kinds = set(map(type, cells))
    if kinds <= {str, type(None)}:
        return cells
    if kinds <= _PLAIN:
        return [None if cell is None else str(cell) for cell in cells]
    return [_text(cell) for cell in cells]


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(int(cell)) if math.isfinite(cell) and cell.is_integer() else repr(cell)
    return content(cell)


_ABSENT = blake2b(b"\xff", digest_size=FINGERPRINT_BYTES).digest()  # no text's: this is no UTF-8


def _fingerprints(columns: list[list[str | None]], rows: int) -> list[bytes]:
    """One hash a row, over each cell's text with its length, so that ("a", "bc") is not ("ab", "c"), nor missing ""."""
    if not columns:
        return [_ABSENT] * rows
    if len(columns) == 1:
        return _hashed(columns[0])
    parts = [
        ["-;" if text is None else f"{len(text)};{text}" for text in column] for column in columns
    ]
    return _hashed(list(map("".join, zip(*parts, strict=True))))


def _hashed(texts: Sequence[str | None]) -> list[bytes]:
    try:
        return [
            _ABSENT
            if text is None
            else blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest()
            for text in texts
        ]
    except UnicodeEncodeError:  # lone surrogates
        return [
            _ABSENT
            if text is None
            else blake2b(
                text.encode("utf-8", "surrogatepass"), digest_size=FINGERPRINT_BYTES
            ).digest()
            for text in texts
        ]


# --- cells in -------------------------------------------------------------------------------------------------------


def align(frame: pd.DataFrame, columns: Sequence[Any], keys: Keys, *, alike: bool = False) -> Array:
    """For each row of the frame the position that it was submitted at, as int64; -1 for a row that is new.

    `columns` are the labels that the fingerprints were taken over. Raises AlignmentError, with the number of rows that
    moved or changed, where a row can't be told: no answer lands on a row that asked something else.
    """
    labels, prints = row_hashes(frame, columns)
    return by_content(labels, prints, keys, alike=alike)


def row_hashes(frame: pd.DataFrame, columns: Sequence[Any]) -> tuple[Array, Array]:
    """The hashes of the rows' labels, and their fingerprints over these columns. Raises AlignmentError without them."""
    try:
        prints = pairs(b"".join(b"".join(block.fingerprints) for block in blocks(frame, columns)))
    except ColumnError as error:
        raise AlignmentError(
            f"the frame's columns are not those that were submitted: {error}"
        ) from None
    return label_hashes(frame.index), prints


def is_single(frame: pd.DataFrame, label: Any) -> bool:
    """Whether just one column has this very label."""
    return len(_places(frame, label)) == 1


def identities(frame: pd.DataFrame, columns: Sequence[Any]) -> Array:
    """A fingerprint of each row in these columns, by which objects its cells are; for frames of one process."""
    texts = []
    for label in columns:
        cells, _ = _cells(frame.iloc[:, _places(frame, label)[0]])
        texts.append([_text(cell) if type(cell) in _VALUES else f"{id(cell)}" for cell in cells])
    return pairs(b"".join(_fingerprints(texts, len(frame))))


_VALUES = _PLAIN | {float, pd.Timestamp, pd.Timedelta, type(pd.NaT)}


def column_label(frame: pd.DataFrame, out: Any) -> Any:
    """The label that `out` stands for: with several levels of columns it is the first, or the first few as a tuple."""
    levels = frame.columns.nlevels
    if levels == 1:
        return out
    parts = out if isinstance(out, tuple) else (out,)
    if len(parts) > levels:
        raise ColumnError(
            f"out={out!r} has {len(parts)} levels, and the frame's columns have {levels}"
        )
    return (*parts, *[""] * (levels - len(parts)))


def has_column(frame: pd.DataFrame, out: Any) -> bool:
    """Whether the column that `out` stands for is there. Raises ColumnError where there are several."""
    where = _places(frame, column_label(frame, out))
    if len(where) > 1:
        raise ColumnError(
            f"{len(where)} columns are called {out!r}, so that none can be filled: rename one"
        )
    return bool(where)


def place_of(frame: pd.DataFrame, out: Any) -> int:
    """The position among the columns of the one that `out` stands for, which is there."""
    return _places(frame, column_label(frame, out))[0]


def fill(frame: pd.DataFrame, out: Any, values: Sequence[Any], positions: Array) -> None:
    """Put the answers into the column, in this very frame and at one stroke; a column that is there keeps its place.

    values: by submitted position, None where there is none. positions: as `align` gives them. A text column gets the
    dtype that this pandas gives to texts; missing cells are its missing value.
    """
    fill_all(frame, {out: None}, lambda _: values, positions)


def _with_spared(array: Any, held: Series, rows: Array) -> Any:
    """The array with the column's own cells in these rows; of the same dtype, where that can hold them."""
    cells = pd.Series(array).astype(object).tolist()
    for row, cell in zip(rows.tolist(), held.iloc[rows].tolist(), strict=True):
        cells[row] = cell
    plain: Any = np.fromiter(cells, dtype=object, count=len(cells))
    try:
        made = pd.Series(plain, dtype=array.dtype).array
    except (TypeError, ValueError):
        return plain
    return plain if pd.isna(made[rows]).any() else made


def fill_all(
    frame: pd.DataFrame,
    columns: Mapping[Any, Field | None],
    values: Callable[[Any], Sequence[Any]],
    positions: Array,
    spare: Mapping[str, Array] = MappingProxyType({}),
) -> None:
    """The same for several columns: nothing is written before all of them are made.

    columns: each with the field that says of what dtype it is. values: a column's values, as `fill` takes them. spare:
    the rows of a column that is there whose cells stay.
    """
    at = positions.tolist()
    made = []
    for out, field in columns.items():
        held = values(out)
        cells = [held[position] if position >= 0 else None for position in at]
        array, there = array_of(cells, field), has_column(frame, out)
        if there and len(spare.get(out, ())):
            array = _with_spared(array, frame.iloc[:, place_of(frame, out)], spare[out])
        made.append((out, column_label(frame, out), there, array))
    for out, label, there, array in made:
        if there:
            frame.isetitem(_places(frame, column_label(frame, out))[0], array)
            continue
        if isinstance(frame.columns, pd.CategoricalIndex) and label not in frame.columns.categories:
            frame.columns = frame.columns.add_categories([label])
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", pd.errors.PerformanceWarning
            )  # many columns: that is not our business
            frame.insert(len(frame.columns), label, array)
