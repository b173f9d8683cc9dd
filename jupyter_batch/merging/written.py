"""Columns as a job's merge wrote them: known by identity, without reading a cell.

Arrow's arrays do not change: a column that has the array that was written has its cells, too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import ref

import numpy as np

from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.watched import arrow_of
from jupyter_batch.ledger.records import JobRecord

if TYPE_CHECKING:
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]


class _State(NamedTuple):
    """A job of which row k of a frame has the k-th answer, when all of them were there."""

    job: str
    finished_at: float
    rows: int


def mark(
    job: JobRecord,
    frame: pd.DataFrame,
    columns: Iterable[str],
    positions: Array,
    spare: Mapping[str, Array],
) -> None:
    """Note that columns have the answers of a finished job, unless rows were spared."""
    state = None if any(map(len, spare.values())) else _state_of(job, positions)
    for column in columns:
        held = _array(frame, column)
        if held is not None and state is not None:
            gone = functools.partial(_forget, id(held))
            _written[id(held)] = ref(held, gone), state


def is_written(
    job: JobRecord, frame: pd.DataFrame, columns: Iterable[str], positions: Array | None = None
) -> bool:
    """Whether columns have the answers of a job as its merge wrote them.

    positions: of the frame's rows in the job; without it they are known to be the job's rows.
    """
    state = _state_of(job, np.arange(job.frame_rows) if positions is None else positions)
    return state is not None and all(_written_in(frame, column) == state for column in columns)


def _written_in(frame: pd.DataFrame, column: str) -> _State | None:
    held = _array(frame, column)
    found = _written.get(id(held))
    return found[1] if found is not None and found[0]() is held else None


def _array(frame: pd.DataFrame, column: str) -> Any:
    """The Arrow array of a column; None for another one, or none."""
    if not frames.has_column(frame, column):
        return None
    return arrow_of(frames.column(frame, frames.column_label(frame, column)))


def _state_of(job: JobRecord, positions: Array) -> _State | None:
    rows = job.frame_rows
    if not job.finished_at or job.schema is not None or len(positions) != rows:
        return None  # a schema's class may read the same answers in another way
    is_whole = np.array_equal(positions, np.arange(rows))
    return _State(job.id, job.finished_at, rows) if is_whole else None


def _forget(number: int, _: object) -> None:
    _written.pop(number, None)


_written: dict[int, tuple[Any, _State]] = {}  # by the id of an Arrow array
