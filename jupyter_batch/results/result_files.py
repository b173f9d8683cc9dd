"""Result files of a job's folder: decoded once, and kept as columns (results/columns.py).

The columns can be made of the file at any time: a missing, damaged or outdated copy is made again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from xxhash import xxh3_64

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.request import Result, Status, ToolCalls
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import line_views, opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.columns import START, Columns, Texts, write
from jupyter_batch.results.lines.builder import Builder
from jupyter_batch.results.lines.plain import Answers, chat_answers
from jupyter_batch.results.lines.shapes import Run, Shapes
from jupyter_batch.row_files.checksums import State, file_hash, note_hash
from jupyter_batch.schema import Parser
from jupyter_batch.schema.models import mark_of, model_of
from jupyter_batch.wire.dialects import OPENAI, decode_lines
from jupyter_batch.wire.openai import (
    BLOCK_BYTES,
    CHAT,
    EMBEDDINGS,
    whole_lines,
)

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_MANY_BYTES = 1 << 14
"""The lines of smaller files are decoded one by one: arrays cost more."""
_SHAPED_BYTES = 1 << 20
"""Larger than the blocks that are decoded: arrays of many lines cost less a line."""
LEAST_BYTES = 1 << 16
"""The columns of smaller files are not kept: they are decoded in a millisecond."""


def decoded(path: Path, job: JobRecord, dialect: str | None = None) -> Iterator[Result]:
    """The results in a file of a job's folder, if it exists; by default in the job's dialect."""
    for block in _blocks(path):
        yield from results_in(block, job, dialect)


def _blocks(path: Path) -> Iterator[bytes]:
    with opened_if_there(path) as file:
        if file is not None:
            yield from whole_lines(iter(lambda: file.read(BLOCK_BYTES), b""))


def results_in(block: bytes, job: JobRecord, dialect: str | None = None) -> Iterator[Result]:
    """The results in whole lines of a job; an answer that violates the schema is a failure.

    In a job with tools an answer may consist of tool calls alone, whatever the schema requires of
    the final one.
    """
    results = decode_lines(dialect or job.dialect, block, job.endpoint, job.tool_names)
    parser = _parser_of(job)
    if job.tools:
        return (
            msgspec.structs.replace(result, value=result.calls)
            if result.calls
            else result
            if parser is None
            else next(parser.read([result]))
            for result in results
        )
    return results if parser is None else parser.read(results)


def _parser_of(job: JobRecord) -> Parser | None:
    if job.schema is None:
        return None
    return _parser(msgspec.json.encode(job.schema), job.lax, class_of(job))


def class_of(job: JobRecord) -> Any:
    """The Pydantic class by which a job's answers are validated; None where this process has none."""
    return model_of(job.schema) if job.lax and job.schema is not None else None


@lru_cache(maxsize=64)
def _parser(schema: bytes, lax: bool, model: Any) -> Parser:
    return Parser(msgspec.json.decode(schema, type=Schema), lax=lax, model=model)


def columns_of(path: Path, job: JobRecord, dialect: str | None = None) -> Iterator[Columns]:
    """The lines of a file of a job's folder, if it exists: as one piece, where its columns are kept.

    Vectors that are not kept come in small pieces, so that few of them are in memory at a time.
    """
    with opened_if_there(path) as file:
        if file is None:
            return
    dialect = dialect or job.dialect
    found = kept_columns(path, job, dialect)
    if found is None and job.endpoint == EMBEDDINGS:
        found = _kept_vectors(path, job, dialect)
        if found is None:
            yield from _in_pieces(path, job, dialect)
            return
    if found is None:
        found = _decoded(path, job, dialect)
        if path.stat().st_size >= LEAST_BYTES and isinstance(found.values, Texts):
            with contextlib.suppress(LedgerError):  # a full disk
                with written(kept_at(path)) as target:
                    check = found.write(target, _mark(path, job, dialect))
                note_hash(kept_at(path), check, START)
    yield _parsed(found, job)


def _parsed(found: Columns, job: JobRecord) -> Columns:
    """The columns, of which a value is parsed on access where it is kept as another text."""
    parser = _parser_of(job)
    if job.tools:
        found.parse = partial(_unmarked, parser)
    elif parser is not None:
        found.parse = parser.values
    return found


def kept_answers(path: Path, job: JobRecord) -> Columns | None:
    """The columns that are kept of a result file of a job; None without them."""
    found = kept_columns(path, job, job.dialect)
    return None if found is None else _parsed(found, job)


def _in_pieces(path: Path, job: JobRecord, dialect: str) -> Iterator[Columns]:
    for block in _blocks(path):
        made = Builder(job.id)
        for result in results_in(block, job, dialect):
            made.add(result)
        yield made.columns()


