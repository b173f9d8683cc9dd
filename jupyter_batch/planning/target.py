"""Where a call goes: its provider, mode, address and price; and that one key is for one address."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jupyter_batch.config.settings import Options
from jupyter_batch.core.cost import FLEX, Price
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.http.address import check_base, origin
from jupyter_batch.http.need_address import check_place
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.planning.ask import Ask, endpoint_of
from jupyter_batch.providers.clouds import (
    base_of,
    check_cloud,
    given_of,
    secret_of,
    settings_of,
)
from jupyter_batch.providers.prices import per_million, price_of
from jupyter_batch.providers.protocol import Facts
from jupyter_batch.providers.record import RECORDS, is_cloud, is_embedded
from jupyter_batch.providers.table import (
    BATCH,
    REALTIME,
    access_for,
    address_of,
    check_deadline,
    check_live,
    check_output_life,
    check_window,
    facts_of,
    is_keyless,
    mode_of,
    realtime_key,
    split_model,
    version_for,
)
from jupyter_batch.realtime.provider import realtime_facts
from jupyter_batch.wire.openai import CHAT, RESPONSES

BY_ROW = "by row"
"""The tier of a job whose rows name their own; no price is known of it."""


class Target(NamedTuple):
    """The fields of `Ask` that follow from the model and the options about its address."""

    provider: str
    mode: str
    api_base: str | None
    api_version: str | None
    cloud: dict[str, str]
    endpoint: str
    body_model: str
    dialect: str
    limits: Limits
    keyless: bool
    place: str | None
    rush_to: str


def target_of(opts: Options, prompt: Any) -> Target:
    """Return where a call goes. Raises for a missing key or address, and a bad limit."""
    provider, _ = split_model(opts.model)
    if opts.mode == FLEX:
        check_flex(
            opts.model,
            price_of(opts.model, mode=FLEX, api_base=opts.api_base, prices=opts.prices),
        )
    mode, base, version = _place(provider, opts)
    cloud = settings_of(provider, given_of(opts), os.environ) if is_cloud(provider) else {}
    spoken = endpoint_of(opts, prompt, base, mode)
    if spoken.endpoint == RESPONSES and mode != BATCH and not is_embedded(provider):
        base = access_for(
            provider, api_base=base, api_key=opts.api_key, environ=os.environ
        ).api_base
    _check_deadline(opts, mode)
    facts = facts_of(provider, base)
    if mode == FLEX and spoken.endpoint not in (CHAT, RESPONSES):
        raise OptionError(f'mode="flex" asks chat and responses, not {spoken.endpoint}')
    if mode != BATCH:
        facts = realtime_facts(facts)
    return Target(
        provider=provider,
        mode=mode,
        api_base=base,
        api_version=version,
        cloud=cloud,
        endpoint=spoken.endpoint,
        body_model=spoken.model,
        dialect=facts.dialect,
        limits=_limits(facts, opts.shard_size),
        keyless=is_keyless(provider, base, opts.api_key, os.environ),
        place=base or address_of(provider, opts.api_base, os.environ),
        rush_to=opts.deadline_mode,
    )


def _check_deadline(opts: Options, mode: str) -> None:
    """Raise OptionError or ModelError where the rest can't be asked as the options say."""
    to_flex = opts.deadline_mode == FLEX
    if to_flex and (opts.deadline is None or mode != BATCH):
        raise OptionError(
            'deadline_mode="flex" is for a batch with a deadline: '
            + ("give deadline=" if opts.deadline is None else "leave it out")
        )
    if to_flex:
        price = price_of(opts.model, api_base=opts.api_base, prices=opts.prices)
        check_flex(opts.model, price, option="deadline_mode")
    if opts.deadline is not None and mode != REALTIME:
        check = check_deadline if mode == BATCH else check_live
        check(opts.model, split_model(opts.model)[0], opts.api_base, opts.api_key)


def check_flex(model: str, price: Price, *, option: str = "mode") -> None:
    """Raise ModelError where a model has no flex tier at the price of a batch."""
    provider, name = split_model(model)
    record = RECORDS.get(provider)
    if record is not None and record.flex and price.flex is not None:
        return
    if record is not None and record.flex:
        why = f"{record.title} has the flex tier, but no flex price of {name} is known"
    else:
        title = record.title if record is not None else repr(provider)
        why = (record.no_flex if record is not None else "") or (
            f"{title} is not known to have a flex tier at the price of a batch"
        )
    batch = record is not None and record.batch
    others = [f'mode="batch" costs {per_million(price.batch)}'] if batch else []
    others.append(f'mode="realtime" costs {per_million(price.standard)}')
    raise ModelError(f'{option}="flex": {why}; {" and ".join(others)}')


