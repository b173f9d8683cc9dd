"""The face: submit, open_job, attach, list_jobs. What they give is a Job (job.py): a ledger and an id.

The accessor, the magics and the command line call this and nothing below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import sys
import time
import types
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from jupyter_batch.adoption.salvage import salvage
from jupyter_batch.config import resolved, settings, tool_definitions
from jupyter_batch.core.cost import Bill
from jupyter_batch.core.errors import (
    InputError,
    JobNotFoundError,
    JupyterBatchError,
    KeyMissingError,
    LedgerCorruptError,
    LedgerError,
    OptionError,
)
from jupyter_batch.core.status import Snapshot
from jupyter_batch.group import Group, models_of
from jupyter_batch.group import keep as keep_group
from jupyter_batch.http.address import check_base
from jupyter_batch.job import Job, of
from jupyter_batch.ledger.families import group_named, whole
from jupyter_batch.ledger.overview import Lines, Overview
from jupyter_batch.monitor import table
from jupyter_batch.notebook import kernel, terminal
from jupyter_batch.planning.one_key import check_one_place
from jupyter_batch.providers.clouds import secret_of
from jupyter_batch.providers.keys import NO_KEY
from jupyter_batch.providers.model_names import full_name
from jupyter_batch.runner.process import Session, place_of, session

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
    "resume_open",
    "sample",
    "submit",
]

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.adoption.find import Orphans
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.config.resolved import Options
    from jupyter_batch.planning.preview import Preview, Previews
    from jupyter_batch.planning.resolve import Order

_T = TypeVar("_T")


def submit(
    source: Any,
    prompt: Any = None,
    *,
    door: str = "python",
    frame_name: str | None = None,
    **given: Any,
) -> Job | Group:
    """Plan a job for the rows of a frame, or for a list of prompts, and have it sent; returns at once.

    The same call again gives the job that is there. frame_name: the person's name for the frame; the answers land in
    what it holds when they come. A list of models gives a Group of jobs; one that makes vectors is asked for them, as
    by `embed`. Raises an InputError before anything is sent or kept.
    """
    from jupyter_batch.planning.plan import plan_all

    here, several, orders, _ = _checked(source, prompt, given, door)
    jobs, now = [], time.time()
    planned = plan_all(here.ledger, [order for _, order in orders], now)
    for (opts, _), (record, frame, rendered) in zip(orders, planned, strict=True):
        job = of(here, record.id)
        if opts.tools is not None:
            here.lend(record.id, tool_definitions.read(opts.tools).functions)
        if frame is not None:
            job._answers.asked_on(
                frame,
                opts.out,
                by_name=frame_name,
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
        job._begin(secret_of(opts) if ours else None)
    made = keep_group(here, jobs) if several else jobs[0]
    if opts.wait:
        made._ipython_display_()  # to be seen while the cell blocks; the cell's own result shows it no second time
        made.wait(opts.timeout)
    return made


def preview(
    source: Any, prompt: Any = None, *, door: str = "python", **given: Any
) -> Preview | Previews:
    """What `submit` with the same arguments would send, and what that would cost. Nothing is sent, nothing is kept.

    No key is needed. A list of models gives a preview of each. Raises an InputError where `submit` would.
    """
    from jupyter_batch.planning.preview import Previews, look

    here, several, orders, _ = _checked(source, prompt, given, door, needs_key=False)
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
    """The request files that `submit` with the same arguments would send, and their metadata, on disk; nothing is sent.

    folder: where they go (default: one of the ledger's own). No key is needed yet. A list of models gives a list,
    of which each is submitted by itself, with the max_cost by itself. Raises an InputError where `submit` would.
    """
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.planning import export as files

    here, several, orders, key = _checked(source, prompt, given, door, needs_key=False)
    if several and folder is not None:
        raise InputError(
            "each model has a folder of its own: leave `folder` out, or build for one model at a time"
        )
    made = []
    for opts, order in orders:
        here.name(opts.api_base, order.ask.provider, with_key=key is not None)
        place, rendered = files.build(
            here.ledger, order, None if folder is None else Path(folder), now=time.time()
        )
        lent = None if opts.tools is None else tool_definitions.read(opts.tools).functions
        made.append(
            Artifacts(
                place,
                frame=order.rows if order.ask.framed else None,
                rendered=rendered,
                out=opts.out,
                secret=key,
                functions=lent,
            )
        )
    return made if several else made[0]


def sample(
    frame: pd.DataFrame, prompt: Any, n: int = 5, *, door: str = "python", **given: Any
) -> pd.DataFrame:
    """Some rows now, in real time and at its price: a copy of them with their answers.

    The same rows each time, so that a cell which is run again pays nothing, in their order. A batch over the frame with
    the same prompt reuses the answers. Rows that failed say why in the column _error. Raises as `submit` does.
    """
    from jupyter_batch.frames import frame as frames

    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"sample takes a number of rows, 1 or more, not {n!r}")
    rows = frames.sampled(frame, n)
    given = {**given, "mode": "realtime", "overwrite": True, "wait": False}
    timeout = given.pop("timeout", None)
    job = submit(rows, prompt, door=door, **given).wait(timeout)
    job.merge(rows)
    if len(job.errors):
        reasons = job.results().filter(regex="^_error").iloc[:, 0].tolist()
        frames.fill(rows, "_error", reasons)
    return rows


def embed(source: Any, text: Any = None, *, door: str = "python", **given: Any) -> Job | Group:
    """The same for vectors. text: a column of the frame, or a template; a list of texts needs none."""
    from jupyter_batch.prompts.embeddings import take

    asked, rest = take(text, given)
    return submit(source, asked, door=door, **rest)


def open_job(name: str, *, follow: bool = True) -> Any:
    """The job, or the group of them, of that id (its beginning is enough) or name. Raises JobNotFoundError.

    follow: have this process move it, where it is open; without, it is only looked at.
    Where the ledger's database can't be read, what was fetched of the job still can.
    """
    here = session(settings.home())
    try:
        if (group := group_named(here.ledger, name)) is not None:
            return Group(here, [open_job(job, follow=follow) for job in group[1]], group[0])
        record = here.ledger.job(name)
    except JobNotFoundError:
        raise
    except LedgerError as e:
        try:
            return Job(here, name, salvaged=salvage(here.ledger.folders, name))
        except JobNotFoundError:
            raise e from None
    job = of(here, record.id)
    if follow:
        job._follow(whole=False)  # a file is read through when its answers are
    return job


async def answers(prompts: Any, **given: Any) -> list[Any]:
    """The answers to a list of prompts, in order, None where there is none; of several models a dict for each."""
    made = await submit(prompts, None, **given)
    if isinstance(made, Group):
        told = made._said()
        return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
    return list(made._answers.outcomes().answers)


def attach(
    job: Job | Group | str,
    frame: pd.DataFrame,
    out: str | None = None,
    *,
    by_position: bool = False,
    overwrite: bool = False,
) -> Any:
    """Bring a job of another day, or a group of them, to this frame: the answers land there, now or when they come.

    by_position: the person says that row k of the frame is the k-th that was sent; only for a job that was adopted, and
    whose rows nobody here knows. overwrite: as for `Job.merge`. Raises JobNotFoundError, AlignmentError where the rows
    are not the job's, and ColumnError where cells of the user's would be replaced.
    """
    from jupyter_batch.merging import merge

    found = open_job(job) if isinstance(job, str) else job
    if isinstance(found, Group):
        if out is not None or by_position:
            raise InputError(
                f"{found.id} is a group: each of its models fills its own column; group.jobs has them one "
                "by one, each with its out= and by_position="
            )
        for one in found.jobs:
            attach(one, frame, overwrite=overwrite)
        return found
    record = found._record()
    out = out or record.out
    rendered = None
    if by_position:
        rendered = merge.by_position(record, frame, out)
    else:
        merge.check_aligned(record)
        with contextlib.suppress(JupyterBatchError):  # said where the answers are to land
            found._answers.seen_on(frame)
    bound = found._answers.bind(frame, out, rendered=rendered, overwrite=overwrite)
    if found.is_complete:
        bound.landed = True  # now, or never
        found.merge(frame)
    return found


def orphans(**where: Any) -> Orphans:
    """The batches at a provider that carry our tag and are in no job of this ledger: a list that shows itself.

    where: model= or provider=, and api_base=, api_version=, api_key= as for a submission; days= to look back (30).
    Raises InputError where that does not say where to look, and ProviderError.
    """
    from jupyter_batch.adoption.commands import look

    return _in_a_loop(look(session(settings.home()).ledger, time.time(), _where(where)))


def adopt(which: str | None = None, **where: Any) -> Adopted:
    """Take up the orphans of one job (its id or a batch's), or all: jobs of this ledger from now on, each once.

    where: as for `orphans`. Raises JobNotFoundError where nothing of ours has that id.
    """
    from jupyter_batch.adoption.commands import take_up

    here = session(settings.home())
    place = _where(where)
    records, said = _in_a_loop(take_up(here.ledger, time.time(), which, place))
    looked_at = place.get("provider") or str(place.get("model") or "").partition("/")[0]
    for provider in {looked_at, *(record.provider for record in records)} - {""}:
        here.name(where.get("api_base"), provider, with_key=where.get("api_key") is not None)
    return Adopted((of(here, record.id) for record in records), said, where.get("api_key"))


def forget(name: str) -> str:
    """Remove a job that is over from the ledger, its answers and all its files: what it asked is paid for again then.

    Of a group all jobs are, and with a job that was finished in real time what it was before. Returns its id. Raises
    JobNotFoundError, and InputError where it is still open; then nothing is removed.
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
    """Let the environment's keys go to an address, for this process. Raises OptionError for what is none."""
    if api_base is not None:
        check_base(api_base, "--api-base")
        session(settings.home()).name(api_base)


def list_jobs(limit: int | None = None) -> Jobs:
    """The jobs of the ledger, newest first; limit: at most so many of them. Raises OptionError."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise OptionError(f"`limit` takes a whole number from 0 up; got {limit!r}")
    here = session(settings.home())
    groups = here.ledger.groups()
    grouped = {job: group for group, jobs in groups.items() for job in jobs}
    records = here.ledger.jobs()
    lines = Lines(records)
    found: dict[str, Any] = {}  # in the order of the newest job of each
    for record in records:
        first = lines.first(record.id)
        found.setdefault(grouped.get(first, first), []).append(of(here, first))
    return Jobs(
        Group(here, [of(here, job) for job in groups[name]], name) if name in groups else jobs[0]
        for name, jobs in islice(found.items(), limit)
    )


def resume_open() -> int:
    """Have this process move every unfinished job of the ledger; how many there are."""
    here = session(settings.home())
    if not here.ledger.exists():
        return 0
    unfinished = len(here.ledger.jobs(unfinished=True))
    if unfinished:
        here.move_all()
        if (
            terminal.is_terminal()
        ):  # to be told above the prompt when it ends; a notebook has other screens for that
            for one, shot in list_jobs()._standing():
                if not shot.is_complete:
                    one._follow(whole=False)
    return unfinished


class Jobs(list[Any]):
    """Jobs, and groups of them, as a list that shows itself as a table."""

    def __init__(self, jobs: Iterable[Job | Group]) -> None:
        super().__init__(jobs)

    def snapshots(self) -> list[Snapshot]:
        """How each stands at this moment, in the list's order; the ledger is read once. Jobs that are gone are not."""
        return [shot for _, shot in self._standing()]

    def _standing(self) -> list[tuple[Any, Snapshot]]:
        ledgers = {id(one._here): one._here.ledger for one in self}
        seen = {key: Overview(ledger, time.time()) for key, ledger in ledgers.items()}
        shots = [
            seen[id(one._here)].snapshot([job.id for job in one.jobs], one.id)
            if isinstance(one, Group)
            else seen[id(one._here)].snapshot([one.id])
            for one in self
        ]
        return [(one, shot) for one, shot in zip(self, shots, strict=True) if shot is not None]

    def _damaged(self) -> list[str]:
        """What is to be said of jobs that can't be shown."""
        ledgers = {id(one._here): one._here.ledger for one in self} or {
            0: session(settings.home()).ledger
        }
        return [said for ledger in ledgers.values() for said in ledger.unreadable.values()]

    def to_frame(self) -> pd.DataFrame:
        """The table as a DataFrame, one row for each job on its id: to sort, filter and sum.

        name, state, blocked, notebook, created, age, the counts as in `job.counts`, cost and saved in US dollars (NA
        where that is not known), model, provider, out, ended, elapsed, input_tokens, output_tokens. created and ended
        are Timestamps in UTC, age and elapsed are Timedeltas. Texts are as they were given, not cleaned for a screen.
        A job that several groups share has its cost and tokens in the oldest of them, so that a column's sum is right.
        """
        return table.frame(self._each_dollar_once())

    def _each_dollar_once(self) -> list[Snapshot]:
        counted: set[str] = set()
        shots = []
        for one, shot in reversed(self._standing()):  # the oldest first: its call paid
            ids = [job.id for job in one.jobs] if isinstance(one, Group) else [one.id]
            own = [job for job in ids if job not in counted]
            counted.update(own)
            if len(own) == len(ids):
                shots.append(shot)
                continue
            paid = Overview(one._here.ledger, time.time()).snapshot(own, one.id) if own else None
            shots.append(
                msgspec.structs.replace(
                    shot,
                    bill=paid.bill if paid is not None else Bill(),
                    input_tokens=paid.input_tokens if paid is not None else 0,
                    output_tokens=paid.output_tokens if paid is not None else 0,
                )
            )
        return shots[::-1]

    def __repr__(self) -> str:
        shown = table.text(self.snapshots(), max(table.WIDTH, shutil.get_terminal_size().columns))
        return "\n".join([shown, *self._damaged()])

    def _repr_html_(self) -> str:
        shown = table.html(self.snapshots())
        return shown + "".join(f"<p>{escape(said)}</p>" for said in self._damaged())


class Adopted(Jobs):
    """Jobs that were taken up, and what is to be said of each: which rows are not known, and how they are filled."""

    def __init__(self, jobs: Iterable[Job], said: list[str], api_key: str | None) -> None:
        super().__init__(jobs)
        self.said = said
        self._api_key = api_key

    def follow(self) -> Adopted:
        """Have this process fetch what comes."""
        for job in self:
            job._follow(self._api_key)
        return self

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.said])

    def _repr_html_(self) -> str:
        return super()._repr_html_() + "".join(f"<p>{escape(one)}</p>" for one in self.said)


