"""An index of request and result lines by row, in a few bytes of memory a row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from jupyter_batch.core.request import position_of
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened, opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.request_hashes import matches
from jupyter_batch.row_files.row_columns import hashes_elsewhere, request_hashes
from jupyter_batch.wire.dialects import OPENAI

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Array: TypeAlias = np.ndarray[Any, Any]

_MOST_OPEN = 64


class Held:
    """The file and offset of one line for each row of a job; call `close` after use."""

    def __init__(self, rows: int) -> None:
        self.paths: list[Path] = []
        self.which: Array = np.full(rows, -1, dtype=np.int32)
        self._start: Array = np.zeros(rows, dtype=np.int64)
        self._open: dict[int, BinaryIO] = {}
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        """Close the open files; `line` opens its file again."""
        self._stack.close()
        self._open.clear()

    def __contains__(self, row: int) -> bool:
        return bool(self.which[row] >= 0)

    def put(self, row: int, path: Path, start: int) -> None:
        """Record that a row's line starts at this offset."""
        if not self.paths or self.paths[-1] != path:
            self.paths.append(path)
        self.which[row] = len(self.paths) - 1
        self._start[row] = start

    def path(self, row: int) -> Path:
        """The file of a row's line."""
        return self.paths[int(self.which[row])]

    def row_at(self, path: Path) -> Callable[[Array], Array]:
        """The rows whose lines begin at offsets of a file; -1 for none."""
        numbers = [number for number, one in enumerate(self.paths) if one == path]
        rows = np.flatnonzero(np.isin(self.which, numbers))
        rows = rows[np.argsort(self._start[rows], kind="stable")]
        starts = self._start[rows]

        def find(offsets: Array) -> Array:
            if not len(starts):
                return np.full(len(offsets), -1)
            at = np.minimum(np.searchsorted(starts, offsets), len(starts) - 1)
            return np.where(starts[at] == offsets, rows[at], -1)

        return find

    def line(self, row: int) -> bytes:
        """Return a row's line without its newline. Raises KeyError for a row without one."""
        which = int(self.which[row])
        if which < 0:
            raise KeyError(row)
        file = self._open.get(which)
        if file is None:
            if len(self._open) >= _MOST_OPEN:
                self.close()
            file = self._open[which] = self._stack.enter_context(opened(self.paths[which]))
        file.seek(int(self._start[row]))
        return file.readline().rstrip(b"\n")


def requests_of(
    ledger: Ledger, job: JobRecord, wanted: Array, dialect: str, *, given: bool = False
) -> Held:
    """Index the wanted rows' request lines in a dialect, from this job's or earlier jobs' files.

    Lines have the ids of the job whose file they are in. given: in OpenAI's dialect, with the
    parameters as given by the user; else as sent.
    """
    held = Held(job.rows)
    at: JobRecord | None = job
    while at is not None and (missing := wanted & (held.which < 0)).any():
        folder = ledger.folders.of(at.id)
        _look(held, at.id, _paths(folder, at.dialect, dialect, given=given), missing)
        parent = at.parent
        at = (
            next((one for one in ledger.jobs() if one.id == parent), None)
            if parent and _same(at, ledger)
            else None
        )
    return held


def look_elsewhere(
    held: Held,
    ledger: Ledger,
    job: JobRecord,
    hashes: Array,
    wanted: Array,
    dialect: str,
    *,
    given: bool = False,
) -> None:
    """Index the request lines of reused rows, from the files of the jobs that sent them.

    hashes: the request hashes of the job's rows.
    """
    rows = np.flatnonzero(wanted & (held.which < 0))
    if not len(rows):
        return
    for other, folder, theirs in hashes_elsewhere(ledger, job):
        mine = hashes
        if other.hashing != job.hashing:
            found = request_hashes(job, ledger.folders.of(job.id), other.hashing)
            if found is None:
                continue
            mine = found
        here, there = matches(mine, rows, theirs)
        onto = np.full(other.rows, -1, dtype=np.int64)
        onto[there] = here
        paths = _paths(folder, other.dialect, dialect, given=given)
        _look(held, other.id, paths, onto >= 0, onto)
        rows = np.flatnonzero(wanted & (held.which < 0))
        if not len(rows):
            return


def _same(job: JobRecord, ledger: Ledger) -> bool:
    """Whether the predecessor's requests are the same, so that they can replace this job's."""
    parent = next((one for one in ledger.jobs() if one.id == job.parent), None)
    return parent is not None and parent.round == job.round


def _paths(folder: JobFolder, own: str, dialect: str, *, given: bool) -> Iterable[Path]:
    """The files with a job's requests in a dialect. own: the job's dialect."""
    if given and folder.asked.exists():
        return [folder.asked]
    if own == dialect:
        return _files(folder)
    return [folder.asked] if dialect == OPENAI else []


def _files(folder: JobFolder) -> Iterable[Path]:
    every = sorted(folder.path.glob("all-*.jsonl"))
    return [*(every or sorted(folder.path.glob("requests-*.jsonl"))), folder.left]


def _look(
    held: Held, job: str, paths: Iterable[Path], missing: Array, onto: Array | None = None
) -> None:
    for path in paths:
        start = 0
        with opened_if_there(path) as file:
            for line in file or ():
                found = REQUEST_ID.match(line)
                row = position_of(job, found[1].decode()) if found else None
                if row is not None and row < len(missing) and missing[row]:
                    held.put(row if onto is None else int(onto[row]), path, start)
                start += len(line)
