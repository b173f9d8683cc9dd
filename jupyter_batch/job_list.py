"""Lists of jobs and groups, and of batches at a provider, that are displayed as tables."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from jupyter_batch.config import settings
from jupyter_batch.core.cost import Bill
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.status import Snapshot
from jupyter_batch.group import Group, group_of
from jupyter_batch.job import Job, of
from jupyter_batch.ledger.linked_jobs import Lines
from jupyter_batch.ledger.snapshots import Overview
from jupyter_batch.monitor import table
from jupyter_batch.notebook import kernel
from jupyter_batch.notices.callbacks import subscribe, unsubscribe
from jupyter_batch.orders import full_names
from jupyter_batch.runner.process import session

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.adoption.find import Orphans, RemoteBatches

_T = TypeVar("_T")


def check_limit(limit: int | None) -> None:
    """Raise OptionError for a limit that is no number of jobs."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise OptionError(f"`limit` takes a whole number from 0 up; got {limit!r}")


def list_jobs(limit: int | None = None) -> Jobs:
    """Return the ledger's jobs, newest first, at most `limit`. Raises OptionError."""
    check_limit(limit)
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
        group_of(here, [of(here, job) for job in groups[name]], name) if name in groups else jobs[0]
        for name, jobs in islice(found.items(), limit)
    )


def notify(where: str | None) -> str:
    """Send a notice to `where` when a job that this process follows ends; None: no more. Returns a sentence about it.

    where: "desktop", an http(s) address, "mailto:ADDRESS". Raises OptionError.
    """
    from jupyter_batch.notices.targets import target

    if where is None:
        unsubscribe()
        return "No notices are sent any more."
    to = target(where)
    subscribe(to)
    for job in list_jobs():
        if not job.is_complete:
            job._follow()
    return f"A notice goes to {to} when a job of this kernel ends."


class Jobs(list[Any]):
    """Jobs and groups, displayed as a table."""

    def __init__(self, jobs: Iterable[Job | Group]) -> None:
        super().__init__(jobs)

    def snapshots(self) -> list[Snapshot]:
        """Return the present snapshots in the list's order, without forgotten jobs; the ledger is read once."""
        return [snapshot for _, snapshot in self._with_snapshots()]

    def _with_snapshots(self) -> list[tuple[Any, Snapshot]]:
        ledgers = {id(one._here): one._here.ledger for one in self}
        seen = {key: Overview(ledger, time.time()) for key, ledger in ledgers.items()}
        snapshots = [
            seen[id(one._here)].snapshot([job.id for job in one.jobs], one.id)
            if isinstance(one, Group)
            else seen[id(one._here)].snapshot([one.id])
            for one in self
        ]
        return [
            (one, snapshot)
            for one, snapshot in zip(self, snapshots, strict=True)
            if snapshot is not None
        ]

    def damaged(self) -> list[str]:
        """Sentences about jobs that can't be read."""
        ledgers = {id(one._here): one._here.ledger for one in self} or {
            0: session(settings.home()).ledger
        }
        return [note for ledger in ledgers.values() for note in ledger.unreadable.values()]

    def to_frame(self) -> pd.DataFrame:
        """The table as a DataFrame on the jobs' ids, to sort, filter and sum.

        name, state, blocked, notebook, created, age, the counts as in `job.counts`, cost and saved in US dollars (NA
        where unknown), model, provider, out, ended, elapsed, input_tokens, output_tokens. created and ended are
        Timestamps in UTC, age and elapsed are Timedeltas. Texts are unchanged, not cleaned for a screen. A job that
        several groups share has its cost and tokens in the oldest of them, so that a column's sum is right.
        """
        return table.frame(self._each_dollar_once())

    def _each_dollar_once(self) -> list[Snapshot]:
        counted: set[str] = set()
        snapshots = []
        for one, snapshot in reversed(self._with_snapshots()):  # the oldest first: its call paid
            ids = [job.id for job in one.jobs] if isinstance(one, Group) else [one.id]
            own = [job for job in ids if job not in counted]
            counted.update(own)
            if len(own) == len(ids):
                snapshots.append(snapshot)
                continue
            paid = Overview(one._here.ledger, time.time()).snapshot(own, one.id) if own else None
            snapshots.append(
                msgspec.structs.replace(
                    snapshot,
                    bill=paid.bill if paid is not None else Bill(),
                    input_tokens=paid.input_tokens if paid is not None else 0,
                    output_tokens=paid.output_tokens if paid is not None else 0,
                )
            )
        return snapshots[::-1]

    def _links(self) -> Callable[[str], str]:
        """The address of the page of each job's rows, by its id; "" outside of notebooks."""
        if not kernel.has_frontend():
            return lambda _: ""
        from jupyter_batch.viewer.opened import address_of

        ledgers = {
            job.id: job._here.ledger for one in self for job in (one, *getattr(one, "jobs", ()))
        }
        return lambda name: address_of(ledgers[name], name) if name in ledgers else ""

    def __repr__(self) -> str:
        columns = shutil.get_terminal_size().columns
        room = columns if sys.stdout.isatty() else max(table.WIDTH, columns)
        shown = table.text(self.snapshots(), room)
        return "\n".join([shown, *self.damaged()])

    def _repr_html_(self) -> str:
        shown = table.html(self.snapshots(), self._links())
        return shown + "".join(f"<p>{escape(note)}</p>" for note in self.damaged())