def _kept_vectors(path: Path, job: JobRecord, dialect: str) -> Columns | None:
    """The columns of a file of vectors, written while it is decoded.

    None where they are not kept: of a small file, for vectors of several lengths, on a full disk.
    """
    if path.stat().st_size < LEAST_BYTES:
        return None
    made, mark = Builder(job.id), _mark(path, job, dialect)
    dimensions = set[tuple[int, ...]]()

    def vectors() -> Iterator[Array]:
        for block in _blocks(path):
            results = list(results_in(block, job, dialect))
            for result in results:
                made.add(msgspec.structs.replace(result, value=None))
            some = [result.value for result in results if result.status is Status.SUCCEEDED]
            if some:
                array = np.array(some, dtype=np.float32)  # ValueError for several lengths in it
                dimensions.add(array.shape[1:])
                if len(dimensions) > 1:
                    raise ValueError(dimensions)
                yield array

    def columns() -> Columns:
        found = made.columns()
        found.values = ()
        return found

    with contextlib.suppress(LedgerError, ValueError), written(kept_at(path)) as target:
        write(target, mark, vectors(), columns)
        target.flush()
    return Columns.read(kept_at(path), mark)


def kept_columns(path: Path, job: JobRecord, dialect: str) -> Columns | None:
    """The columns that are kept of a file, without `parse`; None without them."""
    if not kept_at(path).exists() or path.stat().st_size < LEAST_BYTES:
        return None
    return Columns.read(kept_at(path), _mark(path, job, dialect))


def kept_at(path: Path) -> Path:
    """The path of a result file's columns."""
    return path.with_name(f"{path.name}.columns")


def _mark(path: Path, job: JobRecord, dialect: str) -> bytes:
    """A hash of all that the columns depend on: the file, and how it is read."""
    how: tuple[Any, ...] = (
        VERSION,
        job.id,
        dialect,
        job.endpoint,
        job.schema,
        job.tool_names,
    )
    if job.lax:
        model = class_of(job)
        how = (*how, "" if model is None else mark_of(model))
    return blake2b(msgspec.json.encode((file_hash(path), how)), digest_size=16).digest()


_last: list[tuple[object, Columns]] = []


def _decoded(path: Path, job: JobRecord, dialect: str) -> Columns:
    """As `_decode`. A small file of texts is decoded once, where it is checked and then counted."""
    there = path.stat()
    if there.st_size >= _MANY_BYTES or job.schema is not None or job.tools:
        return _decode(path, job, dialect)
    mark = there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, job.id, dialect
    for known, found in _last[-1:]:
        if known == mark:
            return found
    found = _decode(path, job, dialect)
    _last[:] = [(mark, found)]
    return found


def _decode(path: Path, job: JobRecord, dialect: str) -> Columns:
    """Decode a file. With a schema the values are the answers' texts, which are parsed on access."""
    made, parser = Builder(job.id), _parser_of(job)
    is_chat = dialect == OPENAI and job.endpoint == CHAT
    if is_chat and parser is None and not job.tools and path.stat().st_size >= _MANY_BYTES:
        _add_plain(made, path, job)
        return made.columns()
    for block in _blocks(path):
        for result in decode_lines(dialect, block, job.endpoint, job.tool_names):
            parsed = result
            if (
                parser is not None
                and result.status is Status.SUCCEEDED
                and not _calls_of(job, result)
            ):
                parsed = parser.one(result)
            made.add(parsed if parsed.status is not Status.SUCCEEDED else _marked(job, result))
    return made.columns()


def _add_plain(made: Builder, path: Path, job: JobRecord) -> None:
    """Add the lines of a file of chat results, most of which are alike."""
    shapes, before, check = Shapes(job.id), State(path), xxh3_64()
    with opened_if_there(path) as file:
        for view in () if file is None else line_views(file, _SHAPED_BYTES):
            check.update(view)
            for run in shapes.runs(view):
                if isinstance(run, Run):
                    made.add_run(run)
                else:
                    _add_each(made, run)
    note_hash(path, check.intdigest(), before=before)


_TEXT, _CALLS = "t", "c"
"""The first letter of an answer in a job with tools, as it is kept."""


def _calls_of(job: JobRecord, result: Result) -> ToolCalls | None:
    return result.calls if job.tools else None


def _marked(job: JobRecord, result: Result) -> Result:
    """The answer as a text: in a job with tools it may be calls."""
    if not job.tools:
        return result
    calls = _calls_of(job, result)
    text = f"{_CALLS}{json.dumps([calls, calls.text])}" if calls else f"{_TEXT}{result.value}"
    return msgspec.structs.replace(result, value=text)


def _unmarked(parser: Parser | None, marked: str) -> Any:
    """The answer of a job with tools."""
    if marked.startswith(_CALLS):
        return ToolCalls(*json.loads(marked[1:]))
    return marked[1:] if parser is None else parser.values(marked[1:])


def _add_each(made: Builder, lines: memoryview) -> None:
    """Add chat result lines of any kind."""
    for block in whole_lines([bytes(lines)]):
        for found in chat_answers(block):
            if isinstance(found, Answers):
                made.add_answers(*found)
            else:
                made.add(found.outcome, found.ids)
