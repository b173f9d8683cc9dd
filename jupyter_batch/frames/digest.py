"""Digest of a frame's rows, by which a frame that was read before is known without reading it again.

It is cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pandas as pd

from jupyter_batch.frames.adapter import row_count, row_labels
from jupyter_batch.frames.fingerprints import PLAIN
from jupyter_batch.frames.frame import cells_of, column
from jupyter_batch.frames.labels import label_hashes
from jupyter_batch.frames.watched import FrameMark

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Series: TypeAlias = Any


BLOCK_ROWS = 8192


class Digests(NamedTuple):
    """Digests of a frame's rows. whole: of their labels and cells. blocks: of the cells alone.

    A block has BLOCK_ROWS rows, the last one what is left.
    """

    whole: str
    blocks: list[bytes]


def rows_digest(frame: pd.DataFrame, columns: Sequence[Any]) -> str:
    """Return the digest of a frame's labels and of its cells in these columns, in their order.

    "" where the content of some cell is not known (objects, integers above 64 bits).
    """
    found = digests_of(frame, columns)
    return "" if found is None else found.whole


def digests_of(frame: pd.DataFrame, columns: Sequence[Any]) -> Digests | None:
    """Return the digests of a frame's rows; None where the content of some cell is not known.

    Those of a frame that has not changed since are not computed again.
    """
    for mark, made in _recent:
        if isinstance(frame, pd.DataFrame) and mark.is_same(frame, columns):
            return made
    found = _computed(frame, columns)
    if found is not None and isinstance(frame, pd.DataFrame):
        mark = FrameMark(frame, columns)
        if mark.is_known:
            _recent.appendleft((mark, found))
    return found


_recent: deque[tuple[FrameMark, Digests]] = deque(maxlen=4)
"""Of the last frames, which are not kept in memory for it."""


def _computed(frame: pd.DataFrame, columns: Sequence[Any]) -> Digests | None:
    rows = row_count(frame)
    whole = sha256(str(rows).encode())
    blocks: list[bytes] = []
    try:
        whole.update(label_hashes(row_labels(frame)).tobytes())
        named = [(_name(label, cells := column(frame, label)), cells) for label in columns]
        for start in range(0, rows, BLOCK_ROWS):
            block = _digest(named, start, start + BLOCK_ROWS)
            if block is None:
                return None
            blocks.append(block)
            whole.update(block)
    except _UNKNOWN:
        return None
    return Digests(whole.hexdigest(), blocks)


_UNKNOWN = (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError)
"""Of a lone surrogate, another library's column, a list that holds itself."""


def block_digest(
    frame: pd.DataFrame, columns: Sequence[Any], start: int, stop: int
) -> bytes | None:
    """Return the digest of the cells of some rows; None where the content of one is not known."""
    named = [(_name(label, cells := column(frame, label)), cells) for label in columns]
    return _digest(named, start, stop)


def _name(label: Any, cells: Series) -> bytes:
    return repr((type(label).__name__, label, str(cells.dtype))).encode()


def _digest(named: Sequence[tuple[bytes, Series]], start: int, stop: int) -> bytes | None:
    digest = sha256()
    for name, cells in named:
        digest.update(name)
        parts = _content_bytes(cells.iloc[start:stop])
        if parts is None:
            return None
        for part in parts:
            digest.update(part)
    return digest.digest()


def _content_bytes(block: Series) -> Sequence[Any] | None:
    """Return pieces of bytes that only an equal column has; None where a cell's content is not known.

    Known are texts, numbers, booleans, missing values, and lists and dicts of them. Columns in
    Arrow's memory are read from there; two equal columns in memory of different layouts may differ.
    """
    texts = isinstance(block.dtype, pd.StringDtype) and block.dtype.storage == "pyarrow"
    if texts and getattr(block.array, "__arrow_array__", None) is not None:
        return _arrow_bytes(block)
    if isinstance(block.dtype, np.dtype) and block.dtype.kind in "iub":
        return (np.ascontiguousarray(block.to_numpy()).data,)
    cells = cells_of(block)[0]
    known = _PLAIN.issuperset(map(type, cells)) or all(map(_is_json, cells))
    return (msgspec.msgpack.encode(cells),) if known else None


_PLAIN = PLAIN | {float}


def _is_json(cell: Any) -> bool:
    """Whether a cell is plain, or lists and dicts of plain values."""
    kind = type(cell)
    if kind is list:
        return all(map(_is_json, cell))
    if kind is dict:
        return all(map(_is_json, cell)) and all(map(_is_json, cell.values()))
    return kind in _PLAIN


def _arrow_bytes(texts: Series) -> Sequence[Any]:
    """Which of a block's texts in Arrow's memory are missing, their lengths, and all of them."""
    import pyarrow as pa

    held = pa.array(texts)
    if isinstance(held, pa.ChunkedArray):
        held = held.combine_chunks()
    held = held.cast(pa.large_string())
    _, offsets, data = held.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[held.offset : held.offset + len(held) + 1]
    missing: Array = held.is_null().to_numpy(zero_copy_only=False)
    whole = b"" if data is None else memoryview(data)[ends[0] : ends[-1]]
    return missing, np.diff(ends), whole
