"""Selection of a job's dialect, by the name stored with the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from jupyter_batch.core.errors import LedgerNewerError
from jupyter_batch.core.request import Result, ToolCalls
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire import openai, openai_requests, openai_vectors, responses, tolerant, turns
from jupyter_batch.wire.anthropic import plain
from jupyter_batch.wire.anthropic import results as anthropic
from jupyter_batch.wire.anthropic.requests import Encoder as AnthropicEncoder
from jupyter_batch.wire.clouds import bedrock, gemini, gemini_api, vertex
from jupyter_batch.wire.openai_requests import Route
from jupyter_batch.wire.turns import ToolOutput
from jupyter_batch.wire.varying import Varying

OPENAI, ANTHROPIC = "openai", "anthropic"
VERTEX, BEDROCK, GEMINI = "vertex", "bedrock", "gemini"

Decode = Callable[[bytes, str, Mapping[str, str]], Iterator[Result]]
"""From whole result lines, their endpoint, and the provider's tool names -> the user's."""
Follow = Callable[[dict[str, Any], Any, ToolCalls, Sequence[ToolOutput]], None]
"""Appends an answer, and the results of the tools it called, to a request line."""


class Encoder(Protocol):
    """Encodes request lines; see wire/openai.py."""

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""


def encoder(
    dialect: str,
    endpoint: str,
    body: Mapping[str, Any],
    load_litellm: Callable[[], Any],
    *,
    route: Route | None = None,
    extra: Mapping[str, Any] | openai.Hole | None = None,
) -> Varying:
    """Return the encoder of a dialect; litellm is loaded if it translates. Raises OptionError.

    route: the destination of the requests, for mapping parameters as litellm does; None: the body
    is sent unchanged. extra: the user's `extra_body`, which is added to each request unchanged.
    """

    def make(body: Mapping[str, Any], extra: Mapping[str, Any]) -> Encoder:
        translating = _dialect(dialect).encoder
        vectors = _dialect(dialect).vectors
        if vectors is not None and endpoint == openai.EMBEDDINGS and route is not None:
            return vectors(body, load_litellm, route, extra)
        plain_form = _dialect(dialect).plain
        if plain_form is not None and (light := plain_form(body, load_litellm, extra)) is not None:
            return light
        if translating is not None:
            return translating(openai.CHAT, body, litellm=load_litellm(), extra=extra)
        if endpoint == openai.RESPONSES:
            provider = OPENAI if route is None else route.provider
            return responses.Encoder(
                openai.CHAT, body, litellm=load_litellm(), extra=extra, provider=provider
            )
        if route is None:
            return openai.Encoder(endpoint, {**body, **extra})
        if endpoint == openai.EMBEDDINGS:
            return openai_vectors.encoder(endpoint, body, load_litellm, route, extra)
        return openai_requests.encoder(endpoint, body, load_litellm, route, extra)

    return Varying(make, body, extra or {})


def is_translated(dialect: str, endpoint: str) -> bool:
    """Whether litellm makes the lines: its translation may change with its version."""
    return _dialect(dialect).encoder is not None or endpoint == openai.RESPONSES


def is_mapped(made: Varying) -> bool:
    """Whether litellm makes all the lines of this encoder, in any dialect."""
    return isinstance(made.whole, AnthropicEncoder | plain.PlainEncoder | gemini_api.VectorEncoder)


def may_be_mapped(made: Varying) -> bool:
    """Whether litellm may make some lines: the request hash is then of the requests as given."""
    plain = isinstance(made.whole, openai.Encoder | openai_requests.Checked)
    return not plain or isinstance(made.whole, openai_vectors.Encoder)


BODIES = ("body", "params", "modelInput", "request")
"""Fields with the request in the dialects' request lines."""


def request_in(line: bytes) -> dict[str, Any]:
    """Return the body of a request line of any dialect; an empty one for an empty line."""
    data = orjson.loads(line) if line else {}
    found: dict[str, Any] = next((data[key] for key in BODIES if key in data), {})
    return found


_TOOL_PARTS = ("function", "function_declarations", "functionDeclarations", "toolSpec")


def tools_in(body: Mapping[str, Any]) -> list[str]:
    """Return the names of the functions in a request's tools, in any dialect."""
    found: list[str] = []
    parts: list[Any] = [body.get("tools"), (body.get("toolConfig") or {}).get("tools")]
    for part in parts:  # which grows
        if isinstance(part, list):
            parts += part
        elif isinstance(part, Mapping):
            found += [part["name"]] if isinstance(part.get("name"), str) else []
            parts += [part[name] for name in _TOOL_PARTS if name in part]
    return found


class Dialect(NamedTuple):
    """A format of request and result lines.

    encoder: None where requests are sent as they are. vectors: makes the encoder of embeddings,
    where these are not in OpenAI's format. plain: makes the encoder of requests that litellm would
    not change; None for others.
    """

    name: str
    decode: Decode
    follow: Follow
    encoder: Callable[..., Encoder] | None = None
    vectors: Callable[..., Encoder] | None = None
    plain: Callable[..., Encoder | None] | None = None


_DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            OPENAI, lambda block, endpoint, _: openai.decode_lines(block, endpoint), turns.chat
        ),
        Dialect(
            ANTHROPIC,
            lambda block, endpoint, names: anthropic.decode_lines(
                block, endpoint, tool_names=names
            ),
            turns.anthropic,
            AnthropicEncoder,
            plain=plain.encoder,
        ),
        Dialect(
            VERTEX,
            lambda block, _endpoint, _: gemini.decode_lines(block),
            turns.gemini,
            vertex.Encoder,
        ),
        Dialect(
            BEDROCK,
            lambda block, _, names: bedrock.decode_lines(block, names),
            turns.converse,
            bedrock.Encoder,
        ),
        Dialect(
            GEMINI,
            lambda block, endpoint, _: gemini_api.decode_lines(block, endpoint),
            turns.gemini,
            gemini_api.Encoder,
            gemini_api.vectors,
        ),
    )
}


def _dialect(name: str) -> Dialect:
    if name not in _DIALECTS:
        raise LedgerNewerError(
            f"the job's lines are in a dialect ({name!r}) that this jupyter_batch does not speak: "
            "upgrade it"
        )
    return _DIALECTS[name]


def decode_lines(
    dialect: str, block: bytes, endpoint: str, tool_names: Mapping[str, str]
) -> Iterator[Result]:
    """Decode a block of whole result lines. Raises LedgerNewerError for an unknown dialect."""
    return _dialect(dialect).decode(block, endpoint, tool_names)


def next_turn(
    line: bytes,
    custom_id: str,
    dialect: str,
    endpoint: str,
    answer: bytes | None,
    calls: ToolCalls,
    tool_results: Sequence[ToolOutput],
) -> bytes:
    """Return the next request line of a tool loop.

    line: the request as it was sent, in this dialect. answer: its result line in the same dialect;
    None: use `calls` only. tool_results: those of `calls`. A tool choice that forced a tool is
    removed. Raises LedgerNewerError for an unknown dialect.
    """
    data = orjson.loads(line)
    data["custom_id"] = custom_id
    follow = turns.responses if endpoint == openai.RESPONSES else _dialect(dialect).follow
    follow(data, None if answer is None else tolerant.loads(answer), calls, tool_results)
    return orjson.dumps(data) + b"\n"
