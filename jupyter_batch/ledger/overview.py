"""All jobs of a ledger at one moment, for a list of them: read at once, not job by job. It knows no screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jupyter_batch.core.status import Snapshot
from jupyter_batch.core.together import together
from jupyter_batch.ledger.history import History
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger


class Lines:
    """Which jobs are one for a person: one that asks in real time what another left open goes on from that.

    records: the newest first.
    """

    def __init__(self, records: Iterable[JobRecord]) -> None:
        self._records = {record.id: record for record in records}
        self._children: dict[tuple[str, int], JobRecord] = {}
        for record in self._records.values():
            if record.parent is not None:
                self._children.setdefault((record.parent, record.round), record)

    def last(self, job: str) -> JobRecord | None:
        """What the job is now; None where it is not in the ledger (any more)."""
        record = self._records.get(job)
        while (
            record is not None and record.rush_at and record.finished_at
        ):  # its rest is asked by a job of its own
            child = self._children.get((record.id, record.round))
            if child is None:
                break
            record = child
        return record

    def first(self, job: str) -> str:
        """What it was submitted as."""
        record = self._records[job]
        while True:
            parent = self._records.get(record.parent or "")
            if parent is None or not parent.rush_at or parent.round != record.round:
                return record.id
            record = parent


class Overview:
    """What the ledger held when this was made. now: seconds since the epoch."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        records = ledger.jobs()
        self._ledger, self._now = ledger, now
        self._lines = Lines(records)
        self._shards = ledger.shards_of_all() if records else {}

    def snapshot(self, jobs: Sequence[str], group: str | None = None) -> Snapshot | None:
        """Of a job, or of those of a group as one; None where one of them is not in the ledger (any more)."""
        found = [self._lines.last(job) for job in jobs]
        records = [record for record in found if record is not None]
        damaged = any(record.id in self._ledger.unreadable for record in records)
        if not records or len(records) < len(found) or damaged:
            return None
        is_open = not all(record.finished_at for record in records)
        shots = [self._one(record, with_history=is_open) for record in records]
        return shots[0] if group is None else together(group, shots)

    def _one(self, record: JobRecord, *, with_history: bool) -> Snapshot:
        """With its history, which the time that is left is told by, where there is any left."""
        history = History().look(self._ledger, record) if with_history else ()
        return record.snapshot(self._shards.get(record.id, []), self._now, history=history)
