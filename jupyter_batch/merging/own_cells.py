"""Cells of a frame's existing columns that are, and are not, this package's answers.

A column that is as a merge wrote it is known by identity, without reading a cell: Arrow's arrays do not change. Other
cells are compared with the answers in the ledger, which is only read.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import numpy as np
import pandas as pd

from jupyter_batch.core.errors import ColumnError, JupyterBatchError
from jupyter_batch.core.schema import Keep, Schema, all_columns, listed
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.cells import in_order, same
from jupyter_batch.frames.row_keys import Keys, find, match, repeated
from jupyter_batch.frames.watched import arrow_of
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.columns import fill_with, outcomes_of
from jupyter_batch.merging.rendered import columns_of, keys_of
from jupyter_batch.results.outcomes import Outcomes

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array

_SHOWN = 5


class ForeignCells:
    """The cells of some columns of a frame that no job of this ledger wrote.

    A cell is ours if its value is a job's answer for its row: for the row's request as it is now,
    for the content that it had, or for the row that it was before it was edited. A missing cell
    belongs to nobody. A value changed only by a round trip through a file is the same value.
    """

    def __init__(self, frame: pd.DataFrame, columns: Sequence[str]) -> None:
        self._frame = frame
        self._held = {
            column: frames.column(frame, frames.column_label(frame, column))
            for column in columns
            if frames.has_column(frame, column)
        }
        self._open = {
            column: np.flatnonzero(~held.isna().to_numpy(dtype=bool))
            for column, held in self._held.items()
        }
        self._fingerprints: dict[
            tuple[str, ...], tuple[Array, Array] | None
        ] = {}  # by kind, columns

    @property
    def rows(self) -> dict[str, Array]:
        """The positions of the foreign cells, by column; columns that have none are left out."""
        return {column: rows for column, rows in self._open.items() if len(rows)}

    def check(self, out: str, model: str) -> None:
        """Raise ColumnError if there are any, with their number, some of their rows, and remedies.

        out: with the model's suffix in a group of several models; the name that is proposed is the one for all of them.
        """
        if not self.rows:
            return
        base = out.removesuffix(f"_{model}")
        end = out[len(base) :]
        names = (
            f"{base or 'answer'}{number}"
            for number in range(2, len(frames.column_labels(self._frame)) + 3)
        )
        free = next(name for name in names if not frames.has_column(self._frame, name + end))
        raise ColumnError(
            f"{self.described()}: overwrite=True replaces {self.them}, or out={free!r}"
        )

    @property
    def them(self) -> str:
        """The pronoun of their number."""
        return "it" if sum(map(len, self.rows.values())) == 1 else "them"

    def described(self) -> str:
        """Their number, and where they are."""
        rows = self.rows
        count = sum(map(len, rows.values()))
        places = np.unique(np.concatenate(list(rows.values())))
        named = [str(label) for label in frames.row_labels(self._frame)[places[:_SHOWN]]]
        more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
        cells, were = ("cell", "was") if count == 1 else ("cells", "were")
        which = "row" if len(places) == 1 else "rows"
        return (
            f"{count:,} {cells} of {listed(map(repr, rows))} {were} not written by this job "
            f"({which} {', '.join(named)}{more})"
        )

    def only(self, rows: Array) -> None:
        """Keep the cells of these rows (a mask) only."""
        self._open = {column: at[rows[at]] for column, at in self._open.items()}

    def without(self, made: pd.DataFrame, at: Array) -> None:
        """Drop cells that a job wrote. made: its columns; at: each row's position there, or -1."""
        for column, left in self.rows.items():
            if not frames.has_column(made, column):
                continue
            rows = left[at[left] >= 0]
            mine = self._held[column].iloc[rows]
            theirs = frames.column(made, column).iloc[at[rows]]
            ours = rows[_equal(mine, theirs)]
            self._open[column] = np.setdiff1d(left, ours, assume_unique=True)

    def look(self, ledger: Ledger, record: JobRecord, *asked: Keys) -> ForeignCells:
        """Drop the cells that any job of the ledger wrote.

        asked: the current keys of the frame's rows, of each kind that is known.
        """
        for job in ledger.jobs() if self.rows and ledger.exists() else ():
            out = record.out if _names(job.schema) == _names(record.schema) else job.out
            if not self.rows:
                break
            keep = {**job.keep, **record.keep}
            if not set(self.rows).intersection(all_columns(out, job.schema, keep)):
                continue
            folder, made = ledger.folders.of(job.id), None
            for at in self._places(job, folder, record, {keys.hashing: keys for keys in asked}):
                if not any((at[rows] >= 0).any() for rows in self.rows.values()):
                    continue
                if made is None:
                    found = outcomes_of(job, ledger.shards(job.id), folder, keep)
                    made = as_written(job, found, out, keep)
                self.without(made, at)
                if not self.rows:  # the other matches cost a hash of each row
                    break
        return self

    def _places(
        self, job: JobRecord, folder: JobFolder, record: JobRecord, asked: dict[str, Keys]
    ) -> Iterator[Array]:
        """For each frame row its row in a job, by several kinds of match, the surest first.

        None of a job that was removed, adopted or damaged.
        """
        with contextlib.suppress(JupyterBatchError, OSError, ValueError):
            yield from self._matches(job, keys_of(job, folder), record, asked)

    def _matches(
        self, job: JobRecord, keys: Keys, record: JobRecord, every: dict[str, Keys]
    ) -> Iterator[Array]:
        rows = frames.row_count(self._frame)
        comparable = job.space == record.space and keys.hashing in every
        asked = every.get(keys.hashing) or next(iter(every.values()))
        best: Array = np.full(rows, -1, dtype=np.int64)
        moved = False
        if comparable and keys.asks is not None and asked.asks is not None:
            best = find(asked.labels, asked.asks, keys.labels, keys.asks)
            moved = _moved(asked.labels, asked.asks, keys.labels, keys.asks, best)
            yield best
        recorded = self._recorded_keys(keys.hashing, *job.columns) if job.columns else None
        if recorded is not None:
            at = find(*recorded, keys.labels, keys.fingerprints)
            at[(at >= 0) & keys.ambiguous[at]] = -1
            moved = moved or _moved(*recorded, keys.labels, keys.fingerprints, at)
            yield at
            best = np.where(best >= 0, best, at)
        known = best >= 0
        if not known.any():
            return
        if not moved:
            yield match(asked.labels, keys.labels)  # an edited row still has its label
        between = best.copy()
        between[1:-1] = np.where(
            ~known[1:-1] & known[:-2] & known[2:] & (np.abs(best[:-2] - best[2:]) == 2),  # noqa: PLR2004 - neighbours
            (best[:-2] + best[2:]) // 2,
            -1,
        )
        between[[0, -1]] = -1
        yield between

    def _recorded_keys(self, hashing: str, *columns: str) -> tuple[Array, Array] | None:
        """The hashes of the frame's labels and of its cells in these columns, or None."""
        key = (hashing, *columns)
        if key not in self._fingerprints:
            try:
                labels = columns_of(self._frame, list(columns))
                self._fingerprints[key] = frames.row_hashes(self._frame, labels, hashing)
            except JupyterBatchError:
                self._fingerprints[key] = None
        return self._fingerprints[key]


