"""Anthropic request files: the body of a create, and the rows that a file contains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import ProviderDownError
from jupyter_batch.core.request import position_of

INLINE = "inline"
"""Stands for the id of an uploaded file: requests and batch are created by one call, no upload.

It is passed to `on_upload` just before the last byte of the body is sent: an attempt that fails
earlier has certainly created no batch, and one that fails later may have."""

CHUNK = 1 << 18
_HEAD, _TAIL = b'{"requests":[', b"]}"


class Body:
    """A request file as the JSON body that creates its batch, streamed from disk."""

    def __init__(self, requests: Path, on_upload: Callable[[str], Awaitable[None]] | None) -> None:
        self._path = requests
        self._on_upload = on_upload
        self.length = (
            len(_HEAD) + requests.stat().st_size - 1 + len(_TAIL)
        )  # the last newline is left out
        self.failure: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the JSON in chunks; each newline becomes the comma between two requests."""
        try:
            yield _HEAD
            with self._path.open("rb") as file:
                held = b""
                while chunk := file.read(CHUNK):
                    if held:
                        yield held
                    held = chunk.replace(b"\n", b",")
            if self._on_upload is not None:
                await self._on_upload(INLINE)
            yield held[:-1] + _TAIL
        except Exception as e:
            self.failure = e
            raise


def extent(requests: Path, job: str) -> tuple[int, int, int]:
    """Return (first row's position, last row's position, row count) of a request file."""
    first = last = None
    count = 0
    with requests.open("rb") as file:
        for line in file:
            last = line
            first = first or line
            count += 1
    if first is None or last is None:
        raise ProviderDownError(f"the request file {requests.name} is empty")
    ends = [position_of(job, msgspec.json.decode(line)["custom_id"]) for line in (first, last)]
    if ends[0] is None or ends[1] is None:
        raise ProviderDownError(f"the request file {requests.name} is not this job's")
    return ends[0], ends[1], count
