"""The calls of the public surface: submit, preview, build, sample, open, attach, adopt, forget.

The accessor, the magics and the command line call these.
"""

from __future__ import annotations

import contextlib
import copyreg
import os
import sys
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_batch.config import settings
from jupyter_batch.config.arguments import argument, checking
from jupyter_batch.core.errors import (
    InputError,
    JobNotFoundError,
    JupyterBatchError,
    LedgerCorruptError,
    LedgerError,
    OptionError,
)
from jupyter_batch.frames.adapter import as_frame
from jupyter_batch.frames.tables import as_given
from jupyter_batch.group import Group, SplitJob, group_of, keep_group
from jupyter_batch.http.address import check_base
from jupyter_batch.job import Job, of
from jupyter_batch.job_list import Adopted, Jobs, adopt, list_jobs, orphans, others
from jupyter_batch.ledger.linked_jobs import group_named, whole
from jupyter_batch.notebook import kernel
from jupyter_batch.orders import file_order, orders_of
from jupyter_batch.providers.clouds import secret_of
from jupyter_batch.providers.record import is_cloud
from jupyter_batch.runner.process import place_of, session

__all__ = [
    "Adopted",
    "Job",
    "Jobs",
    "adopt",
    "answers",
    "attach",
    "build",
    "embed",
    "forget",
    "list_jobs",
    "name_address",
    "open_job",
    "orphans",
    "others",
    "resume_open",
    "sample",
    "submit",
    "submit_file",
]

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.adoption.find import RemoteBatches
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.config.settings import Options
    from jupyter_batch.planning.preview import Preview, Previews


def submit(
    source: Any,
    prompt: Any = None,
    *,
    door: str = "python",
    frame_name: str | None = None,
    held: bool = False,
    **given: Any,
) -> Job | Group:
    """Plan a job for the rows of a frame, or for a list of prompts, and have it sent; returns at once.

    The same call returns the same job. frame_name: the frame's variable; the answers are merged into the frame that it
    holds when they come. held: the caller keeps the frame, under no name. A list of models returns a Group, and a
    column of models or endpoints one that is used as a single job; an embedding model is asked for vectors, as by
    `embed`. Raises an InputError before anything is sent or stored.
    """
    from jupyter_batch.planning.plan import plan_all

    source = as_frame(source)
    here, several, orders, _, numbers = orders_of(source, prompt, given, door)
    jobs, now = [], time.time()
    planned = plan_all(here.ledger, [order for _, order in orders], now)
    for (opts, order), (record, frame, rendered) in zip(orders, planned, strict=True):
        job = of(here, record.id)
        here.lend(record.id, order.functions)
        if frame is not None:
            job._answers.asked_on(
                frame if numbers is None else source,
                opts.out,
                rows=frame,
                by_name=frame_name,
                held=held or isinstance(source, list | tuple),  # of dspy Examples
                again=record.created_at != now,
                rendered=rendered,
                overwrite=opts.overwrite,
                keep=opts.keep or {},
            )
        job._answers.out, job._answers.keep = opts.out, opts.keep or {}
        jobs.append(job)
    for job, (opts, order) in zip(jobs, orders, strict=True):
        # A job that the ledger has for this call, and that names another server, gets nothing of this call.
        ours = place_of(job._record()) == place_of(order.ask)
        if ours:
            here.name(opts.api_base, order.ask.provider, with_key=opts.api_key is not None)
        job._begin(_secret(opts, order.ask.provider) if ours else None)
    made = keep_group(here, jobs, numbers) if several else jobs[0]
    _wait(made, opts)
    return made


def submit_file(path: str | os.PathLike[str], **given: Any) -> Job:
    """Submit a file of requests in OpenAI's batch format, and return the Job at once; see jupyter_batch.submit_file."""
    from jupyter_batch.planning.files.requests import plan_file

    if not isinstance(path, str | os.PathLike):
        raise InputError(f"submit_file takes the path of a JSONL file, not {path!r:.60}")
    here, opts, file, ask = file_order(Path(path), given)
    any_model = given.get("model") is not None
    record = plan_file(
        here.ledger, file, ask, any_model=any_model, reuse=opts.reuse, now=time.time()
    )
    job = of(here, record.id)
    ours = place_of(record) == place_of(ask)
    if ours:
        here.name(opts.api_base, ask.provider, with_key=opts.api_key is not None)
    job._begin(_secret(opts, ask.provider) if ours else None)
    _wait(job, opts)
    return job


