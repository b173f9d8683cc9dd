"""The state of the server on disk: files and batches in SQLite, bytes in a folder.

One thread, one connection. A batch's record and its result files come into being in one transaction, so that a process
killed at any moment leaves either an open batch, which is resumed, or a finished one.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from jupyter_batch.server.errors import SERVER_ERROR, ApiError
from jupyter_batch.server.storage.objects import OPEN, File, Record

VERSION = 1
SCHEMA = """
create table files (seq integer primary key, id text not null unique, purpose text not null,
                    created_at integer not null, expires_at integer, gone integer not null default 0,
                    doc blob not null);
create index files_by_purpose on files (purpose, seq);
create table batches (seq integer primary key, id text not null unique, status text not null, doc blob not null);
create index batches_by_status on batches (status);
"""
RESERVED = 512 << 10
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_PRIMARY = 0xFF


class Store:
    """The files and batches of one state folder (0700; what is in it 0600)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "files"
        for path in (folder, self.blobs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = folder / "state.db"
        os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
        self._reserve = Reserve(folder / "reserve")
        self._deleted: set[str] = set()
        self._ended: dict[str, tuple[Record, list[File]]] = {}
        self._db = sqlite3.connect(database, isolation_level=None, timeout=10)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version > VERSION:
            raise RuntimeError(
                f"{self.folder}: this state was written by a newer version of jupyter_batch"
            )
        if version < VERSION:
            with self._transaction():
                for statement in filter(str.strip, SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"pragma user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")  # a full disk shows here
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def close(self) -> None:
        """Give the database up."""
        self.settle()
        self._db.close()

    # --- a full disk

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Write, with the reserve's room where there is no other; whether it is written. Memory holds what is not."""
        for _ in range(2):
            try:
                write()
            except (OSError, sqlite3.OperationalError) as error:
                if not is_full(error):
                    raise
                if not self._reserve.release():
                    return False
            else:
                return True
        return False

    def settle(self) -> bool:
        """Write what a full disk kept from being written; whether all of it is on disk now."""
        for file_id in tuple(self._deleted):
            if self._attempt(partial(self._mark_gone, file_id)):
                self._deleted.discard(file_id)
        for batch_id, (record, files) in tuple(self._ended.items()):
            if self._attempt(partial(self._write_end, record, files)):
                del self._ended[batch_id]
                self._after_end(record, files)
        if self._deleted or self._ended:
            return False
        self._reserve.take()
        return True

    def path(self, file_id: str) -> Path:
        """Where a file's bytes are."""
        return self.blobs / file_id

    # --- files

    def add_file(self, file: File) -> None:
        """Make a file known whose bytes are in place. Raises ApiError where the disk is full."""
        if not self._attempt(partial(self._insert_file, file)):
            raise no_room()

    def _insert_file(self, file: File) -> None:
        self._db.execute(
            "insert into files (id, purpose, created_at, expires_at, doc) values (?, ?, ?, ?, ?)",
            (file.id, file.purpose, file.created_at, file.expires_at, msgspec.json.encode(file)),
        )

    def file(self, file_id: str, now: float) -> File | None:
        """A file that is there and did not expire."""
        if file_id in self._deleted:
            return None
        for _, files in self._ended.values():
            for file in files:
                if file.id == file_id:
                    return file
        row = self._db.execute(
            "select doc from files where id = ? and gone = 0 and (expires_at is null or expires_at > ?)",
            (file_id, now),
        ).fetchone()
        return msgspec.json.decode(row[0], type=File) if row else None

    def files(
        self,
        now: float,
        *,
        purpose: str | None = None,
        after: int | None = None,
        limit: int,
        descending: bool = True,
    ) -> tuple[list[File], bool]:
        """A page of files by age, from behind the cursor, and whether there are more."""
        clauses = [
            "gone = 0",
            "(expires_at is null or expires_at > ?)",
            "substr(id, 1, 5) = 'file-'",  # the files of another API's batches are not listed
        ]
        values: list[object] = [now]
        if self._deleted:
            clauses.append(f"id not in ({', '.join('?' * len(self._deleted))})")
            values.extend(self._deleted)
        if purpose is not None:
            clauses.append("purpose = ?")
            values.append(purpose)
        if after is not None:
            clauses.append("seq < ?" if descending else "seq > ?")
            values.append(after)
        order = "desc" if descending else "asc"
        rows = self._db.execute(
            f"select doc from files where {' and '.join(clauses)} order by seq {order} limit ?",  # noqa: S608 - our own words
            (*values, limit + 1),
        ).fetchall()
        return [msgspec.json.decode(row[0], type=File) for row in rows[:limit]], len(rows) > limit

    def cursor_of_file(self, file_id: str) -> int | None:
        """Return a file's position in the list, also of a deleted file, so that paging can continue."""
        row = self._db.execute("select seq from files where id = ?", (file_id,)).fetchone()
        return int(row[0]) if row else None

    def delete_file(self, file_id: str) -> None:
        """Forget a file. Its bytes go at once, unless an open batch still reads them."""
        if not any(record.batch.input_file_id == file_id for record in self.open_batches()):
            self.path(file_id).unlink(missing_ok=True)  # first, as that makes room for the rest
        for record, files in self._ended.values():
            self._ended[record.batch.id] = (record, [one for one in files if one.id != file_id])
        if not self._attempt(partial(self._mark_gone, file_id)):
            self._deleted.add(file_id)

    def _mark_gone(self, file_id: str) -> None:
        self._db.execute("update files set gone = 1 where id = ?", (file_id,))

    def sweep(self, now: float) -> None:
        """Take away the bytes of what expired, was deleted, or was cut off in the middle of an upload: at the start."""
        self._attempt(partial(self._mark_expired, now))
        rows = self._db.execute(
            "select id from files where gone = 0 and (expires_at is null or expires_at > ?)", (now,)
        )
        kept = {row[0] for row in rows}
        for record in self.open_batches():
            kept |= {record.batch.input_file_id, record.output_id, record.error_id}
        for path in self.blobs.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
        self._reserve.take()

    def _mark_expired(self, now: float) -> None:
        """Forget the files that expired, and those whose bytes went before a full disk took their end."""
        there = {path.name for path in self.blobs.iterdir()}
        listed = self._db.execute("select id, expires_at from files where gone = 0").fetchall()
        gone = [(id_,) for id_, end in listed if id_ not in there or (end or now + 1) <= now]
        with self._transaction():
            self._db.executemany("update files set gone = 1 where id = ?", gone)

    # --- batches

    def add_batch(self, record: Record) -> None:
        """A new batch. Raises ApiError where the disk is full."""
        row = (record.batch.id, record.batch.status, msgspec.json.encode(record))

        def insert() -> None:
            self._db.execute("insert into batches (id, status, doc) values (?, ?, ?)", row)

        if not self._attempt(insert):
            raise no_room()

    def save_batch(self, record: Record) -> None:
        """A batch's record as it is now; on a full disk the next save makes up for it."""
        self._attempt(partial(self._update_batch, record))

    def _update_batch(self, record: Record) -> None:
        self._db.execute(
            "update batches set status = ?, doc = ? where id = ?",
            (record.batch.status, msgspec.json.encode(record), record.batch.id),
        )

    def end_batch(self, record: Record, files: list[File]) -> None:
        """A batch's end together with its result files, or neither; on a full disk once `settle` finds room."""
        self._ended[record.batch.id] = (record, files)
        self.settle()

    def _write_end(self, record: Record, files: list[File]) -> None:
        with self._transaction():
            for file in files:
                self._insert_file(file)
            self._update_batch(record)

    def _after_end(self, record: Record, files: list[File]) -> None:
        """Remove the bytes that nobody needs any more."""
        given = {file.id for file in files}
        for unused in {record.output_id, record.error_id} - given:
            self.path(unused).unlink(missing_ok=True)
        gone = self._db.execute(
            "select gone from files where id = ?", (record.batch.input_file_id,)
        ).fetchone()
        if gone and gone[0]:
            self.delete_file(record.batch.input_file_id)

    def batch(self, batch_id: str) -> Record | None:
        """A batch by its id."""
        if batch_id in self._ended:
            return self._ended[batch_id][0]
        row = self._db.execute("select doc from batches where id = ?", (batch_id,)).fetchone()
        return msgspec.json.decode(row[0], type=Record) if row else None

    def batches(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        prefix: str = "batch_",
    ) -> tuple[list[Record], bool]:
        """A page of batches, newest first, and whether there are more in its direction.

        after, before: the cursor that the page follows or precedes. prefix: of the ids, by which the APIs differ.
        """
        order = "desc" if before is None else "asc"
        query = f"select doc from batches where seq < ? and seq > ? and substr(id, 1, ?) = ? order by seq {order} limit ?"  # noqa: S608, E501 - our own words
        span = (1 << 62 if after is None else after, -1 if before is None else before)
        rows = self._db.execute(query, (*span, len(prefix), prefix, limit + 1)).fetchall()
        page = [msgspec.json.decode(row[0], type=Record) for row in rows[:limit]]
        return page if before is None else page[::-1], len(rows) > limit

    def delete_batch(self, record: Record) -> None:
        """Remove an ended batch and its files."""
        files = (record.output_id, record.error_id, record.batch.input_file_id)
        for file_id in files:  # first, as that makes room for the rest
            self.path(file_id).unlink(missing_ok=True)

        def delete() -> None:
            with self._transaction():
                self._db.execute("delete from batches where id = ?", (record.batch.id,))
                self._db.execute("update files set gone = 1 where id in (?, ?, ?)", files)

        self._ended.pop(record.batch.id, None)
        if not self._attempt(delete):
            raise no_room()

    def cursor_of_batch(self, batch_id: str) -> int | None:
        """Where a batch stands in the list."""
        row = self._db.execute("select seq from batches where id = ?", (batch_id,)).fetchone()
        return int(row[0]) if row else None

    def open_batches(self) -> list[Record]:
        """The batches that did not end, oldest first."""
        marks = ", ".join("?" * len(OPEN))
        query = f"select doc from batches where status in ({marks}) order by seq"  # noqa: S608 - marks only
        rows = self._db.execute(query, sorted(OPEN)).fetchall()
        return [msgspec.json.decode(row[0], type=Record) for row in rows]


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
