"""The outcomes of one job in this process: gathered once, and merged into the bound frames.

The job's state is read through a function; the caller decides when a frame may be changed (between
cells).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.core.errors import InputError, JupyterBatchError
from jupyter_batch.core.schema import Keep
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.notebook import kernel
from jupyter_batch.notebook.progress import progress
from jupyter_batch.telemetry.spans import of_job, span, traced

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.merging.merge import Relabelled
    from jupyter_batch.merging.rendered import Rendered
    from jupyter_batch.merging.target import MergeTarget
    from jupyter_batch.results.outcomes import Outcomes
    from jupyter_batch.results.row import Row


class Standpoint(NamedTuple):
    """A job at one moment: its record, its shards, and the folder of its files."""

    record: JobRecord
    shards: list[ShardRecord]
    folder: JobFolder


class Answers:
    """The outcomes of a job's rows, and the frames that they fill. Thread-safe (the job's lock).

    message: the last one about a frame that was filled, or that refused. refused: the last frame
    to be filled refused. out: the column requested
    last, of several equal calls; None for the one that the job was planned with. keep: the same for
    the columns of further content of the answers.
    """

    def __init__(
        self,
        read: Callable[[], Standpoint],
        lock: threading.RLock,
        ledger: Ledger | None = None,
    ) -> None:
        self._read = read
        self._ledger = ledger
        self._lock = lock
        self._gathered: tuple[tuple[object, ...], Outcomes] | None = None
        self._source: Relabelled | None = None
        self.targets: list[MergeTarget] = []
        self.message = ""
        self.refused = False
        self._filled = 0  # answers that the last merge had
        self.out: str | None = None
        self.keep: Keep | None = None

    # -- as values --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the answers and find the frames' rows, so that a merge only attaches columns.

        For the worker's thread: the job's lock is not held while the files are read.
        """
        job, shards, folder = self._read()
        if not self.targets:
            return
        self._gather(job, shards, folder)
        for target in self.targets:
            if not target.merged:
                target.prepare(job, folder)

    def outcomes(self, *, figures: bool = False) -> Outcomes:
        """The outcomes of all rows, from the files on this disk. figures: tokens and costs too."""
        with self._lock:
            return self._gather(*self._read(), figures=figures)

    def _gather(
        self,
        job: JobRecord,
        shards: list[ShardRecord],
        folder: JobFolder,
        *,
        figures: bool = False,
    ) -> Outcomes:
        from jupyter_batch.merging.columns import outcomes_of
        from jupyter_batch.results.values import Values

        keep = {**job.keep, **(self.keep or {})}
        stand = (
            job.id,
            *keep.values(),
            *((shard.step, shard.kept, shard.lost) for shard in shards),
        )
        of, held = self._gathered or (None, None)
        before = held if of == stand else None
        if before is not None and (
            not figures or (before.has_figures and before.costs.price == job.price)
        ):
            return before
        found = outcomes_of(job, shards, folder, keep, figures=figures, before=before)
        if all(shard.step is Step.COLLECTED for shard in shards):
            if isinstance(found.answers, Values):
                _ = found.answers.arrow  # made here, in the worker's thread
            self._gathered = stand, found  # nothing changes until a file is fetched again
        return found

    def table(self) -> pd.DataFrame:
        """One row for each row of the source (see Job.results)."""
        from jupyter_batch.merging.merge import table

        job, _, folder = self._read()
        found = self.outcomes(figures=True)
        return table(job, folder, found, self._source, self._called(job), self._kept(job))

    def _called(self, job: JobRecord) -> str:
        return job.out if self.out is None else self.out

    def _kept(self, job: JobRecord) -> Keep:
        return job.keep if self.keep is None else self.keep

    def index(self) -> pd.Index[Any]:
        """The source's index."""
        from jupyter_batch.merging.merge import index_of

        job, _, folder = self._read()
        return index_of(job, folder, self._source)[0]

    def vectors(self) -> np.ndarray[Any, Any]:
        """One array of all vectors (see Job.vectors)."""
        from jupyter_batch.results.vectors import array_of

        source = self._source
        return array_of(
            self._read().record, self.outcomes().answers, None if source is None else source[1]
        )

    def row(self, label: Any, position: int | None) -> Row:
        """One row with all its fields (see Job.row)."""
        from jupyter_batch.merging.merge import place_in
        from jupyter_batch.results.outcomes import of_job
        from jupyter_batch.results.row import row_of, together

        job, shards, folder = self._read()
        at, name = place_in(job, folder, self._source, label, position)
        if job.samples == 1:
            found = self.outcomes(figures=True)
            return row_of(self._ledger, job, shards, folder, found, at, name)
        every = of_job(job, shards, folder)
        places = range(at * job.samples, (at + 1) * job.samples)
        samples = [row_of(self._ledger, job, shards, folder, every, one, name) for one in places]
        return together(samples, self.outcomes(figures=True), at)

    def reopen(self) -> None:
        """Mark every frame to be filled once more: a finished job has been reopened."""
        with self._lock:
            for target in self.targets:
                target.merged = False

    # -- in frames --------------------------------------------------------------------------------------------

    @property
    def waited_for(self) -> bool:
        """Whether a frame waits for answers that are not merged yet."""
        return any(not target.merged for target in self.targets)

    def frame(self, given: pd.DataFrame | None) -> pd.DataFrame:
        """The given frame, or the last one that was bound. Raises InputError without one."""
        if given is None and not self.targets:
            raise InputError("this process has no frame of the job: pass it")
        return self.targets[-1].frame if given is None else given

    def is_fillable(self, job: JobRecord, shards: list[ShardRecord]) -> bool:
        """Whether a merge now would bring a frame something new, or would repeat one that was refused."""
        new = answers_here(job, shards) > self._filled
        return self.refused or (self.waited_for and new)

    def seen_on(self, frame: pd.DataFrame, rendered: Rendered | None = None) -> None:
        """Make this frame the source, with its order and labels, if it has just the job's rows."""
        from jupyter_batch.merging.merge import in_order, relabelled

        job, _, folder = self._read()
        if rendered is None:
            self._source = relabelled(job, folder, frame)
        elif rendered.positions is None and rendered.digest and rendered.digest == job.rows_digest:
            self._source = None  # the digest covers the labels and the order
        else:
            self._source = in_order(job, folder, frame, rendered.places())

    def asked_on(
        self,
        frame: pd.DataFrame,
        out: str,
        *,
        by_name: str | None = None,
        held: bool = False,
        again: bool,
        rows: pd.DataFrame | None = None,
        rendered: Rendered | None = None,
        overwrite: bool = False,
        keep: Keep | None = None,
    ) -> None:
        """Bind this frame, whose rows were just requested, for the merge of the answers.

        again: the job existed already, from a frame that may have had other labels. rows: those of
        the frame that the job has, where not all. rendered: its rows as rendered.
        """
        if again:
            self.seen_on(frame if rows is None else rows, rendered)
        elif rendered is not None and not rendered.keys.ambiguous.any():
            rendered = (
                None  # the ledger's data are enough, and are in memory only while they are needed
            )
        self.bind(
            frame,
            out,
            by_name=by_name,
            rendered=rendered,
            overwrite=overwrite,
            held=held,
            keep=keep,
        )

    def bind(
        self,
        frame: pd.DataFrame,
        out: str,
        *,
        by_name: str | None = None,
        rendered: Rendered | None = None,
        overwrite: bool = False,
        held: bool = False,
        keep: Keep | None = None,
    ) -> MergeTarget:
        """Bind this frame for the merge of the answers (see MergeTarget)."""
        from jupyter_batch.merging.target import MergeTarget

        with self._lock:
            record = self._read().record
            self.keep = self.keep if keep is None else keep
            target = MergeTarget(
                frame,
                out,
                names=kernel.frame_names(kernel.shell(), frame),
                by_name=by_name,
                rendered=rendered,
                overwrite=overwrite,
                held=held or by_name is not None or kernel.is_held(kernel.shell(), frame),
                schema=record.schema,
                keep=self._kept(record),
            )
            others = [one for one in self.targets if not one.is_replaced_by(target)]
            self.targets = [*others, target]
            self.out = out
            return target

    def bind_as(self, other: Answers) -> None:
        """Bind the frames of another job, which this one continues."""
        for target in other.targets:
            self.bind(
                target.frame,
                target.out,
                by_name=target.by_name,
                rendered=target.rendered,
                overwrite=target.overwrite,
                held=target.held,
                keep=target.keep,
            )
        self._source, self.out, self.keep = other._source, other.out, other.keep
        with other._lock:
            other._gathered = (
                None  # read again on demand: that job may be kept for its frames alone
            )

    def asked_for(self, df: pd.DataFrame | None) -> list[MergeTarget]:
        """The bindings of this frame, which may be filled from now on; for None all there are."""
        if df is None:
            if not self.targets:
                raise InputError(
                    "this process does not hold the frame that was submitted: give it, job.merge(df)"
                )
            return self.targets
        found = [one for one in self.targets if one.frame is df] or [
            self.bind(df, self._called(self._read().record))
        ]
        for target in found:
            target.allow()
        return found

    def fill(
        self, target: MergeTarget, names: dict[str, Any] | None = None, *, by_hand: bool = False
    ) -> str:
        """Merge the answers so far into a frame; return a message. Raises as `MergeTarget.merge`."""
        job, shards, folder = self._read()
        here = answers_here(job, shards)  # before: more may come during the merge
        doing = progress(f"Merging {here:,} answers")
        with of_job(traced(job)), span("jupyter_batch.merge"), doing:
            message = target.merge(
                job, folder, self.outcomes(), names, ledger=self._ledger, by_hand=by_hand
            )
        self.refused, self._filled = False, here
        return message

    def merge(self) -> Iterator[str]:
        """Merge into each incomplete frame, once; yield a message for each, refusals too."""
        for target in self.targets:
            if target.merged:
                continue
            target.merged = True
            try:
                message = self.fill(target, getattr(kernel.shell(), "user_ns", None))
            except JupyterBatchError as e:
                message, self.refused = f"not merged: {e}", True
            except KeyboardInterrupt:
                target.merged = False  # a column, or a part of it, is missing: merge again
                raise
            yield message


def answers_here(job: JobRecord, shards: list[ShardRecord]) -> int:
    """The answers on this disk."""
    counted = [shard.counts for shard in shards if shard.counts is not None]
    return job.reused + sum(counts.succeeded + counts.reused for counts in counted)
