"""OpenRouter's batches, directly over httpx (reasons: providers/http_api.py).

Particular to OpenRouter (openrouter.ai: Batch API guide, quickstart and API reference): all requests
are in one JSON body, whose `requests` come last; the model belongs to the batch, by the name of its
batch variant; there is no metadata, so that a batch is recognized by its results (UntaggedList);
results are pages under the batch's id, with errors among them; no call cancels a batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    ConnectionFailedError,
    NotFoundError,
    ProviderError,
)
from jupyter_batch.http.bodies import downloading
from jupyter_batch.http.kept_client import KeptClient
from jupyter_batch.providers.cloud_file import Body, as_sent, bare
from jupyter_batch.providers.failures import list_in, object_in
from jupyter_batch.providers.http_api import LIST_PAGES, TRANSFER_SECONDS, Direct
from jupyter_batch.providers.protocol import Access, Facts, UntaggedList
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.openai_batches import read_batch

PAGE = 100
"""Batches per page of the list: the most that the API takes."""
RESULTS = 200
"""Results per page."""


class _Head(msgspec.Struct):
    """A batch object without its results, which may be many."""

    id: Any = None
    status: Any = None
    endpoint: Any = None
    created_at: Any = None
    expires_at: Any = None
    finalized_at: Any = None
    request_counts: Any = None
    error: Any = None
    usage: Any = None


class _Page(msgspec.Struct):
    """A page of results."""

    data: list[msgspec.Raw] = []
    next_cursor: str | None = None


class _Id(msgspec.Struct):
    custom_id: str | None = None


class ViaOpenRouter(UntaggedList, Direct):
    """One OpenRouter workspace, by its key; model: the bare name of the model of all requests."""

    title = "OpenRouter"

    def __init__(
        self, facts: Facts, access: Access, *, model: str, requests_of: Callable[[int], Path]
    ) -> None:
        super().__init__(facts, access)
        self.requests_of = requests_of
        self._model = model if ":" in model else f"{model}:batch"

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
        """Create the batch, streaming its requests; no tag is sent. See Provider.submit."""
        order = {"endpoint": endpoint, "model": self._model, "completion_window": window}
        head = msgspec.json.encode(order)[:-1] + b',"requests":['
        with contextlib.ExitStack() as stack:
            made = await asyncio.to_thread(stack.enter_context, as_sent(requests, bare))
            body = Body(made, None if uploaded else on_upload, head=head)
            try:
                async with self._open(TRANSFER_SECONDS) as client:
                    answer = await self._ask(
                        client, "POST", "/batches", content=body.chunks(), headers=body.headers
                    )
            except ProviderError:
                if body.failure is not None:
                    raise body.failure from None  # from our own disk or ledger
                raise
        object_in(answer, self._access.api_base)
        return msgspec.structs.replace(_head(answer), tag=dict(tag))

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        del write
        raise NotFoundError(f"OpenRouter does not return the requests of {batch.id}")

    async def listed(self, since: float) -> list[BatchView]:
        """List the workspace's batches, newest first, back to `since`."""
        found: list[BatchView] = []
        params: dict[str, str | int] = {"limit": PAGE}
        async with self._open(TRANSFER_SECONDS) as client:
            for _ in range(LIST_PAGES):
                page = await self._list(client, "/batches", "data", params=params)
                views = [_view(one) for one in page.get("data") or [] if isinstance(one, dict)]
                found += [v for v in views if v.created_at is None or v.created_at >= since]
                older = any(v.created_at is not None and v.created_at < since for v in views)
                last = page.get("last_id")
                if older or not page.get("has_more") or not last or last == params.get("after"):
                    return found
                params["after"] = last
        raise self._endless()

    async def first_id(self, view: BatchView) -> str | None:
        """See UntaggedList.first_id."""
        try:
            async with self._open() as client:
                path = f"/batches/{quote(view.id, safe='')}/results"
                page = await self._page(client, path, {"limit": 1})
        except NotFoundError:  # deleted, or past the retention period
            return ""
        first = msgspec.json.decode(page.data[0], type=_Id).custom_id if page.data else None
        return first or (None if view.completed + view.failed else "")

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll. The results of an ended batch are in the response, too."""
        async with self._open(TRANSFER_SECONDS) as client:
            with downloading():
                answer = await self._ask(client, "GET", f"/batches/{quote(batch_id, safe='')}")
        object_in(answer, self._access.api_base)
        return await asyncio.to_thread(_head, answer)

    async def cancel(self, batch_id: str) -> BatchView:
        """Return the batch's state: no call cancels it."""
        return await self.poll(batch_id)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream the results of the batch `file_id` as lines, page by page."""
        path = f"/batches/{quote(file_id, safe='')}"
        params: dict[str, str | int] = {"limit": RESULTS}
        seen = set[str]()
        async with self._open(TRANSFER_SECONDS) as client:
            while True:
                page = await self._page(client, f"{path}/results", params)
                write(b"".join(_line(result) for result in page.data))
                if not page.next_cursor:
                    return
                if page.next_cursor in seen:
                    raise ConnectionFailedError(
                        f"the result pages of {file_id} go round in a circle"
                    )
                seen.add(page.next_cursor)
                params["cursor"] = page.next_cursor

    async def _page(self, client: KeptClient, path: str, params: Mapping[str, str | int]) -> _Page:
        with downloading():
            answer = await self._ask(client, "GET", path, params=params)
        list_in(answer, self._access.api_base, "data", bare=True)
        return msgspec.json.decode(answer, type=_Page)


def _view(batch: Mapping[str, Any]) -> BatchView:
    """Convert a batch object. Its results have its own id."""
    view = read_batch({**batch, "completed_at": batch.get("finalized_at")})
    if view.ending is None or not view.completed + view.failed:
        return view
    return msgspec.structs.replace(view, output_file_id=view.id)


def _head(answer: bytes) -> BatchView:
    return _view(msgspec.structs.asdict(msgspec.json.decode(answer, type=_Head)))


def _line(result: msgspec.Raw) -> bytes:
    return bytes(msgspec.json.format(result, indent=-1)) + b"\n"


def connect(to: Connection) -> ViaOpenRouter:
    """The provider of one job."""
    return ViaOpenRouter(to.facts, to.access, model=to.model, requests_of=to.requests_of)
