"""A lock between processes on an open file; the system releases it when the process dies."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})
"""Errors of a lock held elsewhere; others (ENOLCK: NFS without lockd) are the file system's."""
NO_LOCKS = "this file system supports no locks: set JUPYTER_BATCH_HOME to a folder on a local disk"


class FileLock:
    """An advisory lock on a file (0600), taken by `take`, released when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._fd >= 0

    def take(self) -> bool:
        """Try once. Raises OSError if the file can't be opened, or its file system has no locks."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(fd)
            if e.errno in _HELD:
                return False
            raise OSError(e.errno, NO_LOCKS, str(self.path)) from e
        self._fd = fd
        return True

    def release(self) -> None:
        """Release the lock."""
        if self.held:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
