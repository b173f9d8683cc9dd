"""A download's blocks, let go of so that nothing is left suspended: also where the reader stops in the middle."""

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
    """What holds a connection."""

    async def aclose(self) -> None:
        """Give it back."""


class Streamed(Closable, Protocol):
    """A streamed response, of httpx or of httpx2: openai 3 speaks the latter."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Iterate over the body's blocks, decompressed."""


@contextlib.asynccontextmanager
async def blocks_of(answer: Streamed) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of a streamed answer, block by block; the answer is closed at the end.

    httpx reads through generators within generators. Left in the middle they would be ended by the garbage collector,
    perhaps on no loop at all: so once the connection is closed, they are run to their end, which comes at once.
    """
    blocks = answer.aiter_bytes()
    try:
        yield blocks
    finally:
        await let_go(answer, blocks)


async def let_go(answer: Closable, blocks: AsyncIterator[bytes]) -> None:
    """Close an answer, then run what reads its blocks to the end."""
    with contextlib.suppress(Exception):  # a cut connection can't be closed twice
        await answer.aclose()
    with contextlib.suppress(Exception):
        async for _ in blocks:
            pass


@contextlib.contextmanager
def bounded(write: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """A writer of a provider's file: an answer inside may be as large as a file, its lines are bounded."""
    lines = LineBound(write)
    with downloading():
        yield lines.write
    lines.close()


@contextlib.contextmanager
def result_file(write: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """A writer of a result file: bounded, and without the keys that the provider's server may repeat."""
    masking = MaskedStream(write)
    with bounded(masking.write) as put:
        yield put
    masking.close()


_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.){0,512}")')
_CUT_LINE = (
    b'{"custom_id":%b,"response":null,"error":{"code":"answer_too_large","message":"%b"},'
    b'"result":{"type":"errored","error":{"error":{"message":"%b"}}}}'
)
"""A failure in the words of every dialect."""


def custom_id_in(head: bytes) -> str:
    """The row's id in the beginning of a line of results; "" where there is none."""
    found = _CUSTOM_ID.search(head)
    return msgspec.json.decode(found[1], type=str) if found else ""


class LineBound:
    """A writer of result files in which no line is longer than a limit: a longer one becomes its row's error.

    write: takes the bytes; each line that fits is passed on as it came.
    """

    def __init__(
        self, write: Callable[[bytes], object], most: int = LINE_BYTES, head: int = LINE_HEAD_BYTES
    ) -> None:
        self._write = write
        self._most = most
        self._keep = head
        self._line: list[bytes] = []  # of the present line, what is not passed on yet
        self._size = 0
        self._cut = False

    def write(self, block: bytes) -> None:
        """Take the next bytes of the file."""
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
        """The file has ended; a last line may have no newline."""
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
