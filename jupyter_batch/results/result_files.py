"""Result files of a job's folder: decoded once, and kept as columns (results/columns.py).

The columns can be made of the file at any time: a missing, damaged or outdated copy is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.finish import finish_of, is_whole
from jupyter_batch.core.result import Result, Status
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.columns import Builder, Columns, Texts
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.schema import Parser
from jupyter_batch.schema.models import mark_of, model_of
from jupyter_batch.wire.dialects import OPENAI, decode_lines
from jupyter_batch.wire.openai import (
    BLOCK_BYTES,
    CHAT,
    EMBEDDINGS,
    decode,
    decoder,
    typed,
    whole_lines,
)

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
    if (parser := _parser_of(job)) is not None:
        found.parse = parser.values
    yield found


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
    return blake2b(msgspec.json.encode((file_sum(path), how)), digest_size=16).digest()


def _decode(path: Path, job: JobRecord, dialect: str) -> Columns:
    """Decode a file. With a schema the values are the answers' texts, which are parsed on access."""
    made = Builder(job.id)
    parser = _parser_of(job)
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


# --- plain chat answers: most of the lines that there are, without an object for each ------------


class Answers(NamedTuple):
    """Plain chat answers, field by field: ids, texts, finish reasons, input and output tokens."""

    ids: list[str]
    texts: list[str]
    finishes: list[str | None]
    inputs: list[int]
    outputs: list[int]


def chat_answers(block: bytes) -> Iterator[Answers | Result]:
    """Decode a block of chat result lines like `decode_lines`, plain answers without a Result."""
    try:
        lines = decoder(CHAT).decode_lines(block)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        lines = []
    raw: list[bytes] = []
    if len(lines) != block.count(b"\n") + (not block.endswith(b"\n")):
        yield from decode_lines(OPENAI, block, CHAT, {})
        return
    found: list[tuple[str, str, str | None, int, int]] = []
    for at, line in enumerate(lines):
        if (answer := _plain(line)) is not None:
            found.append(answer)
            continue
        if found:
            yield Answers(*map(list, zip(*found, strict=True)))
            found = []
        raw = raw or block.split(b"\n")
        result = typed(line)
        yield decode(raw[at], CHAT) if result is None else result
    if found:
        yield Answers(*map(list, zip(*found, strict=True)))


def _plain(line: Any) -> tuple[str, str, str | None, int, int] | None:
    """The fields of a plain answer that reports tokens of its texts alone; None for other lines."""
    answer = line.response
    if answer is None or answer.status_code != 200 or line.error:  # noqa: PLR2004 - HTTP's OK
        return None
    body = answer.body
    if body is None or body.error or body.usage is None or not body.choices:
        return None
    choice, usage = body.choices[0], body.usage
    message = choice.message
    is_complete, finish = _finish(choice.finish_reason)
    if (
        choice.index
        or message.refusal
        or message.tool_calls
        or not message.content
        or not is_complete
    ):
        return None
    if not _is_of_texts(usage):
        return None
    return line.custom_id, message.content, finish, usage.prompt_tokens, usage.completion_tokens


def _is_of_texts(usage: Any) -> bool:
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return False
    return not (
        usage.prompt_cache_hit_tokens
        or _has_tokens(usage.prompt_tokens_details)
        or _has_tokens(usage.completion_tokens_details)
    )


def _has_tokens(details: msgspec.Struct | None) -> bool:
    return details is not None and any(msgspec.structs.astuple(details))


@lru_cache(maxsize=256)
def _finish(word: str | None) -> tuple[bool, str | None]:
    return is_whole(word), finish_of(word)
