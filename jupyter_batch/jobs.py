"""The face: submit, open_job, attach, list_jobs, and Job, which is what a person holds: a ledger and an id.

The accessor, the magics and the command line call this and nothing below it.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import threading
import time
import types
import weakref
from collections.abc import AsyncIterator, Generator, Iterable
from typing import TYPE_CHECKING, Any

from jupyter_batch import kernel, options, settings
from jupyter_batch.core.errors import (
    InputError,
    JobNotFoundError,
    JupyterBatchError,
    LedgerError,
)
from jupyter_batch.core.result import Result, Usage
from jupyter_batch.core.status import Counts, Snapshot, State, Step
from jupyter_batch.engine.gather import Outcomes, of_job, results_of
from jupyter_batch.engine.salvage import salvage
from jupyter_batch.engine.session import Session, session
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.monitor import html, text
from jupyter_batch.monitor.live import Monitor, open_monitor
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.table import facts_of

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.engine.landing import Landing, Relabelled


def submit(source: Any, prompt: Any = None, *, door: str = "python", frame_name: str | None = None,
           **given: Any) -> Job:
    """Plan a job for the rows of a frame, or for a list of prompts, and have it sent; returns at once.

    The same call again gives the job that is there. frame_name: the person's name for the frame; the answers land in
    what it holds when they come. Raises an InputError before anything is sent or kept.
    """
    from jupyter_batch.engine.order import order

    configured = settings.read()
    opts = options.resolve(given, configured)
    here = session(configured.home)
    now = time.time()
    record, frame = order(here.ledger, source, prompt, opts, now=now, door=door,
                          notebook=kernel.notebook_path(), versions=_versions())
    job = _job(here, record.id)
    if frame is not None:
        was_there = record.created_at != now  # then this frame may be labelled otherwise than the one it was made of
        if was_there:
            job._seen_on(frame)
        job._bind(frame, opts.out, by_name=frame_name, alike=was_there)
    job._follow(opts.api_key)
    job.refresh()  # a job that was there may have waited for just this, a key above all
    if job._over.is_set():  # one that was finished merges at once
        job._land()
    if opts.wait:
        job._ipython_display_()  # to be seen while the cell blocks; the cell's own result shows it no second time
        job.wait(opts.timeout)
    return job


def open_job(name: str, *, follow: bool = True) -> Job:
    """The job of that id (its beginning is enough) or name. Raises JobNotFoundError.

    follow: have this process move it, where it is open; without, it is only looked at.
    Where the ledger's database can't be read, what was fetched of the job still can.
    """
    here = session(settings.home())
    try:
        record = here.ledger.job(name)
    except JobNotFoundError:
        raise
    except LedgerError as e:
        try:
            return Job(here, name, salvaged=salvage(here.ledger.folders, name))
        except JobNotFoundError:
            raise e from None
    job = _job(here, record.id)
    if follow:
        job._follow()
    return job


async def answers(prompts: Any, **given: Any) -> list[Any]:
    """The answers to a list of prompts, in order, None where there is none."""
    job = await submit(prompts, None, **given)
    return list(job._outcomes().answers)


def attach(job: Job | str, frame: pd.DataFrame, out: str | None = None) -> Job:
    """Bring a job of another day to this frame: its answers land there, now or when they come.

    Raises JobNotFoundError, and AlignmentError where the rows are not the job's.
    """
    found = open_job(job) if isinstance(job, str) else job
    out = out or found._record().out
    found._bind(frame, out)
    if found.is_complete:
        found.merge(frame)
    return found


def list_jobs() -> Jobs:
    """Every job of the ledger, newest first."""
    here = session(settings.home())
    return Jobs(_job(here, record.id) for record in here.ledger.jobs())


def resume_open() -> int:
    """Have this process move every unfinished job of the ledger; how many there are."""
    here = session(settings.home())
    if not here.ledger.exists():
        return 0
    unfinished = len(here.ledger.jobs(unfinished=True))
    if unfinished:
        here.move_all()
    return unfinished


class Job:
    """All the batches of one call. Its state is in the ledger: this object can be lost, and opened again by its id."""

    def __init__(self, here: Session, job: str, *,
                 salvaged: tuple[JobRecord, list[ShardRecord]] | None = None) -> None:
        self.id = job
        self._here = here
        self._salvaged = salvaged
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._following = False
        self._landings: list[Landing] = []
        self._monitor: Monitor | None = None
        self._gathered: Outcomes | None = None
        self._landed = ""
        self._source: Relabelled | None = None

    # -- how it stands --------------------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The label for people, if one was given."""
        return self._record().name

    @property
    def state(self) -> State:
        """planned, submitting, waiting, running, cancelling, completed, failed, expired or cancelled."""
        return self.snapshot().state

    @property
    def counts(self) -> Counts:
        """Rows by what became of them: total succeeded failed expired cancelled running reused skipped."""
        return self.snapshot().counts

    @property
    def usage(self) -> Usage | None:
        """Tokens of the answers that are here; None where the provider told of none."""
        told = [shard.usage for shard in self._shards() if shard.usage is not None]
        return sum(told, Usage()) if told else None

    @property
    def elapsed(self) -> float:
        """Seconds from the submission to the end, or to now."""
        return self.snapshot().elapsed

    @property
    def eta(self) -> float | None:
        """Seconds until the last row, if it goes on like this; None where that can't be told."""
        return self.snapshot().eta

    @property
    def expires_at(self) -> float | None:
        """When the provider gives up on what is open, in seconds since the epoch; None where it did not say."""
        return self.snapshot().expires_at

    @property
    def batches(self) -> tuple[str, ...]:
        """The provider's ids of the batches sent so far."""
        return self.snapshot().batches

    @property
    def is_complete(self) -> bool:
        """It has ended, and all that came back is on this disk."""
        return self.snapshot().is_complete

    @property
    def is_successful(self) -> bool:
        """Complete, and each row that was sent has its answer."""
        seen = self.snapshot()
        counts = seen.counts
        return seen.is_complete and counts.succeeded + counts.reused + counts.skipped == counts.total

    def snapshot(self) -> Snapshot:
        """How it stands at this moment, all of it, frozen."""
        return self._with_words(self._record().snapshot(self._shards(), time.time()))

    def refresh(self) -> Job:
        """Ask the provider now."""
        if self._salvaged is None and not self.is_complete:
            self._here.ledger.wake(self.id)
            self._follow()
        return self

    # -- waiting --------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Job:
        """Block until it is complete, for at most `timeout` seconds; the job itself, complete or not.

        In a notebook clicks on the monitor work meanwhile. Ctrl-C ends the waiting, not the job.
        """
        self._follow()
        screen = self._screen()
        with screen.attended():
            if kernel.wait_blocking(self._over, timeout, screen.flush):
                self._land()
        return self

    def __await__(self) -> Generator[Any, None, Job]:
        return self._awaited().__await__()

    async def _awaited(self) -> Job:
        self._follow()
        screen = self._screen()
        with screen.attended():
            await kernel.await_done(self._over, None, screen.flush)
        self._land()
        return self

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each request's Result once, as the batches come in."""
        self._follow()
        seen: set[int] = set()
        while True:
            over = self._over.is_set() or self.is_complete
            for shard in self._shards():
                if shard.step is Step.COLLECTED and shard.number not in seen:
                    seen.add(shard.number)
                    for result in results_of(self._record(), shard, self._folder):
                        yield result
            if over:
                self._land()
                return
            await kernel.await_done(self._over, kernel.AWAIT_SLICE)

    # -- what came of it ------------------------------------------------------------------------------------

    def results(self) -> pd.DataFrame:
        """One row for each row of the source, on its index: the column, _status, _error and the tokens.

        Of several frames that asked for the same, the source is the last.

        Works at any time, in any process; what is still open has the status `running`.
        """
        from jupyter_batch.engine.landing import table

        return table(self._record(), self._folder, self._outcomes(), self._source)

    @property
    def errors(self) -> pd.DataFrame:
        """The rows without an answer that are not open any more, and why."""
        found = self.results()
        return found.loc[~found["_status"].isin(["succeeded", "reused", "running"]), ["_status", "_error"]]

    def merge(self, df: pd.DataFrame | None = None) -> Job:
        """Put what there is so far onto `df`, or onto the frame that was submitted.

        Raises AlignmentError where rows moved or changed, and writes nothing then.
        """
        with self._lock:
            landings = [one for one in self._landings if df is None or one.frame is df]
            if df is not None:
                landings = landings or [self._bind(df, self._record().out)]
                for landing in landings:
                    landing.allow()
            if not landings:
                raise InputError("this process does not hold the frame that was submitted: give it, job.merge(df)")
            last = self.is_complete  # else the answers that are still to come will land by themselves
            for landing in landings:
                self._say(landing.land(self._record(), self._folder, self._outcomes()))
                landing.landed = last
        return self

    def cancel(self) -> Job:
        """Ask the provider to end it; rows that are finished are kept. Returns at once."""
        if self._salvaged is None and not self.is_complete:
            self._here.ledger.cancel(self.id, time.time())
            self._follow()
        return self

    def retry(self, *, api_key: str | None = None) -> Job:
        """Send the rows again that failed, expired, were cancelled or came back without a line: those alone.

        A linked job, into the same column; asked twice, it is the same one. Raises InputError where nothing is left.
        """
        from jupyter_batch.engine.again import plan_again

        record = self._record()
        facts = facts_of(record.provider, record.api_base)
        again = plan_again(self._here.ledger, record, self._shards(), facts.limits, now=time.time())
        job = _job(self._here, again.id)
        for landing in self._landings:
            job._bind(landing.frame, landing.out, by_name=landing.by_name)
        job._follow(api_key or self._here.key_of(self.id))
        return job

    def resume(self, *, api_key: str | None = None) -> Job:
        """Go on now with a job that waits: for a key that was refused or missing, for quota, for a provider."""
        if self._salvaged is None and not self.is_complete:
            self._here.ledger.wake(self.id)
            self._follow(api_key)
        return self

    # -- how it is shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        try:
            return text.line(self.snapshot())
        except JupyterBatchError as e:  # a repr must never fail
            return f"<Job {self.id}: {e}>"

    def _ipython_display_(self) -> None:
        """As the last expression of a cell: the live monitor."""
        self._follow()
        self._screen().show(kernel.current_cell())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return html.card(view(self.snapshot()))

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Any:
        return self._here.ledger.folders.of(self.id)

    def _record(self) -> JobRecord:
        return self._salvaged[0] if self._salvaged else self._here.ledger.job(self.id)

    def _shards(self) -> list[ShardRecord]:
        return self._salvaged[1] if self._salvaged else self._here.ledger.shards(self.id)

    def _with_words(self, seen: Snapshot) -> Snapshot:
        import msgspec

        return msgspec.structs.replace(seen, attach=f'jupyter_batch.open("{self.id}")', merged=self._landed)

    def _outcomes(self) -> Outcomes:
        with self._lock:
            if self._gathered is not None:
                return self._gathered
            record, shards = self._record(), self._shards()
            found = of_job(record, shards, self._folder)
            if all(shard.step is Step.COLLECTED for shard in shards):
                self._gathered = found  # nothing changes any more
            return found

    def _seen_on(self, frame: pd.DataFrame) -> None:
        from jupyter_batch.engine.landing import relabelled

        self._source = relabelled(self._record(), self._folder, frame)

    def _bind(self, frame: pd.DataFrame, out: str, *, by_name: str | None = None, alike: bool = False) -> Landing:
        from jupyter_batch.engine.landing import Landing

        with self._lock:
            landing = Landing(frame, out, names=kernel.frame_names(kernel.shell(), frame), by_name=by_name,
                              alike=alike)
            others = [one for one in self._landings if one.frame is not frame or one.out != out]
            self._landings = [*others, landing]
            return landing

    def _follow(self, api_key: str | None = None) -> None:
        """Have the worker move it and tell us; create nothing that needs a screen."""
        if self._salvaged is not None or self.is_complete:
            if not self._over.is_set():  # the worker, which looks for this too, comes too late now
                self._over.set()
                kernel.on_main(self._land)
            return
        watcher = None if self._following else self._on_change
        if watcher is not None:
            self._following = True
            kernel.between()  # made on the main thread, within a cell
        self._here.move(self.id, watcher, api_key)

    def _on_change(self, seen: Snapshot) -> None:
        """In the worker's thread: draw, and when it is over, have the answers land between two cells."""
        if self._monitor is not None:  # first: who waits is shown the end before the wait is over
            self._monitor.update(self._with_words(seen))
        if seen.is_complete and not self._over.is_set():
            self._over.set()
            kernel.on_main(self._land)

    def _land(self) -> None:
        """The answers into the frames that are bound; each once. A refusal is said, in the monitor."""
        with self._lock:
            for landing in self._landings:
                if landing.landed:
                    continue
                landing.landed = True
                try:
                    said = landing.land(self._record(), self._folder, self._outcomes(),
                                        names=getattr(kernel.shell(), "user_ns", None))
                except JupyterBatchError as e:
                    said = f"not merged: {e}"
                self._say(said)

    def _say(self, sentence: str) -> None:
        self._landed = sentence
        if self._monitor is not None:
            self._monitor.update(self.snapshot())

    def _screen(self) -> Monitor:
        with self._lock:
            if self._monitor is None:
                self._monitor = open_monitor(
                    self.snapshot(), cancel=self.cancel, refresh=self.refresh, frontend=kernel.has_frontend(),
                    context=kernel.widget_context())
            return self._monitor


class Jobs(list[Job]):
    """Jobs as a list that shows itself as a table."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        super().__init__(jobs)

    def __repr__(self) -> str:
        return text.table(job.snapshot() for job in self)

    def _repr_html_(self) -> str:
        return html.jobs_table(job.snapshot() for job in self)


class _Face(types.ModuleType):
    """`jupyter_batch.jobs` is this module, and `jupyter_batch.jobs()` the list of jobs."""

    def __call__(self) -> Jobs:
        return list_jobs()


sys.modules[__name__].__class__ = _Face

_held: weakref.WeakValueDictionary[tuple[str, str], Job] = weakref.WeakValueDictionary()
_holding = threading.Lock()


def _job(here: Session, job: str) -> Job:
    """The one Job object of an id in this process: its screen and its frames belong together."""
    with _holding:
        found = _held.get((str(here.home), job))
        if found is None:
            found = _held[str(here.home), job] = Job(here, job)
        return found


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("jupyter_batch", "litellm", "pandas"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
