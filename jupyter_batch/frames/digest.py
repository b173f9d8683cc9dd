"""Digest of a frame's rows, by which a frame that was read before is known without reading it again.

It is cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zlib import crc32

import msgspec
import numpy as np
import pandas as pd

from jupyter_batch.frames.adapter import row_count, row_labels
from jupyter_batch.frames.fingerprints import PLAIN
from jupyter_batch.frames.frame import cells_of, column
from jupyter_batch.frames.labels import is_named, label_hashes, mixed
from jupyter_batch.frames.text_blocks import has_arrow
from jupyter_batch.frames.watched import FrameMark

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
    Series: TypeAlias = Any


class Digests(NamedTuple):
    """Digests of a frame's rows. whole: of their labels and cells.

    blocks: of the cells alone. ends: the row at which each block ends. Blocks end where their cells
    say so: rows that are added, changed or removed leave the other blocks as they are.
    """

    whole: str
    blocks: list[bytes]
    ends: list[int]


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
    whole = sha256(str(row_count(frame)).encode())
    blocks, ends = list[bytes](), list[int]()
    try:
        whole.update(np.ascontiguousarray(label_hashes(row_labels(frame)), "<u8").data)
        for stop, block in _blocks(frame, columns):
            blocks.append(block)
            ends.append(stop)
            whole.update(block)
    except _UNKNOWN:
        return None
    return Digests(whole.hexdigest(), blocks, ends)


_UNKNOWN = (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError)
"""Of a lone surrogate, another library's column, a list that holds itself."""

_READ_ROWS = 8192
_MEAN_ROWS = 1024  # of a block, which is read and rendered again where one of its rows changed
_LEAST_ROWS = 128


def _blocks(frame: pd.DataFrame, columns: Sequence[Any]) -> Iterator[tuple[int, bytes]]:
    """Yield each block's last row + 1, and its digest. Raises an error in _UNKNOWN."""
    named = [(_name(label, cells := column(frame, label)), cells) for label in columns]
    start, count = 0, row_count(frame)
    while start < count:
        stop = min(start + _READ_ROWS, count)
        read = [(name, _content(cells.iloc[start:stop])) for name, cells in named]
        first = 0
        for end in _ends([content for _, content in read], stop - start, last=stop == count):
            digest = sha256((end - first).to_bytes(4, "little"))
            for name, content in read:
                digest.update(name)
                for part in content.parts(first, end):
                    digest.update(part)
            yield start + end, digest.digest()
            first = end
        start += first


def _ends(columns: Sequence[_Content], rows: int, *, last: bool) -> list[int]:
    """The ends of blocks within some rows. last: they are the frame's last ones; else some may be left."""
    marks: Array = np.zeros(rows, dtype=np.uint64)
    for content in columns:
        marks = mixed(marks ^ content.marks(), 1)
    ends, first = list[int](), 0
    for row in np.flatnonzero(marks % np.uint64(_MEAN_ROWS) == 0).tolist():
        if row - first >= _LEAST_ROWS:
            ends.append(first := row)
    if first < rows and (last or not ends):
        ends.append(rows)
    return ends


def _name(label: Any, cells: Series) -> bytes:
    return repr((type(label).__name__, label, str(cells.dtype))).encode()


# --- content of cells -------------------------------------------------------------------------------


class _Content(ABC):
    """Some cells of a column, as bytes that only equal cells have."""

    @abstractmethod
    def marks(self) -> Array:
        """A uint64 of each cell, equal in every process; other cells may have the same."""

    @abstractmethod
    def parts(self, start: int, stop: int) -> Sequence[Any]:
        """The bytes of some of the cells, in pieces."""


