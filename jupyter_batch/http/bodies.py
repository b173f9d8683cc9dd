"""Bounded decompression of HTTP bodies: a hook for httpx clients, and a reader for aiohttp.

HTTP libraries decompress a block in one step and join blocks without a limit: 2 MB of gzip become
2 GiB. Here each step is bounded; unrequested and nested encodings are refused.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from jupyter_batch.core.limits import BODY_BYTES, ERROR_BYTES, FILE_BYTES, MIB, PIECE_BYTES

ACCEPTED = "gzip, deflate"
"""The encodings that are requested: those whose output zlib can bound."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_downloading: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "jupyter_batch_downloading", default=False
)

_seen: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar(
    "jupyter_batch_seen", default=None
)


class TooLargeError(ConnectionError):
    """A response above the limits of core/limits.py, or in an encoding that can't be bounded."""


@contextlib.contextmanager
def downloading() -> Iterator[None]:
    """Allow file-sized responses for calls inside, which stream result files to disk."""
    mark = _downloading.set(True)
    try:
        yield
    finally:
        _downloading.reset(mark)


@contextlib.contextmanager
def responses_seen() -> Iterator[list[Any]]:
    """The httpx responses of calls inside, which a library may drop with an error of its own."""
    responses: list[Any] = []
    mark = _seen.set(responses)
    try:
        yield responses
    finally:
        _seen.reset(mark)


class Decoder:
    """A bounded decoder for a body. encoding: the response's content-encoding. most: decoded bytes.

    cut: a longer body is truncated, and `full` is set, instead of being refused.
    """

    def __init__(self, encoding: str, most: int, *, cut: bool = False) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise TooLargeError(
                f"the server answers in the encoding {name[:40]!r}, which was not asked for "
                f"(asked for: {ACCEPTED})"
            )
        self._inflate = None if name in ("", "identity") else _inflater(name)
        self._most = most
        self._size = 0
        self._cut = cut
        self.full = False

    def decode(self, block: bytes) -> Iterator[bytes]:
        """Yield the pieces that a block decodes to. Raises TooLargeError."""
        if self._inflate is None:
            yield self._counted(block)
            return
        while block and not self.full:
            try:
                piece = self._inflate.decompress(block, PIECE_BYTES)
            except zlib.error as e:
                raise ConnectionError(f"the server's answer can't be decompressed: {e}") from None
            if piece:
                yield self._counted(piece)
            block = self._inflate.unconsumed_tail
            if not piece and not block:
                return

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > self._most:
            if self._cut:
                self.full = True
                return piece[: len(piece) - (self._size - self._most)]
            raise TooLargeError(
                f"the server's answer has more than {max(1, self._most // MIB):,} MiB; it was not "
                "read to its end"
            )
        return piece


class _Deflate:
    """`deflate` as servers send it: with or without zlib's header."""

    def __init__(self) -> None:
        self._inner: Any = None
        self._head = b""
        self.unconsumed_tail = b""

    def decompress(self, block: bytes, most: int) -> bytes:
        """Decompress like zlib's objects."""
        if self._inner is None:
            self._head += block
            if len(self._head) < 2:  # noqa: PLR2004 - zlib's header
                self.unconsumed_tail = b""
                return b""
            block = self._head
            self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                zlib.decompressobj(_GZIP_OR_ZLIB).decompress(block[:2], 1)
            except zlib.error:
                self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
        piece: bytes = self._inner.decompress(block, most)
        self.unconsumed_tail = self._inner.unconsumed_tail
        return piece


def _inflater(name: str) -> Any:
    return _Deflate() if name == "deflate" else zlib.decompressobj(_GZIP_OR_ZLIB)


# --- httpx and httpx2 -----------------------------------------------------------------------------------------------


async def ask_for_bounded(request: Any) -> None:
    """Request hook: accept only encodings that can be bounded."""
    request.headers["accept-encoding"] = ACCEPTED


async def bound(answer: Any) -> None:
    """Response hook, before the body is read: decompress and count it here."""
    if (seen := _seen.get()) is not None:
        seen.append(answer)
    if answer.is_stream_consumed:  # a mock client
        return
    stream = answer.stream
    kind = _bounded_kind(_async_stream(type(stream)))
    if kind is None:
        return
    encoding = answer.headers.get("content-encoding", "")
    answer.stream = kind(stream, _decoder(encoding, answer.status_code))
    if encoding:
        del answer.headers["content-encoding"]  # decoded here
        if "content-length" in answer.headers:
            del answer.headers["content-length"]  # of the compressed body


def _decoder(encoding: str, status: int) -> Decoder:
    """Return the decoder for a response; of an error only the beginning is read."""
    if status >= 400:  # noqa: PLR2004 - HTTP's errors begin there
        return Decoder(encoding, ERROR_BYTES, cut=True)
    return Decoder(encoding, FILE_BYTES if _downloading.get() else BODY_BYTES)


def _async_stream(kind: type) -> type | None:
    """Return the library's stream class, which its responses must use."""
    return next((one for one in kind.__mro__ if one.__name__ == "AsyncByteStream"), None)


@functools.cache
def _bounded_kind(base: type | None) -> type | None:
    if base is None:
        return None

    class Bounded(base):  # type: ignore[valid-type, misc] # httpx's, or httpx2's
        """A stream that is decoded and counted as it is read."""

        def __init__(self, inner: Any, decoder: Decoder) -> None:
            self._inner = inner
            self._decoder = decoder

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for block in self._inner:
                for piece in self._decoder.decode(block):
                    yield piece
                if self._decoder.full:
                    return

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Bounded


# --- aiohttp --------------------------------------------------------------------------------------------------------


async def read_into(answer: Any, write: Callable[[bytes], object]) -> None:
    """Pass on the body of an aiohttp response (`auto_decompress=False`). Raises TooLargeError."""
    decoder = _decoder(answer.headers.get("content-encoding", ""), answer.status)
    async for block in answer.content.iter_any():
        for piece in decoder.decode(block):
            write(piece)
        if decoder.full:
            return


async def read_bounded(answer: Any) -> bytes:
    """Return the whole body of such a response. Raises TooLargeError."""
    length = answer.content_length
    if not answer.headers.get("content-encoding") and length is not None and length <= ERROR_BYTES:
        body: bytes = await answer.read()  # of that length: there is nothing to bound
        return body
    held: list[bytes] = []
    await read_into(answer, held.append)
    return b"".join(held)
