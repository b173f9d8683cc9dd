"""Connection to a job's provider: address, key, and the embedded server for a local model."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.cost import FLEX
from jupyter_batch.core.errors import KeyMissingError, ProviderDownError
from jupyter_batch.http.address import check_base, is_address
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.clouds import (
    arguments_of,
    base_of,
    check_package,
    check_region,
    secrets_in,
)
from jupyter_batch.providers.keys import NO_KEY, Key, Source, decide
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access, Facts, Provider
from jupyter_batch.providers.record import RECORDS, Connection, is_cloud, is_embedded, load
from jupyter_batch.providers.table import BATCH, access_for, facts_of, realtime_key
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.litellm_call import FLEX_SECONDS, SECONDS, Call
from jupyter_batch.realtime.pacing import NO_TIER, ServiceTier
from jupyter_batch.realtime.provider import Realtime, realtime_facts
from jupyter_batch.realtime.responses_call import ResponsesCall
from jupyter_batch.wire.openai import RESPONSES

VERBS = ("submit", "find", "tagged", "listed", "requests", "poll", "fetch", "cancel", "aclose")
"""The network methods of a provider: Provider and Listed in providers/protocol.py."""


async def connect(
    job: JobRecord, *, home: Path, api_key: str | None, named: Collection[str] | None = ()
) -> Provider:
    """The provider of a job, its methods in a warnings context of their own.

    named: the addresses that this kernel named (providers/keys.py); None where the job's own was
    named just now. Raises KeyMissingError where this process has no key that may go to the job's
    address.
    """
    with quiet():
        provider = await _provider_of(job, home, api_key, named)
    for name in VERBS:
        if hasattr(provider, name):
            setattr(provider, name, _quieted(getattr(provider, name)))
    return provider


def _quieted(verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(verb)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with quiet():
            return await verb(*args, **kwargs)

    return call


async def _provider_of(
    job: JobRecord, home: Path, api_key: str | None, named: Collection[str] | None
) -> Provider:
    _check_address(job)
    folder = Folders(home).of(job.id)
    if job.mode != BATCH:
        return await _realtime(job, folder, home, api_key, named)
    facts = msgspec.structs.replace(
        facts_of(job.provider, job.api_base), output_life=job.output_expires_after
    )
    if is_embedded(job.provider):
        return Embedded(facts, home)
    cloud = is_cloud(job.provider)
    access = (_cloud if cloud else _access)(job, api_key, named)
    provider: Provider = load(RECORDS[job.provider].connect)(
        Connection(
            facts=facts,
            access=access,
            model=job.body_model,
            headers=job.headers,
            requests_of=folder.requests,
            api_version=job.api_version or "",
            settings=job.cloud,
            secrets=secrets_in(api_key) if cloud else {},
        )
    )
    return provider


def check_key(job: JobRecord, *, api_key: str | None, named: Collection[str] | None) -> None:
    """Raise KeyMissingError where this process has no key that may go to a job's address."""
    _check_address(job)
    if is_embedded(job.provider):
        return
    if is_cloud(job.provider):
        _cloud_base(job, api_key, named)
    elif job.mode != BATCH and not _is_straight(job):
        _realtime_key(job, api_key, named)
    else:
        _access(job, api_key, named)


def _check_address(job: JobRecord) -> None:
    """Raise KeyMissingError for an address in a damaged or foreign ledger that can't be called."""
    if job.api_base is not None and not is_address(job.api_base):
        raise KeyMissingError(
            "the ledger holds no address for this job that can be called: submit its rows again, with api_base="
        )


def _access(job: JobRecord, api_key: str | None, named: Collection[str] | None) -> Access:
    """Address and key of a job.

    An address in the ledger does not count as named by the user here.
    """
    return access_for(
        job.provider,
        api_base=job.api_base,
        api_key=api_key,
        environ=os.environ,
        named=named,
        keyless=job.keyless,
    )


def _cloud(job: JobRecord, secret: str | None, named: Collection[str] | None) -> Access:
    """Address of a cloud's API; its own library may find the credentials."""
    base = _cloud_base(job, secret, named)
    check_package(job.provider, secret)
    return Access(api_base=base, api_key=secrets_in(secret).get("api_key", ""))


def _is_straight(job: JobRecord) -> bool:
    """Whether a job's real-time requests go to a server of OpenAI's API, at a known address."""
    record = RECORDS.get(job.provider)
    return record is not None and record.plain_params and job.api_base is not None


def _cloud_base(job: JobRecord, secret: str | None, named: Collection[str] | None) -> str:
    """The address of a cloud's API. Raises KeyMissingError where its credentials may not go there.

    A region is a part of the host, and is in the ledger like an address.
    """
    check_region(job.cloud)
    base = base_of(job.provider, job.cloud, job.api_base, os.environ)
    check_base(base)
    login = Key("", Source.ENVIRONMENT if secret is None else Source.CALL, "", job.provider)
    chosen = decide(job.provider, base, [login], environ=os.environ, named=named)
    if chosen.key is None:
        raise KeyMissingError(chosen.reason)
    return base


