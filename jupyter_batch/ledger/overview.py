"""All jobs of a ledger at one moment, for a list of them: read at once, not job by job. It knows no screen."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_batch.core.status import Snapshot
from jupyter_batch.core.together import together
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger


class Overview:
    """What the ledger held when this was made. now: seconds since the epoch."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        records = ledger.jobs()
        self._now = now
        self._records = {record.id: record for record in records}
        self._shards = ledger.shards_of_all() if records else {}
        self._children: dict[tuple[str, int], JobRecord] = {}
        for record in records:  # the newest first
            if record.parent is not None:
                self._children.setdefault((record.parent, record.round), record)

    def snapshot(self, jobs: Sequence[str], group: str | None = None) -> Snapshot | None:
        """Of a job, or of those of a group as one; None where one of them is not in the ledger (any more)."""
        found = [self._one(job) for job in jobs]
        shots = [shot for shot in found if shot is not None]
        if not shots or len(shots) < len(found):
            return None
        return shots[0] if group is None else together(group, shots)

    def _one(self, job: str) -> Snapshot | None:
        record = self._records.get(job)
        while record is not None and record.rush_at and record.finished_at:  # its rest is asked by a job of its own
            child = self._children.get((record.id, record.round))
            if child is None:
                break
            record = child
        return None if record is None else record.snapshot(self._shards.get(record.id, []), self._now)
