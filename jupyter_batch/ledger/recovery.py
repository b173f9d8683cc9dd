"""Recovery of jobs from the records in their folders: without a database, or with an older copy."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError, LedgerError
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.database import Database
from jupyter_batch.ledger.folder import JobFolder, disk_errors
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.rows import decode, encode, insert, remove

_log = logging.getLogger("jupyter_batch")
_HANDLE_BYTES = 1 << 16
"""A file of a shard's records with so many bytes is replaced by one with the last record."""


class Manifest(msgspec.Struct):
    """The record of a job in its folder. handles: each step of a shard is written there, too."""

    job: JobRecord
    shards: list[ShardRecord]
    handles: bool = False


def manifest(job: JobRecord, shards: list[ShardRecord], *, handles: bool = True) -> bytes:
    """The record of a job for its folder. handles: each step of a shard is written there, too."""
    return msgspec.json.encode({"job": job, "shards": shards, "handles": handles})


def write_manifest(
    folder: JobFolder, job: JobRecord, shards: list[ShardRecord], *, handles: bool = True
) -> None:
    """Write the record of a job into its folder, twice: either file is enough. See `manifest`."""
    record = manifest(job, shards, handles=handles)
    for path in (folder.manifest, folder.manifest_copy):
        folder.write(path, record)


def recovered(
    folders: Folders, jobs: Iterable[str], now: float
) -> Iterator[tuple[JobRecord, list[ShardRecord]]]:
    """Each of these jobs with its shards, as far as its folder has them; see `unrecovered`.

    A shard that may have been sent is searched for at the provider before it is sent.
    """
    for name in sorted(jobs):
        folder = folders.of(name)
        there = _read(folders, name)
        if there is None:
            continue
        shards = with_pieces([_shard(there, shard, folder) for shard in there.shards], folder)
        over = all(shard.step is Step.COLLECTED for shard in shards)
        finished = max((shard.fetched_at for shard in shards), default=0.0) or now
        job = msgspec.structs.replace(
            there.job,
            finished_at=there.job.finished_at or (finished if over else 0.0),
            message="this job was not in the ledger's database: it was recovered from its folder",
            holder=None,
            lease_until=0.0,
        )
        yield job, shards


def unrecovered(folders: Folders, jobs: Iterable[str]) -> dict[str, str]:
    """A message about each of these jobs that has no readable record in its folder."""
    return {
        name: _unreadable(folders.of(name)) for name in sorted(jobs) if _is_damaged(folders, name)
    }


def _unreadable(folder: JobFolder) -> str:
    name = folder.path.name
    numbers = [
        int(path.stem.partition("-")[2])
        for path in folder.path.glob("shard-*.json")
        if path.stem.partition("-")[2].isdecimal()
    ]
    shards = [shard for number in sorted(numbers) if (shard := handle_of(folder, number))]
    batches = [shard.batch_id for shard in shards if shard.batch_id]
    known = f" (its batches: {', '.join(batches[:3])})" if batches else ""
    return (
        f"job {name} is not in the ledger's database, and {folder.manifest.name} in {folder.path} is damaged "
        f"or missing{known}: put that file or the database back from a backup; or fetch the answers from the provider "
        f"again: `jupyter batch adopt {name} --model PROVIDER/MODEL`"
    )


def job_of(folders: Folders, name: str) -> JobRecord | None:
    """The record of a job as it was planned; None where its folder lacks it."""
    there = _read(folders, name)
    return None if there is None else there.job


def shard_of(folders: Folders, name: str, number: int) -> ShardRecord | None:
    """The record of a shard as far as its job's folder has it; None where it does not."""
    there = _read(folders, name)
    planned = [] if there is None else [one for one in there.shards if one.number == number]
    if there is not None and planned:
        return _shard(there, planned[0], folders.of(name))
    return handle_of(folders.of(name), number)


def with_pieces(shards: list[ShardRecord], folder: JobFolder) -> list[ShardRecord]:
    """The shards, each cut one followed by the shards that it was cut into, by number."""
    found = list(shards)
    for shard in found:  # the list grows: pieces may have been cut, too
        found += [piece for n in shard.replaced_by if (piece := handle_of(folder, n)) is not None]
    return sorted(found, key=lambda shard: shard.number)


