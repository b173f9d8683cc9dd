"""Shards waiting for quota: one probes at a time, and each batch that ends admits one.

Decides only when a shard may be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import RateLimitError
from jupyter_batch.core.refusals.stated_limit import Unit
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import QUOTA_TRIES, ShardRecord
from jupyter_batch.providers.backoff import retry_pause

if TYPE_CHECKING:
    from jupyter_batch.runner.context import ShardContext

QUOTA_SECONDS = 26 * 3600.0
"""The time after which quota refusals are final: others' batches have ended within a day."""
QUEUE, RATE = "queue", "rate"
"""Values of ShardRecord.held: until batches have ended, or until some time has passed."""

_UNDER_WAY = frozenset({Step.SUBMITTING, Step.RUNNING, Step.CANCELLING})
_UNSURE = frozenset({"", "validating", "submitted", "unknown"})
"""The status of a batch that may yet be refused; in any other open state it uses quota."""


def is_in(status: str | None) -> bool:
    """Whether a batch in this open state was admitted."""
    return (status or "").lower() not in _UNSURE


def let_in(status: str | None) -> dict[str, Any]:
    """The changes to a shard whose batch is in this open state."""
    return {"held": "", "alone": 0} if is_in(status) else {}


def _others_held(context: ShardContext, shard: ShardRecord) -> list[ShardRecord]:
    """The other shards of the job that were refused for quota, or wait behind one that was."""
    return [
        other
        for other in context.ledger.kept(context.job.id).set_aside()
        if other.held and other.number != shard.number
    ]


def hold(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """The shard, delayed behind another of its job refused for quota; None: it may proceed."""
    others = _others_held(context, shard)
    now, soon = context.clock(), context.clock() + context.facts.poll_first * 2
    knocking = next((other for other in others if _knocks(other)), None)
    if _is_full(context, shard):
        return context.amend(shard, due_at=soon)
    waiting = [other for other in others if other.step is Step.WAITING]
    if shard.held:
        is_next = all(other.due_at > now or _rank(other) >= _rank(shard) for other in waiting)
        return None if is_next and knocking is None else context.amend(shard, due_at=soon)
    asleep = next(iter(waiting), None)
    if shard.step is not Step.PLANNED or (first := asleep or knocking) is None:
        return None
    return context.put(
        shard,
        Step.WAITING,
        held=first.held,
        note=first.note,
        blocked_by=first.blocked_by,
        blocked_until=first.blocked_until,
        due_at=max(soon, first.due_at),
    )


def _is_full(context: ShardContext, shard: ShardRecord) -> bool:
    """Whether this job's running batches leave too little of the limit that the provider named."""
    if shard.limit is None or shard.limit.unit is not Unit.TOKENS or not shard.tokens:
        return False
    taken = context.ledger.kept(context.job.id).totals(without=shard.number).tokens
    return taken > 0 and taken + shard.tokens > shard.limit.most


def _knocks(shard: ShardRecord) -> bool:
    if shard.blocked_by is not None:  # its create has an unknown outcome: only the user ends that
        return False
    return shard.step is Step.SUBMITTING or (
        shard.step is Step.RUNNING and not is_in(shard.provider_status)
    )


def _rank(shard: ShardRecord) -> tuple[int, int]:
    """The order of probes: least refused first, so that one that never fits blocks no others."""
    return shard.attempts + len(shard.refused), shard.number


def refused_at_once(
    context: ShardContext, shard: ShardRecord, error: RateLimitError
) -> ShardRecord:
    """Requeue a shard whose create was refused for quota."""
    attempts = shard.attempts + 1
    refusals = (
        sum(one.attempts for one in context.ledger.kept(context.job.id).set_aside() if one.held) + 1
    )  # those of the whole queue
    pause = retry_pause(context.facts, error, refusals, context.dice())
    _calm(context, shard, pause)
    if not error.queue:
        return context.put(
            shard,
            Step.WAITING,
            held=RATE,
            attempts=attempts,
            due_at=context.clock() + pause,
            note=str(error),
        )
    limit = error.limit or shard.limit
    return _back(context, shard, str(error), pause, attempts=attempts, limit=limit)


def refused_later(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Requeue a shard whose batch was accepted and then failed for quota."""
    pause = min(
        context.facts.poll_first * 4 * 2.0 ** min(len(shard.refused), 10), context.facts.poll_last
    )
    pause *= 0.75 + context.dice() / 2
    _calm(context, shard, pause)
    return _back(
        context,
        shard,
        view.errors,
        pause,
        provider_status=view.status,
        batch_id=None,
        completed=0,
        failed=0,
        refused=(*shard.refused, view.id),
        limit=view.limit or shard.limit,
    )


def _calm(context: ShardContext, shard: ShardRecord, pause: float) -> None:
    """Delay the other waiting shards of the job: they would be refused alike."""
    until = context.clock() + pause
    for other in _others_held(context, shard):
        if other.step is Step.WAITING and other.due_at < until:
            context.amend(other, due_at=until)


def _back(
    context: ShardContext, shard: ShardRecord, why: str, pause: float, **changes: Any
) -> ShardRecord:
    """Wait; a shard refused repeatedly for a day, without other batches of ours, has failed."""
    now = context.clock()
    theirs = _under_way(context, shard)
    # A batch that may yet be refused proves nothing.
    alone = 0 if any(map(is_in, theirs)) else shard.alone + (not theirs)
    if alone >= QUOTA_TRIES and now - context.job.created_at > QUOTA_SECONDS:
        kept = {**changes, "batch_id": shard.batch_id, "refused": shard.refused}
        kept.pop("attempts", None)
        return context.end(shard, State.FAILED, why, **kept)
    gives_up = context.job.created_at + QUOTA_SECONDS if alone >= QUOTA_TRIES else 0.0
    return context.put(
        shard,
        Step.WAITING,
        held=QUEUE,
        alone=alone,
        note=why,
        blocked_until=gives_up,
        due_at=now + pause,
        **changes,
    )


def make_way(context: ShardContext) -> None:
    """Make the next shard in the queue due, as there may be room; the oldest job's first.

    Jobs of other processes notice at their own retries.
    """
    ledger, place = context.ledger, (context.job.provider, context.job.api_base)
    found = [job for name in list(ledger.queued) if (job := ledger.find(name)) is not None]
    for job in sorted(found, key=lambda job: job.created_at):
        queue = [shard for shard in ledger.kept(job.id).set_aside() if shard.held]
        if job.finished_at or not queue:
            ledger.queued.discard(job.id)
        elif (job.provider, job.api_base) == place:
            for shard in queue:
                if shard.step is not Step.WAITING or shard.held != QUEUE:
                    continue
                now = context.clock()
                if ledger.move(shard, Step.WAITING, context.holder, now, due_at=0.0) is not None:
                    return
                break  # another process runs it


def _under_way(context: ShardContext, shard: ShardRecord) -> list[str | None]:
    """The states of this ledger's other running batches at the same provider."""
    return [
        other.provider_status
        for job in context.ledger.jobs(unfinished=True)
        if (job.provider, job.api_base) == (context.job.provider, context.job.api_base)
        for other in context.ledger.shards(job.id)
        if other.step in _UNDER_WAY and (other.job, other.number) != (shard.job, shard.number)
    ]