class Adopted(Jobs):
    """Adopted jobs, and notes about them: unknown rows, and how to fill them."""

    def __init__(self, jobs: Iterable[Job], notes: list[str], api_key: str | None) -> None:
        super().__init__(jobs)
        self.notes = notes
        self._api_key = api_key

    def follow(self) -> Adopted:
        """Have this process fetch the results."""
        for job in self:
            job._follow(self._api_key)
        return self

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.notes])

    def _repr_html_(self) -> str:
        return super()._repr_html_() + "".join(f"<p>{escape(one)}</p>" for one in self.notes)


def orphans(**where: Any) -> Orphans:
    """List the batches at a provider that have our tag and are in no job of this ledger.

    where: model= or provider=, and api_base=, api_version=, api_key= as for a submission; days= to look back (30).
    Raises InputError without a place to search, and ProviderError.
    """
    from jupyter_batch.adoption.commands import look

    return _in_a_loop(look(session(settings.home()).ledger, time.time(), _where(where)))


def others(limit: int | None = None, **where: Any) -> RemoteBatches:
    """List the provider's batches that are in no job of this ledger, from any software, newest first.

    where: as for `orphans`. Raises as that does.
    """
    from jupyter_batch.adoption.commands import others as look

    check_limit(limit)
    found = look(session(settings.home()).ledger, time.time(), limit, _where(where))
    return _in_a_loop(found)


def adopt(which: str | None = None, **where: Any) -> Adopted:
    """Adopt the orphans of one job (its id or a batch's), or all, as jobs of this ledger.

    Any batch of the account is read by its id, one that other software sent, too: its custom ids are the index. where:
    as for `orphans`. Raises JobNotFoundError where there is no such job or batch.
    """
    from jupyter_batch.adoption.commands import take_up

    here = session(settings.home())
    place = _where(where)
    records, notes = _in_a_loop(take_up(here.ledger, time.time(), which, place))
    looked_at = place.get("provider") or str(place.get("model") or "").partition("/")[0]
    for provider in {looked_at, *(record.provider for record in records)} - {""}:
        here.name(where.get("api_base"), provider, with_key=where.get("api_key") is not None)
    return Adopted((of(here, record.id) for record in records), notes, where.get("api_key"))


def _where(given: dict[str, Any]) -> dict[str, Any]:
    """The place to search; default: the configured model's provider."""
    if given.get("provider"):
        return given
    return full_names(given, settings.read().model)


def _in_a_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a thread of its own, since this one may run a loop already."""
    with ThreadPoolExecutor(1, thread_name_prefix="jupyter-batch-adopt") as pool:
        return pool.submit(asyncio.run, work).result()
