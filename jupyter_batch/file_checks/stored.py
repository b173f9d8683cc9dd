"""Checks of stored result files against the checksums recorded when they were collected."""

from __future__ import annotations

from pathlib import Path

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord
from jupyter_batch.row_files.checksums import file_hash, file_sum

Sum = tuple[str, int, int]
"""A file's name, its size in bytes, and its XXH3 of 64 bits, or its CRC-32 until version 0.2."""


def sums(folder: JobFolder, number: int) -> tuple[Sum, ...]:
    """The checksums of a shard's result files on this disk."""
    paths = (folder.output(number), folder.errors(number))
    return tuple((path.name, *file_hash(path)) for path in paths if path.is_file())


def lost(folder: JobFolder, shard: ShardRecord, *, whole: bool = True) -> str:
    """The first file of a collected shard that is missing or was changed; "" for none.

    whole: compare the contents, not only the size.
    """
    if shard.step is not Step.COLLECTED:
        return ""
    for name, size, check in shard.kept:
        path = folder.path / name
        try:
            if path.stat().st_size != size or (whole and not _is_same(path, check)):
                return name
        except PermissionError:  # the file exists: reading it raises the actual error
            return ""
        except OSError:
            return name
    return ""


def _is_same(path: Path, check: int) -> bool:
    return file_hash(path)[1] == check or file_sum(path)[1] == check
