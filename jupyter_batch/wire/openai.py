"""OpenAI's dialect: requests -> JSONL lines, result and error lines -> Results. No network.

Decoding has two paths that must agree: a typed one for most lines (an answer with text, a
vector), and a tolerant one, which takes any bytes and never raises, for the rest
(wire/tolerant.py). Batch objects are in wire/openai_batches.py.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import orjson

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Result, Status, Usage, finish_of, is_whole
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire import tolerant

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"

BLOCK_BYTES = 1 << 18
"""Decoding a block of this size holds the GIL for about a millisecond."""


# --- requests -------------------------------------------------------------------------------------------------------


class Hole(msgspec.Struct, frozen=True):
    """Placeholder in a body for a value that varies by row: a text, a parameter, a message list."""

    name: str


class Encoder:
    """Encodes request lines of one endpoint that differ only in their holes.

    A line is byte for byte `orjson.dumps` of {"custom_id", "method", "url", "body"}, with a
    newline. parts: the line's JSON around its holes, the first of which is the id; order: the others.
    """

    def __init__(self, endpoint: str, body: Mapping[str, Any]) -> None:
        """`body`: the request's JSON, with a Hole for each varying value. Raises OptionError."""
        mark = secrets.token_hex(16)
        names: list[str] = []
        try:
            data = orjson.dumps(_marked(self._line(endpoint, body), mark, names))
        except TypeError as error:
            raise OptionError(
                f"a parameter of the request can't be sent as JSON: {error}"
            ) from None
        self.parts = data.split(f'"{mark}"'.encode())
        self._pattern = b"%b".join(part.replace(b"%", b"%%") for part in self.parts) + b"\n"
        self.order = names[1:]
        self.holes: tuple[str, ...] = tuple(dict.fromkeys(self.order))

    def _line(self, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The line's JSON, with the id's Hole first."""
        return {"custom_id": Hole("custom_id"), "method": "POST", "url": endpoint, "body": body}

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line or error for each row of a block: a RowError in a hole, or invalid JSON."""
        columns = [custom_ids, *(holes[name] for name in self.order)]
        pattern, dumps = self._pattern, orjson.dumps
        try:
            cells = [[dumps(value) for value in column] for column in columns]
        except TypeError:  # some row is invalid: find it, and keep the others
            return [self._one(row) for row in zip(*columns, strict=True)]
        return [pattern % row for row in zip(*cells, strict=True)]

    def _one(self, row: tuple[Any, ...]) -> bytes | RowError:
        for value in row:
            if isinstance(value, RowError):
                return value
        try:
            return self._pattern % tuple(orjson.dumps(value) for value in row)
        except TypeError as error:
            if "surrogate" in str(error) or "UTF-8" in str(error):
                return RowError(
                    "the text is not valid Unicode: it holds half a character (a lone surrogate)"
                )
            return RowError(f"a value can't be sent as JSON: {error}")


def _marked(value: Any, mark: str, names: list[str]) -> Any:
    if isinstance(value, Hole):
        names.append(value.name)
        return mark
    if isinstance(value, Mapping):
        return {key: _marked(item, mark, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item, mark, names) for item in value]
    return value


# --- results: the typed path ----------------------------------------------------------------------


class _ByAge(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class Details(msgspec.Struct, gc=False):
    """Tokens of other kinds than texts, in a usage."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None  # litellm's names of Anthropic's
    cache_creation_token_details: _ByAge | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None
    total_tokens: int | None = None
    cost: Any = None


class _ResponseUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    total_tokens: int | None = None
    cost: Any = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    index: int = 0
    finish_reason: str | None = None


class _Chat(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    service_tier: str | None = None
    error: Any = None

    def value(self) -> str | None:
        if not self.choices:
            return None
        first = self.choices[0]
        message = first.message
        plain = (
            first.index == 0
            and not message.refusal
            and not message.tool_calls
            and is_whole(first.finish_reason)
        )
        return message.content if plain else None

    def finish(self) -> str | None:
        return finish_of(self.choices[0].finish_reason)


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_Content] | None = None


class _Response(msgspec.Struct, gc=False):
    output: list[_Item] = []
    usage: _ResponseUsage | None = None
    service_tier: str | None = None
    error: Any = None
    incomplete_details: Any = None
    status: str | None = None

    def value(self) -> str | None:
        if not is_whole(self.status) or self.incomplete_details:
            return None
        if any(item.type == "function_call" for item in self.output):
            return None
        parts = [
            part for item in self.output if item.type == "message" for part in item.content or ()
        ]
        if any(part.type != "output_text" for part in parts):
            return None
        return "".join(part.text or "" for part in parts)

    def finish(self) -> str | None:
        return finish_of(self.status)


class _Vector(msgspec.Struct, gc=False):
    embedding: list[float] | str


class _Vectors(msgspec.Struct, gc=False):
    data: list[_Vector] = []
    usage: _Usage | None = None
    service_tier: str | None = None
    error: Any = None

    def value(self) -> list[float] | array[float] | None:
        held = self.data[0].embedding if len(self.data) == 1 else None
        return tolerant.unpacked(held) if isinstance(held, str) else held

    def finish(self) -> str | None:
        return None


_Body = TypeVar("_Body", _Chat, _Response, _Vectors)


class _Answer(msgspec.Struct, Generic[_Body], gc=False):
    body: _Body | None = None
    status_code: int = 0


class _Line(msgspec.Struct, Generic[_Body], gc=False):
    custom_id: str
    response: _Answer[_Body] | None = None
    error: Any = None


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "completions": msgspec.json.Decoder(_Line[_Chat]),
    "responses": msgspec.json.Decoder(_Line[_Response]),
    "embeddings": msgspec.json.Decoder(_Line[_Vectors]),
}


def decoder(endpoint: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder of an endpoint's plain result lines."""
    return _DECODERS.get(endpoint.rstrip("/").rpartition("/")[2]) or _DECODERS["completions"]


def typed(line: Any) -> Result | None:
    """The Result of a plain answer; None for other lines."""
    answer = line.response
    if answer is None or answer.status_code != 200 or line.error:  # noqa: PLR2004 - HTTP's OK
        return None
    body = answer.body
    if body is None or body.error:
        return None
    value = body.value()
    if not value:
        return None
    if body.usage is None:
        return Result(line.custom_id, _SUCCEEDED, value, finish=body.finish())
    usage = _used(body.usage)  # None: not in this endpoint's format
    if usage is None:
        return None
    tier = body.service_tier
    return Result(line.custom_id, _SUCCEEDED, value, None, usage, body.finish(), tier=tier)


_SUCCEEDED = Status.SUCCEEDED
_NO_DETAILS = Details()
_NO_AGE = _ByAge()


def _used(usage: _Usage | _ResponseUsage) -> Usage | None:
    if isinstance(usage, _Usage):
        into, out, hits = (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_cache_hit_tokens,
        )
        details = usage.prompt_tokens_details, usage.completion_tokens_details
    else:
        into, out, hits = usage.input_tokens, usage.output_tokens, None
        details = usage.input_tokens_details, usage.output_tokens_details
    if usage.cost is not None or (into is None and out is None):
        return None
    read, written = (each or _NO_DETAILS for each in details)
    return _with_details(into or 0, out or 0, hits, read, written, usage.total_tokens)


def _with_details(
    into: int, out: int, hits: int | None, read: Details, written: Details, total: int | None
) -> Usage:
    thought = written.reasoning_tokens or 0
    return Usage(
        into,
        tolerant.whole_output(into, out, thought, total),
        read.cached_tokens or hits or 0,
        thought,
        read.cache_write_tokens or read.cache_creation_tokens or 0,
        read.audio_tokens or 0,
        read.image_tokens or 0,
        written.audio_tokens or 0,
        written.image_tokens or 0,
        (read.cache_creation_token_details or _NO_AGE).ephemeral_1h_input_tokens or 0,
    )


def decode(line: bytes, endpoint: str) -> Result:
    """Decode one output or error line. Never raises: an unreadable line is a failed Result."""
    try:
        result = typed(decoder(endpoint).decode(line))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        result = None
    return tolerant.read(line) if result is None else result


def decode_lines(block: bytes, endpoint: str) -> Iterator[Result]:
    r"""Decode a block of whole lines; a line ends at b"\n" only, and empty lines are skipped."""
    try:
        results = [typed(line) for line in decoder(endpoint).decode_lines(block)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        results = []
    if len(results) != block.count(b"\n") + (
        not block.endswith(b"\n")
    ):  # empty lines, or two objects in one
        yield from (decode(line, endpoint) for line in _lines(block))
        return
    lines = _lines(block) if None in results else []
    if lines and len(lines) != len(results):  # both at once
        results = [None] * len(lines)
    for at, result in enumerate(results):
        yield decode(lines[at], endpoint) if result is None else result


def _lines(block: bytes) -> list[bytes]:
    return [line for line in block.split(b"\n") if line and not line.isspace()]


def whole_lines(chunks: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    r"""Split chunks into blocks of whole lines, about `size` bytes; the last may lack a newline."""
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        start = 0
        while length + len(chunk) - start >= size:
            cut = (
                chunk.rfind(b"\n", start, start + max(size - length, 1)) + 1
                or chunk.find(b"\n", start) + 1
            )
            if not cut:
                break
            yield b"".join([*held, chunk[start:cut]])
            held, length, start = [], 0, cut
        held.append(chunk[start:])
        length += len(chunk) - start
    if length:
        yield b"".join(held)
