"""A client for small calls on kept connections: aiohttp alone where no proxy or redirect needs httpx.

httpx's part of a call costs 3 ms of CPU; this one has its headers, errors, timeouts and redirects.
"""

from __future__ import annotations

import functools
import json as json_text
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import msgspec

from jupyter_batch.http.bodies import ACCEPTED, read_bounded, read_into
from jupyter_batch.http.connections import client_on_kept, direct_to
from jupyter_batch.http.network import own_headers, sent_on_to
from jupyter_batch.http.streams import blocks_of

if TYPE_CHECKING:
    import aiohttp
    import httpx
    from yarl import URL

    from jupyter_batch.http.direct_transport import DirectTransport


class Answer(msgspec.Struct, frozen=True):
    """A response with its whole body; the body of a download that succeeded is left out.

    sent_on_to: the origin of another server, which was redirected to, and gave this response.
    """

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    reason_phrase: str
    sent_on_to: str = ""

    @property
    def is_success(self) -> bool:
        """Whether its status is 2xx."""
        return _is_success(self.status_code)


class Form(msgspec.Struct, frozen=True):
    """A form with a small file as its body is sent."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, fields: Mapping[str, str], name: str, data: bytes, kind: str) -> Self:
        """The form of some fields, and a file after them. Names and values are words of ours."""
        mark = secrets.token_hex(16)
        heads = [
            *(f'"{field}"\r\n\r\n{value}' for field, value in fields.items()),
            f'"file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n',
        ]
        start = "\r\n".join(f"--{mark}\r\nContent-Disposition: form-data; name={h}" for h in heads)
        body = b"%b%b\r\n--%b--\r\n" % (start.encode(), data, mark.encode())
        return cls(body, {"content-type": f"multipart/form-data; boundary={mark}"})

    def of_httpx(self) -> dict[str, Any]:
        """The arguments of httpx that send it."""
        return {"content": self.body, "headers": self.headers}


class KeptClient:
    """Calls of one user at one address; see `client_on_kept`. To be used as an async context manager."""

    def __init__(
        self,
        user: object,
        base: str,
        *,
        timeout: float,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        follow_redirects: bool = False,
    ) -> None:
        self._user = user
        self._base = base
        self._timeout = timeout
        self._headers = headers
        self._params = dict(params or {})
        self._follows = follow_redirects
        self._full: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._full is not None:
            await self._full.aclose()

    @property
    def full(self) -> httpx.AsyncClient:
        """The same as a client of httpx, for any other kind of call."""
        if self._full is None:
            self._full = self._made()
        return self._full

    def _made(self, **more: Any) -> httpx.AsyncClient:
        return client_on_kept(
            self._user,
            self._base,
            timeout=self._timeout,
            headers=self._headers,
            params=self._params,
            follow_redirects=self._follows,
            **more,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        form: Form | None = None,
        params: Mapping[str, Any] | None = None,
        fresh: bool = False,
        **more: Any,
    ) -> Answer:
        """Send one call, once. Raises httpx's errors.

        fresh: on a connection of its own (DirectTransport). more: other arguments of httpx, which
        then sends it.
        """
        direct = None if more else direct_to(self._user, url)
        if direct is None:
            given = {} if form is None else form.of_httpx()
            made = self.full.request(method, url, json=json, params=params, **given, **more)
            return _of_httpx(await made)
        body, about_it = None, {}
        if form is not None:
            body, about_it = form.body, form.headers
        elif json is not None:
            body = json_text.dumps(
                json, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            ).encode()
            about_it = {"content-type": "application/json"}
        query = {**self._params, **(params or {})}
        async with self._sent(direct, method, url, query, body, about_it, fresh=fresh) as answer:
            if not _is_redirect(answer):
                return _answer(answer, await read_bounded(answer))
            async with self._redirected(direct, answer) as client:
                given = {} if form is None else form.of_httpx()
                again = client.build_request(method, url, json=json, params=params, **given)
                return _of_httpx(await client.send(again))

    async def download(self, url: str, write: Callable[[bytes], object]) -> Answer:
        """Pass the body of a GET to `write`, block by block, where it succeeds."""
        direct = direct_to(self._user, url)
        if direct is None:
            return await _downloaded(self.full, url, write)
        async with self._sent(direct, "GET", url, self._params) as answer:
            if _is_redirect(answer):
                async with self._redirected(direct, answer) as client:
                    return await _downloaded(client, url, write)
            if not _is_success(answer.status):
                return _answer(answer, await read_bounded(answer))
            await read_into(answer, write)
            return _answer(answer, b"")

    @asynccontextmanager
    async def _sent(
        self,
        direct: DirectTransport,
        method: str,
        url: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        about_it: Mapping[str, str] | None = None,
        *,
        fresh: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to one call, whose connection is released at the end."""
        at = _url(url, tuple(query.items()))
        ours = own_headers({name.lower(): text for name, text in self._headers.items()}, str(at))
        answer = await direct.send(
            method,
            at,
            {**_defaults(), **(about_it or {}), **ours},
            body,
            connect=self._timeout,
            read=self._timeout,
            fresh=fresh,
        )
        try:
            with direct.httpx_errors():
                yield answer
        finally:
            answer.close()

    def _redirected(
        self, direct: DirectTransport, answer: aiohttp.ClientResponse
    ) -> httpx.AsyncClient:
        """A client of httpx that has this redirect as its first response, and follows it by its rules."""
        return self._made(first=direct.response_of(answer))


async def _downloaded(
    client: httpx.AsyncClient, url: str, write: Callable[[bytes], object]
) -> Answer:
    async with client.stream("GET", url) as answer:
        if not answer.is_success:
            await answer.aread()
            return _of_httpx(answer)
        async with blocks_of(answer) as blocks:
            async for block in blocks:
                write(block)
        return Answer(answer.status_code, b"", answer.headers, answer.reason_phrase)


@functools.lru_cache(maxsize=4096)
def _url(url: str, query: tuple[tuple[str, Any], ...]) -> URL:
    """An address in the form in which httpx sends it."""
    from yarl import URL

    if not query and _AS_IT_IS.fullmatch(url) and "/." not in url:
        return URL(url, encoded=True)
    import httpx

    return URL(str(httpx.URL(url, params=query) if query else httpx.URL(url)), encoded=True)


_AS_IT_IS = re.compile(
    r"https?://([a-z][a-z0-9.-]*|127\.0\.0\.1)(:(?!80/|443/)[1-9][0-9]*)?/[A-Za-z0-9._~/-]*"
)
"""Addresses in which httpx changes nothing."""


@functools.cache
def _defaults() -> Mapping[str, str]:
    """The headers that httpx adds to each request."""
    import httpx

    return {
        "accept": "*/*",
        "accept-encoding": ACCEPTED,
        "connection": "keep-alive",
        "user-agent": f"python-httpx/{httpx.__version__}",
    }


def _answer(answer: aiohttp.ClientResponse, content: bytes) -> Answer:
    headers: dict[str, str] = {}
    for key, value in answer.headers.items():
        name = key.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(answer.status, content, headers, answer.reason or "")


def _of_httpx(answer: httpx.Response) -> Answer:
    return Answer(
        answer.status_code,
        answer.content,
        answer.headers,
        answer.reason_phrase,
        sent_on_to(answer.request),
    )


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - HTTP's 2xx


def _is_redirect(answer: aiohttp.ClientResponse) -> bool:
    return answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers
