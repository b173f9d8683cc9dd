"""Files of which most parts are in linked files of an earlier job, so that a frame that grows is not stored again.

Such a file lists the parts, and has the others itself. A hard link outlives the earlier job; where
the disk has none, the whole file is written.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.row_files.checksums import file_hash

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

_MAGIC = b"\0JBLINKEDPARTS1\0"  # 16 bytes, which no other file by row begins with
_OWN = -1
LEAST_BYTES = 1 << 16
"""Smaller files are written whole."""
_SHORT = 1 << 10  # bytes: a shorter equal part is written again, which costs less than its entry


class Span(NamedTuple):
    """Bytes of a new file that an earlier one has, too. at, there: their offsets."""

    at: int
    there: int
    size: int


class _Parts(msgspec.Struct, array_like=True):
    """The list of a file. files: name, size and XXH3 of each; parts: (file or _OWN, offset, size)."""

    files: list[tuple[str, int, int]]
    parts: list[tuple[int, int, int]]
    own: bytes

    @classmethod
    def of(cls, path: Path) -> _Parts:
        """The list of a file; one that is whole is its own single part."""
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                return msgspec.msgpack.decode(file.read(), type=cls)
        size, check = file_hash(path)
        return cls([(path.name, size, check)], [(0, 0, size)], b"")

    def within(self, start: int, size: int) -> Iterator[tuple[int, int, int]]:
        """The parts that some bytes of the file are made of."""
        ends, end = [], 0
        for *_, length in self.parts:
            ends.append(end := end + length)
        at = bisect_right(ends, start)
        while size:
            file, offset, length = self.parts[at]
            skipped = start - (ends[at] - length)
            some = min(length - skipped, size)
            yield file, offset + skipped, some
            start, size, at = start + some, size - some, at + 1


def contents(path: Path) -> bytes:
    """The bytes of a file that may have linked parts.

    Raises OSError, and ValueError where one is damaged.
    """
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        return data
    try:
        listed = msgspec.msgpack.decode(memoryview(data)[len(_MAGIC) :], type=_Parts)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is damaged") from error
    whole = bytearray(sum(size for *_, size in listed.parts))
    view, end = memoryview(whole), 0
    with contextlib.ExitStack() as stack:
        files = []
        for name, size, check in listed.files:
            other = path.with_name(Path(name).name)
            if file_hash(other) != (size, check):
                raise ValueError(f"{other} is damaged")
            files.append(stack.enter_context(other.open("rb")))
        for number, offset, size in listed.parts:
            if number == _OWN:
                view[end : end + size] = listed.own[offset : offset + size]
            else:
                files[number].seek(offset)
                if files[number].readinto(view[end : end + size]) != size:
                    raise ValueError(f"{path} is damaged")
            end += size
    return bytes(whole)


def write_linked(
    folder: JobFolder, target: Path, data: bytes, before: Path, spans: Sequence[Span]
) -> None:
    """Write a file of which an earlier one has some bytes, which are not written again.

    spans: those, in their order.
    """
    shared = sum(span.size for span in spans)
    if len(data) < LEAST_BYTES or shared * 2 < len(data):
        folder.write(target, data)
        return
    try:
        made = _linked(target, data, _Parts.of(before), before, spans)
    except (OSError, msgspec.MsgspecError):  # no links on this disk, or a damaged file
        folder.write(target, data)
        return
    folder.write(target, _MAGIC + msgspec.msgpack.encode(made))


def _linked(
    target: Path, data: bytes, source: _Parts, before: Path, spans: Sequence[Span]
) -> _Parts:
    """The list of a file; those that it has parts of are linked into its folder."""
    parts, own, done = list[tuple[int, int, int]](), bytearray(), 0

    def add_own(some: bytes) -> None:
        if some:
            parts.append((_OWN, len(own), len(some)))
            own.extend(some)

    for at, there, size in spans:
        add_own(data[done:at])
        done = at
        for file, offset, length in source.within(there, size):
            if file == _OWN:
                add_own(data[done : done + length])
            else:
                parts.append((file, offset, length))
            done += length
    add_own(data[done:])
    used = sorted({file for file, *_ in parts if file != _OWN})
    numbers = {file: number for number, file in enumerate(used)}
    files = []
    for file, number in numbers.items():
        name, size, check = source.files[file]
        link = target.with_name(f"linked-{target.stem}-{number}.bin")
        os.link(before.with_name(name), link)
        files.append((link.name, size, check))
    listed = [(numbers.get(file, _OWN), offset, size) for file, offset, size in parts]
    return _Parts(files, listed, bytes(own))


def row_spans(
    data: bytes, before: bytes, at: Array, sections: Sequence[tuple[int, int, int]]
) -> list[Span]:
    """The equal bytes of two files with arrays by row.

    at: the earlier position of each row, or -1. sections: for each array its offset in either file,
    and the bytes of a row, a multiple of 8.
    """
    import numpy as np

    known, most, found = np.flatnonzero(at >= 0), int(at.max(initial=-1)), list[Span]()
    for start, was, width in sections:
        if len(before) < was + (most + 1) * width:  # not the file that it should be
            return []
        new = np.frombuffer(data, "<u8", len(at) * width // 8, start).reshape(len(at), -1)
        old = np.frombuffer(before, "<u8", offset=was, count=(len(before) - was) // 8)
        old = old[: len(old) // (width // 8) * (width // 8)].reshape(-1, width // 8)
        rows = known[(old[at[known]] == new[known]).all(axis=1)]
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(at[rows]) != 1)) + 1
        edges = [0, *cuts.tolist(), len(rows)]
        for first, end in pairwise(edges):
            size = (end - first) * width
            if size >= _SHORT:
                row = int(rows[first])
                found.append(Span(start + row * width, was + int(at[row]) * width, size))
    return found


def text_spans(data: bytes, before: bytes) -> list[Span]:
    """The equal bytes at the beginning and at the end of two files."""
    import numpy as np

    size = min(len(data), len(before))
    new, old = np.frombuffer(data, np.uint8), np.frombuffer(before, np.uint8)
    differ = new[:size] != old[:size]
    head = int(differ.argmax()) if differ.any() else size
    differ = new[::-1][: size - head] != old[::-1][: size - head]
    tail = int(differ.argmax()) if differ.any() else size - head
    spans = [Span(0, 0, head), Span(len(data) - tail, len(before) - tail, tail)]
    return [span for span in spans if span.size >= _SHORT]
