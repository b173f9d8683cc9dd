"""The actions that a job offers. Pure."""

from __future__ import annotations

from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.table import REALTIME


def offers(
    job: JobRecord, seen: Snapshot, again: Snapshot | None, *, fillable: bool
) -> tuple[str, ...]:
    """The names of the buttons of the actions that are possible now, other than cancelling.

    again: the snapshot of the job that retries this one. fillable: a frame waits for answers, or
    refused them.
    """
    missed = seen.counts.failed + seen.counts.expired + seen.counts.cancelled - job.unsendable
    able = {
        "retry": seen.is_complete and missed > 0 if again is None else "retry" in again.offers,
        "finish": job.mode != REALTIME and not seen.is_complete and not job.cancel_at,
        "merge": fillable,
    }
    return tuple(name for name, is_so in able.items() if is_so)
