"""The open rows of a job in realtime: at its deadline, or when the user asks to finish it."""

from __future__ import annotations

from jupyter_batch.core.errors import InputError, LedgerCorruptError, NothingToRetryError
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.process.log import logger
from jupyter_batch.providers.table import REALTIME

_log = logger()


def press(ledger: Ledger, job: JobRecord, now: float) -> float:
    """Return the seconds to the deadline; once passed, cancel open rows, to be sent in realtime.

    Not where that may cost more than the job's max_cost allows.
    """
    from jupyter_batch.planning.retry import check_rest

    if not job.deadline or job.cancel_at or job.mode == REALTIME:
        return float("inf")
    if now < job.deadline:
        return job.deadline - now
    try:
        check_rest(ledger, job, ledger.shards(job.id), mode=job.rush_to)
    except InputError as e:
        why = f"the deadline has passed, and the rest is not asked in real time: {e}"
        ledger.amend(job.id, deadline=0.0, overdue=why)
    else:
        ledger.rush(job.id, now, to=job.rush_to)
    return 0.0


def plan_rest(
    ledger: Ledger, job: JobRecord, shards: list[ShardRecord], now: float
) -> JobRecord | None:
    """Plan the job that finishes this one in realtime; None where no row is left, or it may not."""
    from jupyter_batch.planning.retry import plan_again

    try:
        return plan_again(ledger, job, shards, now=now, at_once=job.rush_to)
    except NothingToRetryError as e:
        _log.info("jupyter_batch: job %s is not finished in real time: %s", job.id, e)
    except (InputError, LedgerCorruptError) as e:  # it may cost more than max_cost, for one
        _log.info("jupyter_batch: job %s is not finished in real time: %s", job.id, e)
        ledger.amend(job.id, overdue=f"the rest was not asked in real time: {e}")
    return None
