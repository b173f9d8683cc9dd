"""Checks of the result files on this disk against what was written down when they were collected. It mends nothing."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zlib import crc32

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord

_BLOCK = 1 << 20

Sum = tuple[str, int, int]
"""A file's name, its bytes, and their CRC-32."""


def sums(folder: JobFolder, number: int) -> tuple[Sum, ...]:
    """Of the result files of a shard that are here."""
    paths = (folder.output(number), folder.errors(number))
    return tuple((path.name, *_sum(path)) for path in paths if path.is_file())


def _sum(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, _check(path, there.st_size, there.st_mtime_ns)


def checksum(path: Path) -> int:
    """The CRC-32 of a file. Raises OSError."""
    return _sum(path)[1]


@lru_cache(maxsize=4096)
def _check(path: Path, size: int, changed: int) -> int:
    """The CRC-32 of a file; size, changed: of the file as it is now, so that it is read once as long as it stays so."""
    del size, changed
    check = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            check = crc32(block, check)
    return check


def lost(folder: JobFolder, shard: ShardRecord, *, whole: bool = True) -> str:
    """The name of the first file of a collected shard that is gone, or is not as it was; "" for none.

    whole: its bytes are read, too, and not its size alone.
    """
    if shard.step is not Step.COLLECTED:
        return ""
    for name, size, check in shard.kept:
        path = folder.path / name
        try:
            if path.stat().st_size != size or (whole and _sum(path)[1] != check):
                return name
        except PermissionError:  # it is there: reading it says what is wrong
            return ""
        except OSError:
            return name
    return ""
