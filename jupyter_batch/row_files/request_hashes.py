"""Request hashes of jobs: arrays of them, and the kinds of hashes in a ledger.

Jobs of one dedup scope keep to one kind, so that each row is hashed once: a new job has that of the
newest job of its scope. Kinds differ only where a folder came from another ledger or version.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.request import position_of
from jupyter_batch.frames.hashing import SEED_BYTES, seeded
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.request_files import REQUEST_ID, sent_hash

if TYPE_CHECKING:
    from jupyter_batch.ledger.store import Ledger

    Array: TypeAlias = np.ndarray[Any, Any]


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
    return next(iter(ledger.hashings(space)), "") or _own_kind(ledger)


def adopted_kind(ledger: Ledger) -> str:
    """The kind for jobs that are taken up, whose scope is known only once they are read."""
    return next((job.hashing for job in ledger.jobs()), "") or _own_kind(ledger)


def further_kinds(ledger: Ledger, space: str, own: str) -> list[str]:
    """The kinds of jobs of a dedup scope other than a job's own."""
    return [kind for kind in ledger.hashings(space) if kind != own]


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
