"""Division of shards above a limit named by the provider into smaller ones; each row is in one.

A shard that is cut was never accepted: its create was refused, or its batch failed before any row
was answered.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import orjson

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.refusals.stated_limit import StatedLimit, Unit
from jupyter_batch.core.request import position_of
from jupyter_batch.core.status import State, Step
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.planning.estimate import Count, counter, light, request_of
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.runner.refusals.quota import QUEUE

if TYPE_CHECKING:
    from jupyter_batch.core.batch import BatchView
    from jupyter_batch.core.errors import ProviderError
    from jupyter_batch.runner.context import ShardContext

COUNTED = 2000
"""Requests of a shard whose tokens are counted; those of the others are estimated by bytes."""
_BYTES_A_TOKEN = 4
FILLED = 0.9
"""The share of the token limit that is used: a provider may count a little more than litellm."""
SMALL_BYTES = 64 * 1024
"""No server accepts less in one body; a refusal of this as too large would hold for each row."""
_TOO_LARGE = 413
TRIES = 2
"""Refusals of a shard within the limit, without other batches of ours, before it is halved."""


def cuts(sizes: Sequence[float], most: float) -> list[int]:
    """The start of each piece, so that none is larger than `most`, except single requests."""
    starts: list[int] = []
    room = 0.0
    for at, size in enumerate(sizes):
        if not starts or size > room:
            starts.append(at)
            room = most
        room -= size
    return starts


def plan(
    sizes: Sequence[float], limit: StatedLimit, *, halve: bool, largest: float
) -> list[int] | None:
    """The starts of the pieces of a shard; None where it stays whole.

    halve: it was refused repeatedly without other batches in the way. largest: the most that the
    provider may count.
    """
    total = math.fsum(sizes)
    if len(sizes) < 2:  # noqa: PLR2004 - one request is never cut
        return None
    if total > limit.most:
        most = limit.most * (FILLED if limit.unit is Unit.TOKENS else 1.0)
        return cuts(sizes, most)
    if halve and largest > limit.most:
        return cuts(sizes, total / 2)
    return None


def is_above(shard: ShardRecord, limit: StatedLimit | None) -> bool:
    """Whether a shard has more requests or bytes than a limit that the provider named."""
    if limit is None or shard.requests < 2:  # noqa: PLR2004
        return False
    counted = {Unit.REQUESTS: shard.requests, Unit.BYTES: shard.bytes}.get(limit.unit, 0)
    return counted > limit.most


def half_of(shard: ShardRecord, error: ProviderError) -> StatedLimit | None:
    """Half of a shard's bytes as its limit, if it was too large and no limit was named."""
    if error.status != _TOO_LARGE or shard.bytes <= SMALL_BYTES:
        return None
    return StatedLimit(Unit.BYTES, math.ceil(shard.bytes / 2))


def refused(context: ShardContext, shard: ShardRecord, error: ProviderError) -> ShardRecord | None:
    """Schedule a shard refused for its file's size for cutting; None if within the named limit."""
    limit = error.limit or half_of(shard, error)
    if not is_above(shard, limit):
        return None
    return context.put(
        shard,
        Step.WAITING,
        limit=limit,
        file_id=None,
        attempts=0,
        due_at=0.0,
        note=str(error),
    )


