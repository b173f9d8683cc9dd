"""Adoption of jobs whose batches are at a provider but in no ledger here.

Nothing is created, changed or removed at the provider; the batches' sender is not affected. Rows
are identified by position alone, except by their requests: where those can be fetched, the same
cell run again finds its answers by them (dedup/match.py), each on its own row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
import pandas as pd

from jupyter_batch.adoption.find import Orphan, refused
from jupyter_batch.adoption.recover_rows import Part, Searched, learn
from jupyter_batch.adoption.salvage import salvage
from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import InputError, JobNotFoundError
from jupyter_batch.core.request import Status
from jupyter_batch.core.status import Counts, State, Step
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.hashing import HASH_BYTES
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import write_manifest
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.draft import JobDraft, job_draft
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.protocol import TAG_MODEL, TAG_OUT
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.request_hashes import adopted_kind, hash_array
from jupyter_batch.row_files.row_columns import RowFiles, Unsent
from jupyter_batch.row_files.row_sources import NOWHERE, Places, space_of

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

ABSENT = "no batch of these rows was found at the provider"
UNASKED = "no request for this row alone: its cells were empty, or another row asked the same"
UNKNOWN = "in none of the batches that were found"


async def adopt(
    ledger: Ledger, provider: Searched, place: JobRecord, orphans: list[Orphan], *, now: float
) -> bool:
    """Adopt one job by its batches; False where another process was first.

    place: provider, address and dialect where they were found. Safe to repeat after a kill at any
    point. Raises InputError where nothing can be known of the rows (yet), and ProviderError.
    """
    name = orphans[0].job
    there = ledger.folders.of(name)
    was, kept = _taken_before(ledger, name)
    hashing = adopted_kind(ledger) if was is None else was.hashing
    place = msgspec.structs.replace(place, hashing=hashing)
    chosen = _chosen(orphans, kept)
    with job_draft(ledger, name) as draft:
        restored = (
            _found(was, ledger, chosen)
            if was is not None
            else _restored(ledger, there, place, chosen)
        )
        if restored is not None:
            draft.record, draft.shards = restored
            return draft.take_up()
        parts = [
            await learn(provider, place, orphan, number, there, draft.folder)
            for number, orphan in chosen.items()
        ]
        _fill(draft, was, kept, place, parts, there, now)
        write_manifest(draft.folder, draft.record, draft.shards, handles=False)
        return draft.take_up()


def _taken_before(ledger: Ledger, name: str) -> tuple[JobRecord | None, list[ShardRecord]]:
    if ledger.is_unrecovered(name):  # the content of its folder is repaired now
        return None, []
    try:
        return ledger.job(name), [shard for shard in ledger.shards(name) if not shard.absent]
    except JobNotFoundError:
        return None, []


def _chosen(orphans: list[Orphan], kept: list[ShardRecord]) -> dict[int, Orphan]:
    """The batch of each shard: of several, the one created first, as in submission."""
    chosen: dict[int, Orphan] = {}
    oldest = sorted(
        (o for o in orphans if not refused(o.batch)), key=lambda o: o.batch.created_at or 0.0
    )
    taken = {shard.number for shard in kept}
    for orphan in oldest:
        number = orphan.number if orphan.number is not None else max([-1, *taken, *chosen]) + 1
        if number not in taken:
            chosen.setdefault(number, orphan)
    if not chosen:
        raise InputError(
            f"job {orphans[0].job} has no batch that can be taken up: the provider refused each for its "
            "quota, and whoever sent them sends them again"
        )
    return chosen


def _found(
    was: JobRecord, ledger: Ledger, chosen: dict[int, Orphan]
) -> tuple[JobRecord, list[ShardRecord]] | None:
    """Newly found shards of a job that was adopted before, and whose rows are known."""
    if not was.aligned:
        return None
    return was, [
        running(shard, chosen[shard.number].batch)
        for shard in ledger.shards(was.id)
        if shard.number in chosen
    ]


def _restored(
    ledger: Ledger, folder: JobFolder, place: JobRecord, chosen: dict[int, Orphan]
) -> tuple[JobRecord, list[ShardRecord]] | None:
    """The job from its own folder, if that outlived the ledger: complete, with row keys."""
    try:
        job, planned = salvage(ledger.folders, folder.path.name)
    except JobNotFoundError:
        return None
    if not (
        job.aligned
        and folder.keys.exists()
        and folder.index.exists()
        and len(planned) > max(chosen)
    ):
        return None
    record = msgspec.structs.replace(
        job,
        adopted=True,
        cancel_at=0.0,
        finished_at=0.0,
        message="",
        holder=None,
        lease_until=0.0,
        api_base=place.api_base,
        keyless=place.keyless,
        api_version=place.api_version,
    )
    return record, [
        running(shard, chosen[shard.number].batch)
        if shard.number in chosen
        else _fetched(shard)
        if shard.step is Step.COLLECTED
        else _absent(shard)
        for shard in planned
    ]


def running(shard: ShardRecord, view: BatchView) -> ShardRecord:
    """The record of a shard whose batch is at the provider."""
    return msgspec.structs.replace(
        shard,
        step=Step.RUNNING,
        ending=None,
        batch_id=view.id,
        file_id=view.input_file_id,
        provider_status=view.status,
        expires_at=view.expires_at,
        completed=view.completed,
        failed=view.failed,
        sent_at=view.created_at or 0.0,
        joins="",
        absent=False,
        counts=None,
        reasons=(),
        note="",
        why="",
    )


def _fetched(shard: ShardRecord) -> ShardRecord:
    """Recount its results, which are in the folder, although its batch is gone."""
    return msgspec.structs.replace(shard, step=Step.ENDED, ending=State.COMPLETED, joins="")


def _absent(shard: ShardRecord) -> ShardRecord:
    rows = shard.requests + shard.followers
    return msgspec.structs.replace(
        shard,
        step=Step.COLLECTED,
        ending=State.FAILED,
        absent=True,
        note=ABSENT,
        why=ABSENT,
        joins="",
        counts=Counts(failed=rows),
        reasons=((ABSENT, rows),) if rows else (),
    )


# --- without the folder -------------------------------------------------------------------------------------------


def _fill(
    draft: JobDraft,
    was: JobRecord | None,
    kept: list[ShardRecord],
    place: JobRecord,
    parts: list[Part],
    there: JobFolder,
    now: float,
) -> None:
    """Fill the draft with the job as far as its shards show it."""
    first = parts[0].orphan
    known = first.rows is not None and first.shards is not None
    rows = max(
        [first.rows or 0, was.rows if was else 0, *(part.positions[-1] + 1 for part in parts)]
    )
    places, shards = _places(kept, there, rows), {shard.number: shard for shard in kept}
    _take_rows(parts, places, shards)
    for shard in _gaps(shards, first.shards or max(shards) + 1, rows) if known else ():
        shards[shard.number] = shard
        places[shard.first : shard.last + 1] = shard.number
    unsent = np.flatnonzero(places == NOWHERE).tolist()
    group = (
        Unsent(Status.SKIPPED, UNASKED, unsent) if known else Unsent(Status.FAILED, UNKNOWN, unsent)
    )
    record = was or _job(place, parts, now)
    draft.shards = [shards[number] for number in sorted(shards)]
    draft.record = msgspec.structs.replace(
        record,
        rows=rows,
        skipped=len(unsent) if known else 0,
        unsendable=0 if known else len(unsent),
    )
    draft.sources = Places(places)
    index = frames.index_to_bytes(pd.RangeIndex(rows // record.samples))
    draft.write_rows(
        RowFiles([group] if unsent else [], index=index, hashes=_hashes(was, there, parts, rows))
    )


def _take_rows(parts: list[Part], places: Array, shards: dict[int, ShardRecord]) -> None:
    """Set the rows of each shard that was found; inexact shards take the remaining rows."""
    for part in sorted(parts, key=lambda part: not part.exact):
        at = np.asarray(part.positions)
        mine = at if part.exact else at[places[at] == NOWHERE]
        places[mine] = part.number
        shards[part.number] = _shard(part, len(mine))


def _hashes(was: JobRecord | None, there: JobFolder, parts: list[Part], rows: int) -> Array:
    """The request hashes of the rows, as far as request files were found."""
    known = contents(there.request_hashes) if was else b""
    hashes = hash_array(known.ljust(rows * HASH_BYTES, b"\0")).copy()
    for part in parts:
        if part.hashes:
            hashes[np.asarray(part.positions)] = hash_array(part.hashes)
    return hashes


def _places(kept: list[ShardRecord], folder: JobFolder, rows: int) -> Array:
    """The shard that requests each row, as far as it was known before."""
    places: Array = np.full(rows, NOWHERE, dtype=np.int64)
    if kept:
        before = Places.of(folder, rows, kept, []).array
        numbers = [shard.number for shard in kept]
        places[: len(before)] = np.where(np.isin(before, numbers), before, NOWHERE)
    return places


def _job(place: JobRecord, parts: list[Part], now: float) -> JobRecord:
    orphan = parts[0].orphan
    tag = orphan.batch.tag
    body_model = next((part.model for part in parts if part.model), None) or place.body_model
    endpoint = (
        next((part.url for part in parts if part.url), None)
        or orphan.batch.endpoint
        or place.endpoint
    )
    model = tag.get(TAG_MODEL) or f"{place.provider}/{body_model}"
    return msgspec.structs.replace(
        place,
        id=orphan.job,
        fingerprint=f"adopted {orphan.job}",
        price=price_of(model, api_base=place.api_base),
        space=space_of(place.space or None, place.provider, endpoint)
        + (f".{orphan.schema}" if orphan.schema else ""),
        created_at=min((part.orphan.batch.created_at or now for part in parts), default=now),
        model=model,
        body_model=body_model,
        endpoint=endpoint,
        out=tag.get(TAG_OUT) or place.out,
        samples=orphan.samples,
        adopted=True,
        aligned=False,
    )


def _shard(part: Part, requests: int) -> ShardRecord:
    return running(
        ShardRecord(
            job=part.orphan.job,
            number=part.number,
            requests=requests,
            bytes=part.size,
            first=part.positions[0],
            last=part.positions[-1],
        ),
        part.orphan.batch,
    )


def _gaps(shards: dict[int, ShardRecord], most: int, rows: int) -> list[ShardRecord]:
    """A record for each shard that was not found, with the rows between its neighbours'.

    The first of several adjacent ones has all of them, since the division is unknown.
    """
    made: list[ShardRecord] = []
    job = next(iter(shards.values())).job
    end = -1  # the last row before the gap
    for number in range(most):
        if number in shards:
            end = max(end, shards[number].last)
            continue
        after = min((s.first for n, s in shards.items() if n > number), default=rows)
        blank = ShardRecord(
            job=job,
            number=number,
            requests=max(0, after - end - 1),
            bytes=0,
            first=end + 1,
            last=max(end, after - 1),
        )
        made.append(_absent(blank))
        end = max(end, after - 1)
    return made
