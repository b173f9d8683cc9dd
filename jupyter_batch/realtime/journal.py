"""What is on disk of one real-time run: what it was told to do, each answer as it came, and who is at it. No network.

Beside each other in one folder (0600): ID.json, the record; ID.output.jsonl and ID.errors.jsonl, lines as OpenAI's
batches have them, in the order they came; ID.cancel, once it is not wanted any more; ID.lock, held by whoever is at it.
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
"""How each line begins: the number of its request's line in the request file, from 0."""


def request_of(line: bytes) -> tuple[Any, dict[str, Any] | None]:
    """(custom_id, body) of a request line; None for what can't be read."""
    try:
        request = orjson.loads(line)
        body = request["body"]
        return request["custom_id"], body if isinstance(body, dict) else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None, None


def answer_line(number: int, custom_id: Any, body: dict[str, Any]) -> bytes:
    """An answer as a line of the output file."""
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


def failure_line(number: int, custom_id: Any, status: int | None, told: dict[str, Any]) -> bytes:
    """A failure as a line of the errors file: with a status as the provider's answer, else as what kept it from one."""
    response = (
        None
        if status is None
        else {"status_code": status, "request_id": "", "body": {"error": told}}
    )
    error = {"code": "no_answer", "message": told["message"]} if response is None else None
    return orjson.dumps(
        {"id": f"row-{number}", "custom_id": custom_id, "response": response, "error": error},
        default=str,
        option=orjson.OPT_APPEND_NEWLINE,
    )


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was told to do. requests: the request file, as seen from the record's folder; size: its bytes."""

    id: str
    tag: dict[str, str]
    endpoint: str
    requests: str
    size: int
    total: int
    created_at: float


class Book:
    """The files of one run. Raises LedgerError where the disk does not let it."""

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

    # -- what it was told to do ------------------------------------------------------------------------------

    def create(self, requests: Path, tag: dict[str, str], endpoint: str, now: float) -> Record:
        """Write the record; the run is there from now on. One that is there already is kept as it is."""
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
            raise _told(self.folder, e) from e
        return record

    def record(self) -> Record | None:
        """What the run was told to do; None where there is no such run."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as e:
            raise LedgerError(f"{self._record} can't be read: {e}") from e

    @property
    def cancelled(self) -> bool:
        """Whether it is not wanted any more."""
        return self._cancel.exists()

    def cancel(self) -> None:
        """It is not wanted any more: whichever process is at it sees so at its next row."""
        try:
            _write(self._cancel, b"")
        except OSError as e:
            raise _told(self.folder, e) from e

    # -- the process at it -----------------------------------------------------------------------------------

    def take(self) -> bool:
        """Become the one at it, and learn what is answered; False where another is. An unfinished line is dropped."""
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
            raise _told(self.folder, e) from e
        except BaseException:
            self.leave()
            raise
        return True

    def leave(self) -> None:
        """Let go; what was written is on the disk for good."""
        files, self._files = self._files, None
        for file in files or ():
            file.close()
        self._lock.release()

    def held(self) -> bool:
        """Whether a process is at it."""
        if self._lock.held or not self._hold():
            return True
        self.leave()
        return False

    def look(self) -> None:
        """Count what another process has written."""
        if self._files is None:
            self.completed, self.failed = (_count(path) for path in (self.output, self.errors))

    def unanswered(self, record: Record) -> Iterator[tuple[int, bytes]]:
        """The requests without an outcome: (number, line), read as they are asked for."""
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
            raise _told(path, e) from e

    def add(self, number: int, line: bytes, *, failed: bool) -> None:
        """Write down an outcome: all of the line, or nothing of it."""
        if self._files is None:
            raise LedgerError(f"{self.folder}: an answer came after the run was left")
        try:
            self._files[failed].add(masked_bytes(line))
        except OSError as e:
            raise _told(self.folder, e) from e
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
            raise _told(self.folder, e) from e


class _Lines:
    """A file that lines are put behind, each at once: what was added is there after the process is killed."""

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
    """Drop what a dying process left behind the last whole line; make the file where there is none."""
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


def _told(place: Path, error: OSError) -> LedgerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LedgerFullError(
            f"the disk is full at {place}: free some space; no further request is sent until then"
        )
    return LedgerError(f"{place}: {error.strerror or error}")
