"""A download's blocks, let go of so that nothing is left suspended: also where the reader stops in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol


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
