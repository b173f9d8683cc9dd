"""Read access to a database that is not writable: another user's, or on a read-only file system."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_batch.core.errors import LedgerReadOnlyError
from jupyter_batch.ledger.reading import reading

_UNWRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
_Stamp = tuple[tuple[int, int, int] | None, ...]


def is_unwritable(error: Exception) -> bool:
    """Whether a database could not be opened, or changed, for lack of write access."""
    if isinstance(error, LedgerReadOnlyError):
        return True
    return (getattr(error, "sqlite_errorname", "") or "").startswith(_UNWRITABLE)


def check_readable(path: Path) -> None:
    """Raise LedgerError where a file exists that can't even be read."""
    if path.is_file():
        with reading(path):
            path.open("rb").close()


class Reader:
    """Queries on a copy of the database in memory, which is renewed when the file changes.

    SQLite itself can't read a database in WAL mode in a folder without write access, unless another
    process has it open. prepare: brings the copy up to date.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._prepare = prepare
        self._copy: sqlite3.Connection | None = None
        self._stamp: _Stamp = ()

    def rows(self, sql: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises LedgerError where the file can't be read, and sqlite3.Error."""
        stamp = tuple(map(_stamp, (self._path, self._wal)))
        if self._copy is None or stamp != self._stamp:
            self.close()
            self._copy, self._stamp = self._copied(), stamp
        return self._copy.execute(sql, arguments).fetchall()

    def close(self) -> None:
        """Drop the copy."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def _copied(self) -> sqlite3.Connection:
        held = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            with tempfile.TemporaryDirectory(prefix="jupyter_batch-") as folder:
                there = Path(folder) / self._path.name
                with reading(self._path):
                    shutil.copyfile(self._path, there)
                    if self._wal.exists():
                        shutil.copyfile(self._wal, there.with_name(self._wal.name))
                connection = sqlite3.connect(there, isolation_level=None)
                try:
                    self._prepare(connection)
                    connection.backup(held)
                finally:
                    connection.close()
        except BaseException:
            held.close()
            raise
        return held


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
