"""Reads of files in the ledger's folders; a LedgerError names the file and a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError, LedgerError

RESTORE = "put it back from a backup"
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
"""Errors that mean no file: nothing, a folder, or a link to itself."""


@contextlib.contextmanager
def reading(path: Path, remedy: str = RESTORE) -> Iterator[None]:
    """Translate read and decode errors to LedgerError; LedgerCorruptError: gone or damaged."""
    try:
        yield
    except OSError as e:
        if e.errno in _NO_FILE:
            gone, way = (path, remedy) if path.parent.is_dir() else (path.parent, RESTORE)
            raise LedgerCorruptError(f"{gone} is gone or damaged: {way}") from e
        raise LedgerError(
            f"{path} can't be read ({e.strerror or e}): make it readable for this user, or set "
            "JUPYTER_BATCH_HOME to a folder that is"
        ) from e
    except (ValueError, msgspec.MsgspecError) as e:
        raise LedgerCorruptError(f"{path} is damaged: {remedy}") from e


def read(path: Path, remedy: str = RESTORE) -> bytes:
    """The bytes of a file. Raises LedgerError."""
    with reading(path, remedy):
        return path.read_bytes()


@contextlib.contextmanager
def opened(path: Path, remedy: str = RESTORE) -> Iterator[BinaryIO]:
    """A file open for reading. Raises LedgerError where it can't be opened."""
    with contextlib.ExitStack() as stack:
        with reading(path, remedy):
            file = stack.enter_context(path.open("rb"))
        yield file


@contextlib.contextmanager
def opened_if_there(path: Path) -> Iterator[BinaryIO | None]:
    """A file open for reading; None if it does not exist. Raises LedgerError on other errors."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # most often; an error's text costs more
        yield None
        return
    except OSError:
        pass  # met again below
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        with contextlib.suppress(LedgerCorruptError):
            file = stack.enter_context(opened(path))
        yield file


def line_views(file: BinaryIO, size: int) -> Iterator[memoryview]:
    """Blocks of whole lines, of about `size` bytes, in one buffer: each is valid until the next.

    The last line may lack its newline; a line that is longer than a block is a block by itself.
    """
    buffer, held = bytearray(size), 0
    while came := file.readinto(memoryview(buffer)[held:]):  # type: ignore[attr-defined]
        end = held + came
        if cut := buffer.rfind(b"\n", held, end) + 1:
            yield memoryview(buffer)[:cut]
            buffer[: end - cut] = buffer[cut:end]
        elif end == len(buffer):
            buffer = buffer + bytes(len(buffer))
        held = end - cut
    if held:
        yield memoryview(buffer)[:held]
