"""What a person is told of a job beside its figures: what may be done with it, and as what it goes on. Pure."""

from __future__ import annotations

from jupyter_batch.core.status import Snapshot
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.table import BATCH

_SENT_AGAIN = "sent again as "


def offers(
    job: JobRecord, seen: Snapshot, again: Snapshot | None, *, fillable: bool
) -> tuple[str, ...]:
    """What may be done now, beside cancelling it, by the buttons' names.

    again: how the job stands that a click sent again. fillable: a frame waits for answers, or refused them.
    """
    missed = seen.counts.failed + seen.counts.expired + seen.counts.cancelled - job.unsendable
    able = {
        "retry": seen.is_complete and missed > 0 if again is None else "retry" in again.offers,
        "finish": job.mode == BATCH and not seen.is_complete and not job.cancel_at,
        "merge": seen.bill is not None and fillable,
    }
    return tuple(name for name, is_so in able.items() if is_so)


def to_attach(name: str) -> str:
    """How the answers of a job, or of a group, come onto a frame that this process does not hold."""
    return f'df.llm.attach("{name}") puts the answers onto a frame'


def sent_again(again: Snapshot | None) -> str:
    """`sent again as job jb3f9c2k7a1q: running`, then as which that one was; "" where nothing was."""
    return "" if again is None else f"{_SENT_AGAIN}{_in_short(again)}"


def _in_short(shot: Snapshot) -> str:
    """At its end with how many rows it answered; then the one that goes on from it."""
    seen = view(shot)
    further = f", then as {shot.again.removeprefix(_SENT_AGAIN)}" if shot.again else ""
    return f"job {seen.id}: {seen.state}{f', {seen.share}' if seen.is_final else ''}{further}"
