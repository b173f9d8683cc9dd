"""The ledger's operations: one method, one transaction; states change by compare-and-set.

Several processes use one ledger at once. A lease determines which of them runs a job; every write
under it names the holder, so that one whose lease has expired (a laptop that slept) can't overwrite
its successor's.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jupyter_batch.core.cost import Bill, Price
from jupyter_batch.core.errors import InputError, LedgerError
from jupyter_batch.core.status import MOVES, Block, Step
from jupyter_batch.ledger.queries import Event
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import write_handle
from jupyter_batch.ledger.rows import (
    VERSION,
    Version,
    decode,
    encode,
    insert,
    is_costly,
    is_handed_on,
    leased_shard,
    remove,
)
from jupyter_batch.ledger.searches import Searches
from jupyter_batch.process.holders import has_died, machine

__all__ = ["Event", "Ledger", "this_process"]


def this_process() -> str:
    """A name for this process as the holder of leases, unique among all processes."""
    return f"{machine()}:{os.getpid()}:{secrets.token_hex(4)}"


class Ledger(Searches):
    """The record of all jobs under one folder."""

    def keep_group(self, group: str, jobs: list[str], now: float) -> None:
        """Record jobs that belong together; repeating it changes nothing."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO bundle (id, created_at, jobs) VALUES (?, ?, ?)",
                (group, now, " ".join(jobs)),
            )

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
            with self._changed_folders(db):
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
            stored = {shard.number: shard for shard in self.shards(job.id)}
            new, still_absent = _not_recorded(shards, stored)
            if not new or (row is not None and not decode(row[0], JobRecord).adopted):
                return False
            with self._changed_folders(db):
                keep()
            self._unrecovered.pop(job.id, None)
            if row is None:
                db.execute(
                    "INSERT INTO job (id, fingerprint, created_at, facts) VALUES (?, ?, ?, ?)",
                    (job.id, job.fingerprint, job.created_at, encode(job)),
                )
            else:
                new += still_absent
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
        with self._transaction(synced=is_costly(shard, to, changes)) as db:
            leased = leased_shard(db, shard, holder, now)
            if leased is None:
                return None
            stored, number = leased
            is_known = number is not None and shard.job in self._kept
            moved = msgspec.structs.replace(stored, step=to, **changes)
            is_kept = is_handed_on(moved, shard)
            if is_kept:
                moved = msgspec.structs.replace(moved, moves=stored.moves + 1)
                self._count_move(db)
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
            after = self._version_in(db, shard.job) if is_known else None
        if number is not None and after:
            self._moved(moved, (self._opened, number), after)
        if moved.held:
            self.queued.add(shard.job)
        # Before it is sent: it can be found without the database, or with an older copy of it.
        if is_kept:
            write_handle(self.folders.of(shard.job), moved)
        return moved

    def _version_in(self, db: sqlite3.Connection, job: str) -> Version | None:
        row = db.execute(VERSION, (job,)).fetchone()
        return None if row is None else (self._opened, row[0])

    def _moved(self, shard: ShardRecord, before: Version, after: Version) -> None:
        with self._lock:
            self._kept.move(shard, before, after)

    def cancel(self, job: str, now: float) -> None:
        """Record the user's cancel of a job; the holder of the lease carries it out."""
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET cancel_at = ?, rush_at = 0 WHERE id = ? AND finished_at = 0",
                (now, job),
            )
            self._wake(db, job)

    def rush(
        self, job: str, now: float, *, to: str = "realtime", after_cancel: bool = False
    ) -> None:
        """Record that open rows are to be cancelled, and sent in the mode `to`.

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
            self._change(db, job, rush_to=to)
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
        """Remove a finished job with its files.

        Its folder is renamed first: after a kill the rest is done when a ledger is opened or swept.
        """
        with self._transaction() as db:
            row = db.execute("SELECT finished_at FROM job WHERE id = ?", (job,)).fetchone()
            if job not in self.unreadable and (row is None or not row[0]):
                raise InputError(
                    f"job {job} is not over: cancel it first, and forget it when it has ended"
                )
            self._unrecovered.pop(job, None)
            self.unreadable.pop(job, None)
            with self._changed_folders(db):
                self.folders.forget(job)
            remove(db, job)
        self.sweep()

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
        """Change a job's settings: `deadline`, `max_cost`, `overdue`, `keep`, and its digests."""
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
            if other != holder:
                db.execute("UPDATE job SET holder = ? WHERE id = ?", (holder, job))
            db.execute("UPDATE job SET lease_until = ? WHERE id = ?", (now + seconds, job))
        return True

    def renew(self, holder: str, now: float, seconds: float) -> int:
        """Renew the leases of a holder that have not expired; return their number."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE job SET lease_until = ? WHERE holder = ? AND finished_at = 0 AND lease_until > ?",
                (now + seconds, holder, now),
            ).rowcount

    def release(self, job: str, holder: str) -> None:
        """Release a lease, if this holder has it."""
        with self._transaction() as db:
            db.execute(
                "UPDATE job SET holder = NULL, lease_until = 0 WHERE id = ? AND holder = ?",
                (job, holder),
            )


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


def _not_recorded(
    found: list[ShardRecord], stored: Mapping[int, ShardRecord]
) -> tuple[list[ShardRecord], list[ShardRecord]]:
    """Shards found at the provider: (those that the ledger lacks, those absent there and here)."""
    new, still_absent = [], []
    for shard in found:
        known = stored.get(shard.number)
        if known is None or (known.absent and not shard.absent):
            new.append(shard)
        elif known.absent:
            still_absent.append(shard)
    return new, still_absent
