"""POSTs that differ only in their bodies: aiohttp's connections and its parser, without its session.

For each request a session merges headers and makes a task for the body, timers and a response
object: 60 % of a call's CPU. Here the head is made once, and a request is one write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from jupyter_batch.http.bodies import ACCEPTED, read_bounded
from jupyter_batch.http.network import http_only

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER_BYTES = 100 * 1024
"""The longest status line or header that is read, as in httpx's transport."""
_ONE_WRITE = 64 * 1024
"""Bytes of a body that are copied behind the head; a longer one is a write of its own."""
_UNTIMED = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""No timeout of aiohttp: the caller has one for the whole call."""
_INFORMATION = range(100, 200)
"""Statuses of a response before the response."""
_SWITCHED = 101


class Reply:
    """A response and its whole body."""

    __slots__ = ("body", "content", "headers", "reason", "status")

    def __init__(self, message: Any, content: aiohttp.StreamReader) -> None:
        self.status: int = message.code
        self.reason: str = message.reason or ""
        self.headers: Mapping[str, str] = message.headers
        self.content = content
        self.body = b""

    @property
    def content_length(self) -> int | None:
        """The length of the body as sent; None where the server does not state it."""
        stated = self.headers.get("Content-Length")
        return None if stated is None else int(stated)

    async def read(self) -> bytes:
        """The body as sent, without a limit. See `read_bounded`."""
        if self.content.is_eof():  # the rest is here, as with most answers
            return self.content.read_nowait()
        return await self.content.read()


class PreparedPost:
    """POSTs to one address with the same headers, on the connections of a connector.

    Redirects are not followed, and nothing is sent twice. Raises aiohttp's errors, TooLargeError,
    and ConnectionError for a SOCKS proxy.
    """

    def __init__(
        self,
        connector: aiohttp.TCPConnector,
        url: str,
        headers: Mapping[str, str],
        proxy: str | None,
    ) -> None:
        self._connector = connector
        self._url = URL(url, encoded=True)
        self._headers = {**headers, "accept-encoding": ACCEPTED}
        self._proxy = proxy
        self._request: aiohttp.ClientRequest | None = None
        self._head = b""

    async def __call__(self, body: bytes) -> Reply:
        """Send one request and read its response to the end."""
        if self._request is None:
            self._request = self._made()
        connection = await self._connector.connect(self._request, traces=[], timeout=_UNTIMED)
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,  # http/bodies.py bounds it
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
            )
            # Made after a connection: for a proxy with a password aiohttp adds a header then.
            head = b"%b%d\r\n\r\n" % (self._head or self._made_head(self._request), len(body))
            if len(body) <= _ONE_WRITE:
                transport.write(head + body)
            else:
                transport.write(head)
                transport.write(body)
            message, content = await protocol.read()
            while message.code in _INFORMATION and message.code != _SWITCHED:
                message, content = await protocol.read()
            reply = Reply(message, content)
            reply.body = await read_bounded(reply)
        except HttpProcessingError as e:
            connection.close()
            raise ValueError(f"it is not a valid HTTP response: {e.message}") from None
        except BaseException:
            connection.close()
            raise
        if transport.get_write_buffer_size():  # answered before it has read the request
            connection.close()
        else:
            connection.release()
        return reply

    def _made(self) -> aiohttp.ClientRequest:
        """The request that connections are chosen by, and whose headers are sent with each body."""
        proxy = http_only(self._proxy)
        return aiohttp.ClientRequest(
            "POST",
            self._url,
            headers=self._headers,
            loop=asyncio.get_running_loop(),
            proxy=None if proxy is None else URL(proxy),
        )

    def _made_head(self, request: aiohttp.ClientRequest) -> bytes:
        """The head up to the length of the body."""
        is_whole = request.proxy is not None and not request.is_ssl()
        path = str(request.url) if is_whole else request.url.raw_path_qs
        fields = [item for item in request.headers.items() if item[0].lower() != "content-length"]
        if any(mark in text for item in fields for text in item for mark in "\r\n\0"):
            raise ValueError("a header holds a line break")
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in fields)]
        self._head = "\r\n".join([*lines, "Content-Length: "]).encode()
        return self._head
