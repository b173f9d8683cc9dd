"""Azure OpenAI's batches, with the SDK below litellm's own Azure calls.

litellm caches one client per address, key and version for an hour, with the retries and timeout
of its first caller (which may be user code), so a create may be sent three times. It rejects a
batch whose `created_at` is a float, as Azure's may be; it drops the list's `after`, and reads
downloads into memory.

Particular to Azure (Microsoft Learn, batch how-to): the API version in each call, the key in the
header `api-key`, lines with the url "/chat/completions", a deployment as a line's model, and file
ids "" while a batch runs.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    FileNotReadyError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
)
from jupyter_batch.http.network import sdk_client_for, with_key
from jupyter_batch.http.streams import blocks_of
from jupyter_batch.providers.failures import normalise, object_in
from jupyter_batch.providers.http_api import QUIET_SECONDS
from jupyter_batch.providers.openai.batches import (
    CALL_SECONDS,
    LIST_PAGES,
    TRANSFER_SECONDS,
    page_of,
    upload,
)
from jupyter_batch.providers.protocol import Access, Facts, TaggedList
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.openai_batches import read_batch

if TYPE_CHECKING:
    import openai

_UNREADY = frozenset({"pending", "notrunning", "running", "processing", "queued"})
"""File states in which a create is refused (REST reference, FileState; `pending`: batch how-to)."""
PAGE = 100
"""Batches per page of the list: Azure's maximum."""


class ViaAzure(TaggedList):
    """One Azure OpenAI resource. api_version: such as "2024-10-21"."""

    def __init__(self, facts: Facts, access: Access, *, api_version: str) -> None:
        self.facts = facts
        self._access = access
        self._version = api_version

    @asynccontextmanager
    async def _open(self, seconds: float = CALL_SECONDS) -> AsyncIterator[openai.AsyncAzureOpenAI]:
        """A client for one operation of at most `seconds` in all, without retries."""
        await asyncio.to_thread(importlib.import_module, "openai")  # a second of CPU on first use
        import openai

        try:
            with with_key(self._access.api_key):
                async with (
                    asyncio.timeout(seconds),
                    openai.AsyncAzureOpenAI(
                        api_key=self._access.api_key,
                        azure_endpoint=self._access.api_base,
                        api_version=self._version,
                        max_retries=0,
                        timeout=min(seconds, QUIET_SECONDS),
                        http_client=sdk_client_for(self._access.api_base),
                        # openai 2.20 also sends the key as a bearer token.
                        default_headers=cast("dict[str, str]", {"Authorization": openai.Omit()}),
                    ) as client,
                ):
                    # openai 2 sends AZURE_OPENAI_AD_TOKEN of the environment instead of the key.
                    client._azure_ad_token = None  # noqa: SLF001
                    yield client
        except Exception as e:
            if isinstance(e, OSError) and not isinstance(e, ConnectionError | TimeoutError):
                raise  # from our own disk
            raise normalise(
                e, self._access.api_base, self._access.api_key
            ) from None  # the cause contains headers

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
        """See Provider.submit. endpoint: as in the request lines, without /v1."""
        if uploaded is None:
            async with self._open(TRANSFER_SECONDS) as client:
                uploaded = await upload(client, requests, tag, self._access.api_base)
            await on_upload(uploaded)
        await self._processed(uploaded)
        await on_upload(uploaded)
        async with self._open() as client:
            answer = await client.batches.with_raw_response.create(
                input_file_id=uploaded,
                metadata=dict(tag),
                endpoint=cast(
                    "Literal['/v1/chat/completions']", endpoint
                ),  # the SDK's type lists OpenAI's own paths only
                completion_window=cast("Literal['24h']", window),
            )
            return self._read(answer.content)

    async def _processed(self, file_id: str) -> None:
        """Raise FileNotReadyError while Azure processes the file: a create would be refused until then."""
        try:
            async with self._open() as client:
                status = str((await client.files.retrieve(file_id)).status)
        except ProviderError:  # the create's own response decides
            return
        if status.lower() in _UNREADY:
            raise FileNotReadyError(
                f"Azure OpenAI has not processed the request file yet ({status})"
            )

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        if batch.input_file_id is None:
            raise NotFoundError(f"{self._access.api_base} names no request file of {batch.id}")
        await self.fetch(batch.input_file_id, write)

    async def _listed(self, since: float) -> list[BatchView]:
        found: list[BatchView] = []
        after: str | None = None
        async with self._open(TRANSFER_SECONDS) as client:
            for _ in range(LIST_PAGES):
                page = await page_of(client, after, self._access.api_base, PAGE)
                views = [read_batch(item) for item in page.get("data") or []]
                found += views
                older = all(
                    view.created_at is not None and view.created_at < since for view in views
                )
                if (
                    older or not page.get("has_more") or views[-1].id == after
                ):  # `older` is true for an empty list, too
                    return found
                after = views[-1].id
        raise ProviderDownError(
            f"the list of batches at {self._access.api_base} did not end after {LIST_PAGES} pages"
        )

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open() as client:
            answer = await client.batches.with_raw_response.retrieve(batch_id)
            return self._read(answer.content)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel."""
        try:
            async with self._open() as client:
                answer = await client.batches.with_raw_response.cancel(batch_id)
                return self._read(answer.content)
        except BadRequestError:  # it has already ended
            return await self.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """See Provider.fetch."""
        async with (
            self._open(TRANSFER_SECONDS) as client,
            client.files.with_streaming_response.content(file_id) as answer,
            blocks_of(cast("Any", answer.http_response)) as blocks,
        ):
            async for block in blocks:
                write(block)

    def _read(self, answer: bytes) -> BatchView:
        return read_batch(object_in(answer, self._access.api_base))

    async def aclose(self) -> None:
        """See Provider.aclose. Each operation closes its own client."""


def connect(to: Connection) -> ViaAzure:
    """The provider of one job."""
    return ViaAzure(to.facts, to.access, api_version=to.api_version)