def _secret(opts: Options, provider: str) -> str | None:
    """A call's secrets as one text for memory: the key, or a cloud's credentials."""
    return secret_of(opts) if is_cloud(provider) else opts.api_key


def _wait(made: Job | Group, opts: Options) -> None:
    """Wait for a job or group where the call asks for that."""
    made.raise_on_failure = opts.raise_on_failure
    if opts.wait:
        made._ipython_display_()  # shown while the cell blocks; the cell's result does not show it again
        made.wait(opts.timeout)


def preview(
    source: Any, prompt: Any = None, *, door: str = "python", **given: Any
) -> Preview | Previews:
    """Show what `submit` with the same arguments would send and cost. Nothing is sent or stored.

    No key is needed. A list of models returns Previews. Raises an InputError where `submit` would.
    """
    from jupyter_batch.planning.preview import Previews, look

    here, several, orders, *_ = orders_of(as_frame(source), prompt, given, door, needs_key=False)
    looks = [look(here.ledger, order, now=time.time()) for _, order in orders]
    return Previews(looks, orders[0][0].max_cost) if several else looks[0]


def build(
    source: Any,
    prompt: Any = None,
    folder: str | Path | None = None,
    *,
    door: str = "python",
    **given: Any,
) -> Artifacts | list[Artifacts]:
    """Write the request files that `submit` with the same arguments would send, and their metadata; nothing is sent.

    folder: default: one of the ledger's own. No key is needed yet. A list of models returns a list; each is submitted
    by itself, with a max_cost of its own. Raises an InputError where `submit` would.
    """
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.planning.files import export as files

    source = as_frame(source)
    folder = None if folder is None else argument("folder", folder)
    here, several, orders, api_key, numbers = orders_of(
        source, prompt, given, door, needs_key=False
    )
    if several and folder is not None:
        raise InputError(
            "each model has a folder of its own: leave `folder` out, or build for one model at a time"
        )
    made = []
    for opts, order in orders:
        here.name(opts.api_base, order.ask.provider, with_key=api_key is not None)
        place, rendered = files.build(here.ledger, order, folder, now=time.time())
        made.append(
            Artifacts(
                place,
                frame=(order.rows if numbers is None else source) if order.ask.framed else None,
                rows=order.rows,
                rendered=rendered,
                out=opts.out,
                api_key=api_key,
                functions=order.functions,
            )
        )
    return made if several else made[0]


def sample(frame: Any, prompt: Any, n: int = 5, *, door: str = "python", **given: Any) -> Any:
    """Ask some rows now, in real time and at its price, and return a copy of them with their answers.

    The same rows each time, in their order, so that a cell that is run again pays nothing. A batch over the frame with
    the same prompt reuses the answers. The column _error has the reasons of failed rows. Raises as `submit` does.
    """
    from jupyter_batch.frames import frame as frames
    from jupyter_batch.frames.adapter import sampled

    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"sample takes a number of rows, 1 or more, not {n!r}")
    rows: Any = sampled(as_frame(frame), n)
    given = {**given, "mode": "realtime", "overwrite": True, "wait": False}
    timeout = given.pop("timeout", None)
    job = submit(rows, prompt, door=door, held=True, **given).wait(timeout)
    job.merge(rows)
    if len(job.errors):
        reasons = job.results().filter(regex="^_error").iloc[:, 0].tolist()
        frames.fill(rows, "_error", reasons)
    return as_given(rows)


def embed(source: Any, text: Any = None, *, door: str = "python", **given: Any) -> Job | Group:
    """Submit texts for vectors. text: a column of the frame, or a template; a list of texts needs none."""
    from jupyter_batch.prompts.embeddings import take

    prompt, rest = take(text, given)
    return submit(source, prompt, door=door, **rest)


def open_job(name: Any, *, follow: bool = True) -> Any:
    """Return the job or group of that id (a unique beginning is enough) or name. Raises JobNotFoundError.

    follow: have this process move an open one; else it is only read. Fetched results can be read even where the
    ledger's database can't.
    """
    if isinstance(name, Job | Group):
        return name
    if not isinstance(name, str) or not name:
        raise JobNotFoundError(f"a job is given by its id or its name, not {name!r}")
    here = session(settings.home())
    try:
        if (group := group_named(here.ledger, name)) is not None:
            return group_of(here, [open_job(job, follow=follow) for job in group[1]], group[0])
        record = here.ledger.job(name)
    except JobNotFoundError:
        raise
    except LedgerError as e:
        from jupyter_batch.adoption.salvage import salvage

        try:
            return Job(here, name, salvaged=salvage(here.ledger.folders, name))
        except JobNotFoundError:
            raise e from None
    job = of(here, record.id)
    if follow:
        job._follow(whole=False)  # files are read through with their answers
    return job


