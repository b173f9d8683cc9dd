"""Result files of a job's folder: decoded once, and kept as columns (results/columns.py).

The columns can be made of the file at any time: a missing, damaged or outdated copy is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.result import Result, Status
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.chat_answers import Answers, chat_answers
from jupyter_batch.results.columns import Builder, Columns, Texts
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.schema import Parser
from jupyter_batch.wire.dialects import OPENAI, decode_lines
from jupyter_batch.wire.openai import BLOCK_BYTES, CHAT, EMBEDDINGS, whole_lines

LEAST_BYTES = 1 << 18
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
    parser = None if job.schema is None else _parser(msgspec.json.encode(job.schema))
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


@lru_cache(maxsize=64)
def _parser(schema: bytes) -> Parser:
    return Parser(msgspec.json.decode(schema, type=Schema))


def columns_of(path: Path, job: JobRecord, dialect: str | None = None) -> Iterator[Columns]:
    """The lines of a file of a job's folder, if it exists: as one piece, where they are texts.

    Vectors and tool calls come in small pieces, so that few of them are in memory at a time.
    """
    if job.tools or job.endpoint == EMBEDDINGS:
        for block in _blocks(path):
            made = Builder(job.id)
            for result in results_in(block, job, dialect):
                made.add(result)
            yield made.columns()
        return
    with opened_if_there(path) as file:
        if file is None:
            return
    dialect = dialect or job.dialect
    is_kept = path.stat().st_size >= LEAST_BYTES
    mark = _mark(path, job, dialect) if is_kept else b""
    found = Columns.read(kept_at(path), mark) if is_kept else None
    if found is None:
        found = _decode(path, job, dialect)
        if is_kept and isinstance(found.values, Texts):
            with contextlib.suppress(LedgerError), written(kept_at(path)) as target:  # a full disk
                target.writelines(found.to_bytes(mark))
    if job.schema is not None:
        found.parse = _parser(msgspec.json.encode(job.schema)).values
    yield found


def kept_at(path: Path) -> Path:
    """The path of a result file's columns."""
    return path.with_name(f"{path.name}.columns")


def _mark(path: Path, job: JobRecord, dialect: str) -> bytes:
    """A hash of all that the columns depend on: the file, and how it is read."""
    how = (VERSION, job.id, dialect, job.endpoint, job.schema, job.tool_names)
    return blake2b(msgspec.json.encode((file_sum(path), how)), digest_size=16).digest()


def _decode(path: Path, job: JobRecord, dialect: str) -> Columns:
    """Decode a file. With a schema the values are the answers' texts, which are parsed on access."""
    made = Builder(job.id)
    parser = None if job.schema is None else _parser(msgspec.json.encode(job.schema))
    is_chat = dialect == OPENAI and job.endpoint == CHAT and parser is None
    for block in _blocks(path):
        for found in (
            chat_answers(block)
            if is_chat
            else decode_lines(dialect, block, job.endpoint, job.tool_names)
        ):
            if isinstance(found, Answers):
                made.add_answers(*found)
            elif parser is not None and found.status is Status.SUCCEEDED:
                parsed = parser.one(found)
                made.add(found if parsed.status is Status.SUCCEEDED else parsed)
            else:
                made.add(found)
    return made.columns()
