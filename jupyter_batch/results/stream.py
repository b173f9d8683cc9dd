"""The results of a job as they arrive, once for each row, also across jobs that continue it."""

from __future__ import annotations

from collections.abc import Iterator

from jupyter_batch.core.request import Result, Status, Usage, custom_id, position_of
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import NOTHING, Outcomes, read_shard, reused
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.row_files.row_sources import NOWHERE, Places

_GOOD = (Status.SUCCEEDED, Status.REUSED)


class News:
    """The results already returned for a job: a byte a row, and the batches that were read."""

    def __init__(self, rows: int) -> None:
        self._returned = bytearray(rows)
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
            if row is None or self._returned[row] or (leaving and result.status not in _GOOD):
                continue
            self._returned[row] = 1
            yield result

    def _found(
        self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder
    ) -> Iterator[Result]:
        places = places_of(job, shards, folder)
        if (job.id, -1) not in self._read:
            self._read.add((job.id, -1))
            yield from _carried_over(job, folder, places)
        for shard in shards:
            if shard.step is Step.COLLECTED and (job.id, shard.number) not in self._read:
                self._read.add((job.id, shard.number))
                yield from _results_of(job, shard, folder, places)


def _carried_over(job: JobRecord, folder: JobFolder, places: Places) -> Iterator[Result]:
    """One Result for each row already answered when the job was planned, in row order."""
    found = Outcomes(0, job.rows - 1, values=True, endpoint=job.endpoint)
    reused(found, job, folder)
    if job.changes:  # rows that were sent again are returned with their new results
        for at in (places.array > NOWHERE).nonzero()[0].tolist():
            found.status[at] = NOTHING
    found.follow(places)
    for at, code in enumerate(found.status):
        if code != NOTHING:
            yield _result(found, job.id, at, CODES[code])


def _results_of(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places
) -> Iterator[Result]:
    """One Result for each row that a collected shard answers, duplicates of its rows included.

    In row order; duplicates come after the originals.
    """
    asked = places.asked(shard)
    found = read_shard(job, shard, folder, places, values=True)
    for at, code in enumerate(found.status):
        if asked[at]:
            yield _result(found, job.id, shard.first + at, CODES[code])
    for row, leader in zip(
        *(rows.tolist() for rows in places.followers(shard.number)), strict=True
    ):
        status = CODES[found.status[leader - shard.first]]
        yield _result(
            found, job.id, leader, Status.REUSED if status is Status.SUCCEEDED else status, row
        )


def _result(
    found: Outcomes, job: str, position: int, status: Status, row: int | None = None
) -> Result:
    """The outcome at a position, as a Result of that row, or of `row`, which duplicates it."""
    at = position - found.first
    usage = None
    if found.input_tokens[at] >= 0 and status is not Status.REUSED:
        usage = Usage(found.input_tokens[at], found.output_tokens[at], found.cached_tokens[at])
    return Result(
        custom_id(job, position if row is None else row),
        status,
        found.answers[at],
        found.reasons.get(position),
        usage,
        found.finishes[found.finish[at]],
        raw=found.raws.get(position),
    )
