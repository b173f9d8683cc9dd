"""Contents of a result file: the rows with a line, and the first line that belongs to no row."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jupyter_batch.core.request import position_of
from jupyter_batch.core.status import State
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.protocol import Facts
from jupyter_batch.results.result_files import columns_of
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai import BLOCK_BYTES, whole_lines
from jupyter_batch.wire.row_error import ID

_BLANK = b" \t\r\0"
"""Bytes of a line that holds nothing: a file that was written in advance ends with zeros."""
_SHOWN = 200
"""Characters shown of a line that belongs to no row."""


class Contents(NamedTuple):
    """The contents of a file.

    rows: 1 for each row of the shard that has a line. odd: the first line that belongs to no row,
    as text. cut: the last line is incomplete.
    """

    rows: bytearray
    odd: str = ""
    cut: bool = False

    @property
    def found(self) -> int:
        """The number of rows with a line."""
        return self.rows.count(1)


def read(path: Path, job: JobRecord, shard: ShardRecord) -> Contents:
    """The contents of a result file of a shard; a missing file has none.

    The file is decoded, and its columns are kept: they are needed next.
    """
    rows = np.zeros(shard.last - shard.first + 1, dtype=np.uint8)
    for columns in columns_of(path, job):
        at = columns.rows - shard.first
        if not ((at >= 0) & (at < len(rows))).all():
            return _scanned(path, job.id, shard)
        rows[at] = 1
    return Contents(bytearray(rows.tobytes()))


def _scanned(path: Path, job: str, shard: ShardRecord) -> Contents:
    """The contents of a file with lines that can't be decoded, or belong to no row."""
    rows = bytearray(shard.last - shard.first + 1)
    odd, last = "", b""
    with opened_if_there(path) as file:
        blocks = () if file is None else iter(lambda: file.read(BLOCK_BYTES), b"")
        for block in whole_lines(blocks):
            for line in block.split(b"\n"):
                if not line.strip(_BLANK):
                    continue
                last = line
                at = _row(line, job, shard)
                if at is not None:
                    rows[at] = 1
                elif not odd:
                    odd = _text(line)
            last = b"" if block.endswith(b"\n") else last
    cut = bool(last) and not _is_json(last)
    if cut and (at := _row(last, job, shard)) is not None:  # a row without its answer
        rows[at] = 0
    return Contents(rows, odd, cut)


def _row(line: bytes, job: str, shard: ShardRecord) -> int | None:
    """The row of the shard, from 0, that a line belongs to."""
    for found in ID.finditer(line):
        at = position_of(job, found[1].decode("utf-8", "replace"))
        if at is not None and shard.first <= at <= shard.last:
            return at - shard.first
    return None


def _is_json(line: bytes) -> bool:
    try:
        tolerant.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _text(line: bytes) -> str:
    text = " ".join(line[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Missing(NamedTuple):
    """Rows the provider counted, or must have answered, whose lines are missing from its files.

    nothing: there is no line of any row, so that the file is no result file. in_output: missing
    from the output file. in_errors: the error file may lack some.
    """

    rows: int
    in_output: int
    nothing: bool
    in_errors: bool = False


def _counts(shard: ShardRecord) -> tuple[int, int]:
    """Return the provider's numbers of completed and failed requests, at most all there are."""
    return min(shard.completed, shard.requests), min(shard.failed, shard.requests)


def _expected(shard: ShardRecord, facts: Facts, output: Contents, found: int) -> tuple[int, int]:
    """Return (rows expected in all, rows missing in the output file), by the provider's counts."""
    named = shard.output_file_id is not None
    if facts.tells_all and named:
        return shard.requests, shard.requests - output.found
    completed, failed = _counts(shard)
    in_output = completed - output.found if named else 0
    if shard.ending is not State.COMPLETED:
        return completed, in_output
    # Without counts, each request of a completed batch has a line.
    whole = min(completed + failed, shard.requests) or shard.requests
    return whole, 0 if found >= whole else in_output


def missing(shard: ShardRecord, facts: Facts, output: Contents, errors: Contents) -> Missing:
    """The rows missing from a shard's results, by the provider's counts."""
    found = int(
        np.count_nonzero(
            np.frombuffer(output.rows, np.uint8) | np.frombuffer(errors.rows, np.uint8)
        )
    )
    completed, failed = _counts(shard)
    whole, in_output = _expected(shard, facts, output, found)
    named = shard.output_file_id is not None
    no_results = named and output.odd and not output.found  # an HTML page or an error
    if output.cut or no_results:  # whatever the counts
        in_output = max(in_output, 1)
    rows = max(in_output, whole - found, 0)
    if shard.ending is not State.COMPLETED and not named:  # failures are not counted
        rows = max(rows, completed - output.found)
    nothing = rows > 0 and (not found or (named and not output.found))
    all_failures = failed > 0 and errors.found >= failed and not errors.cut
    in_errors = shard.error_file_id is not None and not all_failures
    return Missing(rows, max(in_output, 0), nothing, in_errors)
