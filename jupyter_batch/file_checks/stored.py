"""Checks of stored result files against the checksums recorded when they were collected."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zlib import crc32

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord

_BLOCK = 1 << 20

Sum = tuple[str, int, int]
"""A file's name, its size in bytes, and its CRC-32."""


def sums(folder: JobFolder, number: int) -> tuple[Sum, ...]:
    """The checksums of a shard's result files on this disk."""
    paths = (folder.output(number), folder.errors(number))
    return tuple((path.name, *_sum(path)) for path in paths if path.is_file())


def _sum(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, _check(path, there.st_size, there.st_mtime_ns)


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file. Raises OSError."""
    return _sum(path)[1]


@lru_cache(maxsize=4096)
def _check(path: Path, size: int, changed: int) -> int:
    """The CRC-32 of a file, cached by its current size and modification time (`changed`)."""
    del size, changed
    check = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            check = crc32(block, check)
    return check


def lost(folder: JobFolder, shard: ShardRecord, *, whole: bool = True) -> str:
    """The first file of a collected shard that is missing or was changed; "" for none.

    whole: compare the contents, not only the size.
    """
    if shard.step is not Step.COLLECTED:
        return ""
    for name, size, check in shard.kept:
        path = folder.path / name
        try:
            if path.stat().st_size != size or (whole and _sum(path)[1] != check):
                return name
        except PermissionError:  # the file exists: reading it raises the actual error
            return ""
        except OSError:
            return name
    return ""
