"""Conversion of the ledger's table rows to records, and back."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError
from jupyter_batch.ledger.records import JobRecord, ShardRecord

SELECT_JOB = (
    "SELECT id, facts, cancel_at, finished_at, message, holder, lease_until, rush_at FROM job"
)
SHARDS = "SELECT job, number, facts FROM shard {}ORDER BY job, number"
OF_SOME = "WHERE job IN (SELECT value FROM json_each(?)) "
CHANGES = "SELECT number, job FROM change WHERE number >= ? ORDER BY number"
VERSION = "SELECT number FROM change WHERE job = ?"
LEASES = "SELECT id, holder, lease_until FROM job WHERE finished_at = 0"
ALL_EVENTS = "SELECT rowid, at, shard, step, done, note FROM event WHERE job = ? AND rowid > ? ORDER BY rowid"
NEWS = ALL_EVENTS.replace("job =", "+job =")
"""Selected by number rather than by job: few events follow a mark, in all jobs."""
_Record = TypeVar("_Record", JobRecord, ShardRecord)


def job_from(row: tuple[Any, ...]) -> JobRecord:
    """The job in a row of SELECT_JOB. Raises LedgerCorruptError."""
    return with_columns(decode(row[1], JobRecord), row)


def with_columns(job: JobRecord, row: tuple[Any, ...]) -> JobRecord:
    """The job with the fields that have columns of their own in the table."""
    return msgspec.structs.replace(
        job,
        cancel_at=row[2],
        finished_at=row[3],
        message=row[4],
        holder=row[5],
        lease_until=row[6],
        rush_at=row[7],
    )


def is_billed(shard: ShardRecord) -> bool:
    """Whether the provider charges for any of a shard's rows."""
    counts = shard.row_counts()
    # Older shards lack `billed` and show it by usage alone. Withheld rows were counted there.
    known = shard.billed or shard.usage is not None or shard.withholds
    return bool(counts.succeeded or counts.reused or known)


def encode(record: JobRecord | ShardRecord) -> str:
    """A record as JSON."""
    return msgspec.json.encode(record).decode()


def decode(facts: str, kind: type[_Record]) -> _Record:
    """A record from JSON, which is frozen. Raises LedgerCorruptError."""
    record: _Record = _decoded(facts, kind)
    return record


@lru_cache(maxsize=1 << 14)
def _decoded(facts: str, kind: Any) -> Any:
    """Decode a record once: of the many that each look reads, few have changed since the last."""
    try:
        return msgspec.json.decode(facts, type=kind)
    except (msgspec.DecodeError, TypeError, ValueError) as e:
        raise LedgerCorruptError(
            f"the ledger holds a record that can't be read ({e}); was it written by a newer "
            "jupyter_batch?"
        ) from e


def leased_shard(
    db: sqlite3.Connection, shard: ShardRecord, holder: str, now: float
) -> ShardRecord | None:
    """The shard as stored; None where its step has changed or the holder lacks the job's lease."""
    row = db.execute(
        "SELECT shard.facts FROM shard JOIN job ON job.id = shard.job WHERE shard.job = ? AND "
        "number = ? AND step = ? AND job.holder = ? AND job.lease_until > ?",
        (shard.job, shard.number, shard.step, holder, now),
    ).fetchone()
    return None if row is None else decode(row[0], ShardRecord)


def insert(db: sqlite3.Connection, job: JobRecord, shards: list[ShardRecord]) -> None:
    """Insert a job and its shards into the tables."""
    db.execute(
        "INSERT INTO job (id, fingerprint, created_at, finished_at, message, facts) VALUES (?, ?, ?, ?, ?, ?)",
        (job.id, job.fingerprint, job.created_at, job.finished_at, job.message, encode(job)),
    )
    db.executemany(
        "INSERT INTO shard (job, number, step, ending, facts) VALUES (?, ?, ?, ?, ?)",
        [(s.job, s.number, s.step, s.ending, encode(s)) for s in shards],
    )


def remove(db: sqlite3.Connection, job: str) -> None:
    """Remove a job and its shards from the tables, with the groups that it is in."""
    for table in ("event", "shard"):
        db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))  # noqa: S608 - two names of ours
    db.execute("DELETE FROM job WHERE id = ?", (job,))
    db.execute("DELETE FROM bundle WHERE ' ' || jobs || ' ' LIKE ?", (f"% {job} %",))
