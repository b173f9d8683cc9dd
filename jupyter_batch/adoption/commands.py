"""The adoption commands: where to search, the list of orphans, adoption, and its messages."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from jupyter_batch.adoption.adopt import adopt
from jupyter_batch.adoption.by_id import adopt_batch
from jupyter_batch.adoption.find import Orphans, RemoteBatches, jobs_of, orphans
from jupyter_batch.adoption.recover_rows import Searched
from jupyter_batch.config.magic_line import add, add_all
from jupyter_batch.config.options import EVERY
from jupyter_batch.config.settings import checked
from jupyter_batch.core.errors import (
    BadRequestError,
    InputError,
    JobNotFoundError,
    ModelError,
    NotFoundError,
    OptionError,
)
from jupyter_batch.http.address import check_base
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.clouds import base_of, check_cloud, settings_of
from jupyter_batch.providers.record import RECORDS, is_cloud, is_embedded
from jupyter_batch.providers.table import (
    access_for,
    address_of,
    chat_path,
    facts_of,
    is_keyless,
    is_set_up,
    split_model,
    version_for,
)
from jupyter_batch.runner.connect import connect
from jupyter_batch.wire.dialects import is_translated

DAYS = 30.0
"""The default range of the search in days; results are rarely kept for longer."""
MOST_DAYS = 36500
DAY_SECONDS = 86400.0
WHERE = ("model", "provider", "api_base", "api_version", "api_key", "days")

_JOB = re.compile("jb[a-z0-9]{0,10}")
"""A job's id, or its beginning; other ids are a provider's."""
_OPTIONS = ("model", "api_base", "api_version", "api_key")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that select batches and where to find them; no key on a command line."""
    parser.add_argument(
        "id",
        nargs="?",
        metavar="ID",
        help="take up this job, the job of this batch, or any batch of the account, by its id",
    )
    parser.add_argument("--all", action="store_true", help="take up every job that is listed")
    model = "any model of the provider, such as openai/gpt-4.1-mini (default: the configured one)"
    add(parser, EVERY["model"]._replace(help=model))
    parser.add_argument(
        "--provider", metavar="NAME", help="the provider, instead of a model of its"
    )
    add_all(parser, [EVERY["api_base"], EVERY["api_version"]])
    parser.add_argument(
        "--days", type=float, metavar="N", help=f"how far to look back (default: {DAYS:.0f})"
    )


def where_of(asked: Namespace) -> dict[str, Any]:
    """The arguments for the search location. Raises OptionError for contradictory arguments."""
    if asked.all and asked.id:
        raise OptionError("give either the ID of one job or batch, or --all")
    return {name: value for name in WHERE if (value := getattr(asked, name, None)) is not None}


async def look(ledger: Ledger, now: float, where: Mapping[str, Any]) -> Orphans:
    """The batches at a provider that are in no job of the ledger.

    Raises InputError, ProviderError.
    """
    place = place_of(where)
    async with _reached(ledger, place, where) as provider:
        return await _found(ledger, provider, place, now, where)


async def others(
    ledger: Ledger, now: float, limit: int | None, where: Mapping[str, Any]
) -> RemoteBatches:
    """The provider's batches that are in no job of the ledger, newest first, from any software.

    Raises InputError, ProviderError.
    """
    place = place_of(where)
    async with _reached(ledger, place, where, needs="listed") as provider:
        views = await provider.listed(now - _seconds(where))
    known = {s.batch_id for job in ledger.jobs() for s in ledger.shards(job.id, replaced=True)}
    new = sorted(
        (view for view in views if view.id not in known), key=lambda view: -(view.created_at or 0.0)
    )
    return RemoteBatches(new[:limit], place=_named(place), now=now)


def _checked_id(which: str | None) -> str | None:
    """The id of a job or batch, without space around it. Raises OptionError."""
    if which is None:
        return None
    if not isinstance(which, str) or not which.strip():
        raise OptionError(f"a batch is given by its id, such as 'batch_...', not {which!r}")
    return which.strip()


