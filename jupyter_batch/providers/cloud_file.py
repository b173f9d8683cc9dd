"""Conversion of request files for upload, and of downloaded result lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from jupyter_batch.http.streams import LineBound
from jupyter_batch.providers.protocol import INLINE

FOLDER = "jupyter_batch"
"""The folder of our files in a bucket."""
BLOCK = 1 << 20
CHUNK = 1 << 18
_TAIL = b"]}"


class _Line(msgspec.Struct):
    custom_id: str
    body: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Line).decode


def bare(line: bytes) -> bytes:
    """Convert an OpenAI request line for a provider whose batch has a model: {"custom_id", "body"}."""
    read = _decode(line)
    read.body.pop("model", None)
    return msgspec.json.encode(read) + b"\n"


def full_lines(lines: bytes, model: str, endpoint: str) -> bytes:
    """Return the request lines from which `bare` made these."""
    encode = msgspec.json.encode
    made = bytearray()
    for text in lines.splitlines():
        line = _decode(text)
        body = {"model": msgspec.Raw(encode(model)), **line.body}
        made += (
            encode({"custom_id": line.custom_id, "method": "POST", "url": endpoint, "body": body})
            + b"\n"
        )
    return bytes(made)


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


class Body:
    """A request file as the JSON body that creates its batch, streamed from disk.

    head: before the requests, which are separated by commas, and end in "]}". on_upload: called with INLINE
    just before the last part. failure: an error of our own disk or ledger.
    """

    def __init__(
        self,
        file: IO[bytes],
        on_upload: Callable[[str], Awaitable[None]] | None,
        *,
        head: bytes = b'{"requests":[',
    ) -> None:
        self._file, self._on_upload = file, on_upload
        self._head = head
        size = os.fstat(file.fileno()).st_size - 1  # the last newline is left out
        self.length = len(head) + size + len(_TAIL)
        self.headers = {"content-type": "application/json", "content-length": str(self.length)}
        self.failure: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the JSON in chunks; each newline becomes the comma between two requests."""
        try:
            yield self._head
            held = b""
            while chunk := self._file.read(CHUNK):
                if held:
                    yield held
                held = chunk.replace(b"\n", b",")
            if self._on_upload is not None:
                await self._on_upload(INLINE)
            yield held[:-1] + _TAIL
        except Exception as e:
            self.failure = e
            raise


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


async def copied(
    uris: Iterable[str],
    download: Callable[[str, Callable[[bytes], None]], Awaitable[None]],
    change: Callable[[bytes], bytes],
    write: Callable[[bytes], object],
) -> None:
    """Write the lines of objects in a bucket, one after another, converted by `change`."""
    lines = Lines(change, write)
    bound = LineBound(lines.take)
    for uri in uris:
        await download(uri, bound.write)
        bound.close()
        lines.end()


def own_folder(bucket: str) -> tuple[str, str]:
    """(bucket, our folder in it) of a bucket's name, with or without a folder of the user's."""
    name, _, folder = bucket.rpartition("://")[2].strip("/").partition("/")
    return name, f"{folder}/{FOLDER}".lstrip("/")


def parts_of(uri: str) -> tuple[str, str]:
    """(bucket, key) of an object's address."""
    bucket, _, key = uri.rpartition("://")[2].partition("/")
    return bucket, key
