"""The answers of a job's rows as references to decoded result files, and as one Arrow array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.results.columns import Columns, Texts

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_BLOCK_ROWS = 8192
"""Answers that are Python objects at a time, or copied at a time."""
_COPIED_BYTES = 1 << 18
"""Bytes that are copied at a time: they stay in the processor's cache."""


class Values(Sequence[Any]):
    """One answer a row, None where there is none; made on access.

    Eight bytes a row, until the answers are an Arrow array: then they are read from it.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._source: Array = np.full(rows, -1, dtype=np.int32)
        self._line: Array = np.zeros(rows, dtype=np.int32)
        self._columns: list[Columns] = []

    def put(self, rows: Array, columns: Columns, lines: Array) -> None:
        """Set the answers of rows."""
        self._source[rows], self._line[rows] = len(self._columns), lines
        self._columns.append(columns)

    def copy(self, rows: Array, originals: Array) -> None:
        """Give rows the answers of other rows."""
        self._source[rows], self._line[rows] = self._source[originals], self._line[originals]

    @property
    def are_texts(self) -> bool:
        """Whether all answers are texts, stored as such."""
        return all(one.parse is None and isinstance(one.values, Texts) for one in self._columns)

    @cached_property
    def arrow(self) -> Any:
        """All answers as one Arrow array of texts; None where they are no texts, or without pyarrow.

        No answer can be set from then on: the references and the files are let go.
        """
        if not self.are_texts:
            return None
        try:
            import pyarrow as pa
        except ImportError:
            return None
        texts = [one.values for one in self._columns if isinstance(one.values, Texts)]
        made = _joined(pa, texts, self._source, self._line)
        self._source = self._line = np.zeros(0, dtype=np.int32)
        self._columns = []
        return made

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return self.of(np.arange(len(self))[at]).tolist()
        return self.of(np.array([at]))[0]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _BLOCK_ROWS):
            yield from self[start : start + _BLOCK_ROWS]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | Values) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def of(self, rows: Array) -> Array:
        """The answers of some rows, as objects."""
        made = self.__dict__.get("arrow")
        if made is not None:
            texts: Array = np.array(made.take(rows % len(self)).to_pylist(), dtype=object)
            return texts
        found: Array = np.full(len(rows), None, dtype=object)
        sources = self._source[rows]
        for source in np.unique(sources).tolist():
            if source >= 0:
                at = np.flatnonzero(sources == source)
                answers = self._columns[source].answers(self._line[rows[at]])
                found[at] = np.fromiter(answers, dtype=object, count=len(answers))
        return found


def _joined(pa: Any, texts: list[Texts], source: Array, line: Array) -> Any:
    """The texts of these lines of files as one Arrow array; no text where source is -1.

    Its buffers have their final size from the start: no second copy of the texts is in memory.
    """
    rows = len(source)
    offsets: Array = np.zeros(rows + 1, dtype=np.int64)
    valid: Array = np.zeros(-(-rows // 8), dtype=np.uint8)
    blocks = [slice(start, min(start + _BLOCK_ROWS, rows)) for start in range(0, rows, _BLOCK_ROWS)]
    for block in blocks:
        there: Array = np.zeros(block.stop - block.start, dtype=bool)
        for number, at in _by_source(source[block]):
            lines, (ends, empty) = line[block][at], (texts[number].offsets, texts[number].empty)
            sizes = ends[1:][lines] - ends[lines]
            offsets[block.start + 1 + at] = sizes
            there[at] = sizes > 0 if not empty else (sizes > 0) | np.isin(lines, list(empty))
        valid[block.start // 8 : -(-block.stop // 8)] = np.packbits(there, bitorder="little")
    np.cumsum(offsets, out=offsets)
    data: Array = np.empty(int(offsets[-1]), dtype=np.uint8)
    for block in blocks:
        to = offsets[block]
        for number, at in _by_source(source[block]):
            starts = texts[number].offsets[line[block][at]]
            sizes = offsets[block.start + 1 + at] - to[at]
            _copy(texts[number].data, starts, data, to[at], sizes)
    buffers = [pa.py_buffer(each) for each in (valid, offsets, data)]
    return pa.Array.from_buffers(pa.large_string(), rows, buffers)


def _by_source(source: Array) -> Iterator[tuple[int, Array]]:
    """Each file that rows have answers of, and these rows."""
    last = int(source.max())
    if ((source == last) | (source < 0)).all():  # most often
        if last >= 0:
            yield last, np.flatnonzero(source == last)
        return
    order = np.argsort(source, kind="stable")
    numbers, firsts = np.unique(source[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=True):
        if number >= 0:
            yield number, rows


def _copy(source: Any, starts: Array, target: Array, to: Array, sizes: Array) -> None:
    """Copy spans of bytes, each as its first and its last 2**k bytes, of which some are the same."""
    kinds = np.frexp(sizes)[1] - 1
    for kind in np.unique(kinds[sizes > 0]).tolist():
        size, rows = 1 << kind, np.flatnonzero(kinds == kind)
        read, write = (
            np.ndarray((len(each) - size + 1,), f"V{size}", each, 0, (1,))
            for each in (source, target)
        )
        for some in np.array_split(rows, -(-len(rows) * size // _COPIED_BYTES)):
            write[to[some]] = read[starts[some]]
            more = sizes[some] - size
            write[to[some] + more] = read[starts[some] + more]
