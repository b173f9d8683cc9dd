"""An index of the request hashes of earlier jobs, in memory: which jobs may have a request.

A filter only: the jobs that it names have to be read. Files are written before the ledger's record of
their job, so that those of a job that changed there are looked at, and read again when `stat` shows a
change. Files that something else changes are found in turn: LOOKS others are looked at in each search.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.hash_arrays import hash_array
from jupyter_batch.row_files.linked_parts import contents

if TYPE_CHECKING:
    from jupyter_batch.ledger.queries import Mark
    from jupyter_batch.ledger.store import Ledger
    from jupyter_batch.row_files.hash_arrays import Array

MAX_ROWS = 2_000_000  # 12 bytes a row
LOOKS = 32
_HASH_BYTES = 16

_Stamp = tuple[int, int, int]  # of a file: mtime_ns, size, inode


class _Indexed(NamedTuple):
    """A job in the index. files: of its requests as planned, and as changed by a retry."""

    number: int
    files: tuple[_Stamp, _Stamp | None]


class HashIndex:
    """The first halves of the request hashes of a ledger's jobs, sorted, with the job of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _Indexed] = {}
        self._next = 0
        self._mark: Mark | None = None
        self._stale: set[str] = set()
        self._turn = 0
        self._halves: Array = np.empty(0, np.uint64)
        self._owners: Array = np.empty(0, np.uint32)

    def candidates(self, ledger: Ledger, space: str, asked: Sequence[Array]) -> list[JobRecord]:
        """The jobs of a dedup scope that may have one of these requests, newest first.

        asked: arrays of request hashes. A job whose files are not as expected is always included.
        """
        jobs = ledger.jobs()
        mine = [job for job in jobs if job.space == space]
        with self._lock:
            self._refresh(ledger, jobs, mine)
            found = self._owners_of(np.concatenate([hashes[:, 0] for hashes in asked]))
            return [
                job
                for job in mine
                if (held := self._jobs.get(job.id)) is None or held.number in found
            ]

    def halves(self, ledger: Ledger, space: str) -> Array:
        """The first halves of the request hashes of a dedup scope's jobs, sorted; of those indexed."""
        jobs = ledger.jobs()
        mine = [job for job in jobs if job.space == space]
        with self._lock:
            self._refresh(ledger, jobs, mine)
            numbers = [self._jobs[job.id].number for job in mine if job.id in self._jobs]
            if len(numbers) == len(self._jobs):
                return self._halves
            return self._halves[np.isin(self._owners, numbers)]

    def _refresh(self, ledger: Ledger, jobs: list[JobRecord], mine: list[JobRecord]) -> None:
        """Remove forgotten and changed jobs; read new and changed ones of the scope."""
        fitting = _fitting(jobs)
        kept = {job: held for job, held in self._jobs.items() if job in fitting}
        halves: list[Array] = []
        owners: list[Array] = []
        root, sample = str(ledger.folders.root), ledger.folders.of("")
        names = sample.request_hashes.name, sample.changed.name
        for job in self._to_look_at(ledger, mine, kept):
            if job.id not in fitting:
                continue
            self._stale.discard(job.id)
            held, files = kept.get(job.id), _stamps(f"{root}/{job.id}", names)
            if held is not None and held.files == files:
                continue
            kept.pop(job.id, None)
            folder = ledger.folders.of(job.id)
            hashes = None if files is None else _read(folder, files, job.rows)
            if files is not None and hashes is not None:
                kept[job.id] = _Indexed(self._next, files)
                halves.append(hashes)
                owners.append(np.full(len(hashes), self._next, np.uint32))
                self._next += 1
        self._replace(kept, halves, owners)

    def _to_look_at(
        self, ledger: Ledger, mine: list[JobRecord], kept: dict[str, _Indexed]
    ) -> list[JobRecord]:
        """The jobs of the scope whose files are new or may have changed, and some of the others."""
        self._mark, changed = ledger.changes(self._mark)
        self._stale = set(kept) if changed is None else (self._stale | set(changed)) & kept.keys()
        start, self._turn = self._turn, (self._turn + LOOKS) % max(1, len(mine))
        in_turn = {job.id for job in mine[start : start + LOOKS]}
        return [
            job for job in mine if job.id not in kept or job.id in self._stale or job.id in in_turn
        ]

    def _replace(self, kept: dict[str, _Indexed], halves: list[Array], owners: list[Array]) -> None:
        """Set the indexed jobs: drop the hashes of all others, merge in those that were read."""
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
        """The numbers of the jobs that have one of these halves."""
        halves = np.sort(halves)  # far faster than as many searches all over the array
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


def _fitting(jobs: list[JobRecord]) -> set[str]:
    """The jobs that are indexed: the smallest, where all are more than MAX_ROWS."""
    if sum(job.rows for job in jobs) <= MAX_ROWS:
        return {job.id for job in jobs}
    fitting = set()
    rows = 0
    for job in sorted(jobs, key=lambda job: job.rows):
        rows += job.rows
        if rows > MAX_ROWS:
            break
        fitting.add(job.id)
    return fitting


def _stamps(folder: str, names: tuple[str, str]) -> tuple[_Stamp, _Stamp | None] | None:
    """The state of a job's hash files; None where the first is missing or can't be examined."""
    planned, changed = names
    try:
        stamp = _stamp(f"{folder}/{planned}")
    except OSError:
        return None
    try:
        return stamp, _stamp(f"{folder}/{changed}")
    except FileNotFoundError:
        return stamp, None
    except OSError:
        return None


def _stamp(path: str) -> _Stamp:
    stat = os.stat(path)  # noqa: PTH116 - text: a Path costs as much as the call, and there are thousands
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(folder: JobFolder, files: tuple[_Stamp, _Stamp | None], rows: int) -> Array | None:
    """The sorted first halves of a job's request hashes; None where a file is damaged."""
    found = b""
    try:
        for path, stamp in zip((folder.request_hashes, folder.changed), files, strict=True):
            if stamp is None:
                continue
            data = contents(path)
            if len(data) != rows * _HASH_BYTES:
                return None
            found += data
    except (OSError, ValueError):
        return None
    return np.sort(hash_array(found)[:, 0])
