"""The ledger's searches for earlier jobs. None reads more of them than it finds.

The table of request hashes is a filter, made from the jobs' files by row_files/hash_index.py. What it
lacks, such as the hashes of large jobs, is named by `loose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError, LedgerError
from jupyter_batch.ledger.queries import Queries
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.rows import SELECT_JOB

_NEWEST_FIRST = "ORDER BY created_at DESC, id"
_OF_SOME = "IN (SELECT value FROM json_each(?))"
_AT_ONCE = 5_000
"""Hashes in one statement."""
_IN_ONE_WRITE = 100
"""Jobs whose hashes are stored in one transaction, while other processes wait."""

Hashed = tuple[str, list[int]]
"""The state of a job's files, and the first halves of its request hashes, as signed integers."""


class Searches(Queries):
    """The ledger's methods that search for jobs by what they ask."""

    def hashings(self, space: str) -> list[str]:
        """The kinds of hashes of a dedup scope's jobs, that of the newest job first."""
        if not self.exists():
            return []
        found: list[tuple[float, str]] = []
        kind = ""
        while rows := self._rows(
            "SELECT hashing, created_at FROM job WHERE space = ? AND hashing > ? "
            "ORDER BY hashing, created_at DESC LIMIT 1",
            *(space, kind),
        ):
            kind = rows[0][0]
            found.append((rows[0][1], kind))
        return [kind for _, kind in sorted(found, reverse=True)]

    def framed_as(self, frame_digest: str) -> Iterator[JobRecord]:
        """The jobs with this digest of their frame, newest first."""
        return self._searched("frame_digest = ?", frame_digest)

    def called_as(self, asked_digest: str) -> Iterator[JobRecord]:
        """The jobs with this digest of their call, newest first."""
        return self._searched("asked_digest = ?", asked_digest)

    def children(self, job: str) -> Iterator[JobRecord]:
        """The jobs that continue this one, newest first."""
        return self._searched("parent = ?", job)

    def same_requests(self, fingerprint: str) -> Iterator[JobRecord]:
        """The jobs with exactly these requests, newest first."""
        return self._searched("fingerprint = ?", fingerprint)

    def _searched(self, where: str, value: str) -> Iterator[JobRecord]:
        rows = (
            self._rows(f"{SELECT_JOB} WHERE {where} {_NEWEST_FIRST}", value)
            if value and self.exists()
            else []
        )
        return (record for row in rows if (record := self._read_job(row)) is not None)

    def child(self, job: str, *, rounds: int = 0) -> JobRecord | None:
        """The job that retries the missed rows of this one, if there is one.

        rounds: with 1, the job that answers its tool calls.
        """
        found = list(self.children(job))
        wanted = self.job(job).round + rounds if found else 0
        return next((record for record in found if record.round == wanted), None)

    # -- what came since ------------------------------------------------------------------------------------

    def last_number(self) -> int:
        """The number of the job that was recorded last. No later job has it again."""
        rows = self._rows("SELECT max(number) FROM hashed") if self.exists() else []
        return rows[0][0] or 0 if rows else 0

    def has_new(self, space: str, since: int) -> bool:
        """Whether a job of a dedup scope was recorded after that number, or the file was replaced."""
        newer = (
            "SELECT 1 FROM hashed JOIN job ON job.id = hashed.job WHERE number > ? AND +space = ?"
        )
        return self.last_number() < since or bool(self._rows(f"{newer} LIMIT 1", since, space))

    def damage(self) -> str:
        """A message about a job whose record is not readable; "" without any.

        Reads the records that changed since their hashes were stored.
        """
        if not self.exists():
            return ""
        for job in {*self.unread(), *self.unreadable}:
            if self.find(job) is None and not self._rows("SELECT 1 FROM job WHERE id = ?", job):
                self.unreadable.pop(job, None)
        self.unreadable |= self._unrecovered
        return next(iter(self.unreadable.values()), "")

    # -- request hashes ---------------------------------------------------------------------------------------

    def unread(self) -> dict[str, str]:
        """The jobs whose records changed since they were read for their hashes, and `files` of each."""
        return dict(self._rows("SELECT job, files FROM hashed WHERE is_read = 0"))

    def loose(self) -> set[str]:
        """The jobs whose request hashes are not in the table."""
        return {row[0] for row in self._rows("SELECT job FROM hashed WHERE files = ''")}

    def hashed_after(self, number: int, most: int) -> list[tuple[int, str, str]]:
        """(number, job, files) of so many jobs with hashes in the table, after that number."""
        found: list[tuple[int, str, str]] = self._rows(
            "SELECT number, job, files FROM hashed WHERE number > ? AND files <> '' "
            "ORDER BY number LIMIT ?",
            *(number, most),
        )
        return found

    def keep_hashes(self, jobs: dict[str, str], read: Callable[[str], Hashed | None]) -> bool:
        """Store the hashes of jobs, as their files are now; False where that can't be written.

        jobs: with `files` of each. read: None for a job without a readable record.
        """
        names = list(jobs)
        try:
            for at in range(0, len(names), _IN_ONE_WRITE):
                with self._transaction(synced=False) as db:
                    for job in names[at : at + _IN_ONE_WRITE]:
                        if (found := read(job)) is None:
                            continue
                        files, halves = found
                        if files != jobs[job]:
                            if jobs[job]:
                                db.execute("DELETE FROM asked WHERE job = ?", (job,))
                            db.executemany(
                                "INSERT OR IGNORE INTO asked (half, job) VALUES (?, ?)",
                                [(half, job) for half in halves],
                            )
                        db.execute(
                            "UPDATE hashed SET is_read = 1, files = ? WHERE job = ?", (files, job)
                        )
        except LedgerError:
            return False
        return True

    def askers(self, halves: Sequence[int]) -> set[str]:
        """The jobs that have one of these halves in the table."""
        sql = f"SELECT DISTINCT job FROM asked WHERE half {_OF_SOME}"  # noqa: S608 - a constant
        return {row[0] for some in _chunks(halves) for row in self._rows(sql, some)}

    def asked_in(self, space: str, halves: Sequence[int]) -> list[int]:
        """Those of the halves that a job of a dedup scope has in the table."""
        sql = (
            f"SELECT DISTINCT half FROM asked JOIN job ON job.id = asked.job WHERE half {_OF_SOME} "  # noqa: S608
            "AND +space = ?"
        )
        return [row[0] for some in _chunks(halves) for row in self._rows(sql, some, space)]

    def all_asked(self, most: int) -> list[tuple[int, str]] | None:
        """(half, job) of the whole table; None where it has more than `most` rows."""
        rows: list[tuple[int, str]] = self._rows("SELECT half, job FROM asked LIMIT ?", most + 1)
        return None if len(rows) > most else rows

    def ids_in(self, space: str) -> set[str]:
        """The jobs of a dedup scope."""
        return {row[0] for row in self._rows("SELECT id FROM job WHERE space = ?", space)}

    def some_jobs(self, jobs: Iterable[str], space: str) -> list[JobRecord]:
        """Those of the jobs that are of a dedup scope, newest first.

        Raises LedgerCorruptError where the record of one is not readable.
        """
        wanted = msgspec.json.encode(sorted(jobs)).decode()
        found = []
        for row in self._rows(f"{SELECT_JOB} WHERE id {_OF_SOME} {_NEWEST_FIRST}", wanted):
            record = self._read_job(row)
            if record is None:
                raise LedgerCorruptError(self.unreadable[row[0]])
            if record.space == space:
                found.append(record)
        return found


def _chunks(halves: Sequence[int]) -> Iterator[str]:
    for at in range(0, len(halves), _AT_ONCE):
        yield msgspec.json.encode(halves[at : at + _AT_ONCE]).decode()