def _opened_again(handle: Any) -> Any:
    return open_job, (handle.id,)


for _handle in (Job, Group, SplitJob):  # a copy, or another process, opens it by its id
    copyreg.pickle(_handle, _opened_again)


async def answers(prompts: Any, prompt: Any = None, **given: Any) -> list[Any]:
    """The answers to prompts, in order, None where there is none; a dict by model for a list of models."""
    made = await submit(prompts, prompt, **given)
    if isinstance(made, SplitJob):
        return made.answers()
    if isinstance(made, Group):
        by_model = made._answers_by_model()
        rows = zip(*by_model.values(), strict=True)
        return [dict(zip(by_model, row, strict=True)) for row in rows]
    return list(made._answers.outcomes().answers)


def attach(
    job: Job | Group | str,
    frame: pd.DataFrame,
    out: str | None = None,
    *,
    by_position: bool = False,
    overwrite: bool = False,
) -> Any:
    """Merge the answers of a job or group into this frame, now or when they come.

    by_position: row k of the frame is the k-th that was sent; only for an adopted job whose rows are unknown.
    overwrite: as for `Job.merge`. Raises JobNotFoundError, AlignmentError where the rows are not the job's, and
    ColumnError where the user's cells would be replaced.
    """
    from jupyter_batch.merging import merge

    frame = as_frame(frame)
    found = job if isinstance(job, Job | Group) else open_job(job)
    if isinstance(found, Group):
        if by_position or (out is not None and not isinstance(found, SplitJob)):
            raise InputError(
                f"{found.id} is a group: each of its models fills its own column; group.jobs has them one "
                "by one, each with its out= and by_position="
            )
        for one in found.jobs:
            attach(one, frame, out, overwrite=overwrite)
        return found
    record = found._record()
    out = out or record.out
    rendered = None
    if by_position:
        rendered = merge.by_position(record, frame, out)
    else:
        merge.check_aligned(record)
        with contextlib.suppress(JupyterBatchError):  # reported by the merge
            found._answers.seen_on(frame)
    bound = found._answers.bind(frame, out, rendered=rendered, overwrite=overwrite)
    if found._is_complete():
        bound.merged = True  # now, or never
        found.merge(frame)
    return found


def forget(name: str) -> str:
    """Remove a complete job from the ledger with its answers and files; asking the same again is paid again.

    Removes all jobs of a group, and the batch job before a rest in real time. Returns the id. Raises JobNotFoundError,
    and InputError where a job is still open; then nothing is removed.
    """
    ledger = session(settings.home()).ledger
    try:
        group, jobs = group_named(ledger, name) or ("", [name])
        records = whole(ledger, jobs)
    except LedgerCorruptError:
        if name not in ledger.unreadable:
            raise
        ledger.forget(name)
        return name
    for record in sorted(
        records, key=lambda one: bool(one.finished_at)
    ):  # an open one first: it refuses
        ledger.forget(record.id)
    return group or records[0].id


def name_address(api_base: str | None) -> None:
    """Let the environment's keys go to an address, in this process. Raises OptionError for an invalid address."""
    if api_base is not None:
        check_base(api_base, "--api-base")
        session(settings.home()).name(api_base)


def resume_open() -> int:
    """Have this process move every unfinished job of the ledger; return their number."""
    here = session(settings.home())
    if not here.ledger.exists():
        return 0
    unfinished = len(here.ledger.jobs(unfinished=True))
    if unfinished:
        here.move_all()
        if kernel.is_terminal():  # which announces an end above its prompt
            for one, snapshot in list_jobs()._with_snapshots():
                if not snapshot.is_complete:
                    one._follow(whole=False)
    return unfinished


class _Face(types.ModuleType):
    """This module as a callable: `jupyter_batch.jobs()` lists the jobs."""

    @checking
    def __call__(
        self, limit: int | None = None, *, remote: bool = False, **where: Any
    ) -> Jobs | RemoteBatches:
        """The jobs of the ledger, newest first; limit: at most so many of them.

        remote: the provider's batches that no job here has, from any software, instead; `adopt` reads them by their
        id. where: as for `orphans`.
        """
        if remote:
            return others(limit, **where)
        if where:
            raise OptionError(f"`{next(iter(where))}` is for remote=True: the ledger has all jobs")
        return list_jobs(limit)


sys.modules[__name__].__class__ = _Face
