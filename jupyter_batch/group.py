"""Group: the jobs of one call that named several models, held and shown as one. It knows Job, and no ledger's inside.

Each of them is a job of its own, at its own provider, with its own column; each is durable by itself, so that a group
is nothing but their ids, and a name made of these.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_batch.config.options import EVERY
from jupyter_batch.config.resolved import checked
from jupyter_batch.core.errors import InputError, JupyterBatchError, OptionError
from jupyter_batch.core.result import Result, Usage
from jupyter_batch.core.schema import suffixed
from jupyter_batch.core.status import Block, Snapshot
from jupyter_batch.core.together import together
from jupyter_batch.handle import Handle
from jupyter_batch.job import MAX_ROUNDS, Job
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.notebook import kernel
from jupyter_batch.planning.one_key import keys_by_job, member_of
from jupyter_batch.results.actions import to_attach
from jupyter_batch.runner.process import Session
from jupyter_batch.schema import read as read_schema

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.results.row import Row
    from jupyter_batch.results.timeline import JobEvents

OUT = EVERY["out"].default


class Group(Handle):
    """Several models over the same rows: one column each, one monitor, and `compare()`."""

    def __init__(self, here: Session, jobs: Sequence[Job], name: str | None = None) -> None:
        super().__init__()
        self.id = name or name_of(
            [job.id for job in jobs]
        )  # it stays so where its jobs go on as others
        self.jobs = tuple(jobs)
        self._here = here
        self._followed: set[str] = set()

    # -- how it stands --------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All of its jobs at this moment, as if they were one."""
        seen = [job.snapshot() for job in self.jobs]
        whole = together(self.id, seen)
        if all(one.merged == to_attach(one.id) for one in seen):
            return msgspec.structs.replace(whole, merged=to_attach(self.id))
        return whole

    @property
    def name(self) -> str | None:
        """The label for people, if one was given."""
        return self.jobs[0].name

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order in which they were named."""
        return tuple(job.snapshot().model for job in self.jobs)

    @property
    def usage(self) -> Usage | None:
        """Tokens of the answers that are here, of all models."""
        told = [job.usage for job in self.jobs]
        return sum((usage for usage in told if usage is not None), Usage()) if any(told) else None

    @property
    def is_complete(self) -> bool:
        """Every job of it is."""
        return all(job.is_complete for job in self.jobs)

    @property
    def is_successful(self) -> bool:
        """Every job of it is."""
        return all(job.is_successful for job in self.jobs)

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each request's Result, model by model; its `custom_id` begins with the id of its job."""
        for job, model in zip(self.jobs, self.models, strict=True):
            async for result in job:
                yield msgspec.structs.replace(result, value=_said(result.value, model))

    # -- what came of it ------------------------------------------------------------------------------------

    def results(self) -> pd.DataFrame:
        """The answers of all models side by side, then each one's _status, _error, _cost and tokens, by model."""
        import pandas as pd

        answers, rest = [], []
        for job, model in zip(self.jobs, self.models, strict=True):
            told = job.results()
            own = [column for column in told.columns if not str(column).startswith("_")]
            answers.append(told[own])
            rest.append(told.drop(columns=own).add_suffix(f"_{model}"))
        return pd.concat([*answers, *rest], axis=1)

    @property
    def errors(self) -> pd.DataFrame:
        """The rows without an answer that are not open any more: which model's, and why."""
        import pandas as pd

        told = [
            job.errors.assign(model=model)
            for job, model in zip(self.jobs, self.models, strict=True)
        ]
        return pd.concat(told)

    def compare(self) -> pd.DataFrame:
        """A row for each model: rows answered and failed, agreement, cost, seconds, tokens.

        agreement: of the rows that this model and another one answered, the share in which they say the same, over all
        others. cost: US dollars, NA where it is not known. seconds: from the submission to the end, or to now.
        """
        import pandas as pd

        from jupyter_batch.results.agreement import agreements

        agreed = agreements(list(self._said().values()))
        rows = []
        for job, share in zip(self.jobs, agreed, strict=True):
            seen = job.snapshot()
            rows.append(
                {
                    "answered": seen.counts.succeeded + seen.counts.reused,
                    "failed": seen.counts.failed + seen.counts.expired + seen.counts.cancelled,
                    "agreement": share,
                    "cost": seen.cost,
                    "seconds": round(seen.elapsed, 3),
                    "input_tokens": seen.input_tokens,
                    "output_tokens": seen.output_tokens,
                }
            )
        index = pd.Index(self.models, name="model")
        kinds = {
            "agreement": "Float64",
            "cost": "Float64",
            "input_tokens": "Int64",
            "output_tokens": "Int64",
        }
        return pd.DataFrame(rows, index=index).astype(kinds)

    def _said(self) -> dict[str, list[Any]]:
        """By model its answers, None where there is none; fields by their own names."""
        return {
            model: [_said(answer, model) for answer in job._answers.outcomes().answers]
            for job, model in zip(self.jobs, self.models, strict=True)
        }

    def merge(self, df: pd.DataFrame | None = None, *, overwrite: bool = False) -> Group:
        """Put what there is so far onto `df`, or onto the frame that was submitted."""
        return self._each(lambda job: job.merge(df, overwrite=overwrite))

    def cancel(self) -> Group:
        """Ask the providers to end all of it; rows that are finished are kept."""
        return self._each(Job.cancel)

    def resume(self, *, api_key: str | None = None, send_again: bool = False) -> Group:
        """Go on now with what waits; see Job.resume."""
        self._idle.clear()
        keys = self._keys(api_key)
        self._each(lambda job: job.resume(api_key=keys[job.id], send_again=send_again))
        self._look()
        return self

    def retry(
        self, *, api_key: str | None = None, max_cost: float | None = None, **params: Any
    ) -> Group:
        """The jobs that missed rows send these again, as linked jobs; a group of those and the others.

        params: as for `Job.retry`, for all of them. max_cost: US dollars that all of these may cost together; else what
        each has left of its own share. Raises InputError where no row of any is left, and OptionError where it may
        cost more; nothing is sent then.
        """
        keys = self._keys(api_key)
        if max_cost is not None:
            from jupyter_batch.planning.changed_lines import changes_of
            from jupyter_batch.planning.retry import plan_all_again

            plan_all_again(
                self._here.ledger,
                [job._record() for job in self.jobs],
                now=time.time(),
                max_cost=max_cost,
                changes=changes_of(params),
            )
        return self._retried(lambda job: job.retry(api_key=keys[job.id], **params))

    def finish(self, *, api_key: str | None = None, max_cost: float | None = None) -> Group:
        """The rest of each in real time, now, at its full price; what is over asks what it missed.

        The group itself, or, where a job was over, one of what goes on. max_cost: US dollars that all of these may
        cost together, in equal shares; else what each has left of its own. Raises InputError where no row of any is
        left, and OptionError where one may cost more than its share; nothing is cancelled then.
        """
        share, keys = self._share(max_cost), self._keys(api_key)
        for job in self.jobs:
            job._check_finish(keys[job.id], share)
        return self._retried(lambda job: job.finish(api_key=keys[job.id], max_cost=share))

    def _keys(self, api_key: str | None) -> Mapping[str, str | None]:
        """By job, the key that was given. Raises OptionError where it is not clear which job it is for."""
        return keys_by_job(
            api_key,
            [member_of(job._record(), lacks_key=job.blocked == Block.KEY) for job in self.jobs],
        )

    def _share(self, max_cost: float | None) -> float | None:
        return None if max_cost is None else max_cost / len(self.jobs)

    @property
    def files(self) -> list[Path]:
        """The files of all of its jobs on this disk, as `Job.files` has them."""
        return [path for job in self.jobs for path in job.files]

    def row(self, label: Any = None, *, position: int | None = None) -> dict[str, Row]:
        """One row whole, by model, as `Job.row` has it."""
        return {
            model: job.row(label, position=position)
            for model, job in zip(self.models, self.jobs, strict=True)
        }

    def vectors(self) -> dict[str, np.ndarray[Any, Any]]:
        """The vectors of each model, as `Job.vectors` has them. Raises InputError for jobs that asked for text."""
        return {model: job.vectors() for model, job in zip(self.models, self.jobs, strict=True)}

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
        """Run the tool calls of each model's answers, and send the follow-ups, round by round, until no call is left.

        As `Job.run_tools`; a round of all models is under way at the same time, and a follow-up may cost what its job
        has left of its own. max_cost: US dollars that the follow-ups of a round may cost together, in equal shares.
        Returns a group of the last jobs, whose answers are in the same columns.
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
                max_cost=self._share(max_cost),
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
                group = keep(self._here, jobs)
                if not group.is_complete:
                    group._ipython_display_()
        return group

    def _retried(self, act: Callable[[Job], Job]) -> Group:
        again: list[Job] = []
        left, refusals = False, []
        for job in self.jobs:
            try:
                again.append(act(job))
                left = True
            except InputError as e:
                again.append(job)
                refusals.append(e)
        if told := [
            e for e in refusals if type(e) is not InputError
        ]:  # a key, a price: not that nothing is left
            raise told[0]
        if not left:
            raise InputError(f"in group {self.id} no row is left to be sent again")
        return self if again == list(self.jobs) else keep(self._here, again)

    def _each(self, act: Callable[[Job], object]) -> Group:
        """Do it to each job, also where one refuses; the first refusal is raised then."""
        refusals: list[JupyterBatchError] = []
        for job in self.jobs:
            try:
                act(job)
            except JupyterBatchError as e:
                refusals.append(e)
        if refusals:
            raise refusals[0]
        return self

    # -- how it is shown ------------------------------------------------------------------------------------

    def _in_words(self) -> str:
        lines = [super()._in_words(), *(f"  {job!r}" for job in self.jobs)]
        return "\n".join([*lines, *([] if not self.is_complete else [self.compare().to_string()])])

    def _show(self) -> None:
        """One live monitor; and the comparison, where all is there."""
        super()._show()
        if self.is_complete:
            from IPython.display import display

            display(self.compare())

    # -- inside ---------------------------------------------------------------------------------------------

    def _follow(self, *, whole: bool = True) -> None:
        for job in self.jobs:
            job._in_group = True
            job._follow(whole=whole)
        self._listen()
        self._look()

    def _listen(self) -> None:
        """Be told of each job; also of one that goes on, in real time, from one that we were told of."""
        for job in self.jobs:
            open_now = job.snapshot().id
            with self._lock:
                new = open_now not in self._followed
                self._followed.add(open_now)
            if new:
                self._here.move(open_now, self._on_change)

    def _on_change(self, seen: Snapshot) -> None:
        del seen  # one job's
        self._listen()
        if self._over.is_set() and not self.is_complete:  # a result file of one came late
            self._over.clear()
        if not self._over.is_set() and self.is_complete:
            self._announce_end()
        self._redraw()
        self._look()

    def _look(self) -> None:
        if self._over.is_set():
            return
        if self.is_complete:
            self._note_end()
            kernel.on_main(self._merge_frames)
            return
        self._idle.clear()  # before the look: what comes after sets it again
        if self._blocked_here(self.snapshot()) is not None:
            self._idle.set()

    def _blocked_here(self, seen: Snapshot) -> Block | None:
        waiting = [job for job in self.jobs if not job.is_complete]
        if any(job._blocked_here(job.snapshot()) is None for job in waiting):
            return None
        return seen.blocked

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
        from jupyter_batch.results.timeline import read

        return read(self._here.ledger, [job._record().id for job in self.jobs])

    def _retry_by_click(self) -> str:
        """For a click: each job that missed rows sends them again."""
        said = [job._retry_by_click() for job in self.jobs if "retry" in job.snapshot().offers]
        self._redraw()
        return " ".join(said) or "No row of any is left to be sent again."


def models_of(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options for each model, where a list of models is given: each fills columns that end with its name.

    [] where one model is meant. Raises OptionError for a list that is empty, or that names a model twice.
    """
    models = given.get("model")
    if not isinstance(models, list | tuple):
        return []
    if not models or len(set(map(str, models))) != len(models):
        raise OptionError(f"`model` takes a model, or a list of different ones, not {models!r}")
    out, schema = given.get("out"), given.get("schema")
    if schema is None:
        base = OUT if out is None else out
        return [{**given, "model": model, "out": f"{base}_{model}"} for model in models]
    read, keep = read_schema(schema), given.get("keep")
    kept = {} if keep is None else checked(EVERY["keep"], keep)
    return [
        {
            **given,
            "model": model,
            "schema": suffixed(read, str(model)),
            "keep": {f"{end}_{model}": name for end, name in kept.items()},
        }
        for model in models
    ]


def _said(answer: Any, model: str) -> Any:
    """The answer as it is alike for all models: without the ends that its fields' columns have."""
    if type(answer) is list:
        return [_said(one, model) for one in answer]
    if not isinstance(answer, dict):
        return answer
    return {name.removesuffix(f"_{model}"): value for name, value in answer.items()}


def name_of(jobs: Sequence[str]) -> str:
    """A group's id: the same for the same jobs, in any process and however often the cell is run."""
    return "jg" + blake2b(" ".join(jobs).encode(), digest_size=5).hexdigest()


def keep(here: Session, jobs: Sequence[Job]) -> Group:
    """These jobs as one, which can be opened by its id."""
    group = Group(here, jobs)
    here.ledger.keep_group(group.id, [job.id for job in jobs], time.time())
    return group
