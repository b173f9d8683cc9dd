"""Rows of texts and numbers as Arrow arrays: read and hashed without a Python object a cell.

Fingerprints equal those of frames/hashing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.frames.adapter import row_count, row_labels
from jupyter_batch.frames.fingerprints import texts_of
from jupyter_batch.frames.frame import cells_of, column, used
from jupyter_batch.frames.hashing import BLAKE2B, hashes

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Series: TypeAlias = Any

_FIRST_ROWS = 64  # before the cells' lengths are known
_FEW_ROWS = 512  # that are read once more, one by one
_MOST_ROWS = 4096
_BLOCK_BYTES = 1 << 20
_TEXTS = frozenset({str, int, float, bool})


class TextBlock(NamedTuple):
    """Some consecutive rows. columns: an Arrow array of texts each. fingerprints: 16 bytes a row.

    is_text: whether a column has texts alone, integers alone (False), or others (None). escaped:
    the columns as in JSON, once they are made, by number.
    """

    rows: range
    columns: list[Any]
    fingerprints: bytes
    is_text: list[bool | None]
    escaped: dict[int, Any]


def text_blocks(
    frame: pd.DataFrame, columns: Sequence[Any], hashing: str = BLAKE2B
) -> Iterator[tuple[range, TextBlock | None]]:
    """Yield the rows in blocks; None for one with a missing cell, or a cell of another type.

    hashing: the kind of the fingerprints; without it there are none. Raises ColumnError as
    `frames.used`. A block has about a megabyte, or one row.
    """
    used(frame, columns)
    start, count, size = 0, row_count(frame), _FIRST_ROWS
    is_known = bool(columns) and has_arrow()
    each = [_texts(column(frame, label)) for label in columns] if is_known else []
    while start < count:
        rows = range(start, min(start + size, count))
        block = _text_block(each, rows, hashing) if is_known else None
        yield rows, block
        if block is None:
            size = min(size, _FEW_ROWS)
        else:
            held = sum(text.nbytes for text in block.columns) + 1
            size = max(1, min(_MOST_ROWS, len(rows) * 4, len(rows) * _BLOCK_BYTES // held))
        start = rows.stop


def has_arrow() -> bool:
    """Whether pyarrow is installed."""
    try:
        import pyarrow.compute  # noqa: F401 - whether it is installed
    except ImportError:
        return False
    return True


def _text_block(
    each: Sequence[Callable[[range], _Texts | None]], rows: range, hashing: str
) -> TextBlock | None:
    found = [texts_in(rows) for texts_in in each]
    known = [texts for texts in found if texts is not None]
    if len(known) < len(found):
        return None
    shown, is_text = [texts.shown for texts in known], [texts.is_text for texts in known]
    if not hashing:
        return TextBlock(rows, shown, b"", is_text, {})
    data, offsets = spans(_joined([texts.hashed for texts in known]))
    ends = offsets.tolist()
    return TextBlock(rows, shown, hashes(hashing, data, ends[:-1], ends[1:]), is_text, {})


class _Texts(NamedTuple):
    """The texts of some cells in a prompt, and in a fingerprint. is_text: as of `TextBlock`."""

    shown: Any
    hashed: Any
    is_text: bool | None


def _texts(cells: Series) -> Callable[[range], _Texts | None]:
    """Return a function of rows of a column, whose texts are None where a cell is missing or unknown."""
    import pyarrow as pa

    texts = pa.large_string()
    if isinstance(cells.dtype, pd.StringDtype) and cells.dtype.storage == "pyarrow":
        held = pa.array(cells)

        def of_texts(rows: range) -> _Texts | None:
            some = held.slice(rows.start, len(rows))
            if some.null_count:
                return None
            some = some.combine_chunks() if isinstance(some, pa.ChunkedArray) else some
            some = some.cast(texts)
            return _Texts(some, some, True)

        return of_texts
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iu":
        numbers = cells.to_numpy()

        def of_numbers(rows: range) -> _Texts | None:
            some = pa.array(numbers[rows.start : rows.stop]).cast(texts)
            return _Texts(some, some, False)

        return of_numbers
    return lambda rows: _texts_of_values(cells.iloc[rows.start : rows.stop])


def _texts_of_values(cells: Series) -> _Texts | None:
    """The texts of cells that are Python objects."""
    import pyarrow as pa

    texts = pa.large_string()
    values, absent = cells_of(cells)
    kinds = set(map(type, values))
    if absent or not kinds <= _TEXTS:
        return None
    try:
        shown = pa.array(list(map(str, values)), texts)
        hashed = pa.array(texts_of(values), texts) if float in kinds else shown
        return _Texts(shown, hashed, next(iter(kinds)) is str if kinds in ({str}, {int}) else None)
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates
        return None


def label_texts(frame: pd.DataFrame, rows: range) -> tuple[Any, bool] | None:
    """The labels of some rows as an Arrow array of texts, and whether they are texts.

    None for labels that are neither texts nor integers.
    """
    import pyarrow as pa

    labels = row_labels(frame)
    if isinstance(labels, pd.MultiIndex):
        return None
    some = labels[rows.start : rows.stop]
    if isinstance(some.dtype, np.dtype) and some.dtype.kind in "iu":
        return pa.array(some.to_numpy()).cast(pa.large_string()), False
    values = some.tolist()
    if set(map(type, values)) != {str}:
        return None
    try:
        return pa.array(values, pa.large_string()), True
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates
        return None


def _joined(columns: list[Any]) -> Any:
    """The text of each row that its fingerprint is a hash of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(columns) == 1:
        return columns[0]
    texts = pa.large_string()
    parts = []
    for held in columns:
        parts += [pc.utf8_length(held).cast(texts), pa.scalar(";", texts), held]
    return pc.binary_join_element_wise(*parts, pa.scalar("", texts))


def spans(texts: Any) -> tuple[bytes, Array]:
    """The bytes of an Arrow array of texts, and the offset at which each begins and the last ends."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first = int(ends[0])
    whole = b"" if data is None else data.slice(first, int(ends[-1]) - first).to_pybytes()
    return whole, ends - first if first else ends
