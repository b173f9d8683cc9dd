"""Reading of streamed downloads, closed without suspended generators if abandoned."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import msgspec

from jupyter_batch.core.limits import LINE_BYTES, LINE_HEAD_BYTES, MIB
from jupyter_batch.http.bodies import downloading
from jupyter_batch.http.masked_stream import MaskedStream


class Closable(Protocol):
    """An object that holds a connection."""

    async def aclose(self) -> None:
        """Release the connection."""


class Streamed(Closable, Protocol):
    """A streamed response of httpx, or of httpx2, which openai 3 uses."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Iterate over the body's decompressed blocks."""


@contextlib.asynccontextmanager
async def blocks_of(answer: Streamed) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the blocks of a streamed response, which is closed at the end.

    httpx reads through nested generators. If abandoned, the garbage collector would close them,
    perhaps without a loop: so after the connection is closed they are run to their end, which comes
    at once.
    """
    blocks = answer.aiter_bytes()
    try:
        yield blocks
    finally:
        await let_go(answer, blocks)


async def let_go(answer: Closable, blocks: AsyncIterator[bytes]) -> None:
    """Close a response, then exhaust its block iterator."""
    with contextlib.suppress(Exception):  # a broken connection can't be closed twice
        await answer.aclose()
    with contextlib.suppress(Exception):
        async for _ in blocks:
            pass


@contextlib.contextmanager
def bounded(write: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """Yield a writer for a provider's file: responses may be file-sized, lines are bounded."""
    lines = LineBound(write)
    with downloading():
        yield lines.write
    lines.close()


@contextlib.contextmanager
def result_file(write: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """Yield a writer for a result file: bounded, with keys repeated by the server masked."""
    masking = MaskedStream(write)
    with bounded(masking.write) as put:
        yield put
    masking.close()


_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.){0,512}")')
_CUT_LINE = (
    b'{"custom_id":%b,"response":null,"error":{"code":"answer_too_large","message":"%b"},'
    b'"result":{"type":"errored","error":{"error":{"message":"%b"}}}}'
)
"""An error line that readers of all dialects understand."""


def custom_id_in(head: bytes) -> str:
    """Return the row's id from the beginning of a result line; "" without one."""
    found = _CUSTOM_ID.search(head)
    return msgspec.json.decode(found[1], type=str) if found else ""


class LineBound:
    """A writer of result files that replaces lines above a limit by an error for their row.

    write: receives the bytes; shorter lines are passed on unchanged.
    """

    def __init__(
        self, write: Callable[[bytes], object], most: int = LINE_BYTES, head: int = LINE_HEAD_BYTES
    ) -> None:
        self._write = write
        self._most = most
        self._keep = head
        self._line: list[bytes] = []  # the part of the current line that is not passed on yet
        self._size = 0
        self._cut = False

    def write(self, block: bytes) -> None:
        """Process the next bytes of the file."""
        end = block.rfind(b"\n") + 1
        first = block.find(b"\n") + 1
        if end and not self._cut and self._size + first <= self._most and end <= self._most:
            self._flush()
            self._write(block[:end])
            block, self._size = block[end:], 0
        while block:
            part, newline, block = block.partition(b"\n")
            self._take(part)
            if newline:
                self._end_line()

    def close(self) -> None:
        """Process the end of the file; the last line may have no newline."""
        if self._size:
            self._end_line(newline=b"")

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._most and not self._cut:
            self._line.append(part)
        elif not self._cut:
            self._cut = True
            self._line = [b"".join([*self._line, part])[: self._keep]]

    def _end_line(self, newline: bytes = b"\n") -> None:
        if self._cut:
            found = _CUSTOM_ID.search(self._line[0])
            why = b"the answer has more than %d MiB: it is not kept" % (self._most // MIB)
            self._line = [_CUT_LINE % (found[1], why, why)] if found else []
        self._flush()
        self._write(newline)
        self._size, self._cut = 0, False

    def _flush(self) -> None:
        if self._line:
            self._write(b"".join(self._line))
        self._line = []
