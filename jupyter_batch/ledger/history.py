"""A job's progress over time from the ledger's events, read incrementally.

The first read of a job from an earlier session loads all of its events.
"""

from __future__ import annotations

import threading

from jupyter_batch.core.history import Curve, Points
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger

OUTSIDE = frozenset({Step.PLANNED, Step.SUBMITTING, Step.WAITING})
"""The batch is not at its provider (yet)."""


class History:
    """A cache of the events read so far. One per job; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = ""
        self._seen = 0
        self._curve = Curve(0.0, 0)

    def look(self, ledger: Ledger, job: JobRecord) -> Points:
        """Rows done over time, from the plan to the last change. Raises LedgerError."""
        with self._lock:
            if job.id != self._job:
                self._job, self._seen = job.id, 0
                self._curve = Curve(job.created_at, job.reused + job.skipped + job.unsendable)
            self._seen, events = ledger.news(job.id, self._seen)
            for at, shard, step, done, _ in events:
                if shard is not None:
                    self._curve.add(at, shard, done, taken=step not in OUTSIDE)
            return self._curve.points()
