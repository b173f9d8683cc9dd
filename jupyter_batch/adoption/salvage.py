"""Read-only access to a job without the database: its folder's manifest and result files."""

from __future__ import annotations

import contextlib

import msgspec

from jupyter_batch.core.errors import JobNotFoundError, LedgerError
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import manifest_of, open_shards
from jupyter_batch.results.shard_figures import of_shard
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.row_files.row_sources import Places


def salvage(folders: Folders, job: str) -> tuple[JobRecord, list[ShardRecord]]:
    """A job from its folder: fetched shards are collected, with rows and costs, others running.

    Raises JobNotFoundError where there is no such folder.
    """
    folder = folders.of(job)
    manifest = manifest_of(folder)
    if manifest is None:
        raise JobNotFoundError(f"no job {job!r} in {folders.root}: no readable job.json")
    record, shards, last = manifest.job, [], 0.0
    planned = open_shards(manifest.shards, folder)
    places = None
    with contextlib.suppress(LedgerError):  # results() reports it
        places = places_of(record, planned, folder)
    for shard in planned:
        fetched = [
            path
            for path in (folder.output(shard.number), folder.errors(shard.number))
            if path.exists()
        ]
        if fetched:
            last = max(last, *(path.stat().st_mtime for path in fetched))
        shards.append(
            _collected(record, shard, folder, places)
            if fetched
            else msgspec.structs.replace(shard, step=Step.RUNNING, ending=None)
        )
    over = all(shard.step is Step.COLLECTED for shard in shards)
    return msgspec.structs.replace(record, finished_at=last if over else 0.0), shards


def _collected(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places | None
) -> ShardRecord:
    over = msgspec.structs.replace(shard, step=Step.COLLECTED, ending=State.COMPLETED)
    with contextlib.suppress(LedgerError, ValueError, OSError):
        return (
            over
            if places is None
            else msgspec.structs.replace(over, **of_shard(job, over, folder, places))
        )
    return over