def price_for(opts: Options, target: Target, params: dict[str, Any]) -> Price:
    """Return the prices of a call's model where it goes."""
    return price_of(
        opts.model,
        mode=target.mode,
        api_base=target.api_base,
        prices=opts.prices,
        service_tier=tier_of(params),
    )


def tier_of(params: dict[str, Any]) -> str:
    """The user's own service tier; one that differs by row has no price before it is answered."""
    tier = params.get("service_tier") or ""
    return tier if isinstance(tier, str) else BY_ROW


def _place(provider: str, opts: Options) -> tuple[str, str | None, str | None]:
    """(batch or realtime, the address, the API's version). Raises for a missing key or address."""
    if opts.api_base is not None:
        check_base(opts.api_base)
    mode = mode_of(opts.model, opts.mode, api_base=opts.api_base)
    if mode == BATCH:
        check_output_life(provider, opts.output_expires_after)
    if is_embedded(provider):
        return mode, None, None
    version = version_for(provider, opts.api_version, os.environ)
    if mode != BATCH:
        check_place(opts.model, opts.api_base)
        record = RECORDS.get(provider)
        if opts.api_base is None and record is not None and record.plain_params:
            return (
                mode,
                access_for(
                    provider, api_base=None, api_key=opts.api_key, environ=os.environ
                ).api_base,
                None,
            )
        realtime_key(provider, opts.api_key, os.environ, api_base=opts.api_base)
        return mode, opts.api_base, version
    check_window(provider, opts.completion_window)
    if is_cloud(provider):
        cloud = settings_of(provider, given_of(opts), os.environ)
        check_cloud(provider, str(opts.model), cloud, secret_of(opts), opts.metadata)
        base = base_of(provider, cloud, opts.api_base, os.environ)
        check_base(base)
        return mode, base, None
    access = access_for(provider, api_base=opts.api_base, api_key=opts.api_key, environ=os.environ)
    return mode, access.api_base, version


def _limits(facts: Facts, shard_size: int | None) -> Limits:
    """The limits of a batch. Raises OptionError where the user's size is below its minimum."""
    limits = facts.limits
    if shard_size is not None and shard_size < limits.minimum:
        raise OptionError(
            f"shard_size={shard_size}: a batch of {facts.name} has at least {limits.minimum} requests"
        )
    return limits.at_most(shard_size)


class Member(NamedTuple):
    """A job of a group. place: the address its key is for.

    lacks_key: it is blocked for lack of a key.
    """

    id: str
    place: str
    lacks_key: bool


def member_of(job: JobRecord, *, lacks_key: bool) -> Member:
    """The address and key state of a job."""
    return Member(job.id, origin(job.api_base) if job.api_base else job.provider, lacks_key)


def check_one_place(api_key: str | None, asks: Iterable[Ask]) -> None:
    """Raise OptionError where a call with one key names models of several providers."""
    if api_key is None:
        return
    places = {
        origin(ask.place) if ask.place else ask.provider
        for ask in asks
        if not is_embedded(ask.provider)
    }
    if len(places) > 1:
        raise OptionError(
            f"api_key= is for one provider, and the models are at {', '.join(sorted(places))}: set each "
            "provider's own variable (such as OPENAI_API_KEY), or make a call for each"
        )


def keys_by_job(api_key: str | None, members: Iterable[Member]) -> Mapping[str, str | None]:
    """The key of each job of a group: for all jobs at one address, else for those that lack one.

    Raises OptionError where these are at several addresses.
    """
    members = list(members)
    wanting = members
    if api_key is not None and len({one.place for one in members}) > 1:
        wanting = [one for one in members if one.lacks_key]
        if len({one.place for one in wanting}) != 1:
            raise OptionError(
                "api_key= is for one provider, and the jobs of this group are at several: give it to one of "
                "them, such as group.jobs[0].resume(api_key=...)"
            )
    chosen = {one.id for one in wanting}
    return {one.id: api_key if one.id in chosen else None for one in members}