def open_shards(planned: list[ShardRecord], folder: JobFolder) -> list[ShardRecord]:
    """The planned shards of a job, with the pieces in the place of those that were cut."""
    cut = {
        shard.number: kept
        for shard in planned
        if (kept := handle_of(folder, shard.number)) is not None and kept.replaced_by
    }
    found = with_pieces([cut.get(shard.number, shard) for shard in planned], folder)
    return [shard for shard in found if not shard.replaced_by]


def handle_of(folder: JobFolder, number: int) -> ShardRecord | None:
    """A shard's record at its last step; None where the folder lacks it.

    A record that a loss of power cut off is passed over: its step was taken after it was on disk.
    """
    try:
        records = folder.handle(number).read_bytes().split(b"\n")
    except OSError:
        return None
    is_cut = bool(records[-1])
    for record in [record for record in reversed(records) if record][: 1 + is_cut]:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(record, type=ShardRecord)
    return None


def _read(folders: Folders, name: str) -> Manifest | None:
    there = manifest_of(folders.of(name))
    if there is None or there.job.id != name:  # a copy of the folder, under another name
        return None
    return there


def _is_damaged(folders: Folders, name: str) -> bool:
    return manifest_of(folders.of(name)) is None


def manifest_of(folder: JobFolder) -> Manifest | None:
    """The manifest in a job's folder, or its copy; None where neither is readable."""
    for path in (folder.manifest, folder.manifest_copy):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
    return None


def _shard(there: Manifest, planned: ShardRecord, folder: JobFolder) -> ShardRecord:
    number = planned.number
    if (kept := handle_of(folder, number)) is not None:
        return kept
    if folder.output(number).exists() or folder.errors(number).exists():
        return msgspec.structs.replace(planned, step=Step.ENDED, ending=State.COMPLETED)
    if planned.joins or planned.step is not Step.PLANNED:
        return planned
    # It was never sent, or its file was lost: if the provider lists no batch of it, it is sent.
    unsent = there.handles and not folder.handle(number).exists()
    return msgspec.structs.replace(
        planned,
        step=Step.SUBMITTING,
        create_sent=True,
        create_answered=unsent,
        sent_at=there.job.created_at,
    )


def write_handle(folder: JobFolder, shard: ShardRecord) -> None:
    """Add a shard's record to those in the job's folder; a missing folder is not created again."""
    target, record = folder.handle(shard.number), msgspec.json.encode(shard)
    with contextlib.suppress(LedgerError):  # the database has it
        if _append(target, b"\n%b\n" % record) > _HANDLE_BYTES:
            folder.write(target, record)


def _append(target: Path, data: bytes) -> int:
    """Add to the end of a small file, which is on disk then; return its size before.

    In this way no file is made or removed, which costs a millisecond each.
    """
    with disk_errors(target.parent):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        handle = os.open(target, flags, 0o600)
        try:
            size = os.lseek(handle, 0, os.SEEK_END)
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)
    return size


_FOLDERS, _MOVES = "folders", "moves"
"""Names in the table `state`: the folders, and the number of moves that are in jobs' folders."""


def _noted(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM state").fetchall())


def _note(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))


def _moves_in(path: Path) -> int | None:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


_OPEN = (
    "SELECT shard.facts FROM shard JOIN job ON job.id = shard.job "
    "WHERE job.finished_at = 0 AND shard.step <> ?"
)


def behind(connection: sqlite3.Connection, folders: Folders) -> list[ShardRecord]:
    """The open shards that changed after the database was copied, with the shards cut from them.

    A shard's file in its job's folder is written after the database; where it counts more moves,
    the database is older, and a shard that it calls planned may have been sent since.
    """
    found: list[ShardRecord] = []
    for shard in _open_shards(connection):
        folder = folders.of(shard.job)
        now = handle_of(folder, shard.number)
        if now is not None and now.moves > shard.moves:
            found += with_pieces([now], folder)
    return found


def bring_up(connection: sqlite3.Connection, shards: list[ShardRecord]) -> None:
    """Replace the database's records of these shards."""
    connection.executemany(
        "INSERT OR REPLACE INTO shard (job, number, step, ending, facts) VALUES (?, ?, ?, ?, ?)",
        [(one.job, one.number, one.step, one.ending, encode(one)) for one in shards],
    )


def _open_shards(connection: sqlite3.Connection) -> Iterator[ShardRecord]:
    for (facts,) in connection.execute(_OPEN, (Step.COLLECTED,)).fetchall():
        with contextlib.suppress(LedgerCorruptError):  # reported when it is read
            yield decode(facts, ShardRecord)


