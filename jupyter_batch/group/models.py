"""Group: the jobs of one call with several models, shown as one.

Each job is durable by itself, at its own provider, with its own column; the ledger stores only the group's job ids.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from jupyter_batch import buttons
from jupyter_batch.config.options import AtOnce, RetryParams
from jupyter_batch.core.errors import InputError, JupyterBatchError, NothingToRetryError
from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.request import Result, Usage
from jupyter_batch.core.status import Block, Snapshot
from jupyter_batch.handle import Handle
from jupyter_batch.job import MAX_ROUNDS, Job
from jupyter_batch.ledger.linked_jobs import name_of
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.merging.labelled import choose_into
from jupyter_batch.planning.target import keys_by_job, member_of
from jupyter_batch.results.agreement import comparison, side_by_side, without_suffix
from jupyter_batch.results.timeline import JobEvents
from jupyter_batch.results.timeline import read as events_of
from jupyter_batch.runner.process import Session

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.results.row import Row


class Group(Handle):
    """Several models over the same rows: one column each, one monitor, and `compare()`."""

    def __init__(self, here: Session, jobs: Sequence[Job], name: str | None = None) -> None:
        super().__init__()
        self.id = name or name_of([job.id for job in jobs])  # kept where others continue the jobs
        self.jobs = tuple(jobs)
        self._here = here
        self._followed: set[str] = set()

    # -- state ----------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the present state of all its jobs as of a single one."""
        return group_snapshot(self.id, [job.snapshot() for job in self.jobs])

    @property
    def name(self) -> str | None:
        """The user's label, if there is one."""
        return self.jobs[0].name

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the call."""
        return tuple(job.snapshot().model for job in self.jobs)

    @property
    def usage(self) -> Usage | None:
        """Tokens of all models' answers so far; None where no provider reported any."""
        known = [usage for job in self.jobs if (usage := job.usage)]
        return sum(known, Usage()) if known else None

    @property
    def is_complete(self) -> bool:
        """Whether every job is."""
        return all(job.is_complete for job in self.jobs)

    @property
    def is_successful(self) -> bool:
        """Whether every job is."""
        return all(job.is_successful for job in self.jobs)

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each request's Result, model by model; its `custom_id` begins with the id of its job."""
        for job, model in zip(self.jobs, self.models, strict=True):
            async for result in job:
                yield msgspec.structs.replace(result, value=without_suffix(result.value, model))

    # -- results --------------------------------------------------------------------------------------------

    def results(self) -> pd.DataFrame:
        """The answers of all models side by side, then each one's _status, _error, _cost and tokens, by model."""
        return side_by_side(self._by_model(Job.results))

    def _source_frame(self) -> Any:
        return self.jobs[0]._source_frame()

    @property
    def errors(self) -> pd.DataFrame:
        """The rows that ended without an answer, with the model and the reason."""
        import pandas as pd

        jobs = zip(self.jobs, self.models, strict=True)
        return pd.concat([job.errors.assign(model=model) for job, model in jobs])

    def compare(self) -> pd.DataFrame:
        """A row for each model: rows answered and failed, agreement, cost, seconds, tokens; shown with rows below it.

        agreement: the share of equal answers among the rows that this model and another one answered, over all others.
        cost: US dollars, NA where unknown. seconds: from the submission to the end, or to now.
        """
        from jupyter_batch.results.rows.comparison import with_rows

        table = comparison([job.snapshot() for job in self.jobs], self._compared())
        return with_rows(table, self._here.ledger, [job.id for job in self.jobs], self.view)

    def labels(self) -> dict[str, pd.DataFrame]:
        """The labelled rows, by model; see Job.labels."""
        return self._by_model(Job.labels)

    def merge_labels(self, df: pd.DataFrame | None = None) -> Group:
        """Write the labels of each model's answers into the frame; see Job.merge_labels."""
        return self._each(lambda job: job.merge_labels(df))

    def examples(self, df: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
        """The labelled rows for `examples=`, by model; see Job.examples."""
        return self._by_model(lambda job: job.examples(df))

    def choose(
        self, model: str, df: pd.DataFrame | None = None, *, overwrite: bool = False
    ) -> Group:
        """Copy a model's answers into the column without its name, in `df` or the submitted frame, by its index.

        Raises InputError for another model, and ColumnError where the column exists, unless overwrite=True.
        """
        if model not in self.models:
            raise InputError(f"expected one of {', '.join(self.models)}; got {model!r}")
        job = self.jobs[self.models.index(model)]
        choose_into(job._answers.frame(df), job.results(), model, overwrite=overwrite)
        return self

    def _compared(self) -> list[list[Any]]:
        return list(self._answers_by_model().values())

    def _answers_by_model(self) -> dict[str, list[Any]]:
        """The answers by model; None for none."""
        return {
            model: [without_suffix(answer, model) for answer in job._answers.outcomes().answers]
            for job, model in zip(self.jobs, self.models, strict=True)
        }

    def merge(self, df: pd.DataFrame | None = None, *, overwrite: bool = False) -> Group:
        """Write the answers so far into `df`, or into the submitted frame."""
        return self._each(lambda job: job.merge(df, overwrite=overwrite))

    def cancel(self) -> Group:
        """Cancel all jobs at their providers; finished rows are kept."""
        return self._each(Job.cancel)

    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Group:
        """Continue the jobs that wait; see Job.resume."""
        self._idle.clear()
        keys = self._keys(api_key)
        self._each(lambda job: job.resume(api_key=keys[job.id], send_again=send_again))
        self._look()
        return self

    def retry(
        self,
        *,
        model: str | None = None,
        invalid: bool = False,
        api_key: str | None = None,
        api_base: str | None = None,
        max_cost: float | None = None,
        **params: Unpack[RetryParams],
    ) -> Group:
        """Resend the unanswered rows of each job, as linked jobs; return a group of these and the other jobs.

        As `Job.retry`, for all. max_cost: US dollars that the retries may cost together (in equal shares with model= or
        invalid=); default: the rest of each job's own share. Raises as that does; nothing is sent then.
        """
        from jupyter_batch.planning import escalation, retry  # with numpy

        keys = self._keys(api_key) if model is None else dict.fromkeys(self._keys(None), api_key)
        share = max_cost and max_cost / len(self.jobs)
        if model is not None or invalid:  # all are checked before any is sent
            escalation.check_chat(*[job._record() for job in self.jobs if not job.is_successful])
        elif max_cost is not None:
            share, records, ledger = None, [job._record() for job in self.jobs], self._here.ledger
            retry.plan_all_again(ledger, records, now=time.time(), max_cost=max_cost, params=params)
        more: dict[str, Any] = {"model": model, "invalid": invalid, "api_base": api_base, **params}
        return self._retried(lambda job: job.retry(api_key=keys[job.id], max_cost=share, **more))

    def finish(
        self,
        *,
        mode: AtOnce = "realtime",
        api_key: str | None = None,
        max_cost: float | None = None,
    ) -> Group:
        """`Job.finish` of each job, or of none. max_cost: of all together, in equal shares.

        Returns the group itself, or, where a job was complete, a group with the job that continues it.
        """
        most, keys = max_cost and max_cost / len(self.jobs), self._keys(api_key)
        for job in self.jobs:
            job._check_finish(keys[job.id], most, mode)
        return self._retried(lambda job: job.finish(mode=mode, api_key=keys[job.id], max_cost=most))

    def _keys(self, api_key: str | None) -> Mapping[str, str | None]:
        """The given key, by job. Raises OptionError where it is not clear which job it is for."""
        return keys_by_job(
            api_key,
            [member_of(job._record(), lacks_key=job.blocked == Block.KEY) for job in self.jobs],
        )

    @property
    def files(self) -> list[Path]:
        """The files of all its jobs; see Job.files."""
        return [path for job in self.jobs for path in job.files]

    def row(self, label: Any = None, *, position: int | None = None) -> dict[str, Row]:
        """All of one row, by model; see Job.row."""
        return self._by_model(lambda job: job.row(label, position=position))

    def vectors(self) -> dict[str, np.ndarray[Any, Any]]:
        """The vectors of each model; see Job.vectors. Raises InputError for jobs that asked for text."""
        return self._by_model(Job.vectors)

    def run_tools(
        self,
        tools: Any = None,
        *,
        max_rounds: int = MAX_ROUNDS,
        concurrency: int = 8,
        rerun: bool = False,
        mode: str | None = None,
        max_cost: float | None = None,
        api_key: str | None = None,
    ) -> Group:
        """Run the tool calls of each model's answers and send the follow-ups, until no call is left; see Job.run_tools.

        The models' rounds run at the same time; a follow-up may cost the rest of its job's own max_cost. max_cost: US
        dollars that the follow-ups of a round may cost together, in equal shares. Returns a group of the last jobs,
        which fill the same columns.
        """
        keys = self._keys(api_key)
        given = [keys[job.id] for job in self.jobs]
        ways = [
            job._way(
                tools,
                max_rounds=max_rounds,
                concurrency=concurrency,
                rerun=rerun,
                mode=mode,
                max_cost=max_cost and max_cost / len(self.jobs),
                api_key=keys[job.id],
            )
            for job in self.jobs
        ]
        group, calling = self, set(range(len(ways)))
        while group.wait().is_complete and calling:
            jobs = list(group.jobs)
            for at in sorted(calling):
                gone = jobs[at]._run_tools(ways[at])
                if gone.follow_up is None:
                    calling.discard(at)
                else:
                    jobs[at] = jobs[at]._continue_as(gone.follow_up, given[at])
                if gone.stopped:
                    calling.clear()
                    break
            if jobs != list(group.jobs):
                group = self._continued(jobs)
                if not group.is_complete:
                    group._ipython_display_()
        return group

    def _retried(self, act: Callable[[Job], Job]) -> Group:
        again, refusals, retried = [], [], False
        for job in self.jobs:
            try:
                again.append(act(job))
                retried = True
            except NothingToRetryError:
                again.append(job)
            except InputError as e:  # a missing key, or too high a price
                again.append(job)
                refusals.append(e)
        if refusals:
            raise refusals[0]
        if not retried:
            raise NothingToRetryError(f"in group {self.id} no row is left to be sent again")
        return self if again == list(self.jobs) else self._continued(again)

    def _continued(self, jobs: Sequence[Job]) -> Group:
        """Store and return the group of these jobs, each of which continues the one at its place."""
        return keep(self._here, jobs)

    def _by_model(self, read: Callable[[Job], Any]) -> dict[str, Any]:
        return dict(zip(self.models, map(read, self.jobs), strict=True))

    def _each(self, act: Callable[[Job], object]) -> Group:
        """Act on each job, even after an error; then raise the first error."""
        refusals: list[JupyterBatchError] = []
        for job in self.jobs:
            try:
                act(job)
            except JupyterBatchError as e:
                refusals.append(e)
        if refusals:
            raise refusals[0]
        return self

    # -- display --------------------------------------------------------------------------------------------

    def _in_words(self) -> str:
        lines = [super()._in_words(), *(f"  {job!r}" for job in self.jobs)]
        return "\n".join([*lines, *([] if not self.is_complete else [self.compare().to_string()])])

    def _show(self) -> None:
        super()._show()
        if self.is_complete:
            from IPython.display import display

            display(self.compare())

    def _follow(self, *, whole: bool = True) -> None:
        for job in self.jobs:
            job._in_group = True
            job._follow(whole=whole)
        self._listen()
        self._look()

    def _listen(self) -> None:
        """Watch each job, including those that continue one in real time."""
        for job in self.jobs:
            open_now = job.snapshot().id
            with self._lock:
                new = open_now not in self._followed
                self._followed.add(open_now)
            if new:
                self._here.move(open_now, self._on_change)

    def _on_change(self, snapshot: Snapshot) -> None:
        del snapshot  # one job's
        self._listen()
        if self._over.is_set() and not self.is_complete:  # a result file came late
            self._over.clear()
        if not self._over.is_set() and self.is_complete:
            self._announce_end()
        self._redraw()
        self._callbacks.changed()
        self._look()

    def _look(self) -> None:
        if self._over.is_set():
            return
        if self.is_complete:
            self._note_end()
            return
        self._idle.clear()  # before reading: later changes set it again
        if self._blocked_here(self.snapshot()) is not None:
            self._idle.set()

    def _blocked_here(self, snapshot: Snapshot) -> Block | None:
        causes = [job._blocked_here(job.snapshot()) for job in self.jobs if not job.is_complete]
        return None if None in causes else snapshot.blocked

    def _merge_complete(self) -> None:
        for job in self.jobs:
            if job.is_complete:
                job._merge_frames()
        self._redraw()

    def _merge_frames(self) -> None:
        for job in self.jobs:
            job._merge_frames()
        self._redraw()

    def _shards(self) -> list[ShardRecord]:
        return [shard for job in self.jobs for shard in job._shards()]

    def _job_events(self) -> list[JobEvents]:
        return events_of(self._here.ledger, [job._record().id for job in self.jobs])

    def _page_functions(self) -> dict[str, Any]:
        return {"choose": buttons.choosing(self.choose)}

    def _retry_by_click(self) -> str:
        """For a click: retry the unanswered rows of each job, and return a sentence about it."""
        notes = [job._retry_by_click() for job in self.jobs if "retry" in job.snapshot().offers]
        self._redraw()
        return " ".join(notes) or "No row of any is left to be sent again."


def keep(here: Session, jobs: Sequence[Job]) -> Group:
    """Store these jobs as a group, which can be opened by its id."""
    group = Group(here, jobs)
    here.ledger.keep_group(group.id, [job.id for job in jobs], time.time())
    return group
