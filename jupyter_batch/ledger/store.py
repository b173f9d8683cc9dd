"""The ledger's operations: one method, one transaction; states change by compare-and-set.

Several processes use one ledger at once. A lease determines which of them runs a job; every write
under it names the holder, so that one whose lease has expired (a laptop that slept) can't overwrite
its successor's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.cost import Bill, Price
from jupyter_batch.core.errors import InputError, JobNotFoundError, LedgerCorruptError, LedgerError
from jupyter_batch.core.status import MOVES, Block, Step
from jupyter_batch.ledger import older_copy
from jupyter_batch.ledger.folder import Folders, has_died, machine
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import job_of, recovered, shard_of, unrecovered, write_handle
from jupyter_batch.ledger.replacing import Replacing
from jupyter_batch.ledger.rows import (
    SELECT_JOB,
    decode,
    encode,
    insert,
    job_from,
    leased_shard,
    with_columns,
)

_log = logging.getLogger("jupyter_batch")

Event = tuple[float, int | None, str, int, str]
"""Time, shard (None: the job as a whole), step, rows of the shard that are done, note."""


def this_process() -> str:
    """A name for this process as the holder of leases, unique among all processes."""
    return f"{machine()}:{os.getpid()}:{secrets.token_hex(4)}"


class Ledger(Replacing):
    """The record of all jobs under one folder."""

    def __init__(self, home: Path, *, upgrade: bool = True) -> None:
        super().__init__(home, upgrade=upgrade)
        self.folders = Folders(home)
        self._listed: tuple[object, list[JobRecord]] = (None, [])
        self.unreadable: dict[str, str] = {}
        """Jobs without a readable record in database or folder, with a message about each."""
        self._unrecovered: dict[str, str] = {}

    def exists(self) -> bool:
        """Whether there is a ledger, or a job's folder to recover one from; writes nothing."""
        return super().exists() or (self._upgrade and bool(self.folders.jobs()))

    def _recover(self, connection: sqlite3.Connection) -> None:
        """Record jobs found only in the folders: the database is new, emptied, or an older copy."""
        if not self._upgrade or not (
            self._lost(connection) or older_copy.behind(connection, self.folders)
        ):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:  # another process may have been first, or have been about to record its job
            lost = self._lost(connection)
            found = list(recovered(self.folders, lost, time.time()))
            self._unrecovered = unrecovered(self.folders, lost)
            for job, shards in found:
                insert(connection, job, shards)
            moved_on = older_copy.behind(connection, self.folders)
            older_copy.bring_up(connection, moved_on)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if found:
            _log.warning(
                "jupyter_batch: %d job(s) were not in the ledger's database %s, which is new, empty or an old copy: "
                "they were recovered from their folders, and nothing is paid again",
                len(found),
                self.path,
            )
        if moved_on:
            _log.warning(
                "jupyter_batch: the ledger's database %s is an older copy: %d batch(es) were sent or fetched since, as "
                "their jobs' folders tell, and are not sent again",
                self.path,
                len(moved_on),
            )

    def _lost(self, connection: sqlite3.Connection) -> set[str]:
        """The jobs that have a folder and are not in the database."""
        return self.folders.jobs() - {row[0] for row in connection.execute("SELECT id FROM job")}

    def is_unrecovered(self, job: str) -> bool:
        """Whether a job has a folder, but no record in the database nor a readable one there."""
        return job in self._unrecovered and not self._rows("SELECT 1 FROM job WHERE id = ?", job)

    # -- reading --------------------------------------------------------------------------------------------

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

    def jobs(self, *, unfinished: bool = False) -> list[JobRecord]:
        """All jobs, newest first, except those in `unreadable`; an absent ledger has none."""
        if not self.exists():
            return []
        if unfinished:
            return self._read_jobs("WHERE finished_at = 0 ")
        with self._lock:
            mark = self._mark()
            if mark is None or mark != self._listed[0]:
                self.unreadable.clear()
                self._listed = (mark, self._read_jobs())
                self.unreadable |= self._unrecovered
            return list(self._listed[1])

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
        rows = self._rows("SELECT number, facts FROM shard WHERE job = ? ORDER BY number", job)
        found = [self._read_shard(job, number, facts) for number, facts in rows]
        return [shard for shard in found if replaced or not shard.replaced_by]

    def shards_of_all(self) -> dict[str, list[ShardRecord]]:
        """Every job's shards by number, in one read."""
        found: dict[str, list[ShardRecord]] = {}
        for job, number, facts in self._rows(
            "SELECT job, number, facts FROM shard ORDER BY job, number"
        ):
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
            return decode(facts, ShardRecord)
        except LedgerCorruptError:
            shard = shard_of(self.folders, job, number)
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
        """The newest job with exactly these requests that is open or was billed, and `fits`.

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
            alive = (
                not record.finished_at
                or record.reused
                or record.inherited
                or any(_is_billed(shard) for shard in self.shards(record.id))
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

    def child(self, job: str, *, rounds: int = 0) -> JobRecord | None:
        """The job that retries the missed rows of this one, if there is one.

        rounds: with 1, the job that answers its tool calls.
        """
        found = [record for record in self.jobs() if record.parent == job]
        wanted = self.job(job).round + rounds if found else 0
        return next((record for record in found if record.round == wanted), None)

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

    def keep_group(self, group: str, jobs: list[str], now: float) -> None:
        """Record jobs that belong together; repeating it changes nothing."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO bundle (id, created_at, jobs) VALUES (?, ?, ?)",
                (group, now, " ".join(jobs)),
            )

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
        rows = self._rows(_NEWS if seen else _ALL_EVENTS, job, seen)
        return (rows[-1][0] if rows else seen), [(r[1], r[2], r[3], r[4], r[5]) for r in rows]

    # -- writing --------------------------------------------------------------------------------------------

    def plan(
        self,
        job: JobRecord,
        shards: list[ShardRecord],
        keep: Callable[[], None],
        *,
        there: Callable[[], JobRecord | None] = lambda: None,
    ) -> JobRecord:
        """Record a job and its shards; `keep` puts its files in place within the same transaction.

        Where `there` finds a job that makes this one redundant, that one is returned instead, and
        nothing is recorded: two kernels that run the same cell at once get one job.
        """
        with self._transaction() as db:
            if (other := there()) is not None:
                return other
            keep()
            insert(db, job, shards)
            db.execute(
                "INSERT INTO event (job, at, step) VALUES (?, ?, ?)",
                (job.id, job.created_at, Step.PLANNED),
            )
        return job

    def take_up(self, job: JobRecord, shards: list[ShardRecord], keep: Callable[[], None]) -> bool:
        """Record a job found at its provider; `keep` puts its files in place in one transaction.

        For a job adopted before, shards that were absent or unknown are recorded, and it is open
        again. False where there is nothing to record: another process was first.
        """
        with self._transaction() as db:
            row = db.execute("SELECT facts FROM job WHERE id = ?", (job.id,)).fetchone()
            there = {one.number: one for one in self.shards(job.id)}
            new = [
                s
                for s in shards
                if s.number not in there or (there[s.number].absent and not s.absent)
            ]
            if not new or (row is not None and not decode(row[0], JobRecord).adopted):
                return False
            keep()
            self._unrecovered.pop(job.id, None)
            if row is None:
                db.execute(
                    "INSERT INTO job (id, fingerprint, created_at, facts) VALUES (?, ?, ?, ?)",
                    (job.id, job.fingerprint, job.created_at, encode(job)),
                )
            else:
                new += [
                    s for s in shards if s.absent and s.number in there and there[s.number].absent
                ]
                db.execute(
                    "UPDATE job SET fingerprint = ?, facts = ?, finished_at = 0 WHERE id = ?",
                    (job.fingerprint, encode(job), job.id),
                )
            db.executemany(
                "INSERT OR REPLACE INTO shard (job, number, step, ending, facts) VALUES (?, ?, ?, ?, ?)",
                [(s.job, s.number, s.step, s.ending, encode(s)) for s in new],
            )
            db.executemany(
                "INSERT INTO event (job, at, shard, step) VALUES (?, ?, ?, ?)",
                [(s.job, s.sent_at or job.created_at, s.number, s.step) for s in new],
            )
        return True

    def move(
        self, shard: ShardRecord, to: Step, holder: str, now: float, **changes: Any
    ) -> ShardRecord | None:
        """Compare-and-set: move the shard from its known step to `to`, with `changes`.

        Returns None, and writes nothing, where its step has changed or the holder has lost the
        lease.
        """
        if to is not shard.step and to not in MOVES[shard.step]:
            raise LedgerError(f"a shard can't go from {shard.step} to {to}")
        with self._transaction() as db:
            stored = leased_shard(db, shard, holder, now)
            if stored is None:
                return None
            moved = msgspec.structs.replace(stored, step=to, **changes)
            is_handed_on = _handle(moved) != _handle(shard)
            if is_handed_on:
                moved = msgspec.structs.replace(moved, moves=stored.moves + 1)
            db.execute(
                "UPDATE shard SET step = ?, ending = ?, facts = ? WHERE job = ? AND number = ?",
                (to, moved.ending, encode(moved), shard.job, shard.number),
            )
            done = moved.row_counts().done
            if to is not shard.step or done != shard.row_counts().done:
                db.execute(
                    "INSERT INTO event (job, at, shard, step, done, note) VALUES (?, ?, ?, ?, ?, ?)",
                    (shard.job, now, shard.number, to, done, moved.note),
                )
        # Before it is sent: it can be found without the database, or with an older copy of it.
        if is_handed_on:
            write_handle(self.folders.of(shard.job), moved)
        return moved

    def cancel(self, job: str, now: float) -> None:
        """Record the user's cancel of a job; the holder of the lease carries it out."""
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET cancel_at = ?, rush_at = 0 WHERE id = ? AND finished_at = 0",
                (now, job),
            )
            self._wake(db, job)

    def rush(self, job: str, now: float, *, after_cancel: bool = False) -> None:
        """Record that open rows are to be cancelled, and sent in realtime.

        after_cancel: also for a job that is being cancelled already.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET rush_at = ?, cancel_at = ? WHERE id = ? AND cancel_at = 0 AND finished_at = 0",
                (now, now, job),
            )
            if after_cancel:
                db.execute(
                    "UPDATE job SET rush_at = ? WHERE id = ? AND rush_at = 0 AND finished_at = 0",
                    (now, job),
                )
            self._wake(db, job)

    def wake(self, job: str) -> None:
        """Make every open shard due now."""
        with self._transaction() as db:
            self._wake(db, job)

    def resume(self, job: str, *, send_again: bool = False) -> None:
        """Make every open shard due now, and clear its block; it recurs if the cause remains.

        send_again: also send shards whose create may have succeeded before.
        """
        with self._transaction() as db:
            self._wake(db, job, lifted=lambda shard: _lifted(shard, send_again=send_again))
            row = db.execute("SELECT facts FROM job WHERE id = ?", (job,)).fetchone()
            if row is not None and decode(row[0], JobRecord).blocked_by is not None:
                self._change(db, job, blocked_by=None)
                db.execute("UPDATE job SET message = '' WHERE id = ?", (job,))

    def _wake(
        self,
        db: sqlite3.Connection,
        job: str,
        lifted: Callable[[ShardRecord], ShardRecord] = lambda shard: shard,
    ) -> None:
        for row in db.execute("SELECT number, facts FROM shard WHERE job = ?", (job,)).fetchall():
            shard = decode(row[1], ShardRecord)
            woken = msgspec.structs.replace(lifted(shard), due_at=0.0)
            if woken != shard:
                db.execute(
                    "UPDATE shard SET facts = ? WHERE job = ? AND number = ?",
                    (encode(woken), job, row[0]),
                )

    def reopen(self, job: str, changes: Mapping[int, Mapping[str, Any]]) -> bool:
        """Reopen a finished job to fetch collected shards again; changes: by number.

        False if it is open.
        """
        with self._transaction() as db:
            row = db.execute("SELECT finished_at FROM job WHERE id = ?", (job,)).fetchone()
            if row is None or not row[0]:
                return False
            for number, fields in changes.items():
                (facts,) = db.execute(
                    "SELECT facts FROM shard WHERE job = ? AND number = ?", (job, number)
                ).fetchone()
                shard = msgspec.structs.replace(
                    decode(facts, ShardRecord), step=Step.ENDED, due_at=0.0, **fields
                )
                db.execute(
                    "UPDATE shard SET step = ?, facts = ? WHERE job = ? AND number = ?",
                    (shard.step, encode(shard), job, number),
                )
            db.execute("UPDATE job SET finished_at = 0 WHERE id = ?", (job,))
        return True

    def forget(self, job: str) -> None:
        """Remove a finished job with its files. Safe to repeat after a kill at any point."""
        with self._transaction() as db:
            row = db.execute("SELECT finished_at FROM job WHERE id = ?", (job,)).fetchone()
            if job not in self.unreadable and (row is None or not row[0]):
                raise InputError(
                    f"job {job} is not over: cancel it first, and forget it when it has ended"
                )
            self._unrecovered.pop(job, None)
            self.unreadable.pop(job, None)
            self.folders.forget(job)
            for table in ("event", "shard"):
                db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))  # noqa: S608 - two names of ours
            db.execute("DELETE FROM job WHERE id = ?", (job,))
            db.execute("DELETE FROM bundle WHERE ' ' || jobs || ' ' LIKE ?", (f"% {job} %",))
        self.folders.sweep()

    def reprice(self, job: str, price: Price, bills: Mapping[int, Bill]) -> None:
        """Set another price for a job, and new bills of its collected shards, by number."""
        with self._transaction() as db:
            for row in db.execute(
                "SELECT number, facts FROM shard WHERE job = ?", (job,)
            ).fetchall():
                if row[0] in bills:
                    shard = msgspec.structs.replace(decode(row[1], ShardRecord), bill=bills[row[0]])
                    db.execute(
                        "UPDATE shard SET facts = ? WHERE job = ? AND number = ?",
                        (encode(shard), job, row[0]),
                    )
            self._change(db, job, price=price)

    def amend(self, job: str, **changes: float | str | Mapping[str, str]) -> None:
        """Change a job's settings: `deadline`, `max_cost`, `overdue` and `keep`."""
        with self._transaction() as db:
            self._change(db, job, **changes)
            self._wake(db, job)

    def _change(self, db: sqlite3.Connection, job: str, **changes: object) -> None:
        facts = db.execute("SELECT facts FROM job WHERE id = ?", (job,)).fetchone()[0]
        record = msgspec.structs.replace(decode(facts, JobRecord), **changes)
        db.execute("UPDATE job SET facts = ? WHERE id = ?", (encode(record), job))

    def say(
        self,
        job: str,
        message: str,
        blocked_by: Block | None = None,
        *,
        unconnected: bool = False,
    ) -> None:
        """Set the message about a whole job with its cause; without arguments both are cleared."""
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET message = ? WHERE id = ? AND message <> ?", (message, job, message)
            )
            row = db.execute("SELECT facts FROM job WHERE id = ?", (job,)).fetchone()
            if row is None:
                return
            there = decode(row[0], JobRecord)
            if (there.blocked_by, there.unconnected) != (blocked_by, unconnected):
                self._change(db, job, blocked_by=blocked_by, unconnected=unconnected)

    def finish(self, job: str, holder: str, now: float) -> bool:
        """Finish a job whose shards are all collected.

        False where they are not, or without the lease.
        """
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE job SET finished_at = ?, holder = NULL, lease_until = 0 WHERE id = ? AND holder = ? AND "
                "finished_at = 0 AND NOT EXISTS (SELECT 1 FROM shard WHERE shard.job = job.id AND step <> ?)",
                (now, job, holder, Step.COLLECTED),
            ).rowcount
        return changed > 0

    # -- leases ---------------------------------------------------------------------------------------------

    def lease(self, job: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew the right to run a job.

        A holder that died on this machine loses it at once, any other when its time has expired.
        """
        with self._transaction() as db:
            row = db.execute(
                "SELECT holder, lease_until FROM job WHERE id = ? AND finished_at = 0", (job,)
            ).fetchone()
            if row is None:
                return False
            other, until = row
            if (
                other not in (None, holder)
                and until > now
                and not has_died(other, here=holder.partition(":")[0])
            ):
                return False
            db.execute(
                "UPDATE job SET holder = ?, lease_until = ? WHERE id = ?",
                (holder, now + seconds, job),
            )
        return True

    def release(self, job: str, holder: str) -> None:
        """Release a lease, if this holder has it."""
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET holder = NULL, lease_until = 0 WHERE id = ? AND holder = ?",
                (job, holder),
            )


def _is_billed(shard: ShardRecord) -> bool:
    counts = shard.row_counts()
    # Older shards lack `billed` and show it by usage alone. Withheld rows were counted there.
    told = shard.billed or shard.usage is not None or shard.withholds
    return bool(counts.succeeded or counts.reused or told)


def _handle(shard: ShardRecord) -> tuple[object, ...]:
    """The fields that must be recorded so that a shard is not sent again."""
    return shard.step, shard.batch_id, shard.file_id, shard.create_sent


_ALL_EVENTS = "SELECT rowid, at, shard, step, done, note FROM event WHERE job = ? AND rowid > ? ORDER BY rowid"
_NEWS = _ALL_EVENTS.replace("job =", "+job =")
"""Selected by number rather than by job: few events follow a mark, in all jobs."""


def _lifted(shard: ShardRecord, *, send_again: bool) -> ShardRecord:
    """The shard without its block; an unknown create stays blocked unless `send_again`."""
    if shard.blocked_by is None or shard.step is Step.COLLECTED:
        return shard
    if shard.blocked_by is Block.UNKNOWN_CREATE and not send_again:
        return shard
    return msgspec.structs.replace(
        shard,
        blocked_by=None,
        blocked_until=0.0,
        key="",
        unseen=False,
        note="",
        attempts=0,
        send_again=shard.blocked_by is Block.UNKNOWN_CREATE,
    )
