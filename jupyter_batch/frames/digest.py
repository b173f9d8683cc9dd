"""Digest of a frame's rows, by which a frame that was read before is known without reading it again.

It is cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
import pandas as pd

from jupyter_batch.frames.adapter import row_count, row_labels
from jupyter_batch.frames.fingerprints import PLAIN
from jupyter_batch.frames.frame import cells_of, column
from jupyter_batch.frames.labels import label_hashes

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Series: TypeAlias = Any


def rows_digest(frame: pd.DataFrame, columns: Sequence[Any]) -> str:
    """Return the digest of a frame's labels and of its cells in these columns, in their order.

    "" where the content of some cell is not known (objects, integers above 64 bits).
    """
    digest = sha256(str(row_count(frame)).encode())
    try:
        digest.update(label_hashes(row_labels(frame)).tobytes())
        for label in columns:
            cells = column(frame, label)
            digest.update(repr((type(label).__name__, label, str(cells.dtype))).encode())
            for block in _content_bytes(cells):
                if block is None:
                    return ""
                for part in block:
                    digest.update(part)
    except (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError):
        return ""  # a lone surrogate, another library's column, a list that holds itself
    return digest.hexdigest()


def _content_bytes(column: Series) -> Iterator[Sequence[Any] | None]:
    """Yield pieces of bytes that only an equal column has; None where a cell's content is not known.

    Known are texts, numbers, booleans, missing values, and lists and dicts of them. Columns in
    Arrow's memory are read from there; two equal columns in memory of different layouts may differ.
    """
    arrow = getattr(column.array, "__arrow_array__", None)
    texts = isinstance(column.dtype, pd.StringDtype) and column.dtype.storage == "pyarrow"
    for start in range(0, len(column), _BYTES_ROWS):
        block = column.iloc[start : start + _BYTES_ROWS]
        if texts and arrow is not None:
            yield _arrow_bytes(block)
            continue
        cells = cells_of(block)[0]
        known = _PLAIN.issuperset(map(type, cells)) or all(map(_is_json, cells))
        yield (msgspec.msgpack.encode(cells),) if known else None


_PLAIN = PLAIN | {float}


def _is_json(cell: Any) -> bool:
    """Whether a cell is plain, or lists and dicts of plain values."""
    kind = type(cell)
    if kind is list:
        return all(map(_is_json, cell))
    if kind is dict:
        return all(map(_is_json, cell)) and all(map(_is_json, cell.values()))
    return kind in _PLAIN


_BYTES_ROWS = 8192


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
