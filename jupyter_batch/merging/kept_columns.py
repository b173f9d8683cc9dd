"""Further content of answers as columns, read from the result files on demand, without payment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jupyter_batch.core.schema import Keep
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.copy_answers import answer_files, is_answer, lines_in
from jupyter_batch.results.outcomes import Outcomes, of_job
from jupyter_batch.results.samples import by_row
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.wire.kept import kept


def outcomes_of(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, keep: Keep
) -> Outcomes:
    """The outcomes of all rows of a job's frame, with the content that `keep` names."""
    found = of_job(job, shards, folder)
    found.kept = columns_of(job, shards, folder, set(keep.values()))
    return by_row(job, found)


def columns_of(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, names: set[str]
) -> dict[str, list[Any]]:
    """By name a value for each request, None where its answer has none; from the deciding line."""
    made: dict[str, list[Any]] = {name: [None] * job.rows for name in names}
    if not made:
        return made
    for row, line in _deciding(job, shards, folder):
        values = kept(line)
        for name, column in made.items():
            column[row] = values.get(name)
    rows, leaders = places_of(job, shards, folder).followers()
    for row, leader in zip(rows.tolist(), leaders.tolist(), strict=True):
        for column in made.values():
            column[row] = column[leader]
    return made


def _deciding(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder
) -> Iterator[tuple[int, bytes]]:
    """The deciding line of each row: the first; an answer after a failure replaces it."""
    seen = bytearray(job.rows)
    for file in answer_files(job, shards, folder):
        for _, row, line, result in lines_in(file, job):
            rank = 2 if is_answer(result) else 1
            if row is None or row >= job.rows or seen[row] >= rank:
                continue
            seen[row] = rank
            yield row, line


def keep_more(ledger: Ledger, record: JobRecord, keep: Keep) -> JobRecord:
    """Add columns to a job's record: an existing job fills them without a new request."""
    united = {**record.keep, **keep}
    if united == record.keep:
        return record
    ledger.amend(record.id, keep=united)
    return ledger.job(record.id)