def refused_batch(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Schedule a shard whose batch failed for its size for cutting."""
    return context.put(
        shard,
        Step.WAITING,
        limit=view.limit,
        file_id=None,
        batch_id=None,
        provider_status=view.status,
        refused=(*shard.refused, view.id),
        attempts=0,
        due_at=0.0,
        note=view.errors,
    )


def limit_of(context: ShardContext, shard: ShardRecord) -> StatedLimit | None:
    """The limit that the provider named for this shard, or for another one of the job."""
    if shard.limit is not None:
        return shard.limit
    return context.ledger.kept(context.job.id).limit


async def fit(context: ShardContext, shard: ShardRecord) -> ShardRecord | None:
    """Cut a shard above a named limit before it is sent, or end it; None: it may be sent."""
    limit = limit_of(context, shard)
    if limit is None or shard.joins:
        return None
    was_refused = bool(shard.attempts or shard.refused)
    if shard.requests == 1 and shard.tokens > limit.most and was_refused:
        return _too_large(context, shard, limit)
    halve = shard.alone >= TRIES and shard.limit is not None and shard.bytes > limit.most
    if shard.tokens and not halve:
        return None
    path = context.ledger.folders.of(context.job.id).requests(shard.number)
    sizes = await asyncio.to_thread(_sizes, path, limit.unit, context.job)
    starts = plan(sizes, limit, halve=halve, largest=float(shard.bytes))
    if starts is not None:
        return await asyncio.to_thread(_cut, context, shard, limit, sizes, starts)
    tokens = math.ceil(math.fsum(sizes))
    if limit.unit is not Unit.TOKENS or shard.tokens == tokens:
        return None
    return context.amend(shard, tokens=tokens)


def _too_large(context: ShardContext, shard: ShardRecord, limit: StatedLimit) -> ShardRecord:
    """End a shard of one request that alone exceeds the limit."""
    note = (
        f"this request alone has about {shard.tokens:,} tokens, and the provider allows {limit.most:,}; "
        f"shorten it ({shard.note})"
    )
    return context.end(shard, State.FAILED, note)


def _sizes(path: Path, unit: Unit, job: JobRecord) -> list[float]:
    """The size of each line of a request file."""
    with path.open("rb") as file:
        lengths = [len(line) for line in file]
    if unit is Unit.REQUESTS:
        return [1.0] * len(lengths)
    if unit is Unit.BYTES:
        return [float(length) for length in lengths]
    return _tokens(path, lengths, counter(job.body_model, load_litellm))


def _tokens(path: Path, lengths: list[int], count: Count) -> list[float]:
    """Input tokens of each line: counted, or by the counted ones' ratio of tokens to bytes."""
    chosen: Sequence[int] = range(len(lengths))
    if len(lengths) > COUNTED:
        chosen = random.Random(len(lengths)).sample(chosen, COUNTED)
    wanted, counted = set(chosen), {}
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number in wanted:
                try:
                    counted[number] = count(light(request_of(orjson.loads(line))))
                except Exception:
                    counted[number] = len(line) // _BYTES_A_TOKEN
    ratio = sum(counted.values()) / max(1, sum(lengths[number] for number in counted))
    return [
        float(counted.get(number, math.ceil(ratio * length)))
        for number, length in enumerate(lengths)
    ]


def _cut(
    context: ShardContext,
    shard: ShardRecord,
    limit: StatedLimit,
    sizes: Sequence[float],
    starts: list[int],
) -> ShardRecord:
    """Write the pieces' files, then record them for the shard; safe to repeat after a kill."""
    ledger, job = context.ledger, context.job
    folder = ledger.folders.of(job.id)
    bounds = list(zip(starts, [*starts[1:], len(sizes)], strict=True))
    drafts = [folder.path / f"piece-{secrets.token_hex(4)}.jsonl" for _ in bounds]
    try:
        pieces = _pieces(shard, limit, folder, ledger.next_number(job.id), bounds, drafts)
        if limit.unit is Unit.TOKENS:
            pieces = [
                msgspec.structs.replace(piece, tokens=math.ceil(math.fsum(sizes[start:end])))
                for piece, (start, end) in zip(pieces, bounds, strict=True)
            ]
        others = [one for one in ledger.shards(job.id) if one.number != shard.number]
        places = places_of(job, [*others, *pieces], folder)
        pieces = [
            msgspec.structs.replace(
                piece,
                followers=len(places.followers(piece.number)[0]),
                joined=sum(places.asked(piece)) - piece.requests if shard.joined else 0,
            )
            for piece in pieces
        ]

        def keep(at: int, number: int) -> None:
            drafts[at].replace(folder.requests(number))
            if shard.joined:
                _take_along(folder, job, shard, msgspec.structs.replace(pieces[at], number=number))

        replaced = ledger.replace(shard, pieces, context.holder, context.clock(), keep)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    if replaced is None:
        raise LedgerError(f"batch {shard.number + 1} of job {job.id} has moved on")
    return replaced


def _pieces(
    shard: ShardRecord,
    limit: StatedLimit,
    folder: JobFolder,
    number: int,
    bounds: list[tuple[int, int]],
    drafts: list[Path],
) -> list[ShardRecord]:
    """Write each piece's request lines to its draft; the records cover all of the shard's rows."""
    made: list[ShardRecord] = []
    with folder.requests(shard.number).open("rb") as file:
        for (start, end), draft in zip(bounds, drafts, strict=True):
            size, check, first = 0, 0, shard.first
            with written(draft) as out:
                for line in islice(file, end - start):
                    if not size and made:
                        first = _position(line, shard)
                    size += out.write(line)
                    check = crc32(line, check)
            if made:
                made[-1] = msgspec.structs.replace(made[-1], last=first - 1)
            made.append(
                ShardRecord(
                    job=shard.job,
                    number=number + len(made),
                    requests=end - start,
                    bytes=size,
                    crc=check,
                    first=first,
                    last=shard.last,
                    step=Step.WAITING,
                    held=QUEUE if limit.unit is Unit.TOKENS else "",
                    limit=limit,
                    part_of=shard.number if shard.part_of is None else shard.part_of,
                    waited=shard.waited,
                    note=shard.note,
                )
            )
    return made


def _position(line: bytes, shard: ShardRecord) -> int:
    found = REQUEST_ID.match(line)
    position = position_of(shard.job, found[1].decode()) if found else None
    if position is None:
        raise LedgerError(
            f"a request line of batch {shard.number + 1} of {shard.job} has no id of its job"
        )
    return position


def _take_along(folder: JobFolder, job: JobRecord, shard: ShardRecord, piece: ShardRecord) -> None:
    """Copy the answers that a shard took from other jobs, for the rows of a piece."""
    from jupyter_batch.results.copy_answers import lines_in  # imports numpy
    from jupyter_batch.row_files.answer_files import AnswerFile

    for dialect, path in folder.taken_over(shard):
        name = path.name.replace(f"joined-{shard.number}-", f"joined-{piece.number}-", 1)
        with written(path.with_name(name)) as out:
            for _, position, line, _ in lines_in(AnswerFile(dialect, path, job.id), job):
                if position is not None and piece.first <= position <= piece.last:
                    out.write(line if line.endswith(b"\n") else line + b"\n")
