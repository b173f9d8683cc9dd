"""The source's columns in the row view: cells of the kernel's frame, for the rows of a page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.frames.adapter import adapter_of, column_labels, taken
from jupyter_batch.frames.cells import is_missing
from jupyter_batch.frames.watched import WatchedFrame
from jupyter_batch.merging.bound_frames import Answers
from jupyter_batch.merging.rendered import columns_of, kept
from jupyter_batch.results.result_preview import words

if TYPE_CHECKING:
    from jupyter_batch.merging.bound_frames import Standpoint
    from jupyter_batch.row_files.request_hashes import Array

LONGEST = 600
"""Characters of a cell."""
MOST = 200
"""Columns of a frame that are shown."""


class Cells:
    """The cells of the frame that a job's answers fill, by the rows' positions in the job. Thread-safe.

    A frame is read as it is now; rows that are not the job's (any more) have no cells.
    """

    def __init__(self, read: Callable[[], Standpoint], answers: Answers) -> None:
        self._read, self._answers = read, answers
        self._lock = threading.Lock()
        self._found: tuple[WatchedFrame, Array] | None = None

    def names(self) -> list[str]:
        """The columns, without those that the job fills; [] without a frame."""
        return [name for _, name in self._columns(self._frame())]

    def at(self, positions: Sequence[int]) -> dict[int, dict[str, str]]:
        """The cells of each row by column; a row that is not in the frame is left out."""
        frame = self._frame()
        columns = self._columns(frame)
        if frame is None or not columns:
            return {}
        samples = self._read().record.samples
        rows = self._rows(frame)
        places = {at: int(rows[at // samples]) for at in positions if at // samples < len(rows)}
        there = {at: place for at, place in places.items() if place >= 0}
        some = taken(frame, np.array(list(there.values()), dtype=np.int64))
        cells = {name: adapter_of(some).column(some, place).tolist() for place, name in columns}
        return {
            at: {name: _text(held[number]) for name, held in cells.items()}
            for number, at in enumerate(there)
        }

    def _frame(self) -> Any:
        targets = self._answers.targets
        return targets[-1].frame if targets else None

    def _columns(self, frame: Any) -> list[tuple[int, str]]:
        if frame is None:
            return []
        fills = set(self._read().record.all_fills)
        labels = map(str, column_labels(frame).tolist()[:MOST])
        return [(place, name) for place, name in enumerate(labels) if name not in fills]

    def _rows(self, frame: Any) -> Array:
        """The frame's row of each row of the job, or -1; found again where a change could matter."""
        record, _, folder = self._read()
        with self._lock:
            if self._found is None or not self._found[0].is_same(frame):
                rows = np.full(record.frame_rows, -1, dtype=np.int64)
                rendered = self._answers.targets[-1].rendered or kept(record, folder)
                self._found = None
                try:
                    watched = WatchedFrame.of(frame, columns_of(frame, rendered.columns))
                    at = rendered.find(frame)
                except JupyterBatchError:  # the rows can't be identified, so none is shown
                    return rows
                rows[at[at >= 0]] = np.flatnonzero(at >= 0)
                if watched is None:
                    return rows
                self._found = watched, rows
            return self._found[1]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return "" if is_missing(value) else words(value)[:LONGEST]
