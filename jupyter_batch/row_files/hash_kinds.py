"""The kinds of hashes by which a new job's rows are found in earlier jobs of a ledger.

Jobs of one dedup scope keep to one kind, so that each row is hashed once: a new job has that of the
newest job of its scope. Kinds differ only where a folder came from another ledger or version.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

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
    from jupyter_batch.row_files.hash_arrays import Array


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
