"""Conversion of request files for upload, and of downloaded result lines."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO

BLOCK = 1 << 20


@contextlib.contextmanager
def as_sent(requests: Path, sent: Callable[[bytes], bytes]) -> Iterator[IO[bytes]]:
    """The file with each line converted by `sent`: a temporary file, removed when closed."""
    with tempfile.TemporaryFile(dir=requests.parent, prefix="sent-") as made:
        with requests.open("rb") as file:
            for line in file:
                made.write(sent(line))
        made.flush()
        made.seek(0)
        yield made


async def blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield the blocks of a file, read in a thread."""
    while block := await asyncio.to_thread(file.read, BLOCK):
        yield block


class Lines:
    """Splits blocks of bytes into lines, converted by `change`; `end` flushes an unfinished one."""

    def __init__(self, change: Callable[[bytes], bytes], write: Callable[[bytes], object]) -> None:
        self._change = change
        self._write = write
        self._held = b""

    def take(self, block: bytes) -> None:
        """Process a block."""
        whole, newline, rest = block.rpartition(b"\n")
        if not newline:
            self._held += block
            return
        lines = (self._held + whole).split(b"\n")
        self._held = rest
        self._write(b"".join(self._change(line) for line in lines if line and not line.isspace()))

    def end(self, *, last: bool = False) -> None:
        """End a file; the next one starts on a new line. last: there is none, the end is kept."""
        if self._held and not self._held.isspace():
            made = self._change(self._held)
            self._write(made.rstrip(b"\n") if last else made)
        self._held = b""
