"""Request files: lines into shards within the provider's limits, one file a shard. It knows no line's inside."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from jupyter_batch.core.request import Limits
from jupyter_batch.core.shard import pack
from jupyter_batch.ledger.folder import JobFolder, told
from jupyter_batch.ledger.records import ShardRecord

REQUEST_ID = re.compile(rb'^\{"custom_id":"([^"]*)"')
"""The id at the beginning of a request line, in every dialect."""


def write_requests(draft: JobFolder, job: str, lines: Iterable[tuple[int, bytes]], limits: Limits,
                   start: int = 0) -> list[ShardRecord]:
    """The request files out of (row position, line), part by part, and their shards, numbered from `start`."""
    shards: list[ShardRecord] = []
    with told(draft.path), contextlib.ExitStack() as stack:  # a full disk may show at the closing only
        file: BinaryIO | None = None
        for part in pack(lines, limits):
            number = start + part.shard
            if file is None or number != shards[-1].number:
                stack.close()
                file = stack.enter_context(_new_file(draft.requests(number)))
                shards.append(ShardRecord(job=job, number=number, requests=0, bytes=0, first=part.first,
                                          last=part.last))
            file.write(part.data)
            was = shards[-1]
            shards[-1] = msgspec.structs.replace(was, requests=was.requests + part.requests,
                                                 bytes=was.bytes + len(part.data), last=part.last)
    return shards


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
