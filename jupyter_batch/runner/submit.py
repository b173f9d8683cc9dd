"""Submission of a shard: intent on disk, network call, handle on disk.

A batch that exists is adopted before anything is paid again.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
)
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.backoff import poll_pause
from jupyter_batch.providers.protocol import TAG, TAG_MODEL, TAG_OF, TAG_OUT, Facts, UndecidedError
from jupyter_batch.results.row_costs import UNSURE
from jupyter_batch.row_files.own_ids import sent_file
from jupyter_batch.runner.refusals import quota

if TYPE_CHECKING:
    from jupyter_batch.runner.context import ShardContext

MOST_CHARS = 512
"""The most characters of a metadata value at OpenAI."""
CLOCKS_SECONDS = 3600.0
"""The most by which the provider's clock and ours may differ."""
BLIND_TRIES = 3
"""The number of refused list calls after which the list counts as unavailable."""
LOST = "the process that sent it ended before the answer"
UNKNOWN_SECONDS = 60.0
"""The interval of searches for a batch that awaits the user's decision."""


def tag_of(job: JobRecord, shard: ShardRecord) -> dict[str, str]:
    """The metadata that identify a shard's batch: found by it, a batch is never paid twice."""
    return {TAG: f"{job.id}/{shard.number}"}


def about(job: JobRecord, shard: ShardRecord, shards: int) -> dict[str, str]:
    """The metadata that describe a batch's job to a reader without its ledger."""
    _, dot, schema = job.space.partition(".")
    kind = f"/{schema}" if dot else ""
    samples = f"x{job.samples}" if job.samples > 1 else ""
    rows = f"{shards}/{job.rows}{samples}/{shard.first}-{shard.last}{kind}"
    return {
        **({} if job.own_ids else {TAG_OF: rows}),  # custom ids that are not ours name no rows
        TAG_OUT: job.out[:MOST_CHARS],
        TAG_MODEL: job.model[:MOST_CHARS],
    }


