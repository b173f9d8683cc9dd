"""The results of a job as they arrive, once for each row, also across jobs that continue it."""

from __future__ import annotations

from collections.abc import Iterator

from jupyter_batch.core.request import position_of
from jupyter_batch.core.result import Result, Status
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.outcomes import carried_over, results_of
from jupyter_batch.row_files.row_columns import places_of

_GOOD = (Status.SUCCEEDED, Status.REUSED)


class News:
    """The results already returned for a job: a byte a row, and the batches that were read."""

    def __init__(self, rows: int) -> None:
        self._told = bytearray(rows)
        self._read: set[tuple[str, int]] = set()

    def of(
        self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder, *, over: bool
    ) -> Iterator[Result]:
        """The new results, after those of rows answered before. job: the job that is open now.

        over: no more results will come. Rows about to be sent again in realtime are returned only
        then.
        """
        leaving = bool(job.rush_at) and not over
        if job.rush_at and over:  # no job will ask for them after all
            self._read.clear()
        for result in self._found(job, shards, folder):
            row = position_of(job.id, result.custom_id)
            if row is None or self._told[row] or (leaving and result.status not in _GOOD):
                continue
            self._told[row] = 1
            yield result

    def _found(
        self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder
    ) -> Iterator[Result]:
        places = places_of(job, shards, folder)
        if (job.id, -1) not in self._read:
            self._read.add((job.id, -1))
            yield from carried_over(job, folder, places)
        for shard in shards:
            if shard.step is Step.COLLECTED and (job.id, shard.number) not in self._read:
                self._read.add((job.id, shard.number))
                yield from results_of(job, shard, folder, places)
