"""Anthropic's Message Batches over plain httpx, since litellm can't create them.

Anthropic takes no metadata, so a batch can't be searched by a tag; `UntaggedList.find`
documents how a batch is recognized, and when that is undecidable. The API takes all requests in one JSON
body, and returns all results, answers and errors alike, in one file under the batch's own id.
"""

from __future__ import annotations

import asyncio
import contextlib
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
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
    ProviderTimeoutError,
)
from jupyter_batch.core.limits import LINE_HEAD_BYTES
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.http.connections import let_go
from jupyter_batch.http.kept_client import Answer, KeptClient
from jupyter_batch.http.network import client_for, through
from jupyter_batch.http.streams import blocks_of, custom_id_in
from jupyter_batch.providers.anthropic.record import root_of
from jupyter_batch.providers.anthropic.refusal import TEXT, read_rows
from jupyter_batch.providers.cloud_file import Body
from jupyter_batch.providers.failures import by_refusal, list_in, normalise, object_in
from jupyter_batch.providers.protocol import Access, Facts, UntaggedList
from jupyter_batch.providers.record import Connection
from jupyter_batch.wire.anthropic.results import read_batch

if TYPE_CHECKING:
    import httpx

VERSION = "2023-06-01"
"""The `anthropic-version` that litellm's bodies are written for."""
CALL_SECONDS = 60.0
TRANSFER_SECONDS = 1800.0
"""As in providers/openai/batches.py: 256 MB at a bit more than 1 Mbit/s."""
LIST_PAGES = 50
PAGE = 100