def _content(block: Series) -> _Content:
    """Return the content of cells. Raises TypeError where that of one is not known.

    Known are texts, numbers, times, booleans, missing values, and lists and dicts of them.
    """
    dtype: Any = block.dtype
    if isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow":
        return _Texts(block)
    if isinstance(dtype, np.dtype) and dtype.kind in "iubf" and dtype.itemsize <= _WORD:
        return _Numbers(block.to_numpy())
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return _Numbers(block.to_numpy().view(np.int64))
    if isinstance(dtype, pd.DatetimeTZDtype) and is_named(dtype.tz):
        times: Any = block.array
        return _Numbers(times.asi8)
    cells = cells_of(block)[0]
    kinds = set(map(type, cells))
    if kinds <= {str, type(None)} and has_arrow():
        return _Texts(cells)
    if not kinds <= _PLAIN and not all(map(_is_json, cells)):
        raise TypeError(kinds)
    return _Cells(cells)


_WORD = 8
_PLAIN = PLAIN | {float}


class _Numbers(_Content):
    """Numbers of at most 8 bytes; booleans, and times as integers."""

    def __init__(self, values: Array) -> None:
        self._values = np.ascontiguousarray(values)

    def marks(self) -> Array:
        wide = np.float64 if self._values.dtype.kind == "f" else np.int64
        return self._values.astype(wide).view(np.uint64)

    def parts(self, start: int, stop: int) -> Sequence[Any]:
        return (self._values[start:stop].tobytes(),)


class _Texts(_Content):
    """Texts and missing ones, in Arrow's memory: which are missing, their lengths, and the bytes."""

    def __init__(self, texts: Any) -> None:
        import pyarrow as pa

        held = pa.array(texts, from_pandas=True)
        if isinstance(held, pa.ChunkedArray):
            held = held.combine_chunks()
        held = held.cast(pa.large_string())
        _, offsets, data = held.buffers()
        self._ends = np.frombuffer(offsets, np.int64)[held.offset : held.offset + len(held) + 1]
        self._data: Any = b"" if data is None else memoryview(data)
        self._missing: Array = held.is_null().to_numpy(zero_copy_only=False)

    def marks(self) -> Array:
        """A mark of the length and the last bytes."""
        lengths, ends = np.diff(self._ends).astype(np.uint64), self._ends[1:]
        words = np.zeros(len(ends), dtype=np.uint64)
        far = np.flatnonzero(ends >= _WORD)
        if len(far):  # each 8 bytes of the text, wherever they begin
            every: Array = np.ndarray(len(self._data) - _WORD + 1, "<u8", self._data, strides=(1,))
            words[far] = every[ends[far] - _WORD]
        for at in np.flatnonzero(ends < _WORD).tolist():
            words[at] = int.from_bytes(bytes(self._data[: ends[at]]).rjust(_WORD, b"\0"), "little")
        short = lengths < _WORD
        gone = np.where(short, np.uint64(_WORD) - lengths, 0).astype(np.uint64) * np.uint64(_WORD)
        words = np.where(lengths == 0, self._missing, words >> np.minimum(gone, np.uint64(63)))
        marks: Array = mixed(words.astype(np.uint64) ^ lengths, 2)
        return marks

    def parts(self, start: int, stop: int) -> Sequence[Any]:
        ends = self._ends[start : stop + 1]
        missing = np.packbits(self._missing[start:stop])
        return missing.tobytes(), np.diff(ends).tobytes(), self._data[ends[0] : ends[-1]]


class _Cells(_Content):
    """Plain values, lists and dicts."""

    def __init__(self, cells: list[Any]) -> None:
        self._cells = cells

    def marks(self) -> Array:
        each = (crc32(msgspec.msgpack.encode(cell)) for cell in self._cells)
        return np.fromiter(each, np.uint64, len(self._cells))

    def parts(self, start: int, stop: int) -> Sequence[Any]:
        return (msgspec.msgpack.encode(self._cells[start:stop]),)


def _is_json(cell: Any) -> bool:
    """Whether a cell is plain, or lists and dicts of plain values."""
    kind = type(cell)
    if kind is list:
        return all(map(_is_json, cell))
    if kind is dict:
        return all(map(_is_json, cell)) and all(map(_is_json, cell.values()))
    return kind in _PLAIN
