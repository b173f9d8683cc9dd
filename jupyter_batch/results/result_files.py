"""Result files of a job's folder: decoded once, and kept as columns (results/columns.py).

The columns can be made of the file at any time: a missing, damaged or outdated copy is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.finish import finish_of, is_whole
from jupyter_batch.core.result import Result, Status
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.builder import Builder
from jupyter_batch.results.columns import Columns, Texts
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.schema import Parser
from jupyter_batch.schema.models import mark_of, model_of
from jupyter_batch.wire.dialects import OPENAI, decode_lines
from jupyter_batch.wire.openai import (
    BLOCK_BYTES,
    CHAT,
    EMBEDDINGS,
    Details,
    decode,
    whole_lines,
)

_FEW = 8
"""Lines that are decoded one by one where one of them is no plain answer."""
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
            elif parser is not None and found.status is Status.SUCCEEDED:
                parsed = parser.one(found)
                made.add(found if parsed.status is Status.SUCCEEDED else parsed)
            else:
                made.add(found)
    return made.columns()


# --- plain chat answers: most of the lines that there are, without an object for each ------------


class Answers(NamedTuple):
    """Plain chat answers, field by field: ids, texts, finish reasons, service tiers, tokens."""

    ids: list[str]
    texts: list[str]
    finishes: list[str | None]
    tiers: list[str | None]
    inputs: list[int]
    outputs: list[int]


class _Used(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: Any = None
    prompt_tokens_details: msgspec.Raw = msgspec.Raw()
    completion_tokens_details: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said
    index: int = 0
    finish_reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: _Used | None = None
    service_tier: str | None = None
    error: Any = None


class _Response(msgspec.Struct, gc=False):
    body: _Body | None = None
    status_code: int = 0


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_LINES = msgspec.json.Decoder(_Line)


def chat_answers(block: bytes) -> Iterator[Answers | Result]:
    """Decode a block of chat result lines like `decode_lines`, plain answers without a Result."""
    try:
        lines = _LINES.decode_lines(block)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        lines = []
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    if len(lines) != ends + (not block.endswith(b"\n")):
        yield from decode_lines(OPENAI, block, CHAT, {})
        return
    whole = _plain(lines)
    if whole is not None:
        yield whole
        return
    raw = block.split(b"\n")
    for start in range(0, len(lines), _FEW):
        some = _plain(lines[start : start + _FEW])
        if some is None:
            yield from (decode(line, CHAT) for line in raw[start : start + _FEW] if line)
        else:
            yield some


def _plain(lines: list[_Line]) -> Answers | None:
    """The fields of plain answers that report tokens of their texts alone; None with other lines."""
    answers = _each("response", lines)
    try:
        bodies = _each("body", answers)
        choices = list(map(itemgetter(0), _each("choices", bodies)))
        messages, usages = _each("message", choices), _each("usage", bodies)
        inputs, outputs = _each("prompt_tokens", usages), _each("completion_tokens", usages)
    except (AttributeError, IndexError):
        return None
    texts, words = _each("content", messages), _each("finish_reason", choices)
    failed = any(_each("error", lines)) or any(_each("error", bodies)) or None in inputs + outputs
    if failed or set(_each("status_code", answers)) != {200} or not all(texts):
        return None
    finishes = {word: _finish(word) for word in set(words)}
    if any(_each("index", choices)) or not all(whole for whole, _ in finishes.values()):
        return None
    if any(_each("refusal", messages)) or any(_each("tool_calls", messages)) or _has_others(usages):
        return None
    ended, tiers = [finishes[word][1] for word in words], _each("service_tier", bodies)
    return Answers(_each("custom_id", lines), texts, ended, tiers, inputs, outputs)


def _each(field: str, objects: Iterable[Any]) -> list[Any]:
    """A field of each object. Raises AttributeError for None."""
    return list(map(attrgetter(field), objects))


def _has_others(usages: list[_Used]) -> bool:
    """Whether a usage has tokens of other kinds, or names a cost."""
    details = {bytes(usage.prompt_tokens_details) for usage in usages}
    details |= {bytes(usage.completion_tokens_details) for usage in usages}
    hits, costs = _each("prompt_cache_hit_tokens", usages), _each("cost", usages)
    return any(hits) or costs.count(None) < len(costs) or any(map(_has_tokens, details))


@lru_cache(maxsize=256)
def _has_tokens(details: bytes) -> bool:
    """Whether a usage has tokens of other kinds; also where it is no object."""
    try:
        found = msgspec.json.decode(details or b"null", type=Details | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    return found is not None and any(msgspec.structs.astuple(found))


@lru_cache(maxsize=256)
def _finish(word: str | None) -> tuple[bool, str | None]:
    return is_whole(word), finish_of(word)
