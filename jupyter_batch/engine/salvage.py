"""Reading a job without the database: from the manifest and the result files in its folder. It writes nothing."""

from __future__ import annotations

import msgspec

from jupyter_batch.core.errors import JobNotFoundError
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.folder import Folders
from jupyter_batch.ledger.records import JobRecord, ShardRecord


class _Manifest(msgspec.Struct):
    job: JobRecord
    shards: list[ShardRecord]


def salvage(folders: Folders, job: str) -> tuple[JobRecord, list[ShardRecord]]:
    """A job as its folder tells of it: what was fetched counts as collected, the rest as still out.

    Raises JobNotFoundError where there is no such folder.
    """
    folder = folders.of(job)
    try:
        manifest = msgspec.json.decode(folder.manifest.read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError) as e:
        raise JobNotFoundError(f"no job {job!r} in {folders.root}: {e}") from e
    shards = []
    for shard in manifest.shards:
        fetched = folder.output(shard.number).exists() or folder.errors(shard.number).exists()
        step, ending = (Step.COLLECTED, State.COMPLETED) if fetched else (Step.RUNNING, None)
        shards.append(msgspec.structs.replace(shard, step=step, ending=ending))
    return manifest.job, shards
