"""Chat result lines -> fields of plain answers, which most lines are, without a Result for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np

from jupyter_batch.core.request import Result, finish_of, is_whole
from jupyter_batch.core.secrets import known
from jupyter_batch.results.columns import MOST_TOKENS
from jupyter_batch.wire.openai import CHAT, decode
from jupyter_batch.wire.tolerant import whole_output


class Answers(NamedTuple):
    """Plain chat answers, field by field: ids, texts, finish reasons, service tiers, tokens by kind."""

    ids: list[str]
    texts: list[str]
    finishes: list[str | None]
    tiers: list[str | None]
    tokens: dict[str, list[int]]


class Alike(NamedTuple):
    """The common outcome of lines. ids: their custom_ids; None for a single one that is in it."""

    outcome: Result
    ids: list[str] | None = None


_Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS // 2)]  # two can be added
_Zero: TypeAlias = Literal[0] | None


class _Rest(msgspec.Struct, gc=False):
    """Details without tokens that plain answers do not have: fields of wire/openai.py's Details."""

    cache_write_tokens: _Zero = None
    cache_creation_tokens: _Zero = None
    cache_creation_token_details: None = None
    audio_tokens: _Zero = None
    image_tokens: _Zero = None


class _NoParts(_Rest, gc=False):
    """Details without tokens of other kinds than texts."""

    cached_tokens: _Zero = None
    reasoning_tokens: _Zero = None


class _Parts(_Rest, gc=False):
    """Details with tokens from the cache, or of reasoning."""

    cached_tokens: _Tokens | None = None
    reasoning_tokens: _Tokens | None = None


_Details = TypeVar("_Details", _NoParts, _Parts)


class _Used(msgspec.Struct, Generic[_Details], gc=False):
    prompt_tokens: _Tokens
    completion_tokens: _Tokens
    total_tokens: int | None = None
    prompt_cache_hit_tokens: _Zero = None
    cost: None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Said(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: Annotated[str, msgspec.Meta(max_length=0)] | None = None
    tool_calls: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said
    index: Literal[0] = 0
    finish_reason: str | None = None


class _Body(msgspec.Struct, Generic[_Details], gc=False):
    choices: tuple[_Choice]
    usage: _Used[_Details]
    service_tier: str | None = None
    error: None = None


class _Response(msgspec.Struct, Generic[_Details], gc=False):
    body: _Body[_Details]
    status_code: Literal[200]


class _Line(msgspec.Struct, Generic[_Details], gc=False):
    """A plain answer that reports its tokens, and no cost; no other line is decoded as one."""

    custom_id: str
    response: _Response[_Details]
    error: None = None


class _Reply(msgspec.Struct, gc=False):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw()


class _Other(msgspec.Struct, gc=False):
    custom_id: str
    response: _Reply | None = None
    error: msgspec.Raw = msgspec.Raw()


_LINES = msgspec.json.Decoder(_Line[_NoParts])
_WITH_PARTS = msgspec.json.Decoder(_Line[_Parts])
_OTHERS = msgspec.json.Decoder(_Other)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def chat_answers(block: bytes | memoryview) -> Iterator[Answers | Alike]:
    """Decode a block of chat result lines like `decode_lines`, plain answers without a Result."""
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == _NEWLINE)
    for decoder in (_LINES, _WITH_PARTS):
        with contextlib.suppress(*_UNREADABLE):
            lines = decoder.decode_lines(block)
            whole = len(lines) == ends + (block[-1] != _NEWLINE)
            found = _fields(lines, parts=decoder is _WITH_PARTS) if whole else None
            if found is None:
                break
            yield found
            return
    held = [line for line in bytes(block).split(b"\n") if line and not line.isspace()]
    for is_plain, some in groupby(_each(held), lambda one: isinstance(one, _Line)):
        if not is_plain:
            yield from _alike(some)
        elif (found := _fields(list(some), parts=True)) is not None:
            yield found


def _each(lines: list[bytes]) -> Iterator[_Line[_Parts] | Alike]:
    """The lines that are plain answers, and the outcomes of others.

    After a failure the next line is decoded as one first: error files have nothing else.
    """
    secrets = known()
    one: _Line[_Parts] | Alike | None = None
    for line in lines:
        failure = _failure_in(line, secrets) if isinstance(one, Alike) else None
        one = failure or plain_answer(line) or _failure_in(line, secrets)
        one = Alike(decode(line, CHAT)) if one is None else one
        yield one


def _alike(some: Iterable[Any]) -> Iterator[Alike]:
    """These outcomes, those that are the same one after another as one."""
    for _, run in groupby(some, lambda one: id(one.outcome)):
        same: list[Alike] = list(run)
        ids = [name for one in same for name in one.ids or ()]
        yield Alike(same[0].outcome, ids) if len(ids) == len(same) else same[0]


def _fields(lines: list[Any], *, parts: bool) -> Answers | None:
    """The fields of plain answers; None for none, or where some answer is not whole.

    parts: some may have tokens from the cache, or of reasoning.
    """
    bodies = [line.response.body for line in lines]
    choices = [body.choices[0] for body in bodies]
    words = [choice.finish_reason for choice in choices]
    finishes = {word: _finish(word) for word in set(words)}
    if not lines or not all(whole for whole, _ in finishes.values()):
        return None
    return Answers(
        [line.custom_id for line in lines],
        [choice.message.content for choice in choices],
        [finishes[word][1] for word in words],
        [body.service_tier for body in bodies],
        _tokens([body.usage for body in bodies], parts=parts),
    )


def _tokens(used: list[Any], *, parts: bool) -> dict[str, list[int]]:
    """The tokens by kind; reasoning is part of the output. parts: see `_fields`."""
    found = {
        "input_tokens": [one.prompt_tokens for one in used],
        "output_tokens": [one.completion_tokens for one in used],
    }
    if parts:
        read = [one.prompt_tokens_details or _NONE for one in used]
        written = [one.completion_tokens_details or _NONE for one in used]
        found["cached_tokens"] = [each.cached_tokens or 0 for each in read]
        thoughts = found["reasoning_tokens"] = [each.reasoning_tokens or 0 for each in written]
        found["output_tokens"] = [
            whole_output(one.prompt_tokens, one.completion_tokens, thought, one.total_tokens)
            for one, thought in zip(used, thoughts, strict=True)
        ]
    return found


_NONE = _Parts()


def plain_answer(line: bytes) -> _Line[_Parts] | None:
    """A plain answer that is whole; None for any other line."""
    try:
        found = _WITH_PARTS.decode(line)
    except _UNREADABLE:
        return None
    return found if _finish(found.response.body.choices[0].finish_reason)[0] else None


def _failure_in(line: bytes, secrets: tuple[str, ...]) -> Alike | None:
    """The outcome of a line that is surely a failure. Many fail for the same reason."""
    try:
        found = _OTHERS.decode(line)
    except _UNREADABLE:
        return None
    reply, error = found.response, bytes(found.error)
    body = b"" if reply is None else bytes(reply.body)
    failed = bool(error) if reply is None else reply.status_code >= _ERRORS and bool(body)
    if not failed or len(error) + len(body) > _MOST_ERROR_BYTES:
        return None
    code = None if reply is None else reply.status_code
    return Alike(_failure(code, body, error or b"null", secrets), [found.custom_id])


_NEWLINE = ord("\n")
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
