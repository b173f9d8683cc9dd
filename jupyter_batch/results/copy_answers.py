"""Answers of another job with the same requests: rows refer to them, or get a copy of each line.

Nothing is rendered and nothing is paid.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from jupyter_batch.core.request import CUT, Result, Status, custom_id
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.columns import ANSWERED, CODE, Columns
from jupyter_batch.results.result_files import columns_of, kept_at, kept_columns, results_in
from jupyter_batch.row_files.answer_files import AnswerFile, References, reused_files
from jupyter_batch.wire.dialects import decode_lines
from jupyter_batch.wire.openai import BLOCK_BYTES, EMBEDDINGS, whole_lines

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]


_FEW = 16
"""Of a file of which less than one line in so many is wanted, these lines are copied."""


def onto(rows: int, there: Array, here: Array) -> array[int]:
    """For each of the `rows` of one job the row of another that needs its answer; -1 for none."""
    wanted = array("q", [-1]) * rows
    np.frombuffer(wanted, dtype=np.int64)[there] = here
    return wanted


def is_answer(result: Result) -> bool:
    """Whether the result is a usable answer."""
    return result.status is Status.SUCCEEDED


def is_billed_failure(result: Result) -> bool:
    """Whether the provider billed an unusable answer: a refusal, no text, a schema mismatch."""
    return result.status is Status.FAILED and not result.unbilled


class Taken(NamedTuple):
    """The results to copy, as a condition on one of them, and on the lines of a decoded file."""

    result: Callable[[Result], bool]
    lines: Callable[[Columns], Array]


def _are_answers(columns: Columns) -> Array:
    return np.equal(columns.status, ANSWERED)


def _are_billed_failures(columns: Columns) -> Array:
    return np.equal(columns.status, CODE[Status.FAILED]) & ~columns.unbilled


ANSWERS = Taken(is_answer, _are_answers)
BILLED_FAILURES = Taken(is_billed_failure, _are_billed_failures)
BILLED = Taken(
    lambda result: is_answer(result) or is_billed_failure(result),
    lambda columns: _are_answers(columns) | _are_billed_failures(columns),
)


def carry(
    job: JobRecord,
    shards: Sequence[ShardRecord],
    folder: JobFolder,
    wanted: array[int],
    new: str,
    target: Callable[[str], Path],
    cut: dict[int, str] | None = None,
    *,
    takes: Taken = ANSWERS,
    references: References | None = None,
) -> array[int]:
    """Give the rows of job `new` the answers of `job` that are wanted, each once.

    wanted: for each position in `job` the one in `new`, or -1; it is consumed. references: to which
    answers are added; the caller writes them. Without it they are copied, as are a few lines of a
    large file, so that forgetting `job` frees its file. target: the path for the lines of a
    dialect; each file is written whole or not at all. cut: receives the finish reason of each
    truncated answer, by its position in `new`. takes: which results are copied; they are selected
    by the columns that are kept of a file, which is not decoded again.
    Returns the positions in `new` that now have an answer.
    """
    files: Iterable[AnswerFile] = answer_files(job, shards, folder)
    taken = array("q")
    if references is not None:
        files, wanted = _refer(files, job, wanted, references, taken, cut)
    with contextlib.ExitStack() as stack:
        copies: dict[str, BinaryIO] = {}
        for file in files:
            for was, line, finish in _lines_for(wanted, file, job, takes):
                at = wanted[was]
                if at < 0:
                    continue
                ours = _renamed(line, job, file, file.id_of(was), custom_id(new, at))
                if ours is None:
                    continue  # the id is not separable from the answer's text: retry
                if file.dialect not in copies:
                    copies[file.dialect] = stack.enter_context(written(target(file.dialect)))
                copies[file.dialect].write(ours + b"\n")
                taken.append(at)
                if cut is not None and finish in CUT:
                    cut[at] = str(finish)
                wanted[was] = -1
    return taken


def _refer(
    files: Iterable[AnswerFile],
    job: JobRecord,
    wanted: array[int],
    references: References,
    taken: array[int],
    cut: dict[int, str] | None,
) -> tuple[list[AnswerFile], array[int]]:
    """Add references to the wanted answers; return the files of which a few lines are to be copied.

    taken, cut: receive the rows, and why answers were cut off. Also returned: `wanted` for these
    copies.
    """
    left, few = np.frombuffer(wanted, dtype=np.int64), list[AnswerFile]()
    copied = array("q", [-1]) * len(wanted)
    for file in files:
        rows, cut_off, lines = _answered(file, job, left)
        here = left[rows]
        left[rows] = -1
        if len(rows) * _FEW < lines:
            few.append(file)
            np.frombuffer(copied, dtype=np.int64)[rows] = here
        elif len(rows):
            target = references.add(file, rows, here)
            with contextlib.suppress(OSError):  # not kept, or on a disk without links: made again
                kept_at(target).hardlink_to(kept_at(file.path))
            taken.frombytes(here.tobytes())
            if cut is not None:
                cut.update((int(here[at]), how) for at, how in cut_off.items())
    return few, copied


def _answered(file: AnswerFile, job: JobRecord, wanted: Array) -> tuple[Array, dict[int, str], int]:
    """(the wanted rows that a file answers, why the k-th one was cut off, the file's lines)."""
    found, lines = [np.empty(0, dtype=np.int64)], 0
    cut_off: dict[int, str] = {}
    missing = wanted >= 0
    for columns in columns_in(file, job):
        lines += len(columns)
        here = np.flatnonzero((columns.rows >= 0) & (columns.rows < len(wanted)))
        here = here[missing[columns.rows[here]] & _are_answers(columns)[here]]
        least = int(columns.rows[here].min(initial=len(wanted)))  # a file has few of the rows
        size = max(0, int(columns.rows[here].max(initial=-1)) + 1 - least)
        first = np.full(size, -1, dtype=np.int64)
        first[columns.rows[here[::-1]] - least] = here[::-1]  # of several lines the first one
        at = np.flatnonzero(first >= 0)
        rows, first = at + least, first[at]
        missing[rows] = False
        codes = [code for code, why in enumerate(columns.finishes) if why in CUT]
        finish, before = columns.finish[first], sum(map(len, found))
        for k in np.flatnonzero(np.isin(finish, codes)).tolist():
            cut_off[before + k] = str(columns.finishes[finish[k]])
        found.append(rows)
    return np.concatenate(found), cut_off, lines


def _lines_for(
    wanted: array[int], file: AnswerFile, job: JobRecord, takes: Taken
) -> Iterator[tuple[int, bytes, str | None]]:
    """(row, line, finish reason) of each result in a file that is taken for a wanted row."""
    if job.endpoint != EMBEDDINGS:  # whose columns may come in pieces
        columns = next(columns_in(file, job), Columns(0))
        here = (columns.rows >= 0) & (columns.rows < len(wanted)) & takes.lines(columns)
        at = np.flatnonzero(here)
        at = at[np.frombuffer(wanted, dtype=np.int64)[columns.rows[at]] >= 0]
        if not len(at):
            return
        if _count(file.path) == len(columns):
            rows, finishes = columns.rows[at].tolist(), columns.finish[at].tolist()
            for row, finish, line in zip(rows, finishes, _at(file.path, at), strict=True):
                yield row, line, columns.finishes[finish]
            return
    for _, was, line, result in lines_in(file, job):
        if was is not None and was < len(wanted) and wanted[was] >= 0 and takes.result(result):
            yield was, line, result.finish


def _count(path: Path) -> int:
    """The number of lines of a file."""
    ends, last = 0, b""
    for block in _blocks(path):
        ends, last = ends + block.count(b"\n"), block[-1:]
    return ends + (last not in (b"", b"\n"))


def _at(path: Path, lines: Array) -> Iterator[bytes]:
    """The lines of a file with these numbers, which are in order."""
    first = 0
    for block in _blocks(path) if len(lines) else ():
        parts = block.removesuffix(b"\n").split(b"\n")
        start, end = np.searchsorted(lines, (first, first + len(parts)))
        yield from (parts[at] for at in (lines[start:end] - first).tolist())
        first += len(parts)


def _blocks(path: Path) -> Iterator[bytes]:
    with opened_if_there(path) as file:
        if file is not None:
            yield from whole_lines(iter(lambda: file.read(BLOCK_BYTES), b""))


def _renamed(line: bytes, job: JobRecord, file: AnswerFile, old: str, new: str) -> bytes | None:
    """The line under another id; None where it can't be replaced unambiguously.

    Every dialect writes the id as a JSON text; within another text its quotes would be escaped.
    Where it occurs once, at its place, nothing else can be meant; any other line is parsed again,
    which is slow.
    """
    was, ours = b'"%b"' % old.encode(), b'"%b"' % new.encode()
    renamed = line.replace(was, ours)
    if line.count(was) == 1 and (
        b'"custom_id":' + ours in renamed or b'"custom_id": ' + ours in renamed
    ):
        return renamed
    read = next(decode_lines(file.dialect, renamed, job.endpoint, job.tool_names))
    return renamed if read.custom_id == new else None


def answer_files(
    job: JobRecord, shards: Sequence[ShardRecord], folder: JobFolder
) -> Iterator[AnswerFile]:
    """The files with the answers of a job; of two answers for one row the first counts.

    Those of earlier jobs come last: they hold the old answer of a row that was sent again.
    """
    for shard in shards:
        for dialect, path in folder.taken_over(shard):
            yield AnswerFile(dialect, path, job.id)
        yield AnswerFile(job.dialect, folder.output(shard.number), job.id)
    yield from reused_files(folder, job.id)


def columns_in(file: AnswerFile, job: JobRecord) -> Iterator[Columns]:
    """The lines of a file with answers of a job, as `columns_of` has them, by the rows of the job."""
    for columns in columns_of(file.path, file.as_sent(job), file.dialect):
        yield columns if file.at is None else columns.moved(file.rows(columns.rows))


def kept_in(file: AnswerFile, job: JobRecord) -> Columns | None:
    """As `columns_in`, of a file whose columns are kept; None of another one."""
    columns = kept_columns(file.path, file.as_sent(job), file.dialect)
    if columns is None or file.at is None:
        return columns
    return columns.moved(file.rows(columns.rows))


def lines_in(file: AnswerFile, job: JobRecord) -> Iterator[tuple[int, int | None, bytes, Result]]:
    """Each line with its offset in the file, the row of the job that it answers, and its result."""
    start = 0
    for block in _blocks(file.path):
        parts = block.split(b"\n")
        starts = accumulate((len(part) + 1 for part in parts), initial=start)
        held = [
            (at, part)
            for at, part in zip(starts, parts, strict=False)
            if part and not part.isspace()
        ]
        results = list(results_in(block, job, file.dialect))
        if len(results) != len(held):  # two objects in one line
            results = [next(results_in(line, job, file.dialect)) for _, line in held]
        for (at, line), result in zip(held, results, strict=True):
            yield at, file.row_of(result.custom_id), line, result
        start += len(block)
