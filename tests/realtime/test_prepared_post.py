"""Prepared POSTs and a server that writes bytes: any valid response is read; connections are reused by the rules."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re

import aiohttp
import pytest

from jupyter_batch.core.limits import BODY_BYTES
from jupyter_batch.http.bodies import TooLargeError
from jupyter_batch.realtime.prepared_post import PreparedPost

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
PACKED = gzip.compress(b"{}")
BOMB = gzip.compress(bytes(BODY_BYTES + 1), 1)


def packed(body):
    """A response in gzip, as one chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


class Server:
    """Writes the same bytes for each request. requests: each as received; connections: their count."""

    def __init__(self, response, *, reads=True, closes=False):
        self.response, self.reads, self.closes = response, reads, closes
        self.requests, self.connections, self.base = [], 0, ""
        self.serving = []

    async def serve(self, reader, writer):
        self.connections += 1
        self.serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
                body = await reader.readexactly(length) if self.reads else b""
                self.requests.append(head + body)
                writer.write(self.response)
                if self.closes:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def post(self, *bodies, headers=None, proxied=False):
        """The replies to some bodies, one after another."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        url = "http://far.invalid/v1/x?y=%2F" if proxied else f"http://{self.base}/v1/x?y=%2F"
        proxy = f"http://me:password@{self.base}" if proxied else None
        try:
            async with server, aiohttp.TCPConnector(limit=0) as connector:
                post = PreparedPost(connector, url, headers or {"x-a": "é"}, proxy)
                return [await post(body) for body in bodies]
        finally:
            await asyncio.gather(*self.serving)


@pytest.mark.parametrize(
    ("response", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK, 1),
        (packed(PACKED), 1),
        (OK.replace(b"content-length", b"connection: close\r\ncontent-length"), 2),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", 2),
        (OK.replace(b"\r\n", b"\r\nx-policy: %b\r\n" % (b"a" * 50_000), 1), 1),
    ],
    ids=["length", "early hints", "gzip in chunks", "closing", "to the end", "long header"],
)
def test_any_framing_is_read(response, connections):
    """The body is complete in every form, and a connection is reused only where HTTP allows it."""
    server = Server(response, closes=connections == 2)
    first, second = asyncio.run(server.post(b"[1]", b"[23]"))
    assert (first.status, first.body, second.body) == (200, b"{}", b"{}")
    assert server.connections == connections


def test_the_request_is_what_aiohttp_sends():
    """Its line, its host, the given headers, and the length of its own body: short ones and long ones."""
    server = Server(OK)
    long = b"x" * 200_000
    asyncio.run(server.post(b"[1]", long))
    for request, body in zip(server.requests, (b"[1]", long), strict=True):
        head, _, sent = request.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        assert (line, sent) == ("POST /v1/x?y=%2F HTTP/1.1", body)
        given = {name.lower(): text for name, text in (one.split(": ") for one in fields)}
        assert (
            given.items()
            >= {
                "host": server.base,
                "x-a": "é",
                "accept-encoding": "gzip, deflate",
                "content-length": str(len(body)),
            }.items()
        )
        assert len(given) == len(fields)


def test_a_proxy_receives_the_whole_address_and_its_password():
    """Without TLS a proxy is asked for the full URL, with its own credentials from the first request."""
    server = Server(OK)
    asyncio.run(server.post(b"1", b"2", proxied=True))
    for request in server.requests:
        assert request.startswith(b"POST http://far.invalid/v1/x?y=%2F HTTP/1.1\r\n")
        assert b"\r\nproxy-authorization: basic " in request.lower()


def test_a_connection_with_an_unread_request_is_closed():
    """An answer before the request was read (413) leaves bytes behind: the next request takes a new connection."""
    server = Server(OK.replace(b"200 OK", b"413 Too Large"), reads=False, closes=True)
    replies = asyncio.run(server.post(bytes(20_000_000), b"1"))
    assert [reply.status for reply in replies] == [413, 413]
    assert server.connections == 2


@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        (b"SSH-2.0-server\r\n\r\n", ValueError, "not a valid HTTP response"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            aiohttp.ClientPayloadError,
            "not completed",
        ),
        (b"", aiohttp.ServerDisconnectedError, "disconnected"),
        (packed(BOMB), TooLargeError, "was not read to its end"),
    ],
    ids=["no HTTP", "cut", "nothing", "too large"],
)
def test_what_is_no_response_is_an_error(response, error, words):
    """It is never an answer, and the connection is closed."""
    server = Server(response, closes=True)
    with pytest.raises(error, match=words):
        asyncio.run(server.post(b"1"))
    assert len(server.requests) == 1


def test_a_header_can_not_hold_a_second_request():
    """A line break in a header (of a key from a file, say) is refused before anything is sent."""
    server = Server(OK)
    with pytest.raises(ValueError, match="line break"):
        asyncio.run(server.post(b"1", headers={"authorization": "Bearer k\r\nx: y"}))
    assert server.requests == []
