"""Corrected labels as columns `<out>_human` of a frame, and as few-shot examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_batch.core.errors import ColumnError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.ledger.folder import JobFolder
    from jupyter_batch.ledger.records import JobRecord

HUMAN = "_human"
"""The end of a column with corrected labels."""


def labelled(job: JobRecord, folder: JobFolder, results: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows on the source's index: each answer beside its corrected label."""
    from jupyter_batch.results.rows.labels import Labels

    found = {name: held for name, held in Labels(job, folder).read().items() if held}
    rows = sorted({at // job.samples for held in found.values() for at in held})
    made = results.iloc[rows][[name for name in found if name in results.columns]].copy()
    for name, held in found.items():
        by_row = {at // job.samples: label for at, label in held.items()}
        made[f"{name}{HUMAN}"] = [by_row.get(row) for row in rows]
    return made


def merge_into(frame: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Write the columns of labels into a frame, by its index; earlier labels are replaced."""
    human = labels.columns[labels.columns.str.endswith(HUMAN)]
    fill_by_index(frame, labels[human], overwrite=True)


def chosen(results: pd.DataFrame, model: str) -> pd.DataFrame:
    """A model's answers, named without the model's name."""
    own = results[[name for name in results.columns if not str(name).startswith("_")]]
    return own.rename(columns=lambda name: str(name).removesuffix(f"_{model}"))


def fill_by_index(frame: pd.DataFrame, columns: pd.DataFrame, *, overwrite: bool) -> None:
    """Write columns into a frame by its index.

    Raises InputError where an index has duplicates, and ColumnError where a column exists.
    """
    from jupyter_batch.frames.frame import fill

    if not (frame.index.is_unique and columns.index.is_unique):
        raise InputError("the index has duplicates, so that a value fits several rows")
    there = [name for name in columns.columns if name in frame.columns]
    if there and not overwrite:
        raise ColumnError(f"the frame has a column {there[0]!r}; overwrite=True replaces it")
    for name in columns.columns:
        fill(frame, name, columns[name].reindex(frame.index).tolist())


def as_examples(job: JobRecord, frame: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """The labelled rows of a frame as `examples=` takes them: the prompt's columns, and the labels as answers.

    Raises InputError where nothing is labelled, or a labelled row is not in the frame.
    """
    named = [name for name in job.fills if f"{name}{HUMAN}" in labels.columns]
    whole = labels.dropna(subset=[f"{name}{HUMAN}" for name in named])
    if not named or whole.empty:
        raise InputError(f"no row of job {job.id} is labelled yet: job.view() takes labels")
    if not whole.index.isin(frame.index).all():
        raise InputError("some labelled rows are not in this frame; pass the frame of the job")
    made = frame.loc[whole.index, [name for name in frame.columns if name in job.columns]].copy()
    for name in named:
        made[name] = whole[f"{name}{HUMAN}"]
    return made
