"""The two result files of a batch, while they are written and after the server was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import orjson

from jupyter_batch.server.storage.objects import Record

BLOCK = 1 << 16
EXPIRED = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")
NOT_PROCESSED = frozenset({EXPIRED[0], CANCELLED[0]})
"""The error codes of requests that were never sent to a model."""


class _Response(msgspec.Struct):
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str = ""


class _Left(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


class _Used(msgspec.Struct):
    usage: dict[str, Any] | None = None


_decode_left = msgspec.json.Decoder(_Left).decode
_decode_used = msgspec.json.Decoder(_Used).decode


def line_key(batch_id: str, custom_id: str) -> str:
    """32 hex digits for a request of a batch: the same after a restart."""
    return blake2b(
        f"{batch_id}\0{custom_id}".encode(errors="surrogatepass"), digest_size=16
    ).hexdigest()


def answered_line(key: str, custom_id: str, status: int, body: dict[str, Any]) -> bytes:
    """A line for a request that got an HTTP answer, good or bad."""
    return (
        orjson.dumps(
            {
                "id": f"batch_req_{key}",
                "custom_id": custom_id,
                "response": {"status_code": status, "request_id": f"req_{key}", "body": body},
                "error": None,
            }
        )
        + b"\n"
    )


def unanswered_line(key: str, custom_id: str, code: str, message: str) -> bytes:
    """A line for a request that got none: `batch_expired`, `batch_cancelled`."""
    return (
        orjson.dumps(
            {
                "id": f"batch_req_{key}",
                "custom_id": custom_id,
                "response": None,
                "error": {"code": code, "message": message},
            }
        )
        + b"\n"
    )


class Appender:
    """A file that whole lines are appended to, in blocks; it comes into being with its first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._lines: list[bytes] = []
        self._rest = b""
        self.held = 0

    def add(self, line: bytes) -> None:
        """Hold a line; it is on disk after `flush`. `held`: bytes that are not."""
        self._lines.append(line)
        self.held += len(line)

    def flush(self) -> None:
        """Write what is held. What OSError keeps from being written stays held, to the byte."""
        if not self.held:
            return
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        data = memoryview(b"".join((self._rest, *self._lines)))
        self._lines = []
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        finally:
            self._rest = bytes(data[written:])
            self.held = len(self._rest)

    def close(self) -> None:
        """Close the file; what is held is given up."""
        self._lines, self._rest, self.held = [], b"", 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def take_up(output: Path, error: Path, record: Record) -> Iterator[int]:
    """Read what an earlier process wrote: cut a half line off, count the rest, yield the hashes of its custom_ids."""
    seen: set[int] = set()
    counts, usage = record.batch.request_counts, record.batch.usage
    for path, good in ((output, True), (error, False)):
        if not path.is_file():
            continue
        with path.open("rb+") as handle:
            end = 0
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                left = _decode_left(line)
                key = hash(left.custom_id)
                if key in seen:
                    continue
                seen.add(key)
                counts.completed += good
                counts.failed += not good
                record.left += left.error is not None and left.error.code in NOT_PROCESSED
                if good and left.response is not None:
                    usage.add(_decode_used(left.response.body).usage or {})
                yield key
            handle.truncate(end)
