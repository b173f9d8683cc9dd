"""Conversion of the ledger's table rows to records, and back; the shards that are kept between reads."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError
from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.core.status import Step
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


_LEASED = (
    "SELECT shard.facts, change.number FROM shard JOIN job ON job.id = shard.job "
    "LEFT JOIN change ON change.job = shard.job WHERE shard.job = ? AND shard.number = ? AND "
    "step = ? AND job.holder = ? AND job.lease_until > ?"
)


def leased_shard(
    db: sqlite3.Connection, shard: ShardRecord, holder: str, now: float
) -> tuple[ShardRecord, int | None] | None:
    """The shard as stored, and its job's last change, if any is known.

    None where its step has changed or the holder lacks the job's lease.
    """
    key = (shard.job, shard.number, shard.step, holder, now)
    row = db.execute(_LEASED, key).fetchone()
    return None if row is None else (decode(row[0], ShardRecord), row[1])


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


def is_handed_on(moved: ShardRecord, shard: ShardRecord) -> bool:
    """Whether a move has to be in the job's folder, so that nothing is sent again without the database.

    A move before any create has left is not: by the record before it the shard is sent, which is
    right. Nor is the end of a batch: by the record before it the batch is polled.
    """
    if moved.step is Step.SUBMITTING and not moved.create_sent:
        return moved.file_id != shard.file_id
    if moved.step is Step.ENDED and moved.batch_id is not None:
        return False
    return _handle(moved) != _handle(shard)


def _handle(shard: ShardRecord) -> tuple[object, ...]:
    return shard.step, shard.batch_id, shard.file_id, shard.create_sent


def is_costly(shard: ShardRecord, to: Step, changes: Mapping[str, Any]) -> bool:
    """Whether a row may be paid twice where the power fails and the move is lost.

    So it is with the intent to send a create, its time, and the batch that it made. Without any
    other move a file is uploaded again, or a batch is polled or fetched again.
    """
    batch = changes.get("batch_id", shard.batch_id)
    if to is Step.SUBMITTING:
        return bool(changes.get("create_sent", shard.create_sent))
    return batch is None or batch != shard.batch_id


# --- shards that are kept between reads: valid while their job has the same version --------------------------------

FEWEST = 4
"""A job with fewer shards is read each time, which costs as much as to compare versions."""
_SHARDS = 1 << 14
"""The most shards that are kept, except of a single job."""
_LOG = 1 << 10
"""A log with so many moves, and several of each shard, is replaced by a new one."""

Version = tuple[int, int]
"""The connection, and the number of a job's last change on it."""


SENT = frozenset({Step.SUBMITTING, Step.RUNNING, Step.CANCELLING, Step.ENDED})
"""Steps of a shard that may cost what is not known yet."""


class Totals(msgspec.Struct):
    """Sums over a job's shards, without those that were cut.

    bytes: of all request files. known: US dollars of the collected shards; unknown, ended: the bytes of
    requests of these whose cost is not known, and of those that had a batch. sent: the number of shards in a
    step of SENT, and sent_bytes theirs. Of bytes but the first, those are left out whose requests another
    job sends. tokens: of the batches that are at the provider and have not ended.
    """

    bytes: int = 0
    known: float = 0.0
    unknown: float = 0.0
    ended: int = 0
    sent: int = 0
    sent_bytes: int = 0
    tokens: int = 0

    def add(self, shard: ShardRecord, sign: int = 1) -> None:
        """Add a shard to the sums, or with -1 take it away."""
        if shard.replaced_by:
            return
        own = 0 if shard.joins else shard.bytes
        self.bytes += sign * shard.bytes
        if shard.step is Step.COLLECTED:
            bill = shard.bill
            left = 1.0 if bill is None else bill.unknown / max(1, shard.requests)
            self.known += sign * (0.0 if bill is None else bill.known)
            self.unknown += sign * own * left
            self.ended += sign * own * bool(shard.batch_id)
        elif shard.step in SENT:
            self.sent += sign
            self.sent_bytes += sign * own
            self.tokens += sign * shard.tokens * (shard.step is not Step.ENDED)


class Kept:
    """A job's shards by number, those that were cut included. log: the numbers of those that moved since.

    aside: the numbers of those that are held or blocked. limit: the least that a provider named. The sums
    are those of the shards as they are in the database: they are made when these are read.
    """

    def __init__(self, version: Version | None, shards: dict[int, ShardRecord]) -> None:
        self.version = version
        self.shards = shards
        self.log: list[int] = []
        self.aside: set[int] = set()
        self.limit: StatedLimit | None = None
        self._totals = Totals()
        for shard in shards.values():
            self._sort(shard)

    def totals(self, without: int | None = None) -> Totals:
        """The sums over the shards. without: the number of one that is left out."""
        found = msgspec.structs.replace(self._totals)
        if without in self.shards:
            found.add(self.shards[without], -1)
        return found

    def _sort(self, shard: ShardRecord) -> None:
        self._totals.add(shard)
        if shard.held or shard.blocked_by is not None:
            self.aside.add(shard.number)
        else:
            self.aside.discard(shard.number)
        if shard.limit is not None and (self.limit is None or shard.limit.most < self.limit.most):
            self.limit = shard.limit

    def move(self, shard: ShardRecord) -> None:
        """Replace one shard."""
        self._totals.add(self.shards[shard.number], -1)
        self.shards[shard.number] = shard
        self.log.append(shard.number)
        self._sort(shard)

    def current(self) -> list[ShardRecord]:
        """The shards by number, without those that were cut into smaller ones."""
        return [shard for shard in self.shards.values() if not shard.replaced_by]

    def set_aside(self) -> list[ShardRecord]:
        """The shards that are held for a quota, or blocked, by number; not those that were cut."""
        found = (self.shards[number] for number in sorted(self.aside))
        return [shard for shard in found if not shard.replaced_by]


class KeptShards:
    """The shards of the jobs read last. Not thread-safe."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Kept] = OrderedDict()
        self._count = 0

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def get(self, job: str, version: Version | None) -> Kept | None:
        """A job's shards as of a version; None where they are not kept."""
        kept = self._jobs.get(job)
        if kept is None or kept.version != version:
            return None
        self._jobs.move_to_end(job)
        return kept

    def keep(self, job: str, kept: Kept) -> None:
        """Keep a job's shards, in place of those that were read the longest ago."""
        self._count += len(kept.shards) - self._drop(job)
        self._jobs[job] = kept
        while self._count > _SHARDS and len(self._jobs) > 1:
            self._count -= self._drop(next(iter(self._jobs)))

    def _drop(self, job: str) -> int:
        held = self._jobs.pop(job, None)
        return 0 if held is None else len(held.shards)

    def move(self, shard: ShardRecord, before: Version, after: Version) -> None:
        """Replace one shard, the only difference between two versions of its job."""
        kept = self.get(shard.job, before)
        if kept is None:
            return
        if len(kept.log) > max(_LOG, 4 * len(kept.shards)):
            kept = self._jobs[shard.job] = Kept(before, kept.shards)
        kept.move(shard)
        kept.version = after
