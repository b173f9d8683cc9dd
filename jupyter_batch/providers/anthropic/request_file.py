"""A request file as Anthropic's create takes it, and which rows are in it. It knows no network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import ProviderDownError
from jupyter_batch.core.request import position_of

INLINE = "inline"
"""What stands for the id of an uploaded file: here requests and batch are one call, and nothing lies there without it.

It is told (`on_upload`) just before the last byte of the body goes out, so that a try that broke before that has
surely made no batch, and one that broke after it has perhaps."""

CHUNK = 1 << 18
_HEAD, _TAIL = b'{"requests":[', b"]}"


class Body:
    """A request file as the JSON that creates its batch; a part of it is in memory at a time."""

    def __init__(self, requests: Path, on_upload: Callable[[str], Awaitable[None]] | None) -> None:
        self._path = requests
        self._on_upload = on_upload
        self.length = (
            len(_HEAD) + requests.stat().st_size - 1 + len(_TAIL)
        )  # the last line's end is left out
        self.failure: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """In JSON a line's end stands for nothing, so each becomes the comma between two requests."""
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
    """(the first row's position, the last one's, how many) of a request file."""
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
