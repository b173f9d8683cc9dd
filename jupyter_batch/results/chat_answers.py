"""Decoding of plain chat answers, most of the lines there are, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.finish import finish_of, is_whole
from jupyter_batch.core.result import Result
from jupyter_batch.wire.openai import CHAT, decode, decode_lines, decoder, typed


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
        yield from decode_lines(block, CHAT)
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
    said = choice.message
    is_complete, finish = _finish(choice.finish_reason)
    if choice.index or said.refusal or said.tool_calls or not said.content or not is_complete:
        return None
    if not _is_of_texts(usage):
        return None
    return line.custom_id, said.content, finish, usage.prompt_tokens, usage.completion_tokens


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
