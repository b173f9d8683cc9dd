"""Fetch both result files of a batch that is over, count what they hold, and call the shard collected.

It knows the provider's verbs and the folder; how a line becomes an outcome is gather.py's.
"""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jupyter_batch.core.errors import ConnectionFailedError, NotFoundError, ProviderError
from jupyter_batch.core.status import State, Step
from jupyter_batch.engine.blame import for_the_others, rows_at_fault
from jupyter_batch.engine.gather import of_shard, places_of
from jupyter_batch.engine.pace import GONE_TRIES, is_lost
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.records import ShardRecord

if TYPE_CHECKING:
    from jupyter_batch.engine.tick import Mover

SHORT_TRIES = 3
"""How often a file that is shorter than its counts promise is fetched again, before it is taken as it is."""
PAGE_TRIES = 8
"""The same of what is no result file at all (nothing, a login page): some minutes."""


async def collect(mover: Mover, shard: ShardRecord) -> ShardRecord:
    """Bring a shard's results to this disk, whole; then count them."""
    folder = mover.ledger.folders.of(mover.job.id)
    output = folder.output(shard.number)
    for file_id, target in (
        (shard.error_file_id, folder.errors(shard.number)),
        (shard.output_file_id, output),
    ):
        there = target.exists()
        short = (
            there and target == output and shard.attempts > 0
        )  # it comes last, and yet it is tried again
        if file_id and (short or not there):
            await _fetch(mover, shard, file_id, target, there=there)
    shard = await _blamed(mover, shard)
    places = places_of(mover.job, mover.ledger.shards(mover.job.id), folder)
    fields, told_of = await asyncio.to_thread(of_shard, mover.job, shard, folder, places)
    promised = shard.requests if mover.facts.tells_all else min(shard.completed, shard.requests)
    uncounted = shard.ending is State.COMPLETED and not (shard.completed or shard.failed)
    if uncounted:  # and yet there is a file: of one row at least
        promised = max(promised, 1)
    if told_of < promised and output.exists():
        rows = (
            "no row"
            if uncounted and not told_of
            else f"{told_of} of the {promised} rows that the provider counted"
        )
        note = f"the output file tells of {rows}"
        if shard.short < (
            SHORT_TRIES if await asyncio.to_thread(_holds_lines, output) else PAGE_TRIES
        ):
            mover.put(shard, short=shard.short + 1)
            raise ConnectionFailedError(f"{note}; it is fetched again")
        fields["note"] = fields["note"] or note
    return mover.put(
        shard,
        Step.COLLECTED,
        attempts=0,
        due_at=0.0,
        why=shard.why,
        at_fault=shard.at_fault,
        **fields,
    )


def _holds_lines(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(BOM_UTF8).lstrip()[:1] == b"{"


async def _blamed(mover: Mover, shard: ShardRecord) -> ShardRecord:
    """The shard, with the rows that its batch was refused for, and the other rows' reason."""
    if not shard.bad_lines:
        return shard
    requests = mover.ledger.folders.of(mover.job.id).requests(shard.number)
    at_fault = await asyncio.to_thread(rows_at_fault, requests, mover.job.id, shard.bad_lines)
    return msgspec.structs.replace(
        shard, at_fault=at_fault, why=for_the_others(at_fault, shard.why)
    )


async def _fetch(
    mover: Mover, shard: ShardRecord, file_id: str, target: Path, *, there: bool
) -> None:
    try:
        with written(target) as file:
            await mover.provider.fetch(file_id, file.write)
    except ProviderError as e:
        gone = isinstance(e, NotFoundError) and (shard.attempts >= GONE_TRIES or there)
        if not gone and not is_lost(e, shard.attempts, mover.clock() - shard.ended_at):
            raise
        # It is not to be had any more: what is there is kept, and each row without a line says so.
