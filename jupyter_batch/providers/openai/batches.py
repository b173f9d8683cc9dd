"""Batches of OpenAI's shape, directly over httpx, at OpenAI and any server of its batch API.

Neither litellm's batch calls nor the openai SDK below them are used. As measured with litellm 1.84
to 1.110: a retrieve of a finished batch downloads and prices all results on the event loop, a
failing call is sent three times, and each call has a client of its own (35 ms). The SDK would be
imported (1.1 s) for six calls, and with its next version wants another HTTP library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError
from jupyter_batch.http.environment_headers import openai_headers
from jupyter_batch.providers.http_api import LIST_PAGES, TRANSFER_SECONDS, Direct
from jupyter_batch.providers.protocol import Access, Facts, TaggedList, file_name
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.openai_batches import read_batch

PAGE = 100
"""Batches per page of the list: the most that the API takes."""


class ViaOpenAI(TaggedList, Direct):
    """One server of OpenAI's Files and Batches API, at one address with one key."""

    follows = True

    def __init__(self, facts: Facts, access: Access) -> None:
        super().__init__(facts, access)
        self._root = access.api_base.rstrip("/")

    def _headers(self) -> dict[str, str]:
        organization = getattr(sys.modules.get("litellm"), "organization", None)
        chosen = {"openai-organization": organization} if organization else {}
        return {**super()._headers(), **openai_headers(os.environ), **chosen}

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
        """Upload (streamed from disk), then create. See Provider.submit."""
        if uploaded is None:
            with requests.open("rb") as file:
                uploaded = await self._upload(file_name(tag, requests), file)
            await on_upload(uploaded)
        await self._before_create(uploaded, on_upload)
        order: dict[str, Any] = {
            "input_file_id": uploaded,
            "endpoint": endpoint,
            "completion_window": window,
        }
        if (life := self.facts.output_life) is not None:
            order["output_expires_after"] = {"anchor": "created_at", "seconds": int(life)}
        return await self._create(order, tag)

    async def _create(self, order: dict[str, Any], tag: Mapping[str, str]) -> BatchView:
        """Create the batch of an uploaded file, with its tag as metadata."""
        order = {**order, "metadata": dict(tag)}
        async with self._open() as client:
            return self._view(
                await self._object(client, "POST", "/batches", json=order, fresh=True)
            )

    async def _before_create(
        self, uploaded: str, on_upload: Callable[[str], Awaitable[None]]
    ) -> None:
        """Check an uploaded file, where the provider has to process it first."""

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        if batch.input_file_id is None:
            raise NotFoundError(f"{self._access.api_base} names no request file of {batch.id}")
        await self.fetch(batch.input_file_id, write)

    async def listed(self, since: float) -> list[BatchView]:
        """Read the list, newest first, back to `since`."""
        found: list[BatchView] = []
        params: dict[str, Any] = {"limit": PAGE}
        async with self._open(TRANSFER_SECONDS) as client:
            for _ in range(LIST_PAGES):
                page = await self._list(client, "/batches", "data", params=params)
                views = [self._view(item) for item in page.get("data") or []]
                found += views
                older = all(v.created_at is not None and v.created_at < since for v in views)
                # `older` is true for an empty list, too
                if older or not page.get("has_more") or views[-1].id == params.get("after"):
                    return found
                params["after"] = views[-1].id
        raise self._endless()

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open() as client:
            path = f"/batches/{quote(batch_id, safe='')}"
            return self._view(await self._object(client, "GET", path))

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream a file, without holding it in memory."""
        await self._stream(f"/files/{quote(file_id, safe='')}/content", write)

    def _view(self, batch: Mapping[str, Any]) -> BatchView:
        return read_batch(batch)

    async def cancel(self, batch_id: str) -> BatchView:
        """Request cancellation; if it is refused because the batch has ended, return its state."""
        try:
            async with self._open() as client:
                path = f"/batches/{quote(batch_id, safe='')}/cancel"
                return self._view(await self._object(client, "POST", path))
        except BadRequestError:
            return await self.poll(batch_id)


def connect(to: Connection) -> ViaOpenAI:
    """The provider of one job."""
    return ViaOpenAI(to.facts, to.access)
