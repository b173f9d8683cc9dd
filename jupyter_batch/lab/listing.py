"""The ledger's jobs as a JSON list, in the panel's words.

The texts are clean (no control or bidi characters, a single line) and not escaped: the page inserts
them as text.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, LedgerCorruptError, LedgerError
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.history import Points
from jupyter_batch.core.status import Snapshot, reopen
from jupyter_batch.ledger.linked_jobs import Lines
from jupyter_batch.ledger.records import JobRecord, ShardRecord, bill_of
from jupyter_batch.ledger.snapshots import History, snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import clean
from jupyter_batch.process.holders import holds

FINISHED = 100
"""How many finished jobs are shown, those that ended last; open ones all are."""
BATCHES = 5
"""Ids of batches in a job's details."""
FRESH_SECONDS, STALE_SECONDS = 5.0, 60.0
"""How long a list is good though nothing was written, with a job that is open, and without: it tells of durations."""


Spent = tuple[str, str, str, float]
"""Day, notebook, model, US dollars."""


class Listing:
    """Every job of a ledger, newest first; jobs of one call are one, as in `jupyter_batch.jobs()`.

    root: the folder below which the server's notebooks are. clock: seconds since the epoch.
    """

    def __init__(
        self, ledger: Ledger, *, root: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self.ledger = ledger
        self._root = Path(root).absolute() if root else None
        self._clock = clock
        self._lock = threading.Lock()
        self._made: bytes | None = None
        self._stamp: object = None
        self._until = 0.0
        self._histories: dict[str, History] = {}
        self._shards: dict[str, list[ShardRecord]] = {}
        self._paid: dict[str, float] = {}

    def json(self) -> bytes:
        """`{"jobs", "older", "spent", "problem", "home"}`; the same bytes as long as nothing is new.

        older: the number of jobs that are not in the list. spent: [day, notebook, model, US dollars], of all jobs.
        Never raises: what is wrong with the ledger is the problem.
        """
        with self._lock:
            now = self._clock()
            try:
                stamp = self.ledger.stamp()
                if (
                    self._made is None
                    or stamp != self._stamp
                    or not self._until - STALE_SECONDS <= now < self._until
                ):
                    jobs, older, spent = self._jobs(now)
                    damaged = " ".join(self.ledger.unreadable.values())
                    self._made = self._encoded(jobs, older, spent, clean(damaged, 1000))
                    self._stamp = stamp
                    self._until = now + (
                        STALE_SECONDS if all(job["final"] for job in jobs) else FRESH_SECONDS
                    )
            except (LedgerError, OSError) as e:  # OSError: a folder that can't even be looked into
                self._made = None
                return self._encoded(problem=clean(str(e), 1000))
            return self._made

    def cancel(self, name: str) -> list[str]:
        """Note that a job, or each of a group, is to be cancelled; those that nobody is there to tell the provider of.

        Raises JobNotFoundError where there is no job of just that id, and LedgerError.
        """
        now = self._clock()
        lines = Lines(self.ledger.jobs(leases=True))
        wanted = [
            job
            for job in map(lines.last, self.ledger.groups().get(name, [name]))
            if job is not None
        ]
        if not wanted:
            raise JobNotFoundError(f"there is no job {clean(name, 40)!r}")
        still_open = [record for record in wanted if not record.finished_at]
        for record in still_open:
            self.ledger.cancel(record.id, now)
        with self._lock:
            self._made = None  # what this very connection writes does not change the stamp
        return [record.id for record in still_open if not followed(record, now)]

    def _encoded(
        self,
        jobs: Sequence[dict[str, Any]] = (),
        older: int = 0,
        spent: Sequence[Spent] = (),
        problem: str = "",
    ) -> bytes:
        home = self.ledger.home
        with contextlib.suppress(
            RuntimeError, ValueError
        ):  # a user without a folder, or a ledger elsewhere
            home = "~" / home.relative_to(Path.home())
        return msgspec.json.encode(
            {
                "jobs": jobs,
                "older": older,
                "spent": spent,
                "problem": problem,
                "home": clean(str(home), 1000),
            }
        )

    def _jobs(self, now: float) -> tuple[list[dict[str, Any]], int, list[Spent]]:
        """The jobs to show, the number of older ones, and the costs of all."""
        records = self.ledger.jobs(leases=True)
        lines = Lines(records)
        found = self._found(records, lines)
        still_open = {
            name: jobs for name, jobs in found.items() if not all(job.finished_at for job in jobs)
        }
        over = sorted(
            (name for name in found if name not in still_open),
            key=lambda name: -max(job.finished_at for job in found[name]),
        )
        histories = {
            job.id: self._histories.get(job.id) or History()
            for jobs in still_open.values()
            for job in jobs
        }
        self._histories = histories
        shown = []
        for name in [*still_open, *over[:FINISHED]]:
            with contextlib.suppress(LedgerCorruptError):  # a damaged job does not hide the others
                shown.append(self._shown(name, found[name], now))
        return shown, max(0, len(over) - FINISHED), self._spent(records)

    def _spent(self, records: list[JobRecord]) -> list[Spent]:
        """The cost of each record's own batches, which a group or a job that continues it shows, too, once."""
        found: dict[tuple[str, str, str], float] = {}
        named: dict[str | None, str] = {}
        new = [one for one in records if one.id not in self._paid and one.id not in self._shards]
        if len(new) > FINISHED:
            self._shards |= self.ledger.shards_of_all()
        else:
            for record in new:
                with contextlib.suppress(LedgerCorruptError):
                    self._shards_of(record)
        for record in records:
            if record.id not in self._paid:
                bill = bill_of(self._shards.get(record.id, []))
                usd = bill.known if bill is not None else 0.0
                if record.finished_at:
                    self._paid[record.id] = usd
            else:
                usd = self._paid[record.id]
            if usd:
                if record.notebook not in named:
                    named[record.notebook] = self._notebook(record.notebook)["notebook"]
                day = time.strftime("%Y-%m-%d", time.localtime(record.created_at))
                key = (day, named[record.notebook], clean(record.called or record.model, 100))
                found[key] = found.get(key, 0.0) + usd
        self._shards = {}
        return [(*key, usd) for key, usd in found.items()]

    def _shards_of(self, record: JobRecord) -> list[ShardRecord]:
        self._shards[record.id] = self.ledger.shards(record.id)
        return self._shards[record.id]

    def _found(self, records: list[JobRecord], lines: Lines) -> dict[str, list[JobRecord]]:
        """Return the jobs of each line or group by its id, in the order of their newest jobs."""
        groups = self.ledger.groups()
        alike = {job: group for group, jobs in groups.items() for job in jobs}
        firsts = (lines.first(record.id) for record in records)
        names = dict.fromkeys(alike.get(first, first) for first in firsts)
        return {
            name: [one for one in map(lines.last, groups.get(name, [name])) if one is not None]
            for name in names
        }

    def _shown(self, name: str, records: list[JobRecord], now: float) -> dict[str, Any]:
        snapshots = [
            snapshot_of(
                record,
                self._shards_of(record),
                now,
                attach=reopen(record.id),
                history=self._progress(record),
            )
            for record in records
        ]
        snapshot = snapshots[0] if len(snapshots) == 1 else group_snapshot(name, snapshots)
        return {
            **_words(snapshot),
            **self._notebook(
                next((record.notebook for record in records if record.notebook), None)
            ),
            "page": "compare.html" if len(records) > 1 and not records[0].model_column else "",
            "followed": snapshot.is_complete
            or all(r.finished_at or followed(r, now) for r in records),
        }

    def _progress(self, record: JobRecord) -> Points:
        """Return the data for the remaining time; nothing for a finished job."""
        history = self._histories.get(record.id)
        return history.look(self.ledger, record) if history is not None else ()

    def _notebook(self, where: str | None) -> dict[str, str]:
        """What it is called, and how this server names it; "" where it is not one of this server's, or is gone."""
        if where is None:
            return {"notebook": "", "path": ""}
        path = ""
        if self._root is not None:
            whole = self._root / where  # absolute paths and links are unchanged, as in the kernel
            if ".." not in whole.parts and whole.is_relative_to(self._root) and whole.is_file():
                path = whole.relative_to(self._root).as_posix()
        return {"notebook": clean(path or where, 200), "path": path}


def followed(record: JobRecord, now: float) -> bool:
    """Whether some process holds the right to move it: a kernel that is open, or a `jupyter batch watch`.

    One that died on this machine does not, however long its lease.
    """
    return holds(record.holder, record.lease_until, now)


def _words(snapshot: Snapshot) -> dict[str, Any]:
    seen = view(snapshot)
    return {
        "id": seen.id,
        "title": seen.title,
        "state": seen.state,
        "colour": seen.colour,
        "final": seen.is_final,
        "cancel": seen.can_cancel,
        "done": seen.done,
        "total": seen.total,
        "percent": seen.percent,
        "share": seen.share,
        "counts": seen.counts,
        "times": seen.times,
        "model": seen.model,
        "cost": seen.cost,
        "segments": [(part.kind, part.count, part.word) for part in seen.segments],
        "lines": seen.lines,
        "reasons": [f"{count:,} x {why}" for why, count in seen.reasons],
        "attach": f'df.llm.attach("{seen.id}")',
        "estimate": seen.estimate,
        "usd": snapshot.bill.known if snapshot.bill is not None else 0.0,
        "lost": snapshot.counts.failed + snapshot.counts.expired + snapshot.counts.cancelled,
        "blocked": str(snapshot.blocked or ""),
        "batches": seen.batches[:BATCHES],
    }
