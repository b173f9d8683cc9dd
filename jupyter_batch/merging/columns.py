"""A job's outcomes as columns of a frame, with the further content of answers that `keep=` names.

That content is read from the result files on demand, without payment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.request import ToolCalls
from jupyter_batch.core.schema import Field, Keep, all_columns, kept_columns
from jupyter_batch.frames import frame as frames
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.copy_answers import answer_files, is_answer, lines_in
from jupyter_batch.results.outcomes import Outcomes, of_job
from jupyter_batch.results.samples import by_row
from jupyter_batch.row_files.row_columns import places_of
from jupyter_batch.wire.kept import kept
from jupyter_batch.wire.openai import EMBEDDINGS

if TYPE_CHECKING:
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]


def fill_with(
    job: JobRecord,
    found: Outcomes,
    frame: pd.DataFrame,
    out: str,
    positions: Array,
    spare: Mapping[str, Array] = MappingProxyType({}),
    keep: Keep = MappingProxyType({}),
) -> None:
    """Write the outcomes into the job's columns of the frame, under the names that `out` gives.

    spare: the rows of a column whose cells are left unchanged. keep: further content of answers
    that has a column.
    """
    vectors = Field(out, out, "object")  # whether or not any row has one
    fields = {out: vectors} if job.endpoint == EMBEDDINGS else all_columns(out, job.schema, keep)
    named = fields
    extras = kept_columns(out, keep)

    if job.samples > 1:
        fields = dict.fromkeys(fields, Field(out, out, "object"))

    answers: list[Any] = []

    def values(column: str) -> Any:
        if column in extras:
            return found.kept[extras[column].key]
        field = named[column]
        if field is None or field is vectors:
            return found.answers
        answers.extend(() if answers else found.answers)  # parsed once for all columns
        return [_of(answer, field) for answer in answers]

    frames.fill_all(frame, fields, values, positions, spare)


def with_answers(source: pd.DataFrame | None, results: pd.DataFrame) -> pd.DataFrame:
    """The frame of pandas with a job's columns; these alone where its rows are not those of the results."""
    names = takewhile(lambda name: not str(name).startswith("_status"), results.columns)
    answers = results[list(names)]
    if source is None or not frames.row_labels(source).equals(answers.index):
        return answers
    return source.assign(**{str(name): cells.array for name, cells in answers.items()})


def _of(answer: Any, field: Field) -> Any:
    """A field of an answer, or of each answer in a list; None where there is none."""
    if answer is None or isinstance(answer, ToolCalls):
        return None
    if isinstance(answer, list):
        return [_of(one, field) for one in answer]
    return answer[field.name]


def outcomes_of(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    keep: Keep,
    *,
    figures: bool = False,
    before: Outcomes | None = None,
) -> Outcomes:
    """The outcomes of all rows of a job's frame, with the content that `keep` names.

    figures: tokens and costs too, which no column of a frame needs. before: the same outcomes,
    which lack them: nothing else is read again.
    """
    if before is not None and job.samples == 1:
        before.count_as(of_job(job, shards, folder, values=False))
        return before
    found = of_job(job, shards, folder, figures=figures or job.samples > 1)
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
