"""CRC-32 of files on this disk, computed once for each state of a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zlib import crc32

_BLOCK = 1 << 20


def file_sum(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes, and its CRC-32. Raises OSError."""
    there = path.stat()
    return there.st_size, crc_of(path, there.st_size, there.st_mtime_ns)


@lru_cache(maxsize=4096)
def crc_of(path: Path, size: int, changed: int) -> int:
    """The CRC-32 of a file, cached by its current size and modification time (`changed`)."""
    del size, changed
    check = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            check = crc32(block, check)
    return check
