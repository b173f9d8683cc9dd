"""Result files of a job's folder: decoded once, and kept as columns (results/columns.py).

The columns can be made of the file at any time: a missing, damaged or outdated copy is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.finish import finish_of, is_whole
from jupyter_batch.core.result import Result, Status
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.secrets import known
from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.builder import Builder
from jupyter_batch.results.columns import MOST_TOKENS, Columns, Texts
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.schema import Parser
from jupyter_batch.schema.models import mark_of, model_of
from jupyter_batch.wire.dialects import OPENAI, decode_lines
from jupyter_batch.wire.openai import (
    BLOCK_BYTES,
    CHAT,
    EMBEDDINGS,
    decode,
    whole_lines,
)

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
    found = kept_columns(path, job, dialect)
    if found is None:
        found = _decode(path, job, dialect)
        if path.stat().st_size >= LEAST_BYTES and isinstance(found.values, Texts):
            with contextlib.suppress(LedgerError), written(kept_at(path)) as target:  # a full disk
                target.writelines(found.to_bytes(_mark(path, job, dialect)))
    if (parser := _parser_of(job)) is not None:
        found.parse = parser.values
    yield found


def kept_columns(path: Path, job: JobRecord, dialect: str) -> Columns | None:
    """The columns that are kept of a file, without `parse`; None without them."""
    if job.tools or job.endpoint == EMBEDDINGS or not path.exists():
        return None
    if path.stat().st_size < LEAST_BYTES:
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
            elif isinstance(found, Named):
                made.add(found.outcome, found.name)
            elif parser is not None and found.status is Status.SUCCEEDED:
                parsed = parser.one(found)
                made.add(found if parsed.status is Status.SUCCEEDED else parsed)
            else:
                made.add(found)
    return made.columns()


# --- plain chat answers: most of the lines that there are, without a Result for each -------------


class Answers(NamedTuple):
    """Plain chat answers, field by field: ids, texts, finish reasons, service tiers, tokens."""

    ids: list[str]
    texts: list[str]
    finishes: list[str | None]
    tiers: list[str | None]
    inputs: list[int]
    outputs: list[int]


class Named(NamedTuple):
    """The outcome of a line, which other lines share: the line's custom_id is `name`."""

    name: str
    outcome: Result


_Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
_Zero: TypeAlias = Literal[0] | None


class _NoDetails(msgspec.Struct, gc=False):
    """Details without tokens of other kinds than texts: the fields of wire/openai.py's Details."""

    cached_tokens: _Zero = None
    reasoning_tokens: _Zero = None
    cache_write_tokens: _Zero = None
    cache_creation_tokens: _Zero = None
    cache_creation_token_details: None = None
    audio_tokens: _Zero = None
    image_tokens: _Zero = None


class _Used(msgspec.Struct, gc=False):
    prompt_tokens: _Tokens
    completion_tokens: _Tokens
    prompt_cache_hit_tokens: _Zero = None
    cost: None = None
    prompt_tokens_details: _NoDetails | None = None
    completion_tokens_details: _NoDetails | None = None


class _Said(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: Annotated[str, msgspec.Meta(max_length=0)] | None = None
    tool_calls: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said
    index: Literal[0] = 0
    finish_reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Used
    service_tier: str | None = None
    error: None = None


class _Response(msgspec.Struct, gc=False):
    body: _Body
    status_code: Literal[200]


class _Line(msgspec.Struct, gc=False):
    """A plain answer that reports tokens of its texts, and no cost; no other line is decoded as one."""

    custom_id: str
    response: _Response
    error: None = None


class _Reply(msgspec.Struct, gc=False):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw()


class _Other(msgspec.Struct, gc=False):
    custom_id: str
    response: _Reply | None = None
    error: msgspec.Raw = msgspec.Raw()


_LINES = msgspec.json.Decoder(_Line)
_OTHERS = msgspec.json.Decoder(_Other)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def chat_answers(block: bytes) -> Iterator[Answers | Named | Result]:
    """Decode a block of chat result lines like `decode_lines`, plain answers without a Result."""
    try:
        lines = _LINES.decode_lines(block)
    except _UNREADABLE:
        lines = []
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    whole = _fields(lines) if len(lines) == ends + (not block.endswith(b"\n")) else None
    if whole is not None:
        yield whole
        return
    secrets = known()
    plain: list[_Line] = []
    for line in block.split(b"\n"):
        if not line or line.isspace():
            continue
        one = _plain(line)
        if one is not None:
            plain.append(one)
            continue
        if (some := _fields(plain)) is not None:
            yield some
        plain = []
        yield _other(line, secrets)
    if (some := _fields(plain)) is not None:
        yield some


def _fields(lines: list[_Line]) -> Answers | None:
    """The fields of plain answers; None for none, or where some answer is not whole."""
    bodies = [line.response.body for line in lines]
    choices = [body.choices[0] for body in bodies]
    words = [choice.finish_reason for choice in choices]
    finishes = {word: _finish(word) for word in set(words)}
    if not lines or not all(whole for whole, _ in finishes.values()):
        return None
    used = [body.usage for body in bodies]
    return Answers(
        [line.custom_id for line in lines],
        [choice.message.content for choice in choices],
        [finishes[word][1] for word in words],
        [body.service_tier for body in bodies],
        [usage.prompt_tokens for usage in used],
        [usage.completion_tokens for usage in used],
    )


def _plain(line: bytes) -> _Line | None:
    """A plain answer that is whole; None for any other line."""
    try:
        found = _LINES.decode(line)
    except _UNREADABLE:
        return None
    return found if _finish(found.response.body.choices[0].finish_reason)[0] else None


def _other(line: bytes, secrets: tuple[str, ...]) -> Named | Result:
    """The outcome of a line that is no plain answer. Many fail for the same reason."""
    try:
        found = _OTHERS.decode(line)
    except _UNREADABLE:
        return decode(line, CHAT)
    reply, error = found.response, bytes(found.error)
    body = b"" if reply is None else bytes(reply.body)
    failed = bool(error) if reply is None else reply.status_code >= _ERRORS and bool(body)
    if not failed or len(error) + len(body) > _MOST_ERROR_BYTES:
        return decode(line, CHAT)
    code = None if reply is None else reply.status_code
    return Named(found.custom_id, _failure(code, body, error or b"null", secrets))


_ERRORS = 400
"""HTTP's errors begin at this status."""
_MOST_ERROR_BYTES = 4096  # of one that is kept for others


@lru_cache(maxsize=256)
def _failure(code: int | None, body: bytes, error: bytes, secrets: tuple[str, ...]) -> Result:
    """The outcome of lines with this HTTP status, body and error. secrets: masked in it."""
    del secrets  # of which the reason may have one
    response = b"null" if code is None else b'{"status_code":%d,"body":%b}' % (code, body)
    return decode(b'{"custom_id":"","response":%b,"error":%b}' % (response, error), CHAT)


@lru_cache(maxsize=256)
def _finish(word: str | None) -> tuple[bool, str | None]:
    return is_whole(word), finish_of(word)
