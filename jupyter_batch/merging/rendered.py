"""The rows of a frame as rendered, and the position of each when the answers are merged.

Works on frames and row keys; requests appear only as hashes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.errors import AlignmentError, ColumnError
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.digest import rows_digest
from jupyter_batch.frames.labels import label_hashes
from jupyter_batch.frames.row_keys import Keys, by_content, by_request
from jupyter_batch.frames.tables import is_same
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import reading
from jupyter_batch.ledger.records import JobRecord

if TYPE_CHECKING:
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]


class Rendered(msgspec.Struct, frozen=True):
    """The keys of a frame's rows, and the position of each in the job.

    made: the keys, or a function that reads them; rows: their number, where it is known without.
    columns: the labels, as texts, that the fingerprints cover. digest: of the rows, "" where it is
    not known. positions: None where row k has the
    job's k-th answer. again: renders the rows of a frame, and returns their keys of a kind; None where that
    is not possible (a function of the row, a job of an earlier session). witness: a copy of the
    frame, where the fingerprints are ambiguous and nothing can be rendered again.
    """

    columns: list[str]
    made: Keys | Callable[[], Keys]
    digest: str = ""
    positions: Any = None
    again: Callable[[pd.DataFrame, str], Keys] | None = None
    witness: Any = None
    rows: int | None = None

    @property
    def keys(self) -> Keys:
        """The keys, read where they are not in memory."""
        return self.made() if callable(self.made) else self.made

    def places(self) -> Array:
        """The position in the job of each row, in rendered order."""
        every = np.arange(len(self.keys), dtype=np.int64)
        return every if self.positions is None else np.asarray(self.positions)

    def find(self, frame: pd.DataFrame) -> Array:
        """For each row of this frame its position in the job, -1 for a new row.

        Raises AlignmentError where a row can't be identified, ColumnError where the columns are
        gone.
        """
        at = self._find(frame)
        if self.positions is None:
            return at
        known = at >= 0
        found: Array = np.full(len(at), -1, dtype=np.int64)
        found[known] = self.positions[at[known]]
        return found

    def _find(self, frame: pd.DataFrame) -> Array:
        if self._is_same(frame):
            return np.arange(frames.row_count(frame), dtype=np.int64)
        ambiguous = self.keys.ambiguous.any()
        if ambiguous and self.again is not None:
            return by_request(self.again(frame, self.keys.hashing), self.keys)
        if ambiguous and self.witness is not None:
            return self._witnessed(frame)
        columns = columns_of(frame, self.columns)
        labels, fingerprints = frames.row_hashes(frame, columns, self.keys.hashing)
        return by_content(labels, fingerprints, self.keys)

    def _is_same(self, frame: pd.DataFrame) -> bool:
        rows = len(self.keys) if self.rows is None else self.rows
        if not self.digest or frames.row_count(frame) != rows:
            return False
        with contextlib.suppress(ColumnError):
            return rows_digest(frame, columns_of(frame, self.columns)) == self.digest
        return False

    def _witnessed(self, frame: pd.DataFrame) -> Array:
        """Match by the frame's whole content, and by the identity of its cells' objects."""
        if is_same(self.witness, frame):
            return np.arange(len(self.keys), dtype=np.int64)
        columns = [
            label
            for label in frames.column_labels(self.witness)
            if frames.is_single(self.witness, label)
        ]
        gone = [str(label) for label in columns if not frames.is_single(frame, label)]
        if gone:
            raise AlignmentError(
                f"the frame has no column {gone[0]!r} any more, which identifies its rows: the cells that "
                "the prompt read do not identify them. Nothing was written; job.results() has the answers"
            )
        before = frames.identities(self.witness, columns)
        now = frames.identities(frame, columns)
        labels = label_hashes(frames.row_labels(frame))
        if np.array_equal(before, now) and np.array_equal(labels, self.keys.labels):
            return np.arange(len(labels), dtype=np.int64)
        wide = Keys(self.keys.labels, before, self.keys.skipped, self.keys.asks)
        return by_content(labels, now, wide, share=False)


def kept(job: JobRecord, folder: JobFolder) -> Rendered:
    """The ledger's data about a job's rows: enough to find them by the prompt's columns."""
    keys = cache(partial(keys_of, job, folder))
    return Rendered(job.columns, keys, digest=job.rows_digest, rows=job.frame_rows)


def keys_of(job: JobRecord, folder: JobFolder) -> Keys:
    """The keys of a job's rows; older jobs get their request hashes from their other files."""
    from jupyter_batch.row_files.row_columns import read_keys, read_unsent, request_hashes
    from jupyter_batch.row_files.row_sources import Places

    keys = read_keys(folder, job)
    if keys.asks is not None or job.round:
        return keys
    hashes = request_hashes(job, folder)
    if hashes is None:
        return keys
    asks = hashes.copy()
    left_out = [at for group in read_unsent(folder, job) for at in group.positions]
    with reading(folder.places):
        rows, leaders = Places.of(folder, job.rows, [], left_out).followers()
    asks[rows] = asks[leaders]
    known = np.asarray(asks.any(axis=1))
    known[left_out] = True
    if not known.all():
        return keys
    return Keys(keys.labels, keys.fingerprints, keys.skipped, asks, keys.hashing)


def columns_of(frame: pd.DataFrame, texts: list[str]) -> list[Any]:
    """The frame's own labels for columns that the ledger stores as texts. Raises ColumnError."""
    by_text: dict[str, Any] = {}
    present: list[Any] = frames.column_labels(frame).tolist()
    for label in present:
        if isinstance(label, str) or str(label) not in by_text:
            by_text[str(label)] = label
    gone = [text for text in texts if text not in by_text]
    if gone:
        raise ColumnError(
            f"the frame has no column {gone[0]!r}, which the job's prompt used: its rows can't be "
            "distinguished from changed ones, so nothing was written"
        )
    return [by_text[text] for text in texts]
