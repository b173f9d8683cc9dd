"""A full disk: its detection, its refusal, and a reserve for small records."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from jupyter_batch.server.errors import SERVER_ERROR, ApiError

RESERVED = 512 << 10
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_PRIMARY = 0xFF


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no room to write."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & _PRIMARY in _SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


def no_room() -> ApiError:
    """The refusal of what can't be stored now."""
    return ApiError(
        507,
        "The server's disk is full: free some space, and send this request again.",
        type_=SERVER_ERROR,
        code="insufficient_storage",
    )


class Reserve:
    """A file that holds some room on the disk, and is given up when that is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> None:
        """Hold the room, if there is any."""
        try:
            if self._path.exists():
                return
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(bytes(RESERVED))
        except OSError:
            self.release()

    def release(self) -> bool:
        """Free the room; whether there was any."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False
