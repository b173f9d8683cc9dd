"""Search in prompts and answers: files are scanned as bytes, and only lines that may match are decoded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.results.columns import Columns, Texts
from jupyter_batch.results.rows.lines import BLOCK, Array, blocks

_BLOCK = 1 << 18
"""Bytes, which with their folded copy are in a core's cache."""
_FOLD = 0x20
"""This bit set, letters of ASCII, Latin-1 and most of Greek and Cyrillic have one case in UTF-8."""


class File(NamedTuple):
    """A file to search. read: the positions and texts in a line. same: bytes common to all lines.

    row_at: the position by a line's offset, for a file of another job. columns: the same lines, decoded, if they are
    kept.
    """

    path: Path
    read: Callable[[bytes], Iterable[tuple[int, str]]]
    same: tuple[bytes, ...] = ()
    row_at: Callable[[int], int] | None = None
    columns: Callable[[], Columns | None] = lambda: None


class Search:
    """The rows that contain a text, collected in a thread. hits: by position.

    done: the share of the files that was read, from 0 to 1. Upper and lower case are the same.
    """

    def __init__(self, text: str, rows: int) -> None:
        self.text = text
        self.hits: Array = np.zeros(rows, dtype=bool)
        self.done = 0.0
        self.over = threading.Event()
        self.stopped = False
        self.error: Exception | None = None
        self._wanted = text.casefold()
        self._patterns = forms(text)

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

    def matches(self, text: str) -> bool:
        """Whether a text contains the one that is searched for."""
        return self._wanted in text.casefold()

    def _scan_lines(self, file: File, before: int, whole: int) -> None:
        """Search a file; before, whole: the bytes before it, and of all files."""
        for offset, line in self._lines(file):
            self.done = (before + offset) / whole
            for own, text in file.read(line):
                position = own if file.row_at is None else file.row_at(offset)
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
            begin, end = int(offsets[first]), int(offsets[last])
            data = folded(texts.data[begin:end])
            at = [at for form in patterns for at in places(data, form, len(data))]
            lines = np.unique(np.searchsorted(offsets, np.array(at, np.int64) + begin, "right") - 1)
            found = [text is not None and self.matches(text) for text in texts.take(lines)]
            hits = rows[lines[np.array(found, dtype=bool)]]
            self.hits[hits[(hits >= 0) & (hits < len(self.hits))]] = True
            first = last

    def _lines(self, file: File) -> Iterator[tuple[int, bytes]]:
        """(offset, line) of the lines that may match."""
        same = [folded(one) for one in file.same]
        same = [one for one in same if any(form in one for form in self._patterns)]
        buffer = bytearray()
        with opened_if_there(file.path) as opened:
            for start, block in () if opened is None else blocks(opened, _BLOCK):
                if self.stopped:
                    return
                if len(buffer) < len(block):
                    buffer = bytearray(len(block))
                    out = np.frombuffer(buffer, np.uint8)
                np.bitwise_or(np.frombuffer(block, np.uint8), _FOLD, out=out[: len(block)])
                text: bytes | bytearray = buffer
                for one in same:
                    text = text.replace(one, bytes(len(one)))
                data, whole, seen = cast("bytearray", block.obj), len(block), set()
                for form in self._patterns:
                    at = text.find(form, 0, whole)
                    while at >= 0:
                        begin = data.rfind(b"\n", 0, at) + 1
                        end = data.find(b"\n", at, whole)
                        end = whole if end < 0 else end
                        if begin not in seen:
                            seen.add(begin)
                            yield start + begin, bytes(block[begin:end])
                        at = text.find(form, end, whole)


def places(text: bytes | bytearray, form: bytes, end: int) -> Iterator[int]:
    """Where a form begins in a text before `end`."""
    at = text.find(form, 0, end)
    while at >= 0:
        yield at
        at = text.find(form, at + 1, end)


def folded(data: bytes | memoryview) -> bytes:
    """The bytes with `_FOLD` set in each."""
    return (np.frombuffer(data, np.uint8) | _FOLD).tobytes()


def variants(text: str) -> set[str]:
    """A text as it is, and in each case."""
    return {text, text.lower(), text.upper(), text.casefold()}


def forms(text: str) -> list[bytes]:
    """The folded bytes of a text in JSON: as UTF-8, and with escapes for what is not ASCII."""
    found = set()
    for variant in variants(text):
        for ascii_only in (False, True):
            plain = json.dumps(variant, ensure_ascii=ascii_only)[1:-1]
            found |= {plain, plain.replace("/", "\\/")}
    return sorted(set(map(folded, map(raw, found))))


def raw(text: str) -> bytes:
    """A text as UTF-8, half characters too."""
    return text.encode("utf-8", "surrogatepass")
