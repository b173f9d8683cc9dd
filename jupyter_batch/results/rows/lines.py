"""An index of a job's result lines by row, from one pass over the files; a few bytes a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.row_files.answer_files import AnswerFile

Array: TypeAlias = np.ndarray[Any, Any]

BLOCK = 1 << 20
_NEWLINE = 10
_WINDOW = 1 << 17
_MOST_SURPLUS = 100_000
"""Lines beyond the first of a row that are remembered."""


class Line(NamedTuple):
    """A result line, and the file that it is in."""

    dialect: str
    path: Path
    data: bytes


def ids_of(job: str) -> re.Pattern[bytes]:
    """A pattern of a job's ids as values in JSON; its group is the row's position."""
    return re.compile(rb':\s*"%b-(\d{1,10})"' % re.escape(job.encode()))


class ResultLines:
    """The file, offset and length of each row's first result line. surplus: further lines of a row.

    Ids are found as bytes: a line is decoded, and its id checked, where it is used.
    """

    def __init__(self, rows: int) -> None:
        self.files: list[AnswerFile] = []
        self.which: Array = np.full(rows, -1, dtype=np.int16)
        self.start: Array = np.zeros(rows, dtype=np.int64)
        self.size: Array = np.zeros(rows, dtype=np.int32)
        self.surplus: dict[int, list[tuple[int, int, int]]] = {}
        self._surplus = 0

    def read(
        self,
        files: Iterable[AnswerFile],
        known: Callable[[AnswerFile], Array | None],
        check: Callable[[], None],
    ) -> None:
        """Index the files, in order of precedence.

        known: the row of each line of a file, -1 for none; None where ids have to be looked for.
        check: called for each block.
        """
        for one in files:
            self.files.append(one)
            rows = known(one)
            with opened_if_there(one.path) as file:
                if file is None:
                    continue
                if rows is not None and self._add_known(file, rows, check):
                    continue
                file.seek(0)
                pattern = ids_of(one.of)
                for start, block in blocks(file):
                    check()
                    self._find(pattern, start, block)

    def lines(self, row: int) -> list[Line]:
        """The result lines of a row, in order of precedence."""
        if self.which[row] < 0:
            return []
        found = []
        first = int(self.which[row]), int(self.start[row]), int(self.size[row])
        for which, start, size in (first, *self.surplus.get(row, ())):
            one = self.files[which]
            with opened_if_there(one.path) as file:
                if file is not None:
                    file.seek(start)
                    data = one.under_own_id(file.read(size), row)
                    found.append(Line(one.dialect, one.path, data))
        return found

    def _add_known(self, file: BinaryIO, rows: Array, check: Callable[[], None]) -> bool:
        """Index a file's lines, whose rows are known; False where it has not that many."""
        begins, ends = [], []
        for start, block in blocks(file):
            check()
            first, last = spans(block)
            begins.append(first + start)
            ends.append(last + start)
        if sum(map(len, begins)) != len(rows):
            return False
        if len(rows):
            self._add(rows, np.concatenate(begins), np.concatenate(ends))
        return True

    def _find(self, pattern: re.Pattern[bytes], start: int, block: memoryview) -> None:
        """Index the whole lines of a block that begins at an offset of the last file, by the ids in them."""
        found = list(pattern.finditer(block))
        if not found:
            return
        begins, ends = spans(block)
        rows = self.files[-1].rows(np.array([match[1] for match in found]).astype(np.int64))
        line = np.searchsorted(ends, [match.start() for match in found])
        line, first = np.unique(line, return_index=True)  # an id within an answer comes later
        self._add(rows[first], begins[line] + start, ends[line] + start)

    def _add(self, rows: Array, begins: Array, ends: Array) -> None:
        """Index lines of the last file by their rows and offsets."""
        mine = (rows >= 0) & (rows < len(self.which))
        rows, begins, ends = rows[mine], begins[mine], ends[mine]
        which = len(self.files) - 1
        fresh = self.which[rows] < 0
        once = np.zeros(len(rows), dtype=bool)
        once[np.unique(rows, return_index=True)[1]] = True
        new = fresh & once
        self.which[rows[new]] = which
        self.start[rows[new]] = begins[new]
        self.size[rows[new]] = (ends - begins)[new]
        for at in np.flatnonzero(~new).tolist():
            if self._surplus >= _MOST_SURPLUS:
                return
            self._surplus += 1
            more = (which, int(begins[at]), int(ends[at] - begins[at]))
            self.surplus.setdefault(int(rows[at]), []).append(more)


def near(
    job: str, files: Iterable[tuple[str, Path]], share: float, rows: set[int]
) -> dict[int, list[Line]]:
    """The result lines of some rows near a share (0 to 1) of each file, where they usually are."""
    found: dict[int, list[Line]] = {}
    pattern = ids_of(job)
    for dialect, path in files:
        with opened_if_there(path) as file:
            if file is None:
                continue
            size = file.seek(0, 2)
            start = max(0, min(int(size * share) - _WINDOW, size - 4 * _WINDOW))
            file.seek(start)
            if start:
                file.readline()
            for line in file.read(4 * _WINDOW).split(b"\n"):
                match = pattern.search(line)
                row = int(match[1]) if match else -1
                if row in rows:
                    found.setdefault(row, []).append(Line(dialect, path, line))
    return found


def spans(block: memoryview | bytes) -> tuple[Array, Array]:
    """The beginnings and ends of a block's lines; an end is its newline, or the block's end."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
    if not len(ends) or ends[-1] != len(block) - 1:
        ends = np.append(ends, len(block))
    return np.concatenate(([0], ends[:-1] + 1)), ends


def blocks(file: BinaryIO, size: int = BLOCK) -> Iterator[tuple[int, memoryview]]:
    """(offset, whole lines) in one buffer that is reused; a line that is longer makes it grow.

    The view is valid until the next one is asked for.
    """
    buffer = bytearray(size)
    start = held = 0
    while True:
        read = file.readinto(memoryview(buffer)[held:])  # type: ignore[attr-defined]
        end = held + read
        if not end:
            return
        whole = end if not read else buffer.rfind(b"\n", 0, end) + 1
        if not whole:
            buffer = buffer + bytearray(len(buffer))
            held = end
            continue
        yield start, memoryview(buffer)[:whole]
        start += whole
        held = end - whole
        buffer[:held] = buffer[whole:end]
