"""MergeTarget: a frame that is bound to a job's answers, and the columns that they fill."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jupyter_batch.core.errors import ColumnError, LedgerCorruptError
from jupyter_batch.core.schema import Keep, Schema, all_columns, listed
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.adapter import as_frame
from jupyter_batch.frames.labels import label_hashes
from jupyter_batch.frames.tables import Table
from jupyter_batch.frames.watched import WatchedFrame
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.merge import NOTHING, merge
from jupyter_batch.merging.own_cells import ForeignCells, as_written
from jupyter_batch.merging.rendered import Rendered, columns_of, kept, keys_of
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.wire.openai import EMBEDDINGS

if TYPE_CHECKING:
    import pandas as pd


class MergeTarget:
    """One frame bound to a job's answers by a strong reference: without a name it is filled too.

    names: the user's names for it at submission. by_name: the one name whose frame, whichever it is
    when the answers come, is filled (the magic's). rendered: its rows as rendered; None where only
    the ledger has them. merged: the last answers were merged, or refused for good. held: whether a
    name of the user's referred to it when it was bound. keep: further content of answers that has a
    column there.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        out: str,
        *,
        names: list[str],
        by_name: str | None,
        rendered: Rendered | None = None,
        schema: Schema | None = None,
        overwrite: bool = False,
        held: bool = True,
        keep: Keep = NOTHING,
    ) -> None:
        self.frame = frame
        self.keep = keep
        self.rendered = rendered
        self.overwrite = overwrite
        self.held = held
        self.out = out
        self.merged = False
        self._found: tuple[WatchedFrame, np.ndarray[Any, Any]] | None = None
        self._names = names
        self.by_name = by_name
        fields = all_columns(out, schema, keep)
        self._columns = tuple(fields)
        self._kinds = {name: field.kind for name, field in fields.items() if field}
        self._may_fill = self._there(
            frame
        )  # they existed when the job was bound: that was agreed to

    def allow(self) -> None:
        """Allow the columns to be filled, whoever made them, as the user asked."""
        self._may_fill = set(self._columns)

    def prepare(self, job: JobRecord, folder: JobFolder) -> None:
        """Find the rows of the frame, in another thread than its user's.

        Where the frame changes after it, the merge itself finds them. Raises what the merge would.
        """
        if self.by_name is not None or not job.aligned:
            return
        if self.rendered is not None and self.rendered.keys.ambiguous.any():
            return  # its rows are rendered again, by the user's functions
        rendered = self.rendered or kept(job, folder)
        labels = columns_of(self.frame, rendered.columns)
        watched = WatchedFrame.of(self.frame, labels)
        if watched is not None:
            self._found = watched, rendered.find(watched.frame)

    def is_replaced_by(self, other: MergeTarget) -> bool:
        """Whether nothing else is filled by it: of Tables, only the last one, and those of names, are reached."""
        if self.frame is other.frame:
            return self.out == other.out
        return isinstance(self.frame, Table) and self.by_name in (None, other.by_name)

    def _there(self, frame: pd.DataFrame) -> set[str]:
        return {column for column in self._columns if frames.has_column(frame, column)}

    def merge(
        self,
        job: JobRecord,
        folder: JobFolder,
        found: Outcomes,
        names: dict[str, Any] | None = None,
        *,
        ledger: Ledger | None = None,
        by_hand: bool = False,
    ) -> str:
        """Fill it; return a message.

        names: the user's current names. Raises as the function `merge` does.
        """
        frame = self._frame_of(names)
        if isinstance(frame, Table):
            vector = {self.out: "vector"} if job.endpoint == EMBEDDINGS else {}
            frame.kinds |= {**self._kinds, **vector}
        if frame is not self.frame:
            self._may_fill, self.frame = self._there(frame), frame

        def foreign(frame: pd.DataFrame, positions: np.ndarray[Any, Any]) -> ForeignCells:
            return _foreign(job, folder, found, self.out, frame, positions, ledger, self.keep)

        strange = self._there(self.frame) - self._may_fill
        if strange and not job.model_column:  # else the job of another model may have made it
            raise ColumnError(
                f"the frame got a column {listed(map(repr, sorted(strange)))} of its own in the meantime, "
                "which was left alone: job.merge(df, overwrite=True) fills it"
            )
        watched, positions = self._found or (None, None)
        is_same = watched is not None and watched.is_same(self.frame)
        watched = self._found = None  # it shares the frame's columns, and keeps them in memory
        try:
            message = merge(
                job,
                folder,
                found,
                self.frame,
                self.out,
                rendered=self.rendered,
                foreign=None if self.overwrite else foreign,
                by_hand=by_hand,
                keep=self.keep,
                positions=positions if is_same else None,
            )
        except KeyboardInterrupt:  # columns that exist by now are this job's
            self.allow()
            raise
        self.allow()  # the columns are this job's now
        if isinstance(self.frame, Table):
            return message + self._rename(self.frame, names)
        return message + self._hints(names)

    def _frame_of(self, names: dict[str, Any] | None) -> Any:
        """The frame of its name by now, where there is one; else the frame itself, as for a stream."""
        held = None if names is None or self.by_name is None else names.get(self.by_name)
        if isinstance(self.frame, Table) and type(held) is type(self.frame.content):
            return as_frame(held)
        return held if frames.is_frame(held) else self.frame

    def _rename(self, frame: Table, names: dict[str, Any] | None) -> str:
        """Let the magic's name hold the new frame, where it holds the old one; return where it is."""
        held = None if names is None or self.by_name is None else names.get(self.by_name)
        if names is None or held is not frame.source or type(held) is not type(frame.content):
            return "; job.frame() is the frame with it"
        names[str(self.by_name)] = frame.native()
        return f"; {self.by_name!r} is a new frame with it"

    def _hints(self, names: dict[str, Any] | None) -> str:
        """What the user may not expect of a frame that has no name, or another one's."""
        if not self.held:
            return (
                "; but no name leads to this frame: job.results() has the answers. Assign it first, "
                "such as part = df[...], and its column is there"
            )
        if names is None or not self._names:
            return ""
        if any(names.get(name) is self.frame for name in self._names):
            return ""
        name = self._names[0]
        return f"; but {name!r} is another frame now: job.merge({name}) fills that one"


def _foreign(
    job: JobRecord,
    folder: JobFolder,
    found: Outcomes,
    out: str,
    frame: pd.DataFrame,
    positions: np.ndarray[Any, Any],
    ledger: Ledger | None,
    keep: Keep,
) -> ForeignCells:
    """The cells of the job's columns that no job of the ledger answered."""
    cells = ForeignCells(frame, list(all_columns(out, job.schema, keep)))
    if job.model_column:
        cells.only(positions >= 0)
    if cells.rows:
        cells.without(as_written(job, found, out, keep), positions)
    if not cells.rows or ledger is None:
        return cells
    keys = asks = None
    with contextlib.suppress(LedgerCorruptError):
        keys = keys_of(job, folder)
    if keys is not None and keys.asks is not None:
        asks = np.where((positions >= 0)[:, None], keys.asks[positions], np.uint64(0))
    labels = label_hashes(frames.row_labels(frame))
    nothing = np.zeros(len(labels), dtype=bool)
    asked = frames.Keys(
        labels, np.zeros((len(labels), 2), dtype=np.uint64), nothing, asks, job.hashing
    )
    return cells.look(ledger, msgspec.structs.replace(job, out=out), asked)
