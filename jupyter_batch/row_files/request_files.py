"""Request files: lines packed into shards within the provider's limits, one file a shard."""

from __future__ import annotations

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias
from zlib import crc32

import msgspec

from jupyter_batch.core.errors import InputError, LedgerError
from jupyter_batch.core.request import Limits, position_of
from jupyter_batch.ledger.folder import JobFolder, disk_errors
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.row_files.row_sources import request_hash

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

PART_BYTES = 1 << 20
_BODY = b',"body":'
_FEW_RUNS = 64
REQUEST_ID = re.compile(rb'^\{"custom_id":"([^"]*)"')
"""The id at the beginning of a request line, in every dialect."""


def sent_hash(line: bytes, kind: str, sample: int = 0) -> bytes:
    """Return the hash of a request line as sent; b"" for dialects without a line for each request.

    Where the parameters are sent as the user gave them, it equals the request hash. sample: the
    index of the request among those of its row. kind: as in frames/hashing.py.
    """
    body = line.partition(_BODY)[2].rstrip(b"\n")
    return request_hash(body + b"\n", kind, sample) if body else b""


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


class Lines(NamedTuple):
    """Some whole lines, each with its newline. rows: their positions. offsets: of each, and the end."""

    rows: Sequence[int]
    data: bytes
    offsets: Array

    @classmethod
    def of(cls, rows: Sequence[int], lines: Sequence[bytes]) -> Lines:
        """Join lines."""
        import numpy as np

        offsets = np.zeros(len(lines) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)), out=offsets[1:])
        return cls(rows, b"".join(lines), offsets)

    @property
    def positions(self) -> Array:
        """The rows as an array."""
        import numpy as np

        rows = self.rows
        return np.arange(rows.start, rows.stop) if isinstance(rows, range) else np.asarray(rows)

    def where(self, wanted: Array) -> Lines:
        """The wanted lines. wanted: a flag for each."""
        import numpy as np

        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).reshape(-1, 2)
        data = self._filtered(wanted) if len(edges) > _FEW_RUNS else None
        if data is None:
            data = b"".join([self.data[start:end] for start, end in self.offsets[edges].tolist()])
        offsets = np.append(0, np.cumsum(np.diff(self.offsets)[wanted]))
        return Lines(self.positions[wanted].tolist(), data, offsets)

    def _filtered(self, wanted: Array) -> bytes | None:
        """The wanted lines by Arrow, at a tenth of the cost; None where it is not installed."""
        try:
            import pyarrow as pa
        except ImportError:
            return None
        held = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        lines = pa.Array.from_buffers(pa.large_binary(), len(wanted), held)
        data: bytes = lines.filter(pa.array(wanted)).buffers()[2].to_pybytes()
        return data

    def each(self) -> Iterator[tuple[int, bytes]]:
        """(position, line) of each."""
        offsets = self.offsets.tolist()
        for row, start, end in zip(self.rows, offsets[:-1], offsets[1:], strict=True):
            yield row, self.data[start:end]

    def renumbered(self, positions: Array, job: str) -> Lines:
        """The lines of row k of a part of a frame as those of row `positions[k]` of the frame."""
        at, made = len(f'{{"custom_id":"{job}-'), list[bytes]()
        numbers = [int(positions[row]) for row in self.rows]
        for number, (row, line) in zip(numbers, self.each(), strict=True):
            made.append(b"%b%d%b" % (line[:at], number, line[at + len(str(row)) :]))
        return Lines.of(numbers, made)


class Blocks(ABC):
    """An iterable of blocks of lines, in place of single ones."""

    @abstractmethod
    def __iter__(self) -> Iterator[Lines]: ...


def pack(
    lines: Iterable[tuple[int, bytes]] | Blocks, limits: Limits, *, part_bytes: int = PART_BYTES
) -> Iterator[Part]:
    """Pack lines into chunks of at most `part_bytes`.

    lines: a row's position and its line with its newline; or blocks of them. A longer line is a
    chunk by itself. Each shard is filled up to `limits`. Raises InputError for a line that fits no
    shard.
    """
    if limits.requests < 1 or limits.bytes < 1:
        raise InputError(
            f"a shard takes at least one request and one byte, not {limits.requests} and {limits.bytes}"
        )
    shard = requests = size = 0  # of the current shard, with pending lines
    held: list[bytes] = []  # pending
    first = last = count = length = 0  # of the pending lines
    for some in lines if isinstance(lines, Blocks) else _joined(lines, part_bytes):
        start, rows = 0, len(some.rows)
        while start < rows:
            at = int(some.offsets[start])
            room = min(part_bytes - length, limits.bytes - size)
            end = int(some.offsets.searchsorted(at + room, side="right")) - 1
            end = min(end, start + limits.requests - requests)
            if end <= start:
                line = int(some.offsets[start + 1]) - at
                if line > limits.bytes:
                    raise InputError(
                        f"row {some.rows[start]} (counted from 0) alone makes a request of {line:,} bytes, and a "
                        f"batch file may hold {limits.bytes:,}: shorten its text"
                    )
                if held:
                    yield Part(shard, b"".join(held), count, first, last)
                    held, count, length = [], 0, 0
                if requests == limits.requests or size + line > limits.bytes:
                    shard, requests, size = shard + 1, 0, 0
                if line <= part_bytes:
                    continue
                end = start + 1
            if not held:
                first = some.rows[start]
            last = some.rows[end - 1]
            held.append(data := some.data[at : int(some.offsets[end])])
            count, requests = count + end - start, requests + end - start
            length, size = length + len(data), size + len(data)
            start = end
        if length >= part_bytes:
            yield Part(shard, b"".join(held), count, first, last)
            held, count, length = [], 0, 0
    if held:
        yield Part(shard, b"".join(held), count, first, last)


