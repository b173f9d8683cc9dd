"""Request lines of single rows, by binary search in a request file (its lines are in row order)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from jupyter_batch.core.request import position_of
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.row_files.request_files import REQUEST_ID


def line_of(path: Path, job: str, row: int) -> bytes:
    """The request line of a row. Empty if not found."""
    return lines_of(path, job, [row]).get(row, b"")


def lines_of(path: Path, job: str, rows: Iterable[int]) -> dict[int, bytes]:
    """The request lines of rows, without those not found. Rows that follow each other cost one search."""
    found: dict[int, bytes] = {}
    with opened_if_there(path) as file:
        if file is None:
            return found
        end = file.seek(0, os.SEEK_END)
        low = 0
        for row in sorted(rows):
            file.seek(low)
            line = file.readline() if found else b""
            if _row_in(line, job) != row:
                line = _searched(file, job, row, low, end)
            if line:
                found[row] = line
                low = file.tell()
    return found


def _searched(file: BinaryIO, job: str, row: int, low: int, high: int) -> bytes:
    """The line of a row between two offsets; the file is behind it then. Empty if not found."""
    while low < high:  # a line that begins before `low` belongs to an earlier row
        middle = (low + high) // 2
        file.seek(middle)
        if middle:
            file.seek(middle - 1)
            file.readline()  # to the next line's beginning
        line = file.readline()
        position = _row_in(line, job)
        if position == row:
            return line
        if position is not None and position < row:
            low = file.tell()
        else:
            high = middle
    return b""


def _row_in(line: bytes, job: str) -> int | None:
    found = REQUEST_ID.match(line)
    return position_of(job, found[1].decode()) if found else None
