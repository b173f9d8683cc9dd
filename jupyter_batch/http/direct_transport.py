"""A transport of httpx over aiohttp, for servers that are reached without a proxy.

httpx's own transport costs 2 to 3 ms a call, more with each connection that is kept open; aiohttp costs 0.4 ms.
kept_client.py calls it without httpx. Importing this module imports both.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
from yarl import URL

_HEADER_BYTES = 100 * 1024
"""The longest status line or header that is read, as in httpx's transport."""
_OF_THE_BODY = frozenset({b"transfer-encoding"})
"""Headers that aiohttp sets itself."""
_OURS = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
"""Headers that aiohttp would add: the request has those that it needs."""


class DirectTransport(httpx.AsyncBaseTransport):
    """Connections of one event loop, kept for `kept` seconds without use. Times out as the request's client.

    A call that creates something has a connection of its own: the server may close a kept one just as
    the call is sent, and whether it has received the call is unknown then.
    """

    def __init__(self, context: ssl.SSLContext, kept: float) -> None:
        self._session = _session(ssl=context, keepalive_timeout=kept)
        self._fresh = _session(ssl=context, force_close=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.AsyncBaseTransport."""
        headers = [
            (name.decode("ascii"), value.decode(request.headers.encoding))
            for name, value in request.headers.raw
            if name.lower() not in _OF_THE_BODY
        ]
        given = request.extensions.get("timeout", {})
        answer = await self.send(
            request.method,
            URL(str(request.url), encoded=True),
            headers,
            _body(request),
            connect=given.get("connect"),
            read=given.get("read"),
            fresh=request.method == "POST",
        )
        return self.response_of(answer)

    async def send(
        self,
        method: str,
        url: URL,
        headers: list[tuple[str, str]] | dict[str, str],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        connect: float | None,
        read: float | None,
        fresh: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send one request; its body is read by the caller, who closes it. Raises httpx's errors.

        fresh: on a connection of its own.
        """
        with httpx_errors():
            return await (self._fresh if fresh else self._session).request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read),
            )

    @staticmethod
    def httpx_errors() -> contextlib.AbstractContextManager[None]:
        """Raise errors in the block as those of httpx with the same meaning."""
        return httpx_errors()

    @staticmethod
    def response_of(answer: aiohttp.ClientResponse) -> httpx.Response:
        """A response with its body unread, as httpx has it."""
        return httpx.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=_Body(answer),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (answer.reason or "").encode("ascii", "replace"),
            },
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._fresh.close()

    def __del__(self) -> None:
        """Close what a loop that ended early has left, as aiohttp would report it on stderr."""
        for closing in (self._session.close(), self._fresh.close()):
            try:  # noqa: SIM105 - this may be the end of the process, when modules are gone
                closing.send(None)
            except Exception:  # noqa: S110 - StopIteration: it had nothing to wait for
                pass
            closing.close()


def _session(**connections: Any) -> aiohttp.ClientSession:
    """A session without limits of its own. connections: arguments of its connector."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, **connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # http/bodies.py bounds it
        skip_auto_headers=_OURS,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
    )
    session._retry_connection = False  # noqa: SLF001 - one call, one request; there is no option
    return session


class _Body(httpx.AsyncByteStream):
    """The body of a response as it arrives; closing it early closes the connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with httpx_errors():
            async for block in self._answer.content.iter_any():
                yield block

    async def aclose(self) -> None:
        self._answer.close()


def _body(request: httpx.Request) -> bytes | AsyncIterator[bytes] | None:
    if isinstance(request.stream, httpx.ByteStream):
        return b"".join(request.stream) or None
    assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous client
    return aiter(request.stream)


@contextlib.contextmanager
def httpx_errors() -> Iterator[None]:
    """Raise aiohttp's errors as those of httpx with the same meaning."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as e:
        raise httpx.ConnectTimeout(str(e)) from e
    except aiohttp.ServerTimeoutError as e:
        raise httpx.ReadTimeout(str(e)) from e
    except aiohttp.ClientConnectorError as e:  # no connection, or no TLS on it
        raise httpx.ConnectError(str(e)) from e
    except aiohttp.InvalidURL as e:
        raise httpx.InvalidURL(str(e)) from e
    except aiohttp.ClientOSError as e:
        raise httpx.WriteError(str(e)) from e
    except aiohttp.ClientError as e:  # the server has closed the connection, or does not speak HTTP
        raise httpx.RemoteProtocolError(str(e)) from e
