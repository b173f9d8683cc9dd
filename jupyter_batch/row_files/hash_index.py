"""The search for earlier jobs that have one of some request hashes; a filter: the jobs have to be read.

The hashes of small jobs are in a table of the ledger (ledger/searches.py), each stored at the first
search after the job, with the state of the files that it was read from. Files that something else
changes are found in turn: LOOKS of them are looked at in each search. Jobs that are not in the table,
since they are large or their files are damaged, are held in memory.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from jupyter_batch.frames.hashing import HASH_BYTES
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.request_hashes import hash_array

if TYPE_CHECKING:
    from jupyter_batch.ledger.queries import Mark
    from jupyter_batch.ledger.searches import Hashed
    from jupyter_batch.ledger.store import Ledger

    Array: TypeAlias = np.ndarray[Any, Any]

MAX_ROWS = 2_000_000
"""In memory: 12 bytes a row."""
TABLE_ROWS = 2_000
"""The most rows of a job whose hashes are in the table, where a row takes about 2 us to write."""
LOOKS = 8
_FEW = 2_000
"""The most hashes that are searched for in the table one by one, if it can be read whole."""
_WHOLE = 200_000
"""The most rows of the table that are read at once."""
_BLOCK_ROWS = 1 << 16
"""Rows of a new job that are looked up at a time."""

_Stamp = tuple[int, int, int]  # of a file: mtime_ns, size, inode
_Files = tuple[_Stamp, _Stamp | None]  # of the requests as planned, and as changed by a retry


class _Indexed(NamedTuple):
    """A job in memory."""

    number: int
    files: _Files


class Asked:
    """The requests of a dedup scope's jobs, as far as they are indexed, by the first halves of their hashes."""

    def __init__(self, ledger: Ledger, space: str, held: Array) -> None:
        self._ledger, self._space, self._held = ledger, space, held
        pairs = ledger.all_asked(_WHOLE)
        self._is_whole = pairs is not None
        if pairs:
            mine = ledger.ids_in(space)
            more = [half for half, job in pairs if job in mine]
            self._held = np.sort(np.concatenate([held, np.array(more, np.int64).view(np.uint64)]))

    def flags(self, halves: Array) -> Array:
        """Whether each of these halves is among them."""
        found = _among(halves, self._held)
        if not self._is_whole:
            signed = halves.view(np.int64)
            found |= np.isin(signed, self._ledger.asked_in(self._space, signed.tolist()))
        return found


class HashIndex:
    """The jobs of a ledger by the first halves of their request hashes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = self._held_turn = 0
        self._records: dict[str, JobRecord] = {}  # of the jobs that are not in the table
        self._jobs: dict[str, _Indexed] = {}
        self._next = 0
        self._mark: Mark | None = None
        self._stale: set[str] = set()
        self._halves: Array = np.empty(0, np.uint64)
        self._owners: Array = np.empty(0, np.uint32)

    def candidates(self, ledger: Ledger, space: str, asked: Sequence[Array]) -> list[JobRecord]:
        """The jobs of a dedup scope that may have one of these requests, newest first.

        asked: arrays of request hashes. A job whose files are not as expected is always included.
        """
        if not ledger.exists():
            return []
        with self._lock:
            mine = self._refresh(ledger, space)
            halves = self._asked_before(ledger, asked)
            found = self._owners_of(halves)
            jobs = {
                job.id
                for job in mine
                if (held := self._jobs.get(job.id)) is None or held.number in found
            }
        return ledger.some_jobs(jobs | _askers(ledger, halves), space)

    def _asked_before(self, ledger: Ledger, asked: Sequence[Array]) -> Array:
        """The halves of these hashes that some job has, or of few all, sorted."""
        pairs = ledger.all_asked(_WHOLE) if sum(map(len, asked)) > _FEW else None
        if pairs is None:
            found = [hashes[:, 0] for hashes in asked]
        else:
            table = np.sort(np.array([half for half, _ in pairs], np.int64).view(np.uint64))
            blocks = (
                each[at : at + _BLOCK_ROWS, 0]
                for each in asked
                for at in range(0, len(each), _BLOCK_ROWS)
            )
            found = [one[_among(one, table) | _among(one, self._halves)] for one in blocks]
        halves = np.sort(np.concatenate(found))
        return halves[np.searchsorted(halves, 0, "right") :]

    def asked(self, ledger: Ledger, space: str) -> Asked | None:
        """The requests of a dedup scope's jobs; None without a ledger."""
        if not ledger.exists():
            return None
        with self._lock:
            mine = self._refresh(ledger, space)
            numbers = [self._jobs[job.id].number for job in mine if job.id in self._jobs]
            held = self._halves
            if len(numbers) < len(self._jobs):
                held = held[np.isin(self._owners, numbers)]
        return Asked(ledger, space, held)

    def _refresh(self, ledger: Ledger, space: str) -> list[JobRecord]:
        """Bring table and memory up to date; return the scope's jobs that are not in the table."""
        turn = ledger.hashed_after(self._turn, LOOKS)
        turn += ledger.hashed_after(0, LOOKS - len(turn))
        self._turn = turn[-1][0] if turn else 0
        look = ledger.unread()
        look |= {job: files for _, job, files in turn if files != _text(_files(ledger, job))}
        loose = set()
        if look and not ledger.keep_hashes(look, functools.partial(_hashed, ledger, look)):
            loose = set(look)
        loose |= ledger.loose()
        found = {job: self._records.get(job) or ledger.find(job) for job in loose}
        self._records = {job: record for job, record in found.items() if record is not None}
        mine = [job for job in self._records.values() if job.space == space]
        if self._records or self._jobs:
            self._hold(ledger, mine)
        return mine

    def _hold(self, ledger: Ledger, mine: list[JobRecord]) -> None:
        """Remove jobs from memory that are gone or changed; read new and changed ones of the scope."""
        fitting = _fitting(self._records.values())
        kept = {job: held for job, held in self._jobs.items() if job in fitting}
        halves: list[Array] = []
        owners: list[Array] = []
        for job in self._to_look_at(ledger, mine, kept):
            if job.id not in fitting:
                continue
            self._stale.discard(job.id)
            held, files = kept.get(job.id), _files(ledger, job.id)
            if held is not None and held.files == files:
                continue
            kept.pop(job.id, None)
            hashes = None if files is None else _read(ledger.folders.of(job.id), files, job.rows)
            if files is not None and hashes is not None:
                kept[job.id] = _Indexed(self._next, files)
                halves.append(hashes)
                owners.append(np.full(len(hashes), self._next, np.uint32))
                self._next += 1
        self._replace(kept, halves, owners)

    def _to_look_at(
        self, ledger: Ledger, mine: list[JobRecord], kept: dict[str, _Indexed]
    ) -> list[JobRecord]:
        """The jobs whose files are new or may have changed, and some of the others."""
        self._mark, changed = ledger.changes(self._mark)
        self._stale = set(kept) if changed is None else (self._stale | set(changed)) & kept.keys()
        start, self._held_turn = self._held_turn, (self._held_turn + LOOKS) % max(1, len(mine))
        in_turn = {job.id for job in mine[start : start + LOOKS]}
        return [
            job for job in mine if job.id not in kept or job.id in self._stale or job.id in in_turn
        ]

    def _replace(self, kept: dict[str, _Indexed], halves: list[Array], owners: list[Array]) -> None:
        """Set the jobs in memory: drop the hashes of all others, merge in those that were read."""
        gone = [held.number for job, held in self._jobs.items() if kept.get(job) != held]
        self._jobs = kept
        if gone:
            stay = np.isin(self._owners, gone, invert=True)
            self._halves, self._owners = self._halves[stay], self._owners[stay]
        if halves:
            merged = np.concatenate([self._halves, *halves])
            order = np.argsort(merged, kind="stable")  # merges sorted runs
            self._halves = merged[order]
            self._owners = np.concatenate([self._owners, *owners])[order]

    def _owners_of(self, halves: Array) -> set[int]:
        """The numbers of the jobs in memory that have one of these halves, which are sorted."""
        first = np.searchsorted(self._halves, halves, "left")
        last = np.searchsorted(self._halves, halves, "right")
        there = last > first
        found = set(np.unique(self._owners[first[there]]).tolist())
        several = last - first > 1
        spans = zip(first[several].tolist(), last[several].tolist(), strict=True)
        return found.union(*(self._owners[start:end].tolist() for start, end in spans))