async def _realtime(
    job: JobRecord,
    folder: JobFolder,
    home: Path,
    api_key: str | None,
    named: Collection[str] | None,
) -> Provider:
    """A litellm model in realtime; a local one at the embedded server."""
    facts = realtime_facts(facts_of(job.provider, job.api_base))
    call: Call
    access: Access | None = None
    if is_embedded(job.provider):
        from jupyter_batch.server import launch

        endpoint = await asyncio.to_thread(launch.ensure, home)
        access = Access(api_base=endpoint.base_url, api_key=endpoint.token or NO_KEY)
    elif job.endpoint == RESPONSES:
        access = _access(job, api_key, named)
    if access is not None and job.endpoint == RESPONSES:
        call = ResponsesCall(
            job.body_model, api_base=access.api_base, api_key=access.api_key, seconds=_seconds(job)
        )
    elif access is not None:
        call = call_to(
            f"openai/{job.body_model}",
            api_base=access.api_base,
            api_key=access.api_key,
            seconds=_seconds(job),
        )
    else:
        call = _litellm_call(job, api_key, named)
    return Realtime(
        facts, folder=folder.path / "realtime", call=call, tier=_tier(job), **_pace(job.pace)
    )


def _seconds(job: JobRecord) -> float:
    """The timeout of an answer."""
    return FLEX_SECONDS if job.asked_tier == FLEX else SECONDS


def _tier(job: JobRecord) -> ServiceTier:
    """The service tier whose capacity its requests wait for."""
    if job.asked_tier != FLEX:
        return NO_TIER
    record = RECORDS.get(job.provider)
    return ServiceTier(
        name=FLEX, sent=job.mode == FLEX, sheds=() if record is None else record.sheds
    )


def _litellm_call(job: JobRecord, api_key: str | None, named: Collection[str] | None) -> Call:
    if (
        job.model.partition("/")[0] != job.provider
    ):  # litellm chooses by the name, the key by the provider
        raise KeyMissingError(
            f"no key is sent for {job.model}: the ledger names {job.provider} as its provider, which it is not. "
            "Submit the rows again"
        )
    if is_cloud(job.provider):
        _cloud_base(job, api_key, named)
        more: dict[str, Any] = arguments_of(job.cloud, api_key)
        key = secrets_in(api_key).get("api_key")
        more["seconds"] = _seconds(job)
        return call_to(_litellm_name(job), api_base=job.api_base, api_key=key, **more)
    more = {} if job.api_version is None else {"api_version": job.api_version}
    straight = _is_straight(job)
    key = _access(job, api_key, named).api_key if straight else _realtime_key(job, api_key, named)
    return call_to(
        _litellm_name(job), api_base=job.api_base, api_key=key, seconds=_seconds(job), **more
    )


def _litellm_name(job: JobRecord) -> str:
    """The model's name in litellm, which may not know the provider by ours."""
    record = RECORDS.get(job.provider)
    if record is None or record.litellm in (None, job.provider):
        return job.model
    return f"{record.litellm}/{job.body_model}"


def _realtime_key(job: JobRecord, api_key: str | None, named: Collection[str] | None) -> str | None:
    return realtime_key(
        job.provider,
        api_key,
        os.environ,
        api_base=job.api_base,
        named=named,
        keyless=job.keyless,
    )


def _pace(pace: Mapping[str, float]) -> dict[str, Any]:
    return {name: int(value) if name == "concurrency" else value for name, value in pace.items()}


class Embedded:
    """The embedded server of this ledger: started on demand, and restarted if it has ended."""

    def __init__(self, facts: Facts, home: Path) -> None:
        self.facts = facts
        self._home = home
        self._access: Access | None = None
        self._there: ViaOpenAI | None = None

    async def _server(self) -> ViaOpenAI:
        from jupyter_batch.server import launch

        try:
            endpoint = await asyncio.to_thread(launch.ensure, self._home)
        except Exception as e:  # it is a process of ours: an error at its start may be temporary
            raise ProviderDownError(f"the embedded server can't be started: {e}") from e
        access = Access(api_base=endpoint.base_url, api_key=endpoint.token or NO_KEY)
        if self._there is None or access != self._access:
            self._access, self._there = access, ViaOpenAI(self.facts, access)
        return self._there

    async def submit(
        self,
        requests: Path,
        tag: Mapping[str, str],
        *,
        endpoint: str,
        window: str,
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> BatchView:
        """See Provider.submit."""
        server = await self._server()
        return await server.submit(
            requests, tag, endpoint=endpoint, window=window, uploaded=uploaded, on_upload=on_upload
        )

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find."""
        return await (await self._server()).find(tag, since=since, file_id=file_id)

    async def tagged(self, *, since: float) -> list[BatchView]:
        """See Listed.tagged."""
        return await (await self._server()).tagged(since=since)

    async def listed(self, since: float) -> list[BatchView]:
        """See Listed.listed."""
        return await (await self._server()).listed(since)

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        await (await self._server()).requests(batch, write)

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        return await (await self._server()).poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """See Provider.fetch."""
        await (await self._server()).fetch(file_id, write)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        return await (await self._server()).cancel(batch_id)

    async def aclose(self) -> None:
        """See Provider.aclose. The server itself keeps running: other processes may use it."""
        if self._there is not None:
            await self._there.aclose()
