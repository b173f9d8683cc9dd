"""Corrected labels of a job's rows: a file in its folder, and their agreement with the answers."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from jupyter_batch.core.errors import InputError
from jupyter_batch.ledger.folder import JobFolder, disk_errors
from jupyter_batch.ledger.records import JobRecord

FILE = "labels.jsonl"
LONGEST = 1000
"""Characters of a label."""
TABLE = 400
"""Cells of a confusion table."""


class Label(msgspec.Struct, frozen=True):
    """A label of one row: of the column that the answer fills; None takes it back. row: its position."""

    row: int
    column: str
    label: str | None
    at: float


class Agreement(msgspec.Struct, frozen=True):
    """Labels against answers. table: (answer, label, rows), the most frequent first."""

    labelled: int
    agreed: int
    table: tuple[tuple[str, str, int], ...]


class Labels:
    """The labels of a job. The file is only appended to; the last label of a row counts."""

    def __init__(self, job: JobRecord, folder: JobFolder) -> None:
        self._job = job
        self._path = folder.path / FILE

    def read(self) -> dict[str, dict[int, str]]:
        """The labels by column and position."""
        found: dict[str, dict[int, str]] = {column: {} for column in self._job.fills}
        for one in self._lines():
            if one.column in found and one.label is None:
                found[one.column].pop(one.row, None)
            elif one.column in found and one.label is not None:
                found[one.column][one.row] = one.label
        return found

    def write(self, row: int, column: str, label: str | None, now: float) -> None:
        """Store a label. Raises InputError for an unknown row or column, LedgerError where the disk refuses."""
        if not 0 <= row < self._job.rows or column not in self._job.fills:
            raise InputError(f"job {self._job.id} has no row {row} with the column {column!r}")
        if label is not None and not 0 < len(label) <= LONGEST:
            raise InputError(f"a label has 1 to {LONGEST} characters; got {len(label)}")
        line = msgspec.json.encode(Label(row, column, label, now)) + b"\n"
        with disk_errors(self._path):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)

    def _lines(self) -> Iterator[Label]:
        if not self._path.exists():
            return
        decoder = msgspec.json.Decoder(Label)
        with self._path.open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError):  # cut by a kill
                    yield decoder.decode(line)


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement:
    """The agreement of (answer, label) pairs; case and blanks at the ends do not count."""
    counted = Counter((answer.strip(), label.strip()) for answer, label in pairs)
    agreed = sum(
        rows for (answer, label), rows in counted.items() if answer.casefold() == label.casefold()
    )
    table = tuple((answer, label, rows) for (answer, label), rows in counted.most_common(TABLE))
    return Agreement(counted.total(), agreed, table)
