"""The actions that a job offers, and the text about the job that retries it. Pure."""

from __future__ import annotations

from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.table import BATCH

_SENT_AGAIN = "sent again as "


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
        "finish": job.mode == BATCH and not seen.is_complete and not job.cancel_at,
        "merge": seen.bill is not None and fillable,
    }
    return tuple(name for name, is_so in able.items() if is_so)


def to_attach(name: str) -> str:
    """Code that merges a job's or group's answers into a frame unknown to this process."""
    return f'df.llm.attach("{name}") puts the answers onto a frame'


def sent_again(again: Snapshot | None) -> str:
    """`sent again as job jb3f9c2k7a1q: running`, with that job's state; "" without a retry."""
    return "" if again is None else f"{_SENT_AGAIN}{_in_short(again)}"


def _in_short(shot: Snapshot) -> str:
    """The state in short: at the end with the number of answers, then the job that continues it."""
    seen = view(shot)
    further = f", then as {shot.again.removeprefix(_SENT_AGAIN)}" if shot.again else ""
    return f"job {seen.id}: {seen.state}{f', {seen.share}' if seen.is_final else ''}{further}"