async def take_up(
    ledger: Ledger, now: float, which: str | None, where: Mapping[str, Any]
) -> tuple[list[JobRecord], list[str]]:
    """(the jobs now in the ledger, messages). which: the id of a job or batch; None for all."""
    which = _checked_id(which)
    _given(where)
    place = place_of(_with_provider(which, where))
    ledger.sweep()
    if which is not None and (there := _of_batch(ledger, which)) is not None:
        return [there], []
    batch = None if which is None or _JOB.fullmatch(which) else which
    async with _reached(ledger, place, where, needs="poll" if batch else "tagged") as provider:
        found = await _found(ledger, provider, place, now, where, by_id=batch is not None)
        groups = jobs_of(found, which)
        if not groups and which is not None:
            if batch is None:
                return [_there(ledger, which, found)], []
            other = await adopt_batch(ledger, provider, place, batch, now=now)
            return [other], _words(other, ledger)
        records: list[JobRecord] = []
        messages = [] if groups else [repr(found)]
        for job, group in groups:
            try:
                await adopt(ledger, provider, place, group, now=now)
            except InputError as e:
                if batch is not None:  # its requests have custom ids of their own
                    records.append(await adopt_batch(ledger, provider, place, batch, now=now))
                    continue
                if which is not None:
                    raise
                messages.append(f"{job} was not taken up: {e}")  # the others still are
            else:
                records.append(ledger.job(job))
                messages += _words(records[-1], ledger)
        return records, messages


