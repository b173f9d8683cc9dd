"""Enforcement of max_cost while a job runs: no further batch is sent above it."""

from __future__ import annotations

from jupyter_batch.core.cost import money
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.planning.max_cost import ROUNDING, share_of, spent_on
from jupyter_batch.runner.context import ShardContext

_SENT = (Step.SUBMITTING, Step.RUNNING, Step.CANCELLING, Step.ENDED)
_LOOK_SECONDS = 60.0


def _spent(job: JobRecord, shards: list[ShardRecord], total: int) -> tuple[float, float]:
    """The cost of the collected shards, and the estimated cost of those with a batch."""
    collected = [s for s in shards if s.step is Step.COLLECTED]
    spent = sum(spent_on(s, share_of(job, s, total)) for s in collected)
    return spent, sum(share_of(job, s, total) for s in collected if s.batch_id)


def hold(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """Check the budget before a shard is sent: None if allowed; else it waits for costs, or ends.

    Until a shard is collected, open shards count with their maximum cost; later scaled by the ratio
    of actual to estimated cost of the collected ones.
    """
    job = context.job
    if job.max_cost is None or not job.most:
        return None
    shards = context.ledger.shards(job.id)
    total = sum(s.bytes for s in shards) or 1
    spent, planned = _spent(job, shards, total)
    pace = spent / planned if planned else 1.0
    under_way = [s for s in shards if s.step in _SENT and s.number != shard.number]
    need = spent + pace * sum(share_of(job, s, total) for s in (*under_way, shard))
    counted = not shard.waited  # with the estimate that was allowed
    if need <= job.max_cost + ROUNDING or (counted and not (under_way or planned)):
        return None
    if under_way:
        note = f"with this one, the cost may come to {money(need)} (max_cost={job.max_cost:g})"
        return context.put(
            shard, blocked_by=Block.BUDGET, note=note, due_at=context.clock() + _LOOK_SECONDS
        )
    note = (
        f"max_cost: {money(spent)} is spent, and with this batch it would come to about {money(need)}, above "
        f"max_cost={job.max_cost:g}; job.retry(max_cost=...) sends it"
    )
    return context.end(shard, State.CANCELLED, note)


def release(context: ShardContext) -> None:
    """Make shards blocked for the budget due, as the cost of another one is known now."""
    if context.job.max_cost is None:
        return
    for shard in context.ledger.kept(context.job.id).set_aside():
        if (
            shard.step in (Step.PLANNED, Step.WAITING)
            and shard.blocked_by is Block.BUDGET
            and shard.due_at
        ):
            context.amend(shard, due_at=0.0)
