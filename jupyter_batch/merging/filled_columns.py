"""A job's outcomes as columns of a frame, for given positions of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.request import ToolCalls
from jupyter_batch.core.schema import Field, Keep, all_columns, kept_columns
from jupyter_batch.frames import frame as frames
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.outcomes import Outcomes
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
