"""Enforcement of max_cost while a job runs: no further batch is sent above it."""

from __future__ import annotations

from jupyter_batch.core.cost import money
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.planning.max_cost import ROUNDING
from jupyter_batch.runner.context import ShardContext

_LOOK_SECONDS = 60.0


def hold(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """Check the budget before a shard is sent: None if allowed; else it waits for costs, or ends.

    Until a shard is collected, open shards count with their maximum cost; later scaled by the ratio
    of actual to estimated cost of the collected ones.
    """
    job = context.job
    if job.max_cost is None or not job.most:
        return None
    kept = context.ledger.kept(job.id)
    whole, others = kept.totals(), kept.totals(without=shard.number)
    rate = job.most / (whole.bytes or 1)
    spent, planned = whole.known + rate * whole.unknown, rate * whole.ended
    pace = spent / planned if planned else 1.0
    own = 0 if shard.joins else shard.bytes
    need = spent + pace * rate * (others.sent_bytes + own)
    counted = not shard.waited  # with the estimate that was allowed
    if need <= job.max_cost + ROUNDING or (counted and not (others.sent or planned)):
        return None
    if others.sent:
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
