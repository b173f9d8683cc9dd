"""Blocks that need the user: no batch API, a used-up quota, a batch invisible to the key.

The first two concern a whole job: one shard probes, the others wait with it and upload nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    NoBatchApiError,
    NotFoundError,
    ProviderError,
    RateLimitError,
)
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.providers.failures import WebPageError
from jupyter_batch.providers.table import BATCH

if TYPE_CHECKING:
    from jupyter_batch.runner.context import ShardContext

OF_THE_JOB = frozenset({Block.NO_BATCH_API, Block.QUOTA})
"""Blocks that concern all shards of a job alike."""
PAGE_TRIES = 3
"""The number of web pages in place of a response attributed to a temporary login or portal."""
FIRST_SECONDS, LONGEST_SECONDS = 60.0, 3600.0
"""The pauses before a used-up quota is tried again, which the user may have raised."""
TURN_SECONDS = 5.0
"""The delay of the other shards after the one that probes."""
SLOW_SECONDS = 60.0
"""The duration of a cancel after which the user sees a message about it."""
UNSEEN_TRIES = 5
"""Not-found responses in a row until the key is suspected: after a create they are temporary."""

_NO_SUCH_CALL = frozenset({404, 405, 501})


def block_of(
    shard: ShardRecord, error: ProviderError, others: Sequence[ShardRecord] = ()
) -> Block | None:
    """The block for a refused upload or create; None if a retry can help, or it is final. Pure."""
    if isinstance(error, RateLimitError):
        return Block.QUOTA if error.spent else None
    if any(other.batch_id for other in others):  # there is a batch API
        return None
    uploading = shard.file_id is None and not shard.create_sent
    no_call = error.status in _NO_SUCH_CALL and not isinstance(error, BadRequestError)
    if isinstance(error, NoBatchApiError) or (uploading and no_call):
        return Block.NO_BATCH_API
    if isinstance(error, WebPageError) and uploading and shard.attempts + 1 >= PAGE_TRIES:
        return Block.NO_BATCH_API
    return None


def blocked(context: ShardContext, shard: ShardRecord, error: ProviderError) -> ShardRecord | None:
    """The shard, blocked until the user acts; None where the error is no such block."""
    if context.job.cancel_at:
        return None
    others = context.ledger.shards(context.job.id)
    by = block_of(shard, error, others)
    if by is None:
        return None
    return _wait(context, shard, by, str(error), error.retry_after or 0.0)


def spent(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Block a shard whose batch was accepted and then failed for the account's used-up quota."""
    return _wait(
        context,
        shard,
        Block.QUOTA,
        view.errors,
        provider_status=view.status,
        batch_id=None,
        completed=0,
        failed=0,
        refused=(*shard.refused, view.id),
    )


def _wait(
    context: ShardContext,
    shard: ShardRecord,
    by: Block,
    why: str,
    at_least: float = 0.0,
    **changes: Any,
) -> ShardRecord:
    attempts = shard.attempts + len(shard.refused)
    pause = min(FIRST_SECONDS * 2.0 ** min(attempts, 10), LONGEST_SECONDS)
    due_at = context.clock() + max(pause * (0.75 + context.dice() / 2), at_least)
    return context.put(
        shard,
        Step.WAITING,
        blocked_by=by,
        note=why,
        held="",
        attempts=shard.attempts + 1,
        due_at=due_at,
        **changes,
    )


def hold(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """The shard, delayed behind an earlier blocked one of its job; None: it may proceed."""
    first = next(
        (
            other
            for other in context.ledger.kept(context.job.id).set_aside()
            if other.step is Step.WAITING
            and other.blocked_by in OF_THE_JOB
            and other.number != shard.number
        ),
        None,
    )
    if first is None or (shard.blocked_by in OF_THE_JOB and shard.number < first.number):
        return None
    return context.put(
        shard,
        Step.WAITING,
        blocked_by=first.blocked_by,
        note=first.note,
        held="",
        due_at=max(first.due_at, context.clock()) + TURN_SECONDS,
    )


def unseen(context: ShardContext, shard: ShardRecord, error: ProviderError) -> ShardRecord | None:
    """Block a shard whose batch is repeatedly not found under this key; end it if cancelled.

    None where it is another error, or too early to decide.
    """
    if not isinstance(error, NotFoundError) or shard.attempts + 1 < UNSEEN_TRIES:
        return None
    if not context.job.cancel_at:
        return context.later(shard, error, blocked_by=Block.KEY, key=context.facts.key, unseen=True)
    why = f"the batch was not found under this key: what it answers stays with the key that sent it ({error})"
    return context.end(shard, State.CANCELLED, why, unsure=True)


def overdue(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord | None:
    """The shard, ended after too long a cancel at the provider; None: wait for it."""
    if not context.facts.cancels:
        return None
    if shard.step is not Step.CANCELLING or not _late(context, context.facts.cancelling):
        return None
    why = (
        f"the provider did not end the batch within {_minutes(context)} of the cancel (it says {view.status}), so that "
        "it is not waited for; job.resume() fetches what it has answered once it ends"
    )
    return context.end(
        shard,
        State.CANCELLED,
        why,
        provider_status=view.status,
        completed=view.completed,
        failed=view.failed,
        unsure=True,
    )


def of_cancelling(context: ShardContext, shard: ShardRecord) -> str:
    """The message about a batch whose cancel takes the provider long, or is not possible there."""
    soon = min(SLOW_SECONDS, context.facts.cancelling / 2)
    if shard.step is not Step.CANCELLING:
        return ""
    if not context.facts.cancels:
        then = "; its open rows are asked in real time then" if context.job.rush_at else ""
        return f"the provider can't cancel a batch: it goes on to its end, and its answers are kept{then}"
    if not _late(context, soon):
        return ""
    then = "its open rows are asked in real time" if context.job.rush_at else "it is given up"
    return f"the provider has not ended the batch yet; {_minutes(context)} after the cancel {then}"


def _late(context: ShardContext, after: float) -> bool:
    """Whether the cancel is that many seconds old.

    A realtime run ends by itself, its results on disk.
    """
    job = context.job
    return job.mode == BATCH and bool(job.cancel_at) and context.clock() - job.cancel_at >= after


def _minutes(context: ShardContext) -> str:
    return f"{max(1, round(context.facts.cancelling / 60))} min"