class ViaAnthropic(UntaggedList):
    """Message Batches at one address with one key; all calls on one event loop, with one client."""

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
        self.facts = facts
        self._access = access
        self.requests_of = requests_of
        self._base = root_of(access.api_base)
        self._headers = {
            **(headers or {}),
            "x-api-key": access.api_key,
            "anthropic-version": VERSION,
        }
        self._http: httpx.AsyncClient | None = None
        self._first_ids: dict[str, str] = {}  # of ended batches, which no longer change

    def __repr__(self) -> str:
        return f"ViaAnthropic({self._access!r})"

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
                return _view(
                    await self._json(
                        "POST",
                        "",
                        seconds=TRANSFER_SECONDS,
                        content=body.chunks(),
                        headers=body.headers,
                    )
                )
            except ProviderError:
                if body.failure is not None:
                    raise body.failure from None  # from our own disk or ledger
                raise

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        del write
        raise NotFoundError(f"Anthropic does not give back what was asked in {batch.id}")

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll."""
        return _view(await self._json("GET", f"/{quote(batch_id, safe='')}"))

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream the results of the batch `file_id`. See Provider.fetch."""
        try:
            async with asyncio.timeout(TRANSFER_SECONDS), self._results(file_id) as chunks:
                while chunk := await self._next(chunks):
                    write(chunk)
        except TimeoutError:
            raise ProviderTimeoutError(
                f"the results did not arrive from {self._base} in time"
            ) from None

    async def cancel(self, batch_id: str) -> BatchView:
        """Request cancellation; if it is refused because the batch has ended, return its state."""
        try:
            return _view(await self._json("POST", f"/{quote(batch_id, safe='')}/cancel"))
        except BadRequestError:
            return await self.poll(batch_id)

    async def aclose(self) -> None:
        """Close the client."""
        client, self._http = self._http, None
        await let_go(self)
        if client is not None:
            with contextlib.suppress(Exception):  # at process exit a failure can't be handled
                await client.aclose()

    # --- the wire -----------------------------------------------------------------------------

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            # No idle connections: minutes lie between two polls, and with a connection that the
            # server has closed by then it would be unknown whether a create arrived.
            self._http = client_for(
                self._base,
                headers=self._headers,
                timeout=CALL_SECONDS,
                follow_redirects=False,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        return self._http

    async def _json(
        self, verb: str, path: str, *, seconds: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """Send one call and return the JSON object of its response."""
        seconds = seconds or CALL_SECONDS
        with self._translated_errors():
            async with asyncio.timeout(seconds):
                url = f"{self._base}/v1/messages/batches{path}"
                if verb == "GET":  # it may be repeated, and so be sent on an idle connection
                    return self._object_in(await self._asked(url, more.get("params")), path)
                client = self._client()
                request = client.build_request(verb, url, **more)
                request.extensions["timeout"] = {**request.extensions["timeout"], "read": seconds}
                response = await client.send(request)
                return self._object_in(response, path or verb)

    async def _asked(self, url: str, params: Mapping[str, str] | None) -> Answer:
        client = KeptClient(self, self._base, timeout=CALL_SECONDS, headers=self._headers)
        async with client:
            return await client.request("GET", url, params=params)

    def _object_in(self, response: Answer | httpx.Response, path: str) -> dict[str, Any]:
        """The object in a response; without a path, the list."""
        if response.status_code != 200:  # noqa: PLR2004 - HTTP's OK
            raise self._refusal(response, response.content)
        if path:
            return object_in(response.content, self._base)
        return list_in(response.content, self._base, "data")

    @contextlib.asynccontextmanager
    async def _results(self, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream the results of a batch."""
        path = f"/v1/messages/batches/{quote(batch_id, safe='')}/results"
        with self._translated_errors():
            client = self._client()
            response = await client.send(
                client.build_request("GET", self._base + path), stream=True
            )
        async with blocks_of(response) as chunks:
            if response.status_code != 200:  # noqa: PLR2004
                with self._translated_errors():
                    body = await _start(chunks, TEXT)
                raise self._refusal(response, body)
            yield chunks

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        with self._translated_errors():
            async for chunk in chunks:
                if chunk:
                    return chunk
        return b""

    async def first_id(self, view: BatchView) -> str | None:
        """The first custom_id in an ended batch's results; "" if gone, None if not ready."""
        if view.output_file_id is None or view.id in self._first_ids:
            return self._first_ids.get(view.id)
        line = b""
        with self._translated_errors():
            try:
                async with (
                    asyncio.timeout(CALL_SECONDS),
                    self._results(view.output_file_id) as chunks,
                ):
                    while b"\n" not in line and len(line) <= LINE_HEAD_BYTES:
                        chunk = await self._next(chunks)
                        if not chunk:
                            break
                        line += chunk
            except (
                NotFoundError
            ):  # removed, or past the retention period: no results can be fetched
                return ""
        if b"\n" not in line and (head := custom_id_in(line)):  # a line truncated here
            return self._first_ids.setdefault(view.id, head)
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(line.removeprefix(BOM_UTF8).partition(b"\n")[0])
            if isinstance(found, dict) and "custom_id" in found:
                return self._first_ids.setdefault(view.id, str(found["custom_id"]))
        return None

    async def listed(self, since: float) -> list[BatchView]:
        """List the workspace's batches, newest first, back to `since`."""
        found: list[BatchView] = []
        after: dict[str, str] = {}
        for _ in range(LIST_PAGES):
            page = await self._json("GET", "", params={"limit": str(PAGE), **after})
            views = [_view(obj) for obj in page.get("data") or [] if isinstance(obj, dict)]
            found += [view for view in views if view.created_at is None or view.created_at >= since]
            older = any(view.created_at is not None and view.created_at < since for view in views)
            if (
                older
                or not views
                or not page.get("has_more")
                or views[-1].id == after.get("after_id")
            ):
                return found
            after = {"after_id": views[-1].id}
        raise ProviderDownError(
            f"the list of batches at {self._base} did not end after {LIST_PAGES} pages"
        )

    def _refusal(self, response: Answer | httpx.Response, body: bytes) -> ProviderError:
        """Return the ProviderError for a response other than 200."""
        remember(self._access.api_key)
        status, place = response.status_code, self._base
        refusal = read_refusal(body)
        message, request, lines = read_rows(body, refusal)
        words = f"{message} ({request})" if request else message
        error = by_refusal(
            status, refusal, f"{place}{through(place, status)}", response.headers, words=words
        )
        if status in (400, 422):  # HTTP's, for an invalid body
            error.bad_lines = tuple((line, masked(why)) for line, why in lines)
        return error

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Convert exceptions of httpx to ProviderError."""
        try:
            yield
        except Exception as e:
            raise normalise(e, self._base, self._access.api_key) from None


def _view(obj: dict[str, Any]) -> BatchView:
    view = read_batch(obj)
    if not view.id:
        raise ProviderDownError("Anthropic's answer holds no batch")
    return view


async def _start(chunks: AsyncIterator[bytes], size: int) -> bytes:
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) >= size:
            break
    return body


def connect(to: Connection) -> ViaAnthropic:
    """The provider of one job."""
    return ViaAnthropic(to.facts, to.access, requests_of=to.requests_of, headers=to.headers)
