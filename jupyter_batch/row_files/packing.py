"""Packing of lines into shards within a provider's limits, one chunk in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import Limits

PART_BYTES = 1 << 20


class Part(msgspec.Struct, frozen=True):
    """Some whole lines of one shard, to be appended to its file.

    shard: from 0. data: the lines, each with its newline. requests: how many. first, last: the
    rows' positions in the submitted frame; they increase from line to line, and rows between them
    may have no request.
    """

    shard: int
    data: bytes
    requests: int
    first: int
    last: int


def pack(
    lines: Iterable[tuple[int, bytes]], limits: Limits, *, part_bytes: int = PART_BYTES
) -> Iterator[Part]:
    """Pack (row position, line with its newline) into chunks of at most `part_bytes`.

    A longer line is a chunk by itself. Each shard is filled up to `limits`. Raises InputError for a
    line that fits no shard.
    """
    if limits.requests < 1 or limits.bytes < 1:
        raise InputError(
            f"a shard takes at least one request and one byte, not {limits.requests} and {limits.bytes}"
        )
    shard = requests = size = first = last = (
        0  # the first three of the current shard, without pending lines
    )
    held: list[bytes] = []
    room = slots = 0  # pending bytes and lines
    for position, line in lines:
        length = len(line)
        room -= length
        slots -= 1
        if room < 0 or slots < 0:
            if length > limits.bytes:
                raise InputError(
                    f"row {position} (counted from 0) alone makes a request of {length:,} bytes, and a batch file may "
                    f"hold {limits.bytes:,}: shorten its text"
                )
            if held:
                yield Part(shard, data := b"".join(held), len(held), first, last)
                requests, size, held = requests + len(held), size + len(data), []
            if requests == limits.requests or size + length > limits.bytes:
                shard, requests, size = shard + 1, 0, 0
            room = max(min(part_bytes, limits.bytes - size), length) - length
            slots = limits.requests - requests - 1
            first = position
        held.append(line)
        last = position
    if held:
        yield Part(shard, b"".join(held), len(held), first, last)
