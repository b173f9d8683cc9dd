"""Reading of rows and writing of cells, which must agree on a row's key and fingerprint.

A row's key is its index label; its fingerprint is a hash of its cells in the prompt's columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.core.errors import AlignmentError, ColumnError
from jupyter_batch.core.schema import Field
from jupyter_batch.frames.adapter import adapter_of, column_labels, is_frame, row_count, row_labels
from jupyter_batch.frames.canonical import HOLDERS, ordered
from jupyter_batch.frames.cells import column as array_of
from jupyter_batch.frames.cells import of_arrow
from jupyter_batch.frames.fingerprints import PLAIN, fingerprints_of, text_of, texts_of
from jupyter_batch.frames.hashing import BLAKE2B
from jupyter_batch.frames.labels import index_from_bytes, index_to_bytes, label_hashes
from jupyter_batch.frames.row_keys import Keys, by_content, pairs

__all__ = [
    "Block",
    "Keys",
    "align",
    "blocks",
    "column",
    "column_label",
    "column_labels",
    "copied",
    "fill",
    "fill_all",
    "has_column",
    "index_from_bytes",
    "index_to_bytes",
    "is_frame",
    "missing_reason",
    "row_count",
    "row_hashes",
    "row_labels",
    "used",
]

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Index: TypeAlias = Any  # pandas' stubs do not distinguish these types as at run time
    Series: TypeAlias = Any

BLOCK_ROWS = 512
BLOCK_CHARS = 1 << 22

# --- reading --------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """Some consecutive rows.

    start: the first one's position. values: a list of plain Python values for each used column,
    None if missing. missing: offset in the block -> the first column with a missing cell.
    fingerprints: 16 bytes a row.
    """

    start: int
    values: list[list[Any]]
    missing: dict[int, Any]
    fingerprints: list[bytes]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.fingerprints)


def used(frame: pd.DataFrame, columns: Sequence[Any]) -> None:
    """Check that each label is exactly one column of the frame. Raises ColumnError."""
    for label in columns:
        where = _places(frame, label)
        if not where:
            names = ", ".join(map(str, column_labels(frame)[:20]))
            raise ColumnError(f"the frame has no column {label!r}. Columns: {names}", column=label)
        if len(where) > 1:
            raise ColumnError(
                f"{len(where)} columns are called {label!r}, so that none can be meant: rename one"
            )


def _places(frame: pd.DataFrame, label: Any) -> list[int]:
    """Return the positions of this exact column label (0 is not False, no tuple paths)."""
    label = label.item() if isinstance(label, np.generic) else label
    return [
        at
        for at, name in enumerate(column_labels(frame))
        if name is label or (type(name) is type(label) and name == label)
    ]


def column(frame: pd.DataFrame, label: Any) -> Series:
    """Return the cells of the column with this exact label, which must exist."""
    return adapter_of(frame).column(frame, _places(frame, label)[0])


def copied(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy that later changes of the frame do not affect."""
    copy: pd.DataFrame = adapter_of(frame).copy(frame)
    return copy


def missing_reason(column: Any) -> str:
    """Return the reason for a skipped row."""
    return f"no value in column {column!r}"


