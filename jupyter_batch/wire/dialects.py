"""Which file speaks a job's dialect, by the name that is stored with the job. It knows no provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from jupyter_batch.core.errors import LedgerNewerError
from jupyter_batch.core.result import Result
from jupyter_batch.templates.template import RowError
from jupyter_batch.wire import openai, openai_requests, openai_vectors, responses
from jupyter_batch.wire.anthropic import results as anthropic
from jupyter_batch.wire.anthropic.requests import Encoder as AnthropicEncoder
from jupyter_batch.wire.clouds import bedrock, vertex
from jupyter_batch.wire.openai_requests import Route
from jupyter_batch.wire.varying import Varying

OPENAI, ANTHROPIC = "openai", "anthropic"
VERTEX, BEDROCK = "vertex", "bedrock"
_TRANSLATED = {ANTHROPIC: AnthropicEncoder, VERTEX: vertex.Encoder, BEDROCK: bedrock.Encoder}


class Encoder(Protocol):
    """What makes request lines; see wire/openai.py."""

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """A line for each row of a block, or why the row can't be sent."""


def encoder(
    dialect: str,
    endpoint: str,
    body: Mapping[str, Any],
    load_litellm: Callable[[], Any],
    *,
    route: Route | None = None,
    extra: Mapping[str, Any] | openai.Hole | None = None,
) -> Varying:
    """The encoder of a dialect; litellm is loaded where it translates. Raises OptionError.

    route: where the requests go, whose parameters are mapped as litellm does; None: the body is sent as it is. extra:
    the user's `extra_body`, which goes into each request as it is.
    """

    def make(body: Mapping[str, Any], extra: Mapping[str, Any]) -> Encoder:
        if dialect in _TRANSLATED:
            return _TRANSLATED[dialect](openai.CHAT, body, litellm=load_litellm(), extra=extra)
        if endpoint == openai.RESPONSES:
            provider = openai_requests.OPENAI if route is None else route.provider
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
    """Whether litellm makes the lines: what it makes of a request may change with its version."""
    return dialect in _TRANSLATED or endpoint == openai.RESPONSES


def is_mapped(made: Varying) -> bool:
    """Whether litellm makes all the lines of this encoder, in whatever dialect."""
    return isinstance(made.whole, AnthropicEncoder)


def may_be_mapped(made: Varying) -> bool:
    """Whether litellm may make some of the lines: requests are told from each other as they were given, then."""
    plain = isinstance(made.whole, openai.Encoder | openai_requests.Checked)
    return not plain or isinstance(made.whole, openai_vectors.Encoder)


def headers_of(made: Varying) -> dict[str, str]:
    """What has to go with the batch as a whole; complete once all rows are encoded."""
    return made.headers


def tool_names_of(made: Varying) -> dict[str, str]:
    """Tool names as the provider got them -> as the person gave them, where they differ."""
    return made.tool_names


BODIES = ("body", "params", "modelInput", "request")
"""Where a dialect's request line has its request."""


def request_in(line: bytes) -> dict[str, Any]:
    """The body of a request line of any dialect; an empty one where there is no line."""
    data = orjson.loads(line) if line else {}
    found: dict[str, Any] = next((data[key] for key in BODIES if key in data), {})
    return found


def decode_lines(
    dialect: str, block: bytes, endpoint: str, tool_names: Mapping[str, str]
) -> Iterator[Result]:
    """All lines of a block of whole lines of a result file. Raises LedgerNewerError for a dialect that is not known."""
    if dialect == OPENAI:
        return openai.decode_lines(block, endpoint)
    if dialect == ANTHROPIC:
        return anthropic.decode_lines(block, endpoint, tool_names=tool_names)
    if dialect == VERTEX:
        return vertex.decode_lines(block)
    if dialect == BEDROCK:
        return bedrock.decode_lines(block, tool_names)
    raise LedgerNewerError(
        f"the job's results are in a dialect ({dialect!r}) that this jupyter_batch does not speak: "
        "upgrade it"
    )
