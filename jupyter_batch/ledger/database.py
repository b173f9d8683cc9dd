"""The ledger's SQLite file: opened on demand, migrated, with its errors translated.

The statements about jobs are store.py's.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_batch.core.errors import (
    LedgerCorruptError,
    LedgerError,
    LedgerFullError,
    LedgerNewerError,
    LedgerReadOnlyError,
)
from jupyter_batch.ledger.folder import private_folder
from jupyter_batch.ledger.migrations import MIGRATIONS, statements
from jupyter_batch.ledger.reader import Reader, check_readable, is_unwritable
from jupyter_batch.ledger.reading import reading

FILE = "ledger.sqlite3"
BUSY_SECONDS = 20.0
_WAL_PAUSE = 0.02

_ERRORS: dict[str, type[LedgerError]] = {
    "SQLITE_CORRUPT": LedgerCorruptError,
    "SQLITE_NOTADB": LedgerCorruptError,
    "SQLITE_READONLY": LedgerReadOnlyError,
    "SQLITE_CANTOPEN": LedgerReadOnlyError,
    "SQLITE_PERM": LedgerReadOnlyError,
    "SQLITE_FULL": LedgerFullError,
    "SQLITE_IOERR": LedgerFullError,
}
_ADVICE: dict[type[LedgerError], str] = {
    LedgerCorruptError: "it is damaged. Move it aside to go on: the jobs are recovered from their folders in {jobs}; "
    "jupyter_batch.open(ID).results() reads what was fetched without it",
    LedgerReadOnlyError: "it can't be written to. Make the folder writable, or set JUPYTER_BATCH_HOME to one that is; "
    "answers that were fetched can still be read",
    LedgerFullError: "the disk is full, or fails ({why}). Free some space and go on; nothing that was fetched is lost",
}

_parents: list[sqlite3.Connection] = []  # in a forked child: kept from being closed


class Database:
    """One connection to the file below `home`; notices other processes, forks and a removed folder.

    upgrade: migrate a database of an older version; without it, for read-only use, a LedgerError is
    raised. Raises LedgerNewerError, LedgerCorruptError, LedgerReadOnlyError or LedgerFullError
    where the database can't be used.
    """

    def __init__(self, home: Path, *, upgrade: bool = True) -> None:
        self.home = home
        self.path = home / FILE
        self._upgrade = upgrade
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._opened = 0
        self._synced = True
        self._reader = Reader(self.path, self._prepare)

    def exists(self) -> bool:
        """Whether a ledger exists; writes nothing. Raises LedgerError for an unreadable folder."""
        try:
            with reading(self.path):
                return stat.S_ISREG(self.path.stat().st_mode)
        except LedgerCorruptError:
            return False

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._reader.close()

    def after_fork(self) -> None:
        """Drop the connection in a child process: SQLite forbids even closing the parent's."""
        self._lock = threading.RLock()
        if self._connection is not None:
            _parents.append(self._connection)
            self._connection = None
        self._reader = Reader(self.path, self._prepare)

    @contextlib.contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            name = getattr(e, "sqlite_errorname", "") or ""
            kind = next(
                (kind for code, kind in _ERRORS.items() if name.startswith(code)), LedgerError
            )
            if kind is LedgerReadOnlyError:
                check_readable(self.path)
            advice = _ADVICE.get(kind, "{why}").format(jobs=self.home / "jobs", why=e)
            raise kind(f"the ledger {self.path}: {advice}") from e

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            if self._connection.in_transaction or (
                self._file == _identity(self.path) and _version(self._connection) <= len(MIGRATIONS)
            ):
                return self._connection
            self.close()  # the folder was removed, or a newer process has migrated the file since
        private_folder(self.home)
        if not self.path.exists():
            with contextlib.suppress(OSError):  # SQLite's own error is more precise
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file, self._synced = connection, _identity(self.path), True
        self._opened += 1
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise LedgerNewerError(
                f"the ledger {self.path} was written by a newer jupyter_batch (its version is {version}, this one "
                f"knows {len(MIGRATIONS)}): upgrade jupyter_batch and start this process (the kernel, the Jupyter "
                "server) again, or set JUPYTER_BATCH_HOME to another folder; "
                "jupyter_batch.open(ID).results() still reads what was fetched"
            )
        if version == len(MIGRATIONS):
            self._recover(connection)
            return
        if not self._upgrade:
            raise LedgerError(
                f"the ledger {self.path} was written by an older jupyter_batch: `%load_ext "
                "jupyter_batch` in a notebook, or `jupyter batch list`, brings it up to date"
            )
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # another process may have been first
            for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._recover(connection)

    def _recover(self, connection: sqlite3.Connection) -> None:
        """Restore the content of a missing or emptied database from other files."""

    @contextlib.contextmanager
    def _transaction(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction. synced: it is on the disk at its end, with all before it.

        The log of transactions (WAL) is written in order: after a loss of power those that were not
        synced are missing from its end, and no earlier one is.
        """
        with self._lock, self._sqlite_errors():
            connection = self._open()
            if synced is not self._synced and not connection.in_transaction:
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                self._synced = synced
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._sqlite_errors():
            try:
                return self._open().execute(sql, arguments).fetchall()
            except (sqlite3.OperationalError, LedgerReadOnlyError) as e:
                if not is_unwritable(e) or not self.exists():
                    raise
                return self._reader.rows(sql, arguments)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the journal to WAL; retried, since that ignores SQLite's busy timeout."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as e:
            is_busy = (e.sqlite_errorname or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not is_busy or time.monotonic() > until:
                raise
            time.sleep(_WAL_PAUSE)
        else:
            return


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _identity(path: Path) -> tuple[int, int] | None:
    """The identity of a file, whatever its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
