"""All jobs of a ledger at one moment, for a list of them, in one read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.history import History
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger


class Lines:
    """The jobs that the user sees as one: a job and its realtime finish.

    records: the newest first.
    """

    def __init__(self, records: Iterable[JobRecord]) -> None:
        self._records = {record.id: record for record in records}
        self._children: dict[tuple[str, int], JobRecord] = {}
        for record in self._records.values():
            if record.parent is not None:
                self._children.setdefault((record.parent, record.round), record)

    def last(self, job: str) -> JobRecord | None:
        """The last job that continues it, or itself; None if it is not in the ledger (any more)."""
        record = self._records.get(job)
        while (
            record is not None and record.rush_at and record.finished_at
        ):  # its open rows are sent by a job of its own
            child = self._children.get((record.id, record.round))
            if child is None:
                break
            record = child
        return record

    def first(self, job: str) -> str:
        """The id of the job that was submitted first."""
        record = self._records[job]
        while True:
            parent = self._records.get(record.parent or "")
            if parent is None or not parent.rush_at or parent.round != record.round:
                return record.id
            record = parent


class Overview:
    """The ledger's content when this was made. now: seconds since the epoch."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        records = ledger.jobs()
        self._ledger, self._now = ledger, now
        self._lines = Lines(records)
        self._shards = ledger.shards_of_all() if records else {}

    def snapshot(self, jobs: Sequence[str], group: str | None = None) -> Snapshot | None:
        """The snapshot of a job, or of a group's jobs as one; None if one is not in the ledger."""
        found = [self._lines.last(job) for job in jobs]
        records = [record for record in found if record is not None]
        damaged = any(record.id in self._ledger.unreadable for record in records)
        if not records or len(records) < len(found) or damaged:
            return None
        is_open = not all(record.finished_at for record in records)
        shots = [self._one(record, with_history=is_open) for record in records]
        return shots[0] if group is None else group_snapshot(group, shots)

    def _one(self, record: JobRecord, *, with_history: bool) -> Snapshot:
        """The snapshot, with history for the remaining time where any remains."""
        history = History().look(self._ledger, record) if with_history else ()
        return record.snapshot(self._shards.get(record.id, []), self._now, history=history)
