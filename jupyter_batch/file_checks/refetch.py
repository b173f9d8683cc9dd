"""Refetching of a finished job's result files that are damaged on this disk or incomplete.

Downloading the provider's copy is free; sending the requests again is not.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.status import Step
from jupyter_batch.file_checks import stored
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.backoff import GONE_TRIES
from jupyter_batch.row_files.row_columns import places_of

AGAIN_SECONDS = 60.0
"""A file that was just fetched incomplete is not refetched within this time, unless forced."""


def due(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    *,
    now: float,
    forced: bool,
    whole: bool = True,
) -> dict[int, str]:
    """The shards to refetch: by number the damaged file's name, "" for an incomplete one.

    forced: include those refetched before without success. whole: compare the contents of the
    files, not only their size.
    """
    if not job.finished_at:
        return {}
    found: dict[int, str] = {}
    for shard in shards:
        if not (shard.output_file_id or shard.error_file_id or shard.batch_id) or shard.absent:
            continue
        if shard.lost:  # the provider no longer had a copy
            if forced:
                found[shard.number] = shard.lost
        elif name := stored.lost(folder, shard, whole=whole):
            found[shard.number] = name
        elif _may_complete(shard, now) and (forced or now - shard.fetched_at >= AGAIN_SECONDS):
            found[shard.number] = ""
    return found


def _may_complete(shard: ShardRecord, now: float) -> bool:
    """Whether rows are missing, and the provider still keeps the files."""
    if shard.keeps_until is not None and now > shard.keeps_until:
        return False
    return bool(shard.missing or (shard.unsure and shard.batch_id))


def reopen(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    *,
    now: float,
    forced: bool = False,
    whole: bool = True,
) -> bool:
    """Mark damaged or incomplete result files for refetching; return whether there are any.

    Rows without a line are failures until then. A job that was retried already is not changed.
    whole: as for `due`.
    """
    folder = ledger.folders.of(job.id)
    found = due(job, shards, folder, now=now, forced=forced, whole=whole)
    if not found:
        return False
    if ledger.child(job.id) is not None:
        found = {number: name for number, name in found.items() if name}
    by_number = {shard.number: shard for shard in shards}
    changes: dict[int, dict[str, Any]] = {}
    for number, name in found.items():
        tried = bool(by_number[number].lost)
        changes[number] = {"refetch": True, "lost": name, "attempts": GONE_TRIES if tried else 0}
        if name:
            changes[number] |= _as_it_is(job, shards, by_number[number], name, folder)
    return bool(changes) and ledger.reopen(job.id, changes)


def _as_it_is(
    job: JobRecord, shards: list[ShardRecord], shard: ShardRecord, name: str, folder: JobFolder
) -> dict[str, Any]:
    """The shard's outcome without the missing or damaged file."""
    from jupyter_batch.results.shard_figures import of_shard  # imports numpy

    with contextlib.suppress(OSError, ValueError, LedgerError):
        fields = of_shard(
            job,
            msgspec.structs.replace(shard, step=Step.ENDED, lost=name),
            folder,
            places_of(job, shards, folder),
        )
        return {key: fields[key] for key in ("counts", "reasons", "examples")}
    return {}