def blocks(
    frame: pd.DataFrame,
    columns: Sequence[Any],
    size: int = BLOCK_ROWS,
    span: range | None = None,
    hashing: str = BLAKE2B,
) -> Iterator[Block]:
    """Yield the rows' cells in these columns in blocks, in one pass. Raises ColumnError as `used`.

    A block has at most `size` rows, and fewer if cells are long: some megabytes, or one row. span:
    the rows to read, if not all. hashing: the kind of the fingerprints.
    """
    used(frame, columns)
    series: list[Series] = [column(frame, label) for label in columns]
    start, count = (0, row_count(frame)) if span is None else (span.start, span.stop)
    rows = min(size, _FIRST_ROWS)
    while start < count:
        stop = min(start + rows, count)
        missing: dict[int, Any] = {}
        values, texts = [], []
        for label, held in zip(columns, series, strict=True):
            cells, absent = cells_of(held.iloc[start:stop])
            for offset in absent:
                missing.setdefault(offset, label)
            values.append(cells)
            texts.append(texts_of(cells))
        yield Block(start, values, missing, fingerprints_of(texts, stop - start, hashing))
        chars = sum(sum(map(len, filter(None, part))) for part in texts)
        chars += sum(_bytes_in(cells) for cells in values)
        rows = max(1, min(size, rows * 2, rows * BLOCK_CHARS // (chars + 1)))
        start = stop


_FIRST_ROWS = 8  # before the cells' lengths are known


def _bytes_in(cells: list[Any]) -> int:
    if not any(issubclass(kind, bytes) for kind in set(map(type, cells))):
        return 0
    return sum(len(cell) for cell in cells if isinstance(cell, bytes))


def cells_of(column: Series) -> tuple[list[Any], list[int]]:
    """Return (plain Python values with None for missing ones, their offsets)."""
    values: list[Any] = column.tolist()
    kinds = set(map(type, values))
    if kinds <= _NEVER_MISSING:
        return values, []
    absent: list[int] = np.flatnonzero(column.isna().to_numpy(dtype=bool)).tolist()
    if float in kinds and not isinstance(
        column.dtype, np.dtype
    ):  # arrow's NaN, which pandas may not count as missing
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


_NEVER_MISSING = frozenset({str, int, bool})


def _own(value: np.generic) -> Any:
    """Return a plain Python value, or pandas' own for a time: numpy returns integer nanoseconds."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    return pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item()


# --- writing --------------------------------------------------------------------------------------------------------


def align(frame: pd.DataFrame, columns: Sequence[Any], keys: Keys, *, alike: bool = False) -> Array:
    """Return each row's submitted position, as int64; -1 for a new row.

    `columns`: the labels that the fingerprints were computed over. Raises AlignmentError, with the
    number of moved or changed rows, where rows are ambiguous: no answer is merged into a row with
    another request.
    """
    labels, fingerprints = row_hashes(frame, columns, keys.hashing)
    return by_content(labels, fingerprints, keys, alike=alike)


def row_hashes(
    frame: pd.DataFrame, columns: Sequence[Any], hashing: str = BLAKE2B
) -> tuple[Array, Array]:
    """Return the rows' label hashes and fingerprints of a kind.

    Raises AlignmentError without columns.
    """
    try:
        every = blocks(frame, columns, hashing=hashing)
        fingerprints = pairs(b"".join(b"".join(block.fingerprints) for block in every))
    except ColumnError as error:
        raise AlignmentError(
            f"the frame's columns are not those that were submitted: {error}"
        ) from None
    return label_hashes(row_labels(frame)), fingerprints


def is_single(frame: pd.DataFrame, label: Any) -> bool:
    """Whether exactly one column has this label."""
    return len(_places(frame, label)) == 1


def identities(frame: pd.DataFrame, columns: Sequence[Any]) -> Array:
    """Return a fingerprint of each row by its cells' identities; only within a process."""
    texts = []
    for label in columns:
        cells, _ = cells_of(column(frame, label))
        texts.append([text_of(cell) if type(cell) in _VALUES else f"{id(cell)}" for cell in cells])
    return pairs(b"".join(fingerprints_of(texts, row_count(frame))))


_VALUES = PLAIN | {float, pd.Timestamp, pd.Timedelta, type(pd.NaT)}


def column_label(frame: pd.DataFrame, out: Any) -> Any:
    """Return the label for `out`: of several column levels the first, or a tuple of them."""
    levels = column_labels(frame).nlevels
    if levels == 1:
        return out
    parts = out if isinstance(out, tuple) else (out,)
    if len(parts) > levels:
        raise ColumnError(
            f"out={out!r} has {len(parts)} levels, and the frame's columns have {levels}"
        )
    return (*parts, *[""] * (levels - len(parts)))


def has_column(frame: pd.DataFrame, out: Any) -> bool:
    """Whether the column for `out` exists. Raises ColumnError where there are several."""
    where = _places(frame, column_label(frame, out))
    if len(where) > 1:
        raise ColumnError(
            f"{len(where)} columns are called {out!r}, so that none can be filled: rename one"
        )
    return bool(where)


def fill(
    frame: pd.DataFrame, out: Any, values: Sequence[Any], positions: Array | None = None
) -> None:
    """Write the answers to the column in place, atomically; an existing column keeps its position.

    values: by submitted position, None where there is none. positions: from `align`; None for the
    rows in order. A text column gets this pandas version's text dtype; missing cells are its
    missing value.
    """
    at = np.arange(row_count(frame)) if positions is None else positions
    fill_all(frame, {out: None}, lambda _: values, at)


def _with_spared(array: Any, held: Series, rows: Array) -> Any:
    """Return the array with the column's own cells in these rows, in its dtype if possible."""
    cells = pd.Series(array).astype(object).tolist()
    spared = held.iloc[rows].tolist()
    for row, cell in zip(rows.tolist(), spared, strict=True):
        cells[row] = cell
    plain: Any = np.fromiter(cells, dtype=object, count=len(cells))
    if any(isinstance(cell, np.ndarray | list | dict) for cell in spared):  # no text dtype
        return plain
    try:
        made = pd.Series(plain, dtype=array.dtype).array
    except (TypeError, ValueError):
        return plain
    lost = pd.isna(made[rows]) & ~held.iloc[rows].isna().to_numpy(dtype=bool)
    return plain if np.asarray(lost, dtype=bool).any() else made


def fill_all(
    frame: pd.DataFrame,
    columns: Mapping[Any, Field | None],
    values: Callable[[Any], Sequence[Any]],
    positions: Array,
    spare: Mapping[str, Array] = MappingProxyType({}),
) -> None:
    """Write several columns like `fill`: all are made before any is written.

    columns: each with the field that decides its dtype. values: by column, as for `fill`. spare:
    the rows of an existing column that keep their cells.
    """
    made = []
    for out, field in columns.items():
        held = values(out)
        array = of_arrow(held, positions) if field is None else None
        if array is None:
            held = held if isinstance(held, list) else list(held)
            cells = [held[position] if position >= 0 else None for position in positions.tolist()]
            array = array_of(cells, field)
        there = has_column(frame, out)
        if there and len(spare.get(out, ())):
            array = _with_spared(array, column(frame, column_label(frame, out)), spare[out])
        made.append((column_label(frame, out), array))
    for label, array in made:
        adapter_of(frame).fill(frame, next(iter(_places(frame, label)), None), label, array)