def as_written(job: JobRecord, found: Outcomes, out: str, keep: Keep) -> pd.DataFrame:
    """A job's answers in the columns that they fill, row by row."""
    made = pd.DataFrame(index=pd.RangeIndex(job.frame_rows))
    fill_with(job, found, made, out, np.arange(job.frame_rows), keep=keep)
    return made


def _names(schema: Schema | None) -> tuple[str, ...] | None:
    return None if schema is None else tuple(field.name for field in schema.fields)


def _moved(labels: Array, marks: Array, old_labels: Array, old_marks: Array, at: Array) -> bool:
    """Whether a row unlike all others has changed its label: then labels identify nothing."""
    rows = np.flatnonzero(at >= 0)
    rows = rows[labels[rows] != old_labels[at[rows]]]
    single = ~repeated(marks[:, 0])[rows] & ~repeated(old_marks[:, 0])[at[rows]]
    return bool(single.any())


def _equal(mine: Any, theirs: Any) -> Array:
    """Which cells have the same value: vectorized for one plain dtype, else cell by cell."""
    found: Array = np.zeros(len(mine), dtype=bool)
    if mine.dtype == theirs.dtype and mine.dtype != object:
        found = (
            (mine.array == theirs.array).to_numpy(dtype=bool, na_value=False)
            if hasattr(mine.array == theirs.array, "to_numpy")
            else np.asarray(mine.array == theirs.array, dtype=bool)
        )
    rest = np.flatnonzero(~found)
    left, right = mine.iloc[rest].tolist(), theirs.iloc[rest].tolist()
    found[rest] = [same(a, b) for a, b in zip(left, right, strict=True)]
    return found


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
    state = _state_of(job, positions)
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


def _state_of(job: JobRecord, positions: Array | None) -> _State | None:
    rows = job.frame_rows
    if not job.finished_at or job.schema is not None:
        return None  # a schema's class may read the same answers in another way
    is_whole = positions is None or in_order(positions, rows)
    return _State(job.id, job.finished_at, rows) if is_whole else None


def _forget(number: int, _: object) -> None:
    _written.pop(number, None)


_written: dict[int, tuple[Any, _State]] = {}  # by the id of an Arrow array
