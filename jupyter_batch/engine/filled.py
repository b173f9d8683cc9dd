"""Whether a column that a frame has already holds our answers and nothing else. It reads the ledger, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jupyter_batch import frame as frames
from jupyter_batch.core.schema import columns as columns_of
from jupyter_batch.engine.gather import of_job, places_of
from jupyter_batch.engine.landing import fill_with
from jupyter_batch.engine.reuse import matches, prints_array
from jupyter_batch.labels import label_hashes
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger

if TYPE_CHECKING:
    from jupyter_batch.engine.reuse import Array


def is_filled_by_us(
    ledger: Ledger, record: JobRecord, prints: bytes | bytearray, frame: pd.DataFrame
) -> bool:
    """Whether the columns that a job is to fill hold what earlier jobs answered to the same questions, and no more.

    A row that asks what was asked before has that answer, or none; one that was edited has what its label had before;
    and one that asks something new has the answer of some row, or none. So it is with a frame that was filled, and then
    has grown or was edited. prints: of its requests.
    """
    there = [column for column in record.fills if frames.has_column(frame, column)]
    cells, filled = _cells(frame, there)
    asked, matched = prints_array(prints), np.zeros(len(frame), dtype=bool)
    said: set[bytes] = set()
    for job in ledger.jobs():
        folder = ledger.folders.of(job.id)
        if matched.any() and not filled.any():
            break
        alike = job.space == record.space and set(there) <= set(columns_of(record.out, job.schema))
        if not alike or not folder.prints.exists() or not folder.keys.exists():
            continue
        shards, was = ledger.shards(job.id), prints_array(folder.prints.read_bytes()).copy()
        rows, leaders = places_of(job, shards, folder).followers()
        was[rows] = was[leaders]
        here, at = matches(asked, np.arange(len(frame)), was)
        if not len(here):
            continue
        theirs, answered = _cells(_filled(job, shards, folder, record.out), there)
        said.update(theirs[answered].tolist())
        matched[here] = True
        filled[here[cells[here] == theirs[at]]] = False
        here, at = _alike(frame.index, frames.Keys.from_bytes(folder.keys.read_bytes()).labels)
        edited = (asked[here] != was[at]).any(axis=1)
        filled[here[edited & (cells[here] == theirs[at])]] = False
    return (
        bool(matched.any())
        and not filled[matched].any()
        and said.issuperset(cells[filled].tolist())
    )


def _filled(job: JobRecord, shards: list[ShardRecord], folder: JobFolder, out: str) -> pd.DataFrame:
    """A job's answers in the columns that `out` gives them, row by row."""
    made = pd.DataFrame(index=pd.RangeIndex(job.rows))
    fill_with(job, of_job(job, shards, folder), made, out, np.arange(job.rows))
    return made


def _alike(index: pd.Index[Any], labels: Array) -> tuple[Array, Array]:
    """(which of the index's rows have a label that is among these, and where there)."""
    mine, theirs = (np.stack([hashes, hashes], axis=1) for hashes in (label_hashes(index), labels))
    return matches(mine, np.arange(len(index)), theirs)


def _cells(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Array, Array]:
    """(a hash of each row's cells in these columns, whether any of them is there)."""
    labels = [frames.column_label(frame, column) for column in columns]
    cells = np.empty(
        len(frame), dtype=object
    )  # an array of bytes would lose the zeros at their ends
    filled = np.zeros(len(frame), dtype=bool)
    for start, held, _, hashes in frames.blocks(frame, labels):
        cells[start : start + len(hashes)] = hashes
        filled[start : start + len(hashes)] = [
            any(cell is not None for cell in row) for row in zip(*held, strict=True)
        ]
    return cells, filled
