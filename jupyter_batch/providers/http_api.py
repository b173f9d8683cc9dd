"""Base of providers called directly over httpx: JSON, uploads and downloads, without retries.

Used where litellm's calls are unsuitable: as measured with litellm 1.106, its HTTP handler
repeats a POST if the connection breaks before the response (with aiohttp disabled: a create is
paid for twice), leaks a socket at a refused or interrupted call and reports it on stderr, drops
`retry-after`, and holds uploads and downloads in memory.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING, Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import AuthenticationError, ProviderDownError, ProviderError
from jupyter_batch.core.secrets import remember
from jupyter_batch.http.connections import let_go
from jupyter_batch.http.kept_client import Answer, Form, KeptClient
from jupyter_batch.http.network import sent_on_to, with_key
from jupyter_batch.http.streams import blocks_of
from jupyter_batch.providers.failures import list_in, normalise, object_in, refused
from jupyter_batch.providers.protocol import Access, Facts

if TYPE_CHECKING:
    import httpx

CALL_SECONDS = 60.0
"""Timeout of a small call."""
TRANSFER_SECONDS = 1800.0
"""Timeout of an upload or a download: 200 MB at 1 Mbit/s."""
LIST_PAGES = 50
"""The most pages of a provider's list that are searched."""
SMALL = 1 << 20
"""Bytes of a request file that is uploaded from memory."""
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
QUIET_SECONDS = 300.0
"""The longest silence during a transfer: a server may process 200 MB for a while."""


class Direct:
    """One provider at one address. The key is sent there only, by default as a bearer token.

    follows: whether a download may be redirected to another host, without the key. purpose, files:
    of an upload, and its path. model: the bare name of the model of all requests, where it is the
    batch's.
    """

    follows = False
    purpose = "batch"
    files = "/files"

    def __init__(self, facts: Facts, access: Access, *, model: str = "") -> None:
        self.facts = facts
        self._model = model
        self._access = access
        self._root = access.api_base.rstrip("/").removesuffix("/v1") + "/v1"
        self._params: Mapping[str, str] = {}

    async def aclose(self) -> None:
        """See Provider.aclose."""
        await let_go(self)

    def _headers(self) -> dict[str, str]:
        """The headers of each call."""
        return {"authorization": f"Bearer {self._access.api_key}"}

    async def _upload(self, name: str, file: IO[bytes]) -> str:
        """Upload a request file and return its id."""
        fields = {"purpose": self.purpose}  # before the file
        more: dict[str, Any] = {
            "data": fields,
            "files": {"file": (name, file, "application/jsonl")},
        }
        if os.fstat(file.fileno()).st_size <= SMALL and _PLAIN.fullmatch(name):
            more = {"form": Form.of(fields, name, file.read(), "application/jsonl")}
        async with self._open(TRANSFER_SECONDS) as client:
            there = await self._ask(client, "POST", self.files, **more)
        return str(object_in(there, self._access.api_base)["id"])

    @asynccontextmanager
    async def _open(self, seconds: float = CALL_SECONDS) -> AsyncIterator[KeptClient]:
        """A client for one operation of at most `seconds`; failures are raised as ProviderError."""
        import httpx

        try:
            with with_key(self._access.api_key):
                async with (
                    asyncio.timeout(seconds),
                    KeptClient(
                        self,
                        self._access.api_base,
                        timeout=min(seconds, QUIET_SECONDS),
                        headers=self._headers(),
                        params=self._params,
                        follow_redirects=self.follows,
                    ) as client,
                ):
                    yield client
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            msgspec.DecodeError,
            ConnectionError,  # a redirect that was not followed, or no package for a proxy
            TimeoutError,
        ) as e:
            place = _redirected(e) or self._access.api_base
            raise normalise(e, place, self._access.api_key) from None

    async def _ask(self, client: KeptClient, method: str, path: str, **more: Any) -> bytes:
        """Send one call, without retries; more: httpx's arguments. Raises ProviderError."""
        answer = await client.request(method, f"{self._root}{path}", **more)
        if not answer.is_success:
            raise self._refusal(answer)
        return answer.content

    async def _object(
        self, client: KeptClient, method: str, path: str, *, holds: str = "id", **more: Any
    ) -> dict[str, Any]:
        """Return the object in the response to one call. See object_in."""
        answer = await self._ask(client, method, path, **more)
        return object_in(answer, self._access.api_base, holds=holds)

    async def _list(
        self, client: KeptClient, path: str, name: str, *, bare: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Return a page of a list. See list_in."""
        answer = await self._ask(client, "GET", path, **more)
        return list_in(answer, self._access.api_base, name, bare=bare)

    async def _pages(
        self,
        client: KeptClient,
        path: str,
        name: str,
        *,
        params: Mapping[str, Any],
        following: tuple[str, str] = ("nextPageToken", "pageToken"),
        most: int = LIST_PAGES,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of a list, at most `most`.

        following: the token's names, in a page and as the parameter of the next one.
        """
        token = None
        for _ in range(most):
            more: dict[str, Any] = {following[1]: token} if token else {}
            page = await self._list(client, path, name, bare=True, params={**params, **more})
            yield page
            if not page.get(following[0]) or page[following[0]] == token:
                return
            token = page[following[0]]
        raise self._endless(most)

    def _endless(self, most: int = LIST_PAGES) -> ProviderDownError:
        """The failure of a list that has more than `most` pages."""
        place = self._access.api_base
        return ProviderDownError(f"the list of batches at {place} did not end after {most} pages")

    async def _stream(self, path: str, write: Callable[[bytes], object]) -> None:
        """Stream a download, block by block; raises if it is truncated."""
        async with self._open(TRANSFER_SECONDS) as client:
            answer = await client.download(f"{self._root}{path}", write)
            if not answer.is_success:
                raise self._refusal(answer)

    @asynccontextmanager
    async def _blocks(
        self, client: KeptClient, url: str, *, without: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blocks of a download that need not be read to its end. without: a header, not sent."""
        request = client.full.build_request("GET", url)
        if without:
            del request.headers[without]
        answer = await client.full.send(request, stream=True)
        async with blocks_of(answer) as blocks:
            if not answer.is_success:
                await answer.aread()
                raise self._refusal(answer)
            yield blocks

    def _refusal(self, answer: Answer | httpx.Response) -> ProviderError:
        remember(self._access.api_key)
        elsewhere = answer.sent_on_to if isinstance(answer, Answer) else ""
        error = refused(
            answer.status_code,
            answer.content,
            elsewhere or self._access.api_base,
            headers=answer.headers,
            reason=answer.reason_phrase,
        )
        if elsewhere and isinstance(error, AuthenticationError):  # it was asked without the key
            return ProviderDownError(str(error), status=error.status)
        return error


def _redirected(error: BaseException) -> str:
    """The origin of the server that a failed call was redirected to; "" without any."""
    try:
        return sent_on_to(error.request)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # httpx raises where it knows none
        return ""


def newest(views: Iterable[BatchView], since: float) -> list[BatchView]:
    """Return the batches created at or after `since`, newest first."""
    recent = [view for view in views if view.created_at is None or view.created_at >= since]
    return sorted(recent, key=lambda view: -(view.created_at or 0.0))
