"""The ledger's queries."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, LedgerCorruptError, LedgerError
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import job_of, shard_of
from jupyter_batch.ledger.replacing import Replacing
from jupyter_batch.ledger.rows import (
    ALL_EVENTS,
    CHANGES,
    FEWEST,
    LEASES,
    NEWS,
    OF_SOME,
    SELECT_JOB,
    SHARDS,
    VERSION,
    Kept,
    KeptShards,
    Version,
    decode,
    encode,
    is_billed,
    job_from,
    with_columns,
)

Event = tuple[float, int | None, str, int, str]
"""Time, shard (None: the job as a whole), step, rows of the shard that are done, note."""


class Mark(NamedTuple):
    """A place in the order of changes: the connection that it was read on, and the last number."""

    opened: int
    number: int


class Queries(Replacing):
    """The ledger's methods that read; a record that is damaged is restored from its job's folder."""

    def __init__(self, home: Path, *, upgrade: bool = True) -> None:
        super().__init__(home, upgrade=upgrade)
        self._listed: tuple[object, Mark | None] = (None, None)
        self._records: dict[str, JobRecord] = {}  # the oldest first
        self._kept = KeptShards()
        self.queued: set[str] = set()
        """Jobs of which a shard was held for a quota, when it was last read or written here."""
        self.unreadable: dict[str, str] = {}
        """Jobs without a readable record in database or folder, with a message about each."""

    def stamp(self) -> object:
        """A value that changes when another process or Ledger writes; None without a ledger."""
        return (self._rows("PRAGMA data_version"), self._file) if self.exists() else None

    def job(self, name: str) -> JobRecord:
        """The job by its id, a unique prefix of it, or the newest of that name.

        Raises JobNotFoundError.
        """
        if not self.exists():
            raise JobNotFoundError(f"no job {name!r}: there is no ledger at {self.home}")
        found = self._rows(f"{SELECT_JOB} WHERE id = ?", name)
        if not found:
            named = [r for r in self.jobs() if r.name == name]
            if named:
                return named[0]
            found = [
                r
                for r in self._rows(f"{SELECT_JOB} ORDER BY created_at DESC")
                if str(r[0]).startswith(name)
            ]
        if not found and name in self._unrecovered:
            self.unreadable[name] = self._unrecovered[name]
            raise LedgerCorruptError(self.unreadable[name])
        if len(found) != 1:
            what = (
                f"{len(found)} jobs begin with {name!r}"
                if found
                else f"no job {name!r} in {self.home}"
            )
            raise JobNotFoundError(f"{what}; jupyter_batch.jobs() lists them")
        record = self._read_job(found[0])
        if record is None:
            raise LedgerCorruptError(self.unreadable[found[0][0]])
        return record

    def jobs(self, *, unfinished: bool = False, leases: bool = False) -> list[JobRecord]:
        """All jobs, newest first, except those in `unreadable`; an absent ledger has none.

        leases: as renewed last; without it, as of the job's last change.
        """
        if not self.exists():
            return []
        if unfinished:
            return self._read_jobs("WHERE finished_at = 0 ")
        with self._lock:
            stamp = self._mark()
            if stamp is None:
                self._list_all()
            elif stamp != self._listed[0]:
                self._listed = (stamp, self._follow(self._listed[1]))
            if leases:
                self._read_leases()
            return list(reversed(self._records.values()))

    def _follow(self, mark: Mark | None) -> Mark | None:
        """Read the jobs that changed since `mark`; return the new mark."""
        mark, changed = self.changes(mark)
        if changed is None or self.unreadable:
            self._list_all()
            return mark
        is_unsorted = False
        for job in changed:
            record = self.find(job)
            if record is None:
                self._records.pop(job, None)
            else:
                newest = next(reversed(self._records.values()), record)
                is_new = job not in self._records
                is_unsorted |= is_new and record.created_at <= newest.created_at
                self._records[job] = record
        if is_unsorted:
            newest_first = sorted(self._records.items(), key=lambda it: (-it[1].created_at, it[0]))
            self._records = dict(reversed(newest_first))
        return mark

    def _read_leases(self) -> None:
        for job, holder, until in self._rows(LEASES):
            record = self._records.get(job)
            if record is not None and (record.holder, record.lease_until) != (holder, until):
                self._records[job] = msgspec.structs.replace(
                    record, holder=holder, lease_until=until
                )

    def _list_all(self) -> None:
        self.unreadable.clear()
        self._records = {record.id: record for record in reversed(self._read_jobs())}
        self.unreadable |= self._unrecovered

    def changes(self, mark: Mark | None) -> tuple[Mark | None, list[str] | None]:
        """(a new mark, the jobs that were written or removed since `mark`, by any process).

        None for the jobs: any may have changed, as without a mark or after the file was replaced.
        Renewed leases are left out.
        """
        if not self.exists():
            return None, None
        with self._lock:
            if mark is None:
                (last,) = self._rows("SELECT max(number) FROM change")
                return Mark(self._opened, last[0] or 0), None
            rows = self._rows(CHANGES, mark.number)
            number = rows[-1][0] if rows else 0
            new = Mark(self._opened, number)
            # The last change of all is in the table, under its number or, if repeated, a higher one.
            if mark.opened != self._opened or number < mark.number:
                return new, None
            return new, [job for at, job in rows if at > mark.number]

    def find(self, job: str) -> JobRecord | None:
        """The job with this id; None where there is none, or its record is unreadable."""
        rows = self._rows(f"{SELECT_JOB} WHERE id = ?", job)
        return self._read_job(rows[0]) if rows else None

    def _read_jobs(self, where: str = "") -> list[JobRecord]:
        rows = self._rows(f"{SELECT_JOB} {where}ORDER BY created_at DESC, id")
        return [record for row in rows if (record := self._read_job(row)) is not None]

    def _mark(self) -> object:
        """A value that changes with each write by any process; None where it is unknown."""
        version = self._rows("PRAGMA data_version")
        if self._connection is None:
            return None
        return version, self._connection.total_changes, id(self._connection), self._file

    def shards(self, job: str, *, replaced: bool = False) -> list[ShardRecord]:
        """A job's shards by number; replaced: including those that were cut into smaller ones."""
        with self._lock:
            kept = self.kept(job)
            return [*kept.shards.values()] if replaced else kept.current()

    def shard(self, job: str, number: int) -> ShardRecord | None:
        """A shard by its number; None where there is none."""
        return self.kept(job).shards.get(number)

    def kept(self, job: str) -> Kept:
        """A job's shards; as long as no other process changes them, the same object with a log."""
        with self._lock:
            if job not in self._kept and len(found := self._read_shards(job)) < FEWEST:
                return Kept(None, found)
            version = self._version_of(job)  # before the shards: those read may be newer, not older
            kept = self._kept.get(job, version)
            if kept is not None:
                return kept
            kept = Kept(version, self._read_shards(job))
            is_final = self._connection is not None and not self._connection.in_transaction
            if version is not None and is_final:
                self._kept.keep(job, kept)
            return kept

    def _read_shards(self, job: str) -> dict[int, ShardRecord]:
        rows = self._rows("SELECT number, facts FROM shard WHERE job = ? ORDER BY number", job)
        return {number: self._read_shard(job, number, facts) for number, facts in rows}

    def _version_of(self, job: str) -> Version | None:
        """The connection and the number of a job's last change."""
        rows = self._rows(VERSION, job)
        return (self._opened, rows[0][0]) if rows else None

    def shards_of_all(self, jobs: Sequence[str] | None = None) -> dict[str, list[ShardRecord]]:
        """The shards of every job, or of these, by number, in one read."""
        found: dict[str, list[ShardRecord]] = {}
        where, *given = ("",) if jobs is None else (OF_SOME, msgspec.json.encode(jobs).decode())
        for job, number, facts in self._rows(SHARDS.format(where), *given):
            with contextlib.suppress(LedgerCorruptError):
                shard = self._read_shard(job, number, facts)
                if not shard.replaced_by:
                    found.setdefault(job, []).append(shard)
        return found

    def _read_job(self, row: tuple[Any, ...]) -> JobRecord | None:
        """The job in a row; a damaged record is restored from the folder or in `unreadable`."""
        job = str(row[0])
        self.unreadable.pop(job, None)
        try:
            return job_from(row)
        except LedgerCorruptError:
            record = job_of(self.folders, job)
        if record is None:
            self.unreadable[job] = (
                f"the record of job {job} in {self.path} is damaged, and its folder {self.folders.of(job).path} does "
                f"not tell it either: put one of them back from a backup, or `jupyter batch forget {job}` removes "
                "the job"
            )
            return None
        with contextlib.suppress(LedgerError), self._transaction() as db:
            db.execute("UPDATE job SET facts = ? WHERE id = ?", (encode(record), job))
        return with_columns(record, row)

    def _read_shard(self, job: str, number: int, facts: str) -> ShardRecord:
        """A shard; a damaged record is restored from the folder. Raises LedgerCorruptError."""
        try:
            stored = decode(facts, ShardRecord)
        except LedgerCorruptError:
            shard = shard_of(self.folders, job, number)
        else:
            if stored.held:
                self.queued.add(job)
            return stored
        if shard is None:
            self.unreadable[job] = (
                f"the record of batch {number} of job {job} in {self.path} is damaged, and its folder "
                f"{self.folders.of(job).path} does not tell it either: put one of them back from a backup, or "
                f"`jupyter batch forget {job}` removes the job"
            )
            raise LedgerCorruptError(self.unreadable[job])
        with contextlib.suppress(LedgerError), self._transaction() as db:
            db.execute(
                "UPDATE shard SET step = ?, ending = ?, facts = ? WHERE job = ? AND number = ?",
                (shard.step, shard.ending, encode(shard), job, number),
            )
        return shard

    def answering(
        self, fingerprint: str, fits: Callable[[JobRecord], bool] = lambda _: True
    ) -> JobRecord | None:
        """The newest job with exactly these requests that is open, was billed or has none, and `fits`.

        Unusable answers count, too: `retry` sends their requests again, not the cell.
        """
        if not self.exists():
            return None
        for row in self._rows(
            f"{SELECT_JOB} WHERE fingerprint = ? ORDER BY created_at DESC", fingerprint
        ):
            record = self._read_job(row)
            if record is None:
                continue
            shards = self.shards(record.id)
            alive = (
                not record.finished_at
                or record.reused
                or record.inherited
                or not shards  # none of its rows can be sent
                or any(map(is_billed, shards))
            )
            if alive and fits(record):
                return record
        return None

    def holds(self, batch_id: str, place: JobRecord) -> bool:
        """Whether a shard of a job at the same provider and address has this batch.

        Other providers may use equal ids.
        """
        return any(
            shard.batch_id == batch_id or batch_id in shard.refused
            for job in self.jobs()
            if (job.provider, job.api_base) == (place.provider, place.api_base)
            for shard in self.shards(job.id, replaced=True)
        )

    def next_number(self, job: str) -> int:
        """The number of the job's next shard, above those of replaced ones."""
        return int(self._rows("SELECT max(number) + 1 FROM shard WHERE job = ?", job)[0][0])

    def joined_by(self, job: str) -> list[str]:
        """The jobs whose answers this one waits for, and transitively those that they wait for."""
        found = [job]
        for one in found:  # the list grows during the loop
            joins = {shard.joins for shard in self.shards(one)}
            found.extend(sorted(joins - {"", *found}))
        return found[1:]

    def groups(self) -> dict[str, list[str]]:
        """Every group's id, newest first, and its jobs."""
        rows = (
            self._rows("SELECT id, jobs FROM bundle ORDER BY created_at DESC, id")
            if self.exists()
            else []
        )
        return {group: jobs.split() for group, jobs in rows}

    def events(self, job: str) -> list[Event]:
        """The events in order: (time, shard, step, rows done, note)."""
        return [
            (r[0], r[1], r[2], r[3], r[4])
            for r in self._rows(
                "SELECT at, shard, step, done, note FROM event WHERE job = ? ORDER BY at, rowid",
                job,
            )
        ]

    def news(self, job: str, seen: int) -> tuple[int, list[Event]]:
        """(a mark, the events written since the mark `seen`, in order); 0 precedes the first event.

        A job's events are removed only with the job, so that no later one has an earlier number.
        """
        rows = self._rows(NEWS if seen else ALL_EVENTS, job, seen)
        return (rows[-1][0] if rows else seen), [(r[1], r[2], r[3], r[4], r[5]) for r in rows]