class _Face(types.ModuleType):
    """`jupyter_batch.jobs` is this module, and `jupyter_batch.jobs()` the list of jobs."""

    def __call__(self, limit: int | None = None) -> Jobs:
        """The jobs of the ledger, newest first; limit: at most so many of them."""
        return list_jobs(limit)


sys.modules[__name__].__class__ = _Face


class _Checked(NamedTuple):
    """What a call comes to, all of it checked: the options and the order of each model. key: that was given, if any."""

    here: Session
    several: bool
    orders: list[tuple[Options, Order]]
    key: str | None


def _checked(
    source: Any, prompt: Any, given: dict[str, Any], door: str, *, needs_key: bool = True
) -> _Checked:
    """Check all that was given, of all models, before anything of it is kept. Raises an InputError."""
    from jupyter_batch.planning.resolve import filled_by, order
    from jupyter_batch.prompts.embeddings import by_model
    from jupyter_batch.prompts.short_forms import spelled_out

    configured = settings.read()
    prompt, given = spelled_out(source, prompt, given)
    given = _in_full(given, configured.model)
    several, key = models_of(given), given.get("api_key")
    here = session(configured.home)
    asks = []
    for one in several or [given]:
        asked, rest = by_model(prompt, one, one.get("model") or configured.model)
        opts = resolved.resolve(
            rest if needs_key else {**rest, "api_key": key or NO_KEY}, configured
        )
        asks.append((asked, opts))
    beside = filled_by([opts for _, opts in asks]) if several else ()

    def made(asked: Any, opts: Options) -> Order:
        return order(
            here.ledger,
            source,
            asked,
            opts,
            door=door,
            notebook=kernel.notebook_path(),
            versions=_versions(),
            beside=beside,
        )

    orders: list[tuple[Options, Order]] = []
    refused: list[KeyMissingError] = []
    for asked, opts in asks:
        try:
            orders.append((opts, made(asked, opts)))
        except KeyMissingError as e:
            if not several:
                raise
            refused.append(e)
            # The job waits for its key, and the others run.
            orders.append((opts, made(asked, replace(opts, api_key=NO_KEY))))  # type: ignore[type-var]  # a dataclass at run time
    if refused and len(refused) == len(asks):
        raise refused[0]
    check_one_place(key, [order.ask for _, order in orders])
    return _Checked(here, bool(several), orders, key)


def _in_full(given: dict[str, Any], configured: str | None) -> dict[str, Any]:
    """The options with each model's full name. Raises ModelError for a bare name that fits several providers."""
    model = given.get("model") or configured

    def full(name: Any) -> Any:
        if not isinstance(name, str):
            return name
        return full_name(name, api_base=given.get("api_base"), environ=os.environ)

    if isinstance(model, list | tuple):
        return {**given, "model": [full(one) for one in model]}
    return {**given, "model": full(model)} if isinstance(model, str) else given


def _where(given: dict[str, Any]) -> dict[str, Any]:
    """Without a provider's or a model's name, the configured model's provider is looked at."""
    if given.get("provider"):
        return given
    return _in_full(given, settings.read().model)


def _in_a_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """What it comes to. In a thread of its own: the one we are on may run a loop already."""
    with ThreadPoolExecutor(1, thread_name_prefix="jupyter-batch-adopt") as pool:
        return pool.submit(asyncio.run, work).result()


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("jupyter_batch", "litellm", "pandas"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
