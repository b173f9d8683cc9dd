"""The log of a job's tool calls on disk: a line before each call, and a line with its outcome.

A call with the first line and not the second was running when its process died: whether it took
effect is unknown, so that it is not run again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from jupyter_batch.ledger.folder import disk_errors


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line. row: its position. call: its number in the row, from 0. id: the provider's id of it.

    text: the outcome; None in the line before the call. failed: it is an error's text.
    """

    row: int
    call: int
    id: str | None = None
    text: str | None = None
    failed: bool = False


_DECODER = msgspec.json.Decoder(Entry)
_encode = msgspec.json.Encoder().encode


class CallLog:
    """The log file of one job. Threads of one process may append; each line is on disk on return.

    Raises a LedgerError (a full disk, a folder without write access).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._file: BinaryIO | None = None
        self._written = self._synced = 0

    def __enter__(self) -> Self:
        with disk_errors(self.path.parent):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(handle, "a+b", buffering=0)
            if self._file.seek(0, os.SEEK_END):
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":  # a line that was cut off with its process
                    self._file.write(b"\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def put(self, entry: Entry) -> None:
        """Append a line and sync it to the disk; several threads share one sync."""
        with disk_errors(self.path.parent):
            with self._lock:
                if self._file is None:
                    raise OSError(f"{self.path} is closed")
                self._file.write(_encode(entry) + b"\n")
                self._written += 1
                mine = self._written
            with self._syncing:
                if self._synced < mine:
                    with self._lock:
                        upto, file = self._written, self._file
                    if file is not None:
                        os.fsync(file.fileno())
                    self._synced = upto


def entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """Each line of a log with its offset; a truncated line is skipped."""
    if not path.exists():
        return
    start = 0
    with path.open("rb") as file:
        for line in file:
            at, start = start, start + len(line)
            try:
                yield at, _DECODER.decode(line)
            except msgspec.DecodeError:
                continue


def entry_at(file: BinaryIO, start: int) -> Entry:
    """The line at that offset."""
    file.seek(start)
    return _DECODER.decode(file.readline())
