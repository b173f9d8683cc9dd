"""Files with answers of a job's rows: its own, or linked result files of earlier jobs.

Answers of an earlier job are referred to, not copied: its result file is linked into the folder of
the new job, a hard link that outlives the earlier job, and each row has its file and its position
in the earlier job.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.request import custom_id, position_of
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_FILE = 40  # a reference: the number of the file, and in this many bits the position in its job
_POSITION = (1 << _FILE) - 1
NONE = -1


class AnswerFile:
    """A file with result lines of a job's rows. of: the job whose ids its lines have.

    at: where that is another job, the position there of each row, NONE for rows without a line.
    """

    def __init__(
        self, dialect: str, path: Path, job: str, of: str = "", at: Array | None = None
    ) -> None:
        self.dialect, self.path = dialect, path
        self.job, self.of, self.at = job, of or job, at

    @cached_property
    def _rows(self) -> Array:
        """The row of each position in the other job, and NONE at the end."""
        assert self.at is not None  # noqa: S101 - the callers have asked
        rows: Array = np.full(int(self.at.max(initial=NONE)) + 2, NONE, dtype=np.int64)
        known = np.flatnonzero(self.at >= 0)
        rows[self.at[known]] = known
        return rows

    def as_sent(self, job: JobRecord) -> JobRecord:
        """The job with the id by which the lines name their rows."""
        return job if self.at is None else msgspec.structs.replace(job, id=self.of)

    @property
    def answered(self) -> Array:
        """The rows that refer to this file of another job."""
        return np.flatnonzero(np.asarray(self.at) >= 0)

    def rows(self, positions: Array) -> Array:
        """The rows that lines with these positions answer, NONE for none."""
        if self.at is None:
            return positions
        last = len(self._rows) - 1
        found: Array = self._rows[np.where((positions >= 0) & (positions < last), positions, last)]
        return found

    def row_of(self, name: str | None) -> int | None:
        """The row that a line with this id answers; None for none."""
        at = position_of(self.of, name)
        if at is None or self.at is None:
            return at
        row = int(self._rows[at]) if at < len(self._rows) else NONE
        return None if row < 0 else row

    def id_of(self, row: int) -> str:
        """The id of a row's lines in this file; "" where it has none."""
        if self.at is None:
            return custom_id(self.job, row)
        at = int(self.at[row])
        return "" if at < 0 else custom_id(self.of, at)

    def under_own_id(self, line: bytes, row: int) -> bytes:
        """A row's line with the id that the row has in this job."""
        theirs, ours = self.id_of(row), custom_id(self.job, row)
        return line if theirs == ours else line.replace(_quoted(theirs), _quoted(ours), 1)


def _quoted(name: str) -> bytes:
    return b'"%b"' % name.encode()


class _Kept(msgspec.Struct, array_like=True):
    """The references on disk. files: (name, job) of each; steps: differences from row to row."""

    files: list[tuple[str, str]]
    steps: bytes


class References:
    """The answers of other jobs that the rows of a new job refer to."""

    def __init__(self, folder: JobFolder, rows: int) -> None:
        self._folder = folder
        self.files: list[tuple[str, str]] = []
        self.array: Array = np.full(rows, NONE, dtype=np.int64)

    @classmethod
    def of(cls, folder: JobFolder, rows: int) -> References:
        """The references in a job's folder, to which others can be added."""
        return _read(folder) or cls(folder, rows)

    def add(self, file: AnswerFile, there: Array, here: Array) -> Path:
        """Link a file of another job into the folder; the rows `here` refer to its rows `there`.

        Where the disk has no hard links the file is copied. Returns its new path.
        """
        number = len(self.files)
        target = self._folder.reused(f"{file.of}.{number}", file.dialect)
        link(file.path, target)
        self.files.append((target.name, file.of))
        at = there if file.at is None else file.at[there]
        self.array[here] = (number << _FILE) | at
        return target

    def positions(self, number: int) -> Array:
        """For each row its position in the job of a file, NONE where it is in no or another file."""
        mine = (self.array >= 0) & (self.array >> _FILE == number)
        return np.where(mine, self.array & _POSITION, NONE)

    def write(self) -> None:
        """Write the references into the folder, twice: either file is enough."""
        if not self.files:
            return
        steps = np.diff(self.array, prepend=0).astype("<i8").tobytes()
        data = zlib.compress(msgspec.msgpack.encode(_Kept(self.files, steps)), 1)
        for path in self._folder.references:
            self._folder.write(path, data)


def _read(folder: JobFolder) -> References | None:
    """The references of a job; None where it has none, or both copies are gone or damaged."""
    for path in folder.references:
        with contextlib.suppress(OSError, zlib.error, ValueError, msgspec.MsgspecError):
            kept = msgspec.msgpack.decode(zlib.decompress(path.read_bytes()), type=_Kept)
            found = References(folder, 0)
            found.files = kept.files
            found.array = np.cumsum(np.frombuffer(kept.steps, "<i8"))
            return found
    return None


def link(path: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy of it where the disk has no links."""
    try:
        os.link(path, target)
    except OSError:
        with opened(path) as file, written(target) as copy:
            shutil.copyfileobj(file, copy)


def reused_files(folder: JobFolder, job: str) -> Iterator[AnswerFile]:
    """The files with answers of earlier jobs that a job had when it was planned."""
    references = _read(folder)
    numbers = (
        {} if references is None else {name: n for n, (name, _) in enumerate(references.files)}
    )
    for dialect, path in folder.taken_over():
        number = numbers.get(path.name)
        if references is None or number is None:  # lines that were copied have this job's ids
            yield AnswerFile(dialect, path, job)
        else:
            of, at = references.files[number][1], references.positions(number)
            yield AnswerFile(dialect, path, job, of, at)
