"""Corrected labels as columns `<out>_human` of a frame, and as few-shot examples; a chosen model's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import ColumnError, InputError
from jupyter_batch.frames.adapter import adapter_of, column_labels, is_frame, row_labels

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.ledger.folder import JobFolder
    from jupyter_batch.ledger.records import JobRecord

HUMAN = "_human"
"""The end of a column with corrected labels."""


def labelled(job: JobRecord, folder: JobFolder, results: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows on the source's index: each answer next to its corrected label."""
    from jupyter_batch.results.rows.labels import Labels

    found = {name: held for name, held in Labels(job, folder).read().items() if held}
    rows = sorted({at // job.samples for held in found.values() for at in held})
    made = results.iloc[rows][[name for name in found if name in results.columns]].copy()
    for name, held in found.items():
        by_row = {at // job.samples: label for at, label in held.items()}
        made[f"{name}{HUMAN}"] = [by_row.get(row) for row in rows]
    return made


def merge_into(frame: Any, labels: pd.DataFrame) -> None:
    """Write the columns of labels into a frame, by its row labels; earlier labels are replaced.

    Raises InputError for a frame that does not change in place.
    """
    human = labels.columns[labels.columns.str.endswith(HUMAN)]
    _fill(_known(frame), labels[human], overwrite=True)


def choose_into(frame: Any, results: pd.DataFrame, model: str, *, overwrite: bool) -> None:
    """Write a model's answers into a frame, by its row labels, in columns without the model's name.

    Raises InputError where a row label has duplicates, ColumnError where a column exists.
    """
    own = results[[name for name in results.columns if not str(name).startswith("_")]]
    renamed = own.rename(columns=lambda name: str(name).removesuffix(f"_{model}"))
    _fill(_known(frame), renamed, overwrite=overwrite)


def _known(frame: Any) -> Any:
    """The frame. Raises InputError for one of a library without an adapter, which may not change in place."""
    if is_frame(frame):
        return frame
    kind = f"{type(frame).__module__.partition('.')[0]} {type(frame).__name__}"
    raise InputError(
        f"expected a pandas DataFrame; got a {kind}: job.labels(), and group.results() for each model's "
        "answers, are pandas DataFrames on the source's index, to join to it"
    )


def _fill(frame: Any, columns: pd.DataFrame, *, overwrite: bool) -> None:
    from jupyter_batch.frames.frame import fill, has_column

    index = row_labels(frame)
    if not (index.is_unique and columns.index.is_unique):
        raise InputError("the index has duplicates, so that a value fits several rows")
    there = [name for name in columns.columns if has_column(frame, name)]
    if there and not overwrite:
        raise ColumnError(f"the frame has a column {there[0]!r}; overwrite=True replaces it")
    for name in columns.columns:
        fill(frame, name, columns[name].reindex(index).tolist())


def as_examples(job: JobRecord, frame: Any, labels: pd.DataFrame) -> Any:
    """The labelled rows of a frame as `examples=` takes them: the prompt's columns, and the labels as answers.

    Raises InputError where nothing is labelled, or a labelled row is not in the frame.
    """
    import pandas as pd

    named = [name for name in job.fills if f"{name}{HUMAN}" in labels.columns]
    whole = labels.dropna(subset=[f"{name}{HUMAN}" for name in named])
    if not named or whole.empty:
        raise InputError(f"no row of job {job.id} is labelled yet: job.view() takes labels")
    index = row_labels(_known(frame))
    if not index.is_unique or not whole.index.isin(index).all():
        raise InputError("some labelled rows are not in this frame; pass the frame of the job")
    rows = index.get_indexer(whole.index)
    made = pd.DataFrame(index=whole.index)
    for place, label in enumerate(column_labels(frame)):
        if label in job.columns and str(label) != job.model_column:
            made[label] = adapter_of(frame).column(frame, place).iloc[rows].array
    for name in named:
        made[name] = whole[f"{name}{HUMAN}"]
    return made