async def send(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Upload and create for a shard that is `submitting` and surely has no batch yet."""

    async def on_upload(file_id: str) -> None:
        nonlocal shard
        # The create is sent now: `settle` counts from here, however long the upload took.
        now = context.clock()
        changes: dict[str, Any] = {"sent_at": now, "create_sent": True}
        if file_id != shard.file_id:
            changes |= {
                "create_sent": not context.facts.checks_file,
                "file_id": file_id,
                "uploaded_at": now,
                "uploads": shard.uploads + 1,
            }
        shard = context.put(shard, **changes)

    job = context.job
    folder = context.ledger.folders.of(job.id)
    requests = folder.requests(shard.number)
    if job.own_ids:
        requests = await asyncio.to_thread(sent_file, folder, job, shard.number)
    try:
        view = await context.provider.submit(
            requests,
            {
                **job.metadata,
                **tag_of(job, shard),
                **about(job, shard, context.ledger.next_number(job.id)),
            },
            endpoint=job.endpoint,
            window=job.completion_window,
            uploaded=shard.file_id,
            on_upload=on_upload,
        )
    finally:
        if job.own_ids:
            requests.unlink(missing_ok=True)
    if not view.id:
        raise ProviderDownError("the provider answered without the batch's id: it is looked for")
    return taken(context, shard, view)


class Fate(StrEnum):
    """The fate of an unanswered create whose batch is not in the provider's list."""

    ABSENT = "absent"  # no batch was made, and none will be
    OPEN = "open"  # it may still arrive
    UNKNOWN = "unknown"  # it did not arrive in time, and may have been made all the same


def fate(shard: ShardRecord, facts: Facts, now: float) -> Fate:
    """The fate of a shard's create after an empty search; sent_at: when it was sent or failed."""
    if not shard.create_sent:
        return Fate.ABSENT
    if now - shard.sent_at < facts.settle:
        return Fate.OPEN
    surely = facts.sure or facts.idempotent or shard.create_answered or shard.send_again
    return Fate.ABSENT if surely else Fate.UNKNOWN


async def adopt(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Search for the batch of a `submitting` shard: the process died, or the response was lost.

    It is sent again only where it can't have a batch. Where that is unknown it is blocked, and the
    search continues: a batch that appears late is adopted.
    """
    if not shard.create_sent:
        return await _absent(context, shard)
    try:  # back to the plan: no batch of ours is older
        found = await context.provider.find(
            tag_of(context.job, shard),
            since=context.job.created_at - CLOCKS_SECONDS,
            file_id=shard.file_id,
        )
    except UndecidedError as e:
        if any(not context.ledger.holds(view.id, context.job) for view in e.candidates):
            return _given_up(context, shard) or context.later(shard, e)
        found = []  # each of them is another shard's of this ledger
    except ProviderError as e:  # nothing is known, so nothing is sent
        return await _blind(context, shard, e)
    live = [view for view in found if view.id and view.id not in shard.refused]
    if live:
        # The oldest, should there ever be two: the one that was sent first.
        return taken(context, shard, live[-1])
    now = context.clock()
    sent_at = min(shard.sent_at, now)  # a clock that was set back
    match fate(msgspec.structs.replace(shard, sent_at=sent_at), context.facts, now):
        case Fate.ABSENT:
            return await _absent(context, shard)
        case Fate.OPEN:
            pause = poll_pause(context.facts, now - sent_at, context.dice())
            due_at = min(now + pause, sent_at + context.facts.settle)
            note = shard.note or LOST
            return context.put(shard, sent_at=sent_at, due_at=due_at, attempts=0, note=note)
        case Fate.UNKNOWN:
            return _unknown(context, shard)


async def _absent(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Send a shard without a batch, or end it where it is not wanted any more."""
    if context.job.cancel_at:
        return context.end(shard, State.CANCELLED, "")
    if (damaged := await context.end_if_damaged(shard)) is not None:
        return damaged
    return await send(context, context.put(shard, **sending(shard, context.facts, context.clock())))


def sending(shard: ShardRecord, facts: Facts, now: float) -> dict[str, Any]:
    """The changes to a shard about to be sent; with an uploaded file, the create is next."""
    return {
        "sent_at": now,
        "due_at": 0.0,
        "create_sent": shard.file_id is not None and not facts.checks_file,
        "create_answered": False,
        "send_again": False,
    }


def _unknown(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Block a shard whose batch may exist: the user decides, and the search for it continues."""
    if (ended := _given_up(context, shard)) is not None:
        return ended
    return context.put(
        shard,
        blocked_by=Block.UNKNOWN_CREATE,
        attempts=0,
        note=shard.note,
        due_at=context.clock() + min(UNKNOWN_SECONDS, context.facts.poll_last),
    )


async def _blind(context: ShardContext, shard: ShardRecord, error: ProviderError) -> ShardRecord:
    """Retry a failed list call; where it is always refused, only the user can decide."""
    refused = isinstance(error, NotFoundError | BadRequestError) and shard.attempts >= BLIND_TRIES
    if refused and shard.send_again:
        return await _absent(context, shard)
    if refused or isinstance(error, AuthenticationError):
        ended = _given_up(context, shard)
        if ended is not None:
            return ended
    unknown = refused and context.clock() - shard.sent_at >= context.facts.settle
    return context.later(
        shard,
        error,
        f"the provider's list can't be read: {error}",
        blocked_by=Block.UNKNOWN_CREATE if unknown else shard.blocked_by,
    )


def _given_up(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """The end of a shard of a cancelled job; None where open rows are to be sent in realtime.

    That would pay again for answers that the provider may hold.
    """
    if not context.job.cancel_at or context.job.rush_at:
        return None
    return context.end(shard, State.CANCELLED, UNSURE, unsure=True)


def taken(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Record the handle of the provider's batch for the shard."""
    sent = context.put(
        shard,
        Step.RUNNING,
        batch_id=view.id,
        file_id=view.input_file_id or shard.file_id,
        provider_status=view.status,
        expires_at=view.expires_at,
        attempts=0,
        note="",
        due_at=context.clock() + context.facts.poll_first,
        **quota.let_in(view.status),
    )
    if shard.held and quota.is_in(view.status):
        quota.make_way(context)  # there was room: there may be more
    return sent
