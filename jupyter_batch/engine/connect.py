"""How a job's provider is reached from this process: address, key, and the embedded server where the model is local."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import ProviderDownError
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.protocol import Access, Provider
from jupyter_batch.providers.table import LOCAL, access_for, facts_of
from jupyter_batch.providers.via_litellm import ViaLitellm


async def connect(job: JobRecord, *, home: Path, api_key: str | None) -> Provider:
    """The provider of a job. Raises KeyMissingError where this process has no key for it."""
    if job.provider == LOCAL:
        return Embedded(home)
    access = access_for(job.provider, api_base=job.api_base, api_key=api_key, environ=os.environ)
    return ViaLitellm(facts_of(job.provider, job.api_base), access)


class Embedded:
    """The embedded server of this ledger: started when it is needed, and again should it be gone."""

    def __init__(self, home: Path) -> None:
        self.facts = facts_of(LOCAL, None)
        self._home = home
        self._access: Access | None = None
        self._there: ViaLitellm | None = None

    async def _server(self) -> ViaLitellm:
        from jupyter_batch.server.launch import ensure

        try:
            endpoint = await asyncio.to_thread(ensure, self._home)
        except Exception as e:  # it is a process of ours: whatever keeps it from starting may pass
            raise ProviderDownError(f"the embedded server can't be started: {e}") from e
        access = Access(api_base=endpoint.base_url, api_key=endpoint.token or "no-key")
        if self._there is None or access != self._access:
            self._access, self._there = access, ViaLitellm(self.facts, access)
        return self._there

    async def submit(self, requests: Path, tag: Mapping[str, str], *, endpoint: str, window: str,
                     uploaded: str | None, on_upload: Callable[[str], Awaitable[None]]) -> BatchView:
        """See Provider.submit."""
        server = await self._server()
        return await server.submit(requests, tag, endpoint=endpoint, window=window, uploaded=uploaded,
                                   on_upload=on_upload)

    async def find(self, tag: Mapping[str, str], *, since: float) -> list[BatchView]:
        """See Provider.find."""
        return await (await self._server()).find(tag, since=since)

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
        """See Provider.aclose. The server itself goes on: other processes may use it."""
        if self._there is not None:
            await self._there.aclose()