def _joined(lines: Iterable[tuple[int, bytes]], most: int) -> Iterator[Lines]:
    """Join lines to blocks of about `most` bytes."""
    rows, held, length = list[int](), list[bytes](), 0
    for row, line in lines:
        if rows and length + len(line) > most:
            yield Lines.of(rows, held)
            rows, held, length = [], [], 0
        rows.append(row)
        held.append(line)
        length += len(line)
    if rows:
        yield Lines.of(rows, held)


def write_requests(
    draft: JobFolder,
    job: str,
    lines: Iterable[tuple[int, bytes]] | Blocks,
    limits: Limits,
    start: int = 0,
    *,
    synced: bool = True,
) -> list[ShardRecord]:
    """Write lines, as `pack` takes them, to request files; return their shards from `start` on.

    synced: without it, the files are not on the disk until `sync`.
    Raises InputError for a line that fits no file, and for fewer requests than a batch needs.
    """
    shards: list[ShardRecord] = []
    with (
        disk_errors(draft.path),
        contextlib.ExitStack() as stack,
    ):  # a full disk may raise on close only
        file: BinaryIO | None = None
        for part in pack(lines, limits):
            number = start + part.shard
            if file is None or number != shards[-1].number:
                stack.close()
                file = stack.enter_context(new_file(draft.requests(number), synced=synced))
                shards.append(
                    ShardRecord(
                        job=job,
                        number=number,
                        requests=0,
                        bytes=0,
                        crc=0,
                        first=part.first,
                        last=part.last,
                    )
                )
            file.write(part.data)
            was = shards[-1]
            shards[-1] = msgspec.structs.replace(
                was,
                requests=was.requests + part.requests,
                bytes=was.bytes + len(part.data),
                crc=crc32(part.data, was.crc or 0),
                last=part.last,
            )
    return filled(draft, job, shards, limits)


def filled(
    draft: JobFolder, job: str, shards: list[ShardRecord], limits: Limits
) -> list[ShardRecord]:
    """Return shards that all reach a batch's minimum; where one does not, repack all evenly.

    Raises InputError where that is impossible.
    """
    least = min((shard.requests for shard in shards), default=limits.minimum)
    if least >= limits.minimum:
        return shards
    total, start = sum(shard.requests for shard in shards), shards[0].number
    parts = min(len(shards), total // limits.minimum)
    each = -(-total // parts) if parts else 0
    if not 0 < each < limits.requests:  # packed evenly already, or too few requests in total
        what = (
            f"{total:,} requests"
            if len(shards) == 1
            else f"{total:,} requests in batches of {limits.requests:,}"
        )
        raise InputError(
            f"there are {what}, and a batch of this provider has at least {limits.minimum:,}; "
            'mode="realtime" asks at once, at the full price, without the discount of a batch'
        )
    drafted = [
        draft.requests(shard.number).rename(draft.path / f"short-{shard.number}.jsonl")
        for shard in shards
    ]
    even = msgspec.structs.replace(limits, requests=each)
    made = write_requests(draft, job, _positioned(drafted, job), even, start)
    for path in drafted:
        path.unlink()
    return made


def _positioned(paths: list[Path], job: str) -> Iterator[tuple[int, bytes]]:
    for path in paths:
        with opened(path) as file:
            for line in file:
                found = REQUEST_ID.match(line)
                position = position_of(job, found[1].decode()) if found else None
                if position is None:
                    raise LedgerError(f"a request line of the draft {path} has no id of its job")
                yield position, line


@contextlib.contextmanager
def new_file(path: Path, *, synced: bool) -> Iterator[BinaryIO]:
    """A new file to write; synced: it is on the disk once it is closed."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        if synced:
            os.fsync(file.fileno())


def sync(paths: Iterable[Path]) -> None:
    """Force files to the disk. Raises LedgerError."""
    for path in paths:
        with disk_errors(path), path.open("rb") as file:
            os.fsync(file.fileno())
