"""Rows whose answers the provider counted, or may have, but that were not received.

They may be billed, so another job with the same request does not send it unasked: each row gets a
failure that names the first job, and `retry` sends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.request import custom_id
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_files import columns_of
from jupyter_batch.row_files.row_columns import places_of

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]


def withheld(job: JobRecord, shards: list[ShardRecord], folder: JobFolder) -> Array:
    """Whether the provider may have had an answer to each row of a job that is not on this disk."""
    rows = np.zeros(job.rows, dtype=bool)
    suspects = [shard for shard in shards if shard.step is Step.COLLECTED and shard.withholds]
    if not suspects:
        return rows
    places = places_of(job, shards, folder)
    for shard in suspects:
        found = Outcomes(shard.first, shard.last, values=False)
        for dialect, path in (
            *folder.taken_over(shard),
            (job.dialect, folder.output(shard.number)),
            (job.dialect, folder.errors(shard.number)),
        ):
            for columns in columns_of(path, job, dialect):
                found.add(columns)
        silent = np.frombuffer(found.status, dtype=np.uint8) >= len(CODES)
        span = slice(shard.first, shard.last + 1)
        rows[span] |= silent & (places.array[span] == shard.number)
    followers, leaders = places.followers()
    rows[followers] |= rows[leaders]
    return rows


def write_failures(target: Path, of: str, job: str, rows: Iterable[int]) -> None:
    """Write a failure for each of these rows of a job.

    of: the earlier job with the same requests.
    """
    why = (
        f"this was asked in job {of}, whose batch may hold an answer that is not on this disk: nothing was sent again. "
        f"jupyter_batch.open({of!r}).resume() looks for it; then, or where it is lost, retry() of this job"
    )
    with written(target) as file:
        for row in rows:
            line = {
                "custom_id": custom_id(job, row),
                "response": None,
                "error": {"code": "not_fetched", "message": why},
            }
            file.write(msgspec.json.encode(line) + b"\n")
