"""Send a shard: intent on disk, network, handle on disk; and adopt what is there before paying again.

It knows how to find out whether a batch exists; how a shard came to its file is plan.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
)
from jupyter_batch.core.status import State, Step
from jupyter_batch.engine import quota
from jupyter_batch.engine.costs import UNSURE
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.protocol import TAG, TAG_MODEL, TAG_OF, TAG_OUT
from jupyter_batch.providers.via_anthropic import UndecidedError

if TYPE_CHECKING:
    from jupyter_batch.engine.tick import Mover

MOST_CHARS = 512
"""Of a metadata value, at OpenAI."""
CLOCKS_SECONDS = 3600.0
"""How far the provider's clock and ours may be apart."""
BLIND_TRIES = 3
"""How often a list is refused before it is believed that there is none."""


def tag_of(job: JobRecord, shard: ShardRecord) -> dict[str, str]:
    """The metadata that say which batch is this shard's: found by it, a batch is never paid twice."""
    return {TAG: f"{job.id}/{shard.number}"}


def about(job: JobRecord, shard: ShardRecord, shards: int) -> dict[str, str]:
    """The metadata that tell who finds the batch without its ledger what it is part of."""
    _, dot, schema = job.space.partition(".")
    kind = f"/{schema}" if dot else ""
    return {
        TAG_OF: f"{shards}/{job.rows}/{shard.first}-{shard.last}{kind}",
        TAG_OUT: job.out[:MOST_CHARS],
        TAG_MODEL: job.model[:MOST_CHARS],
    }


async def send(mover: Mover, shard: ShardRecord) -> ShardRecord:
    """Upload and create for a shard that is `submitting` and surely has no batch yet."""

    async def on_upload(file_id: str) -> None:
        nonlocal shard
        # The create goes out now: what `settle` counts from, however long the upload took.
        shard = mover.put(shard, file_id=file_id, sent_at=mover.clock())

    job = mover.job
    view = await mover.provider.submit(
        mover.ledger.folders.of(job.id).requests(shard.number),
        {
            **job.metadata,
            **tag_of(job, shard),
            **about(job, shard, len(mover.ledger.shards(job.id))),
        },
        endpoint=job.endpoint,
        window=job.completion_window,
        uploaded=shard.file_id,
        on_upload=on_upload,
    )
    if not view.id:
        raise ProviderDownError("the provider answered without the batch's id: it is looked for")
    return taken(mover, shard, view)


async def adopt(mover: Mover, shard: ShardRecord) -> ShardRecord:
    """A shard found in `submitting`: the process died, or the answer was lost. Look for its batch before sending again.

    An empty list proves nothing while the create may still be on its way (`facts.settle`).
    """
    try:  # back to the plan: no batch of ours is older
        found = await mover.provider.find(
            tag_of(mover.job, shard), since=mover.job.created_at - CLOCKS_SECONDS
        )
    except UndecidedError as e:
        if any(not mover.ledger.holds(view.id, mover.job) for view in e.candidates):
            return mover.later(shard, e)
        found = []  # each of them is another shard's of this ledger
    except ProviderError as e:  # nothing is known, so nothing is sent
        blind = isinstance(e, NotFoundError | BadRequestError) and shard.attempts >= BLIND_TRIES
        if blind and mover.job.cancel_at:  # the person's word
            return mover.put(
                shard,
                Step.ENDED,
                ending=State.CANCELLED,
                due_at=0.0,
                note=UNSURE,
                attempts=0,
                ended_at=mover.clock(),
            )
        way = ". Look there; to give it up, cancel the job" if blind else ""
        return mover.later(
            shard, e, f"was the batch created? The provider's list can't be read: {e}{way}"
        )
    live = [view for view in found if view.id and view.id not in shard.refused]
    if live:
        # The oldest, should there ever be two: the one that was asked for first.
        return taken(mover, shard, live[-1])
    now = mover.clock()
    sent_at = min(shard.sent_at, now)  # a clock that was put back
    if now - sent_at < mover.facts.settle:
        return mover.put(shard, sent_at=sent_at, due_at=sent_at + mover.facts.settle)
    if mover.job.cancel_at:
        return mover.put(
            shard, Step.ENDED, ending=State.CANCELLED, due_at=0.0, note="", ended_at=now
        )
    return await send(mover, mover.put(shard, sent_at=now, due_at=0.0))


def taken(mover: Mover, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """The provider has a batch for the shard: its handle goes to disk."""
    sent = mover.put(
        shard,
        Step.RUNNING,
        batch_id=view.id,
        file_id=view.input_file_id or shard.file_id,
        provider_status=view.status,
        expires_at=view.expires_at,
        attempts=0,
        note="",
        due_at=mover.clock() + mover.facts.poll_first,
        **quota.let_in(view.status),
    )
    if shard.held and quota.is_in(view.status):
        quota.make_way(mover)  # there was room: there may be more
    return sent
