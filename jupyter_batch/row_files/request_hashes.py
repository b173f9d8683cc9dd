"""Request hashes of jobs: arrays of them, the kinds of hashes in a ledger, and an index of earlier jobs' hashes.

Jobs of one dedup scope keep to one kind, so that each row is hashed once: a new job has that of the
newest job of its scope. Kinds differ only where a folder came from another ledger or version.

The index, in memory, names the jobs that may have a request. It is a filter only: the jobs have to be
read. Files are written before the ledger's record of their job, so that those of a job that changed
there are looked at, and read again when `stat` shows a change. Files that something else changes are
found in turn: LOOKS others are looked at in each search.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.request import position_of
from jupyter_batch.frames.hashing import HASH_BYTES, SEED_BYTES, seeded
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.request_files import REQUEST_ID, sent_hash

if TYPE_CHECKING:
    from jupyter_batch.ledger.queries import Mark
    from jupyter_batch.ledger.store import Ledger

    Array: TypeAlias = np.ndarray[Any, Any]

MAX_ROWS = 2_000_000  # 12 bytes a row
LOOKS = 32

_Stamp = tuple[int, int, int]  # of a file: mtime_ns, size, inode


def hash_array(hashes: bytes | bytearray) -> Array:
    """Return concatenated request hashes as uint64 of shape (rows, 2), in the same memory."""
    return np.frombuffer(hashes, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


def sum_of(hashes: bytes | bytearray) -> int:
    """The sum of request hashes as big-endian integers of 128 bits, whatever their order."""
    words = np.frombuffer(hashes, ">u4").reshape(-1, 4)
    totals = words.sum(axis=0, dtype=np.uint64)[::-1]
    return sum(int(total) << 32 * place for place, total in enumerate(totals)) % (1 << 128)


def matches(
    mine: Array, rows: Array, theirs: Array, guess: Array | None = None
) -> tuple[Array, Array]:
    """The rows whose request hash is among `theirs`, and their positions there.

    guess: the positions of most rows, -1 for unknown ones; those of `rows` without it, as in a frame
    that has grown.
    """
    guess = rows if guess is None else guess
    at = np.where((guess >= 0) & (guess < len(theirs)), guess, 0)
    found = _equal(mine[rows], theirs, at)
    rest = np.flatnonzero(~found)
    there = np.flatnonzero(theirs.any(axis=1)) if len(rest) else rest
    if 0 < len(rest) < len(there) // 8:  # fewer to sort
        there = there[np.isin(theirs[there, 0], mine[rows[rest], 0])]
    if len(there):
        order = there[np.argsort(theirs[there, 0], kind="stable")]
        held, wanted = theirs[order, 0], mine[rows[rest]]
        at[rest] = order[np.minimum(np.searchsorted(held, wanted[:, 0]), len(held) - 1)]
        found[rest] = _equal(wanted, theirs, at[rest])
    return rows[found], at[found]


def _equal(mine: Array, theirs: Array, at: Array) -> Array:
    """Whether each hash equals one of `theirs`, and is none of a row without a request."""
    if not len(theirs):
        return np.zeros(len(mine), dtype=bool)
    same: Array = (theirs[at] == mine).all(axis=1) & mine.any(axis=1)
    return same


# --- kinds of hashes -------------------------------------------------------------------------------


def kind_in(ledger: Ledger, space: str) -> str:
    """The kind for a new job of a dedup scope."""
    kinds = (job.hashing for job in ledger.jobs() if job.space == space)
    return next(kinds, "") or _own_kind(ledger)


def adopted_kind(ledger: Ledger) -> str:
    """The kind for jobs that are taken up, whose scope is known only once they are read."""
    return next((job.hashing for job in ledger.jobs()), "") or _own_kind(ledger)


def further_kinds(ledger: Ledger, space: str, own: str) -> list[str]:
    """The kinds of jobs of a dedup scope other than a job's own."""
    found = {job.hashing: None for job in ledger.jobs() if job.space == space}
    return [kind for kind in found if kind != own]


def rehashed(record: JobRecord, paths: Iterable[Path], hashes: Array, kind: str) -> Array:
    """The hashes of a job's requests in another kind, from their lines.

    Zeros for a row whose line is not what was hashed.
    """
    found = np.zeros_like(hashes)
    for path in paths:
        with opened(path) as file:
            for line in file:
                named = REQUEST_ID.match(line)
                row = position_of(record.id, named[1].decode()) if named else None
                if row is None or row >= len(hashes):
                    continue
                sample = row % record.samples
                if sent_hash(line, record.hashing, sample) == hashes[row].astype("<u8").tobytes():
                    found[row] = np.frombuffer(sent_hash(line, kind, sample), "<u8")
    return found


def _own_kind(ledger: Ledger) -> str:
    """The kind of a ledger without jobs; its seed is made when it is first needed."""
    path = ledger.folders.hash_seed
    try:
        seed = path.read_bytes()
    except OSError:
        seed = b""
    if len(seed) != SEED_BYTES:
        seed = secrets.token_bytes(SEED_BYTES)
        try:
            JobFolder(ledger.home).write(path, seed)
        except LedgerError:  # a read-only ledger: its drafts are not stored
            return seeded(seed)
    return seeded(seed)


# --- the index -------------------------------------------------------------------------------------


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
            if len(data) != rows * HASH_BYTES:
                return None
            found += data
    except (OSError, ValueError):
        return None
    return np.sort(hash_array(found)[:, 0])
