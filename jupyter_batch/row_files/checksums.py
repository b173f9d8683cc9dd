"""CRC-32 of files on this disk, computed once for each state of a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zlib import crc32

_BLOCK = 1 << 20


class _State:
    """A file as it is now, equal to itself under another name. Raises OSError."""

    def __init__(self, path: Path) -> None:
        there = path.stat()
        self.path, self.size = path, there.st_size
        self._key = there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _State) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def file_sum(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes, and its CRC-32. Raises OSError."""
    state = _State(path)
    return state.size, crc_of(state)


def sum_from(path: Path, start: int) -> int:
    """Return the CRC-32 of a file from an offset on. Raises OSError."""
    return crc_of(_State(path), start)


@lru_cache(maxsize=4096)
def crc_of(state: _State, start: int = 0) -> int:
    """The CRC-32 of a file from an offset on, cached by its state."""
    check = 0
    with state.path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            check = crc32(block, check)
    return check