class Recovering(Database):
    """A database that is brought up to date with the jobs' folders when it is opened."""

    def __init__(self, home: Path, *, upgrade: bool = True) -> None:
        super().__init__(home, upgrade=upgrade)
        self.folders = Folders(home)
        self._unrecovered: dict[str, str] = {}
        self._moves = home / "moves"

    def exists(self) -> bool:
        """Whether there is a ledger, or a job's folder to recover one from; writes nothing."""
        return super().exists() or (self._upgrade and bool(self.folders.jobs()))

    def _recover(self, connection: sqlite3.Connection) -> None:
        """Record jobs found only in the folders: the database is new, emptied, or an older copy."""
        if not self._upgrade:
            return
        self._finish_removals(connection)
        if self._is_current(connection):
            return
        folders, moves = self.folders.state(), _moves_in(self._moves)
        if not (self._lost(connection) or behind(connection, self.folders)):
            self._keep_current(connection, folders, moves)
            return
        connection.execute("BEGIN IMMEDIATE")
        try:  # another process may have been first, or have been about to record its job
            lost = self._lost(connection)
            found = list(recovered(self.folders, lost, time.time()))
            self._unrecovered = unrecovered(self.folders, lost)
            for job, shards in found:
                insert(connection, job, shards)
            moved_on = behind(connection, self.folders)
            bring_up(connection, moved_on)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if found:
            _log.warning(
                "jupyter_batch: %d job(s) were not in the ledger's database %s, which is new, empty or an old copy: "
                "they were recovered from their folders, and nothing is paid again",
                len(found),
                self.path,
            )
        if moved_on:
            _log.warning(
                "jupyter_batch: the ledger's database %s is an older copy: %d batch(es) were sent or fetched since, as "
                "their jobs' folders tell, and are not sent again",
                self.path,
                len(moved_on),
            )

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether the database has all that was done: the folders are as it knows them, and all moves."""
        known = _noted(connection)
        moves = _moves_in(self._moves)
        is_behind = moves is None or moves > int(known.get(_MOVES, -1))
        return not is_behind and known.get(_FOLDERS) == self.folders.state()

    def _keep_current(
        self, connection: sqlite3.Connection, folders: str, moves: int | None
    ) -> None:
        """Note that the database had all of the folders in this state, where it can be written.

        Not where one is empty: files that come into it do not change the state.
        """
        if self.folders.jobs(empty=True) != self.folders.jobs():
            return
        with contextlib.suppress(sqlite3.Error, OSError):
            connection.execute("BEGIN IMMEDIATE")
            try:
                _note(connection, _FOLDERS, folders)
                self._count_move(connection, least=moves or 0)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _changed_folders(self, db: sqlite3.Connection) -> Iterator[None]:
        """A change of the jobs' folders in a transaction: note them, if they were as noted before.

        They were not where a process has died between such a change and the end of its transaction.
        """
        is_current = _noted(db).get(_FOLDERS) == self.folders.state()
        yield
        if is_current:
            _note(db, _FOLDERS, self.folders.state())

    def _count_move(self, db: sqlite3.Connection, least: int = 0) -> None:
        """Count a move that is written to a job's folder, in the database and before in a file.

        An older copy of the database has a lower number than the file.
        """
        moves = 1 + max(least, int(_noted(db).get(_MOVES, 0)))
        with contextlib.suppress(OSError):
            handle = os.open(self._moves, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.write(handle, b"%020d" % moves)
            finally:
                os.close(handle)
        _note(db, _MOVES, str(moves))

    def _finish_removals(self, connection: sqlite3.Connection) -> None:
        """Remove the records of jobs whose folders are renamed for removal: a process died in between."""
        for job in self.folders.forgotten():
            remove(connection, job)

    def sweep(self) -> None:
        """Remove what dead processes left behind: drafts, and the rest of forgotten jobs."""

        def finish() -> None:
            with self._transaction() as db:
                self._finish_removals(db)

        self.folders.sweep(finish)

    def _lost(self, connection: sqlite3.Connection) -> set[str]:
        """The jobs that have a folder and are not in the database."""
        return self.folders.jobs() - {row[0] for row in connection.execute("SELECT id FROM job")}

    def is_unrecovered(self, job: str) -> bool:
        """Whether a job has a folder, but no record in the database nor a readable one there."""
        return job in self._unrecovered and not self._rows("SELECT 1 FROM job WHERE id = ?", job)
