"""Reasons of rows without a result line."""

from __future__ import annotations

from jupyter_batch.core.request import Status
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import ShardRecord

LOST = (
    "the answer of this row was taken from another job, and its file on this disk is gone or damaged: job.files are "
    "the job's files"
)
_ENDED_WITHOUT: dict[State, tuple[Status, str]] = {
    State.COMPLETED: (Status.FAILED, "the provider sent no result for this row"),
    State.FAILED: (Status.FAILED, "the batch failed"),
    State.EXPIRED: (Status.EXPIRED, "the batch expired before this row was answered"),
    State.CANCELLED: (Status.CANCELLED, "the batch was cancelled before this row was answered"),
}


def missing_line(shard: ShardRecord) -> tuple[Status, str]:
    """The status and the reason of a finished shard's rows without a line."""
    if unfetched := _unfetched(shard):
        return Status.FAILED, unfetched
    status, reason = _ENDED_WITHOUT[shard.ending or State.FAILED]
    if shard.why and shard.ending is State.FAILED:
        return status, f"{reason}: {shard.why}"
    if shard.why and shard.ending is State.CANCELLED and not shard.batch_id:
        return status, shard.why  # by us, before it was sent
    return status, reason


def _unfetched(shard: ShardRecord) -> str:
    """Why a row has no line though the provider may have its answer; "" where it has none."""
    if shard.lost and shard.step is Step.COLLECTED:
        return f"{shard.lost} on this disk is gone or damaged, and the provider has no copy of it any more"
    if shard.lost:
        return (
            f"{shard.lost} on this disk is gone or damaged: it is fetched again while the provider keeps it; "
            "job.resume() tries at once"
        )
    if shard.missing and shard.ending is State.COMPLETED:
        return (
            "the provider sent no result for this row, though it was counted: job.resume(), or the cell again, "
            "fetches the result file again"
        )
    return ""
