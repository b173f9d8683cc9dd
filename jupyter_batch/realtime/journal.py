"""Files of one real-time run: its parameters, its answers as received, and its lock.

In one folder (mode 0600): ID.json, the record; ID.output.jsonl and ID.errors.jsonl, lines as in
OpenAI's batches, in order of arrival; ID.cancel, once cancelled; ID.lock, held by the process
that runs it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from jupyter_batch.core.errors import LedgerError, LedgerFullError
from jupyter_batch.http.masked_stream import masked_bytes
from jupyter_batch.process.locks import FileLock
from jupyter_batch.wire.openai import BLOCK_BYTES, whole_lines

_ROW = re.compile(rb'^\{"id":"row-(\d+)"', re.MULTILINE)
"""Start of each line: the number of its request's line in the request file, from 0."""


def request_of(line: bytes) -> tuple[Any, dict[str, Any] | None]:
    """Return (custom_id, body) of a request line; None for an unreadable value."""
    try:
        request = orjson.loads(line)
        body = request["body"]
        return request["custom_id"], body if isinstance(body, dict) else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None, None


def answer_line(number: int, custom_id: Any, body: dict[str, Any]) -> bytes:
    """Format an answer as a line of the output file."""
    return orjson.dumps(
        {
            "id": f"row-{number}",
            "custom_id": custom_id,
            "response": {"status_code": 200, "request_id": body.get("id") or "", "body": body},
            "error": None,
        },
        default=str,
        option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
    )


def failure_line(
    number: int, custom_id: Any, status: int | None, error_object: dict[str, Any]
) -> bytes:
    """Format a failure as an errors line: a response if it has a status, else an error."""
    response = (
        None
        if status is None
        else {"status_code": status, "request_id": "", "body": {"error": error_object}}
    )
    error = {"code": "no_answer", "message": error_object["message"]} if response is None else None
    return orjson.dumps(
        {"id": f"row-{number}", "custom_id": custom_id, "response": response, "error": error},
        default=str,
        option=orjson.OPT_APPEND_NEWLINE,
    )


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A run's parameters. requests: its file, relative to the record's folder; size: in bytes."""

    id: str
    tag: dict[str, str]
    endpoint: str
    requests: str
    size: int
    total: int
    created_at: float


class Book:
    """The files of one run. Raises LedgerError on disk errors."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.output = folder / f"{name}.output.jsonl"
        self.errors = folder / f"{name}.errors.jsonl"
        self.completed = 0
        self.failed = 0
        self._name = name
        self._record = folder / f"{name}.json"
        self._cancel = folder / f"{name}.cancel"
        self._lock = FileLock(folder / f"{name}.lock")
        self._files: tuple[_Lines, _Lines] | None = None
        self._answered = bytearray()

    # -- the record ------------------------------------------------------------------------------

    def create(self, requests: Path, tag: dict[str, str], endpoint: str, now: float) -> Record:
        """Write the record, which creates the run. An existing record is kept unchanged."""
        there = self.record()
        if there is not None:
            return there
        with requests.open("rb") as file:
            total = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
            size = file.tell()
            if size:
                file.seek(-1, os.SEEK_END)
                total += file.read(1) != b"\n"
        record = Record(
            id=self._name,
            tag=tag,
            endpoint=endpoint,
            size=size,
            total=total,
            created_at=now,
            requests=os.path.relpath(requests, self.folder),
        )
        draft = self._record.with_name(f"{self._name}.{secrets.token_hex(4)}.part")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(draft, msgspec.json.encode(record))
            draft.replace(self._record)
        except OSError as e:
            draft.unlink(missing_ok=True)
            raise _ledger_error(self.folder, e) from e
        return record

    def record(self) -> Record | None:
        """Return the run's record; None where there is no such run."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as e:
            raise LedgerError(f"{self._record} can't be read: {e}") from e

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self._cancel.exists()

    def cancel(self) -> None:
        """Cancel the run: the process that runs it notices at its next row."""
        try:
            _write(self._cancel, b"")
        except OSError as e:
            raise _ledger_error(self.folder, e) from e

    # -- the lock --------------------------------------------------------------------------------

    def take(self) -> bool:
        """Lock the run and read its answers, dropping an unfinished line; False if it is locked."""
        if not self._hold():
            return False
        record = self.record()
        try:
            if record is None:
                raise LedgerError(f"{self._record} is gone")
            self._answered = bytearray(record.total)
            for path in (self.output, self.errors):
                _repair(path)
            self.completed = self._read(self.output)
            self.failed = self._read(self.errors)
            self._files = (_Lines(self.output), _Lines(self.errors))
        except OSError as e:
            self.leave()
            raise _ledger_error(self.folder, e) from e
        except BaseException:
            self.leave()
            raise
        return True

    def leave(self) -> None:
        """Release the lock; written lines are durable."""
        files, self._files = self._files, None
        for file in files or ():
            file.close()
        self._lock.release()

    def held(self) -> bool:
        """Whether a process holds the lock."""
        if self._lock.held or not self._hold():
            return True
        self.leave()
        return False

    def look(self) -> None:
        """Count the lines written by another process."""
        if self._files is None:
            self.completed, self.failed = (_count(path) for path in (self.output, self.errors))

    def unanswered(self, record: Record) -> Iterator[tuple[int, bytes]]:
        """Yield the requests without an outcome as (number, line), read lazily."""
        path = self.folder / record.requests
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != record.size:
                    raise LedgerError(
                        f"{path} has changed since it was taken up: nothing more of it is sent"
                    )
                for number, line in enumerate(file):
                    if not self._answered[number]:
                        yield number, line
        except OSError as e:
            raise _ledger_error(path, e) from e

    def add(self, number: int, line: bytes, *, failed: bool) -> None:
        """Append an outcome: the full line or nothing."""
        if self._files is None:
            raise LedgerError(f"{self.folder}: an answer came after the run was left")
        try:
            self._files[failed].add(masked_bytes(line))
        except OSError as e:
            raise _ledger_error(self.folder, e) from e
        self._answered[number] = 1
        if failed:
            self.failed += 1
        else:
            self.completed += 1

    def _read(self, path: Path) -> int:
        count = 0
        with path.open("rb") as file:
            for block in whole_lines(iter(lambda: file.read(BLOCK_BYTES), b"")):
                for found in _ROW.finditer(block):
                    self._answered[int(found[1])] = 1
                    count += 1
        return count

    def _hold(self) -> bool:
        try:
            return self._lock.take()
        except OSError as e:
            raise _ledger_error(self.folder, e) from e


class _Lines:
    """An append-only file, unbuffered: added lines survive a kill of the process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size

    def add(self, line: bytes) -> None:
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)


def _repair(path: Path) -> None:
    """Drop an unfinished last line of a killed process; create the file if it is missing."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at:
            start = max(0, at - (1 << 16))
            file.seek(start)
            cut = file.read(at - start).rfind(b"\n") + 1
            at = start + cut
            if cut:
                break
        if at != end:
            file.truncate(at)


def _count(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _ledger_error(place: Path, error: OSError) -> LedgerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LedgerFullError(
            f"the disk is full at {place}: free some space; no further request is sent until then"
        )
    return LedgerError(f"{place}: {error.strerror or error}")
