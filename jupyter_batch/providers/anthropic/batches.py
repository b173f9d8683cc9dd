"""Anthropic's Message Batches over plain httpx, since litellm can't create them.

Anthropic takes no metadata, so a batch can't be searched by a tag; `UntaggedList.find`
documents how a batch is recognized, and when that is undecidable. The API takes all requests in one JSON
body, and returns all results, answers and errors alike, in one file under the batch's own id.
"""

from __future__ import annotations

import contextlib
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
)
from jupyter_batch.core.limits import LINE_HEAD_BYTES
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.http.kept_client import Answer
from jupyter_batch.http.network import client_for, through
from jupyter_batch.http.streams import custom_id_in
from jupyter_batch.providers.anthropic.record import root_of
from jupyter_batch.providers.anthropic.refusal import read_rows
from jupyter_batch.providers.cloud_file import Body
from jupyter_batch.providers.failures import by_refusal, object_in
from jupyter_batch.providers.http_api import CALL_SECONDS, LIST_PAGES, TRANSFER_SECONDS, Direct
from jupyter_batch.providers.protocol import Access, Facts, UntaggedList
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.anthropic.results import read_batch

if TYPE_CHECKING:
    import httpx

VERSION = "2023-06-01"
"""The `anthropic-version` that litellm's bodies are written for."""
PAGE = 100
_BATCHES = "/messages/batches"


class ViaAnthropic(UntaggedList, Direct):
    """Message Batches at one address with one key; all calls on one event loop."""

    title = "Anthropic"

    def __init__(
        self,
        facts: Facts,
        access: Access,
        *,
        requests_of: Callable[[int], Path],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Configure the provider for one job.

        requests_of: the path of a shard's request file, by its number; `find` compares its ids.
        headers: headers that the Encoder requires for the batch (betas); stored with the job.
        """
        super().__init__(facts, msgspec.structs.replace(access, api_base=root_of(access.api_base)))
        self.requests_of = requests_of
        self._betas = dict(headers or {})
        self._first_ids: dict[str, str] = {}  # of ended batches, which no longer change

    def __repr__(self) -> str:
        return f"ViaAnthropic({self._access!r})"

    def _headers(self) -> dict[str, str]:
        key = {"x-api-key": self._access.api_key, "anthropic-version": VERSION}
        return {**self._betas, **key}

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
        del tag, endpoint, window
        with requests.open("rb") as file:
            body = Body(file, None if uploaded else on_upload)
            try:
                async with self._open(TRANSFER_SECONDS), self._new_connection() as client:
                    answer = await client.post(
                        f"{self._root}{_BATCHES}", content=body.chunks(), headers=body.headers
                    )
            except ProviderError:
                if body.failure is not None:
                    raise body.failure from None  # from our own disk or ledger
                raise
        if not answer.is_success:
            raise self._refusal(answer)
        return _view(object_in(answer.content, self._access.api_base))

    def _new_connection(self) -> httpx.AsyncClient:
        """A client for a create: on an idle connection that the server has closed, its fate is unknown."""
        import httpx

        return client_for(
            self._access.api_base,
            headers=self._headers(),
            timeout=httpx.Timeout(CALL_SECONDS, read=TRANSFER_SECONDS),
            follow_redirects=False,
        )

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        del write
        raise NotFoundError(f"Anthropic does not give back what was asked in {batch.id}")

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        async with self._open(CALL_SECONDS) as client:
            return _view(await self._object(client, "GET", _path(batch_id)))

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream the results of the batch `file_id`. See Provider.fetch."""
        await self._stream(f"{_path(file_id)}/results", write)

    async def cancel(self, batch_id: str) -> BatchView:
        """Request cancellation; if it is refused because the batch has ended, return its state."""
        try:
            async with self._open(CALL_SECONDS) as client:
                return _view(await self._object(client, "POST", f"{_path(batch_id)}/cancel"))
        except BadRequestError:
            return await self.poll(batch_id)

    # --- the wire -----------------------------------------------------------------------------

    async def first_id(self, view: BatchView) -> str | None:
        """The first custom_id in an ended batch's results; "" if gone, None if not ready."""
        if view.output_file_id is None or view.id in self._first_ids:
            return self._first_ids.get(view.id)
        try:
            line = await self._first_line(f"{_path(view.output_file_id)}/results")
        except NotFoundError:  # removed, or past the retention period: no results can be fetched
            return ""
        if b"\n" not in line and (head := custom_id_in(line)):  # a line truncated here
            return self._first_ids.setdefault(view.id, head)
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(line.removeprefix(BOM_UTF8).partition(b"\n")[0])
            if isinstance(found, dict) and "custom_id" in found:
                return self._first_ids.setdefault(view.id, str(found["custom_id"]))
        return None

    async def _first_line(self, path: str) -> bytes:
        """The beginning of a download, at least up to the end of its first line, or to LINE_HEAD_BYTES."""
        line = b""
        async with (
            self._open(CALL_SECONDS) as client,
            self._blocks(client, f"{self._root}{path}") as blocks,
        ):
            async for block in blocks:
                line += block
                if b"\n" in line or len(line) > LINE_HEAD_BYTES:
                    break
        return line

    async def listed(self, since: float) -> list[BatchView]:
        """List the workspace's batches, newest first, back to `since`."""
        found: list[BatchView] = []
        params: dict[str, Any] = {"limit": PAGE}
        async with self._open(TRANSFER_SECONDS) as client:
            for _ in range(LIST_PAGES):
                page = await self._list(client, _BATCHES, "data", params=params)
                views = [_view(obj) for obj in page.get("data") or [] if isinstance(obj, dict)]
                found += [v for v in views if v.created_at is None or v.created_at >= since]
                older = any(v.created_at is not None and v.created_at < since for v in views)
                over = older or not views or not page.get("has_more")
                if over or views[-1].id == params.get("after_id"):
                    return found
                params["after_id"] = views[-1].id
        raise self._endless()

    def _refusal(self, answer: Answer | httpx.Response) -> ProviderError:
        remember(self._access.api_key)
        status, place = answer.status_code, self._access.api_base
        refusal = read_refusal(answer.content)
        message, request, lines = read_rows(answer.content, refusal)
        words = f"{message} ({request})" if request else message
        error = by_refusal(
            status, refusal, f"{place}{through(place, status)}", answer.headers, words=words
        )
        if status in (400, 422):  # HTTP's, for an invalid body
            error.bad_lines = tuple((line, masked(why)) for line, why in lines)
        return error


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{quote(batch_id, safe='')}"


def _view(obj: dict[str, Any]) -> BatchView:
    view = read_batch(obj)
    if not view.id:
        raise ProviderDownError("Anthropic's answer holds no batch")
    return view


def connect(to: Connection) -> ViaAnthropic:
    """The provider of one job."""
    return ViaAnthropic(to.facts, to.access, requests_of=to.requests_of, headers=to.headers)