def index_of(ledger: Ledger) -> HashIndex:
    """The index of a ledger, for as long as the ledger is used."""
    return _indexes.setdefault(ledger, HashIndex())


_indexes: WeakKeyDictionary[Ledger, HashIndex] = WeakKeyDictionary()


def _askers(ledger: Ledger, halves: Array) -> set[str]:
    """The jobs that have one of these halves in the table."""
    pairs = ledger.all_asked(_WHOLE) if len(halves) > _FEW else None
    if pairs is None:
        return ledger.askers(halves.view(np.int64).tolist())
    held = np.array([half for half, _ in pairs], np.int64).view(np.uint64)
    return {pairs[at][1] for at in np.flatnonzero(_among(held, halves)).tolist()}


def _among(some: Array, halves: Array) -> Array:
    """Whether each of some is one of these halves, which are sorted."""
    if not len(halves):
        return np.zeros(len(some), dtype=bool)
    at = np.minimum(np.searchsorted(halves, some), len(halves) - 1)
    found: Array = halves[at] == some
    return found


def _hashed(ledger: Ledger, known: dict[str, str], job: str) -> Hashed | None:
    """A job's hashes for the table, none where it is to be held in memory; None without its record.

    known: the state of the files whose hashes are in the table.
    """
    record = ledger.find(job)
    if record is None:
        return None
    files = _files(ledger, job)
    if files is None or record.rows > TABLE_ROWS:
        return "", []
    if known[job] == _text(files):
        return known[job], []
    hashes = _read(ledger.folders.of(job), files, record.rows)
    if hashes is None:
        return "", []
    return _text(files), np.unique(hashes[hashes > 0]).view(np.int64).tolist()


def _fitting(jobs: Iterable[JobRecord]) -> set[str]:
    """The jobs that are held in memory: the smallest, where all are more than MAX_ROWS."""
    fitting = set()
    rows = 0
    for job in sorted(jobs, key=lambda job: job.rows):
        rows += job.rows
        if rows > MAX_ROWS:
            break
        fitting.add(job.id)
    return fitting


def _files(ledger: Ledger, job: str) -> _Files | None:
    """The state of a job's hash files; None where the first is missing or can't be examined."""
    folder = ledger.folders.of(job)
    try:
        planned = _stamp(folder.request_hashes)
    except OSError:
        return None
    try:
        return planned, _stamp(folder.changed)
    except FileNotFoundError:
        return planned, None
    except OSError:
        return None


def _text(files: _Files | None) -> str:
    return "" if files is None else repr(files)


def _stamp(path: os.PathLike[str]) -> _Stamp:
    stat = os.stat(path)  # noqa: PTH116 - a test counts the calls
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(folder: JobFolder, files: _Files, rows: int) -> Array | None:
    """The sorted first halves of a job's request hashes; None where a file is damaged."""
    found = b""
    try:
        for path, stamp in zip((folder.request_hashes, folder.changed), files, strict=True):
            if stamp is None:
                continue
            data = contents(path)
            if len(data) != rows * HASH_BYTES:
                return None
            found += data
    except (OSError, ValueError):
        return None
    return np.sort(hash_array(found)[:, 0])
