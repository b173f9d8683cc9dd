"""Search in prompts and answers: files are scanned as bytes, and only lines that may match are decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.results.columns import Columns, Texts
from jupyter_batch.results.rows.folding import (
    FEW,
    FOLD,
    Exact,
    folded,
    forms,
    places,
    raw,
    variants,
)
from jupyter_batch.results.rows.lines import BLOCK, Array, blocks, spans
from jupyter_batch.results.rows.shapes import Shape, ShapedLines

_BLOCK = 1 << 18
"""Bytes, which with their folded copy are in a core's cache."""

SOME = 1000
"""Hits with which the first pages are shown, while the search goes on."""


class File(NamedTuple):
    """A file to search. read: the positions and texts in a line. same: bytes common to all lines.

    row_at: the positions by the lines' offsets, for a file of another job. columns: the same lines, decoded, if they
    are kept. shape: that of most lines, whose texts need not be decoded.
    """

    path: Path
    read: Callable[[bytes], Iterable[tuple[int, str]]]
    same: tuple[bytes, ...] = ()
    row_at: Callable[[Array], Array] | None = None
    columns: Callable[[], Columns | None] = lambda: None
    shape: Shape | None = None


class Search:
    """The rows that contain a text, collected in a thread. hits: by position.

    done: the share of the files that was read, from 0 to 1. some: set at `SOME` hits, and at the end.
    Upper and lower case are the same.
    """

    def __init__(self, text: str, rows: int) -> None:
        self.text = text
        self.hits: Array = np.zeros(rows, dtype=bool)
        self.done = 0.0
        self.over, self.some = threading.Event(), threading.Event()
        self._count = 0
        self.stopped = self._is_shown = False
        self.error: Exception | None = None
        self._wanted = text.casefold()
        self._patterns = forms(text)
        self._exact = Exact(text)

    def run(self, files: list[File]) -> None:
        """Scan the files. A failure is stored in `error`."""
        try:
            sizes = [file.path.stat().st_size if file.path.is_file() else 0 for file in files]
            whole, before = max(1, sum(sizes)), 0
            for file, size in zip(files, sizes, strict=True):
                columns = file.columns()
                if columns is not None and isinstance(columns.values, Texts):
                    self._scan_texts(columns.values, columns.rows)
                else:
                    self._scan_lines(file, before, whole)
                if self.stopped:
                    return
                before += size
                self.done = before / whole
        except Exception as error:  # shown in the page
            self.error = error
        finally:
            self.over.set()
            self.some.set()

    def wait(self, seconds: float, *, early: bool) -> None:
        """Wait for its end; early: for its first hits, once, since further looks would slow it down."""
        (self.some if early and not self._is_shown else self.over).wait(seconds)
        self._is_shown = True

    def matches(self, text: str) -> bool:
        """Whether a text contains the one that is searched for."""
        return self._wanted in text.casefold()

    def _scan_lines(self, file: File, before: int, whole: int) -> None:
        """Search a file; before, whole: the bytes before it, and of all files."""
        for offset, line in self._lines(file):
            self.done = (before + offset) / whole
            for own, text in file.read(line):
                position = own if file.row_at is None else int(file.row_at(np.array([offset]))[0])
                if 0 <= position < len(self.hits) and self.matches(text):
                    self.hits[position] = True
            if self.stopped:
                return

    def _scan_texts(self, texts: Texts, rows: Array) -> None:
        """Search answers; rows: their positions."""
        patterns = {*self._patterns, *(folded(raw(one)) for one in variants(self.text))}
        first, offsets = 0, texts.offsets
        while first < len(texts) and not self.stopped:
            last = int(np.searchsorted(offsets, offsets[first] + BLOCK, "right")) - 1
            last = max(first + 1, last)
            block = texts.data[int(offsets[first]) : int(offsets[last])]
            found = self._matching(texts, first, offsets[first : last + 1], block, patterns)
            self._hit(rows[first + found])
            first = last

    def _matching(
        self, texts: Texts, first: int, offsets: Array, block: memoryview, patterns: set[bytes]
    ) -> Array:
        """The texts of a block that match, by their number in it. first: the first one's number."""
        data, text = np.frombuffer(block, np.uint8), folded(block)
        ends = offsets[1:] - offsets[0]
        sure = np.zeros(len(ends), dtype=bool)
        maybe = sure.copy()
        for form in patterns:
            at = places(text, form, len(text))
            if not len(at):
                continue
            line, last = (np.searchsorted(ends, one, "right") for one in (at, at + len(form) - 1))
            maybe[line] = True
            sure[line[(line == last) & self._exact.confirmed(data, at, form)]] = True
        left = np.flatnonzero(maybe & ~sure)
        found = [text is not None and self.matches(text) for text in texts.take(first + left)]
        sure[left[np.array(found, dtype=bool)]] = True
        return np.flatnonzero(sure)

    def _hit(self, rows: Array) -> None:
        """Add many rows."""
        self.hits[rows[(rows >= 0) & (rows < len(self.hits))]] = True
        self._count += len(rows)
        if self._count >= SOME:
            self.some.set()

    def _lines(self, file: File) -> Iterator[tuple[int, bytes]]:
        """(offset, line) of the lines that may match, without those that were found as bytes."""
        same = [folded(one) for one in file.same] if file.shape is None else []
        same = [one for one in same if any(form in one for form in self._patterns)]
        buffer = bytearray()
        with opened_if_there(file.path) as opened:
            for start, block in () if opened is None else blocks(opened, _BLOCK):
                if self.stopped:
                    return
                if len(buffer) < len(block):
                    buffer = bytearray(len(block))
                    out = np.frombuffer(buffer, np.uint8)
                np.bitwise_or(np.frombuffer(block, np.uint8), FOLD, out=out[: len(block)])
                text: bytes | bytearray = buffer
                for one in same:
                    text = text.replace(one, bytes(len(one)))
                found = {form: places(text, form, len(block)) for form in self._patterns}
                for begin, end in self._left(file, start, block, found):
                    yield start + begin, bytes(block[begin:end])

    def _left(
        self, file: File, start: int, block: memoryview, found: dict[bytes, Array]
    ) -> Iterator[tuple[int, int]]:
        """(begin, end) of a block's lines that have to be decoded. found: the places of each form."""
        if sum(map(len, found.values())) <= FEW:
            data, some = cast("bytearray", block.obj), np.concatenate([*found.values()]).tolist()
            for begin in sorted({data.rfind(b"\n", 0, at) + 1 for at in some}):
                end = data.find(b"\n", begin, len(block))
                yield begin, len(block) if end < 0 else end
            return
        begins, ends = spans(block)
        maybe, sure = np.zeros((2, len(ends)), dtype=bool)
        lines = file.shape and ShapedLines(file.shape, bytes(block), (begins, ends))
        rows = None
        if lines and lines.alike:
            rows = lines.rows() if file.row_at is None else file.row_at(start + begins)
        for form, at in found.items():
            line = np.searchsorted(ends, at)
            if lines and rows is not None:
                within = lines.within(at, line, len(form))
                line, inside = line[within], at[within]
                right = lines.plain(inside) & self._exact.confirmed(lines.data, inside, form)
                sure[line[right]] = True
            maybe[line] = True
        if rows is not None:
            self._hit(rows[sure])
        left = np.flatnonzero(maybe & ~sure)
        yield from zip(begins[left].tolist(), ends[left].tolist(), strict=True)