def _with_provider(which: str | None, where: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the provider with such ids whose key is in the environment, where no other is given."""
    if which is None or where.get("provider") or where.get("model"):
        return where
    for name, record in RECORDS.items():
        begins = record.batch_ids and which.startswith(record.batch_ids)
        if begins and is_set_up(record, os.environ):
            return {**where, "provider": name}
    return where


def _given(where: Mapping[str, Any]) -> dict[str, Any]:
    """The checked options of a search. Raises OptionError."""
    given = {
        name: checked(EVERY[name], where[name]) for name in _OPTIONS if where.get(name) is not None
    }
    unknown = [name for name in where if name not in WHERE]
    if unknown:
        raise OptionError(f"unknown option `{unknown[0]}`; a search takes {', '.join(WHERE)}")
    days = where.get("days")
    if days is not None and not (isinstance(days, (int, float)) and 0 < days < MOST_DAYS):
        raise OptionError(f"`days` takes a number above 0, not {days!r}")
    return given


def _searched(provider: str | None, model: str | None) -> tuple[str, str]:
    """(the provider to search, its name of the model or "?"). Raises ModelError for none."""
    name = "?"
    if not provider:
        if model is None:
            raise ModelError(
                "no provider to search for batches: give a model of that provider "
                "(--model openai/gpt-4.1-mini) or its name (--provider openai), and --api-base where it "
                "is not at the provider's own address"
            )
        provider, name = split_model(model)
    record = RECORDS.get(provider)
    if record is None or not record.batch:
        what = record.title if record is not None else repr(provider)
        can = ", ".join(
            one for one, known in RECORDS.items() if known.batch and known.shown and " " not in one
        )
        raise ModelError(
            f"jupyter_batch sends no batches to {what}, so that there are none to look for. It does to "
            f"{can}, and, with --api-base, to any server of OpenAI's batch API"
        )
    return provider, name


def place_of(where: Mapping[str, Any]) -> JobRecord:
    """The search location, as the known fields of each job there; `space`: of its address.

    Raises InputError where no location is given.
    """
    given = _given(where)
    model = given.get("model")
    provider, name = _searched(where.get("provider"), model)
    base = version = None
    if "api_base" in given:
        check_base(given["api_base"])
    cloud = settings_of(provider, {}, os.environ)
    if is_cloud(provider):
        check_cloud(provider, model or f"{provider}/{name}", cloud, given.get("api_key"), None)
        base = base_of(provider, cloud, given.get("api_base"), os.environ)
    elif not is_embedded(provider):
        base = access_for(
            provider,
            api_base=given.get("api_base"),
            api_key=given.get("api_key"),
            environ=os.environ,
        ).api_base
        version = version_for(provider, given.get("api_version"), os.environ)
    return JobRecord(
        id="",
        fingerprint="",
        created_at=0.0,
        model=model or f"{provider}/{name}",
        provider=provider,
        dialect=facts_of(provider, base).dialect,
        endpoint=chat_path(provider),
        body_model=name,
        out="response",
        columns=[],
        rows=0,
        api_base=base,
        keyless=is_keyless(provider, base, given.get("api_key"), os.environ),
        api_version=version,
        cloud=cloud,
        space=base or address_of(provider, None, os.environ) or "",
    )


@asynccontextmanager
async def _reached(
    ledger: Ledger, place: JobRecord, where: Mapping[str, Any], *, needs: str = "tagged"
) -> AsyncIterator[Searched]:
    """The provider of a place. needs: a method that it must have."""
    # The address is the user's own: given in this call, or through the environment.
    provider = await connect(place, home=ledger.home, api_key=where.get("api_key"), named=None)
    try:
        if not hasattr(provider, needs):
            raise ModelError(
                f"at {RECORDS[place.provider].title} batches can't be searched for by whose they are, so "
                "that those of a lost ledger can't be distinguished from others"
            )
        yield cast("Searched", provider)
    finally:
        await provider.aclose()


async def _found(
    ledger: Ledger,
    provider: Searched,
    place: JobRecord,
    now: float,
    where: Mapping[str, Any],
    *,
    by_id: bool = False,
) -> Orphans:
    """Our batches that are missing here. by_id: one batch is asked for: the list may be refused."""
    since = now - _seconds(where)
    if by_id and not hasattr(provider, "tagged"):
        return Orphans(place=_named(place), now=now)
    try:
        return await orphans(ledger, provider, place=_named(place), since=since, now=now)
    except (BadRequestError, NotFoundError):
        if not by_id:
            raise
        return Orphans(place=_named(place), now=now)


def _seconds(where: Mapping[str, Any]) -> float:
    """How far a search looks back."""
    return float(where.get("days") or DAYS) * DAY_SECONDS


def _named(place: JobRecord) -> str:
    """The place of a search, in messages."""
    return place.api_base or "the embedded server"


def _of_batch(ledger: Ledger, batch: str) -> JobRecord | None:
    """The job of the ledger that has this batch."""
    for job in ledger.jobs():
        if any(batch == shard.batch_id for shard in ledger.shards(job.id)):
            return job
    return None


def _there(ledger: Ledger, which: str, found: Orphans) -> JobRecord:
    """The requested job, which is in the ledger already. Raises JobNotFoundError."""
    for job in ledger.jobs():
        if job.id.startswith(which):
            return job
    raise JobNotFoundError(
        f"{which!r} is neither a job nor a batch of ours at {found.place} that is missing here; "
        "without an id `adopt` lists those that are"
    )


def _words(job: JobRecord, ledger: Ledger) -> list[str]:
    """The messages for the user about an adopted job."""
    shards = ledger.shards(job.id)
    messages = []
    absent = sum(shard.absent for shard in shards)
    if absent:
        were = "was" if absent == 1 else "were"
        messages.append(
            f"{job.id}: {absent:,} of its {len(shards):,} batches {were} not found at the provider: those rows "
            "have no answer here. `adopt` takes up what comes to light later."
        )
    folder = ledger.folders.of(job.id)
    if job.own_ids:
        messages.append(
            f"{job.id}: its {job.rows:,} requests were sent by other software; their custom ids are the index of "
            "job.results(). Nothing of it is sent from here."
        )
    elif job.aligned:
        messages.append(
            f"{job.id}: its folder was here still, so it is as it was: run its cell again, or attach it."
        )
    elif not is_translated(job.dialect, job.endpoint) and all(
        folder.requests(shard.number).exists() for shard in shards if not shard.absent
    ):
        messages.append(
            f"{job.id}: run its cell again, and each answer lands on its own row; nothing that was found is "
            "paid again."
        )
    else:
        messages.append(
            f"{job.id}: what was asked can't be fetched as it was planned: running its cell again would pay "
            f'again. df.llm.attach("{job.id}", by_position=True) fills a frame whose rows stand in the '
            "order in which they were sent."
        )
    return messages
