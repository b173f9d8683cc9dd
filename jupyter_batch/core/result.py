"""Result: the outcome of a request, either a value or the reason for its failure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from operator import add
from typing import Any

import msgspec

from jupyter_batch.core.secrets import masked


class Status(StrEnum):
    """The status of a row (`results()["_status"]`)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    RUNNING = "running"
    REUSED = "reused"
    SKIPPED = "skipped"

    __repr__ = str.__repr__  # displayed as the plain word in a cell


class Usage(msgspec.Struct, frozen=True):
    """Tokens as billed by the provider.

    `input_tokens` and `output_tokens` are totals; the others are parts of them: read from the
    provider's cache (`cached_tokens`), written to it, reasoning (`reasoning_tokens`), and non-text
    tokens. `cache_write_1h_tokens`: those of `cache_write_tokens` stored for an hour, not the usual
    five minutes, at a higher price.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    cache_write_1h_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


class ToolCalls(list[dict[str, Any]]):
    """The tool calls that a model requests: a dict for each, {"id", "name", "arguments"}.

    arguments: a dict; the raw text if it is not a JSON object. text: the model's text besides its
    calls.
    """

    def __init__(self, calls: Iterable[dict[str, Any]] = (), text: str = "") -> None:
        super().__init__(calls)
        self.text = text

    def as_text(self) -> str:
        """Return the answer without tools: the text, else the calls as JSON."""
        if self.text:
            return self.text
        return json.dumps(
            [{"name": call["name"], "arguments": call["arguments"]} for call in self],
            ensure_ascii=False,
        )


class Result(msgspec.Struct, frozen=True):
    """A request's outcome.

    custom_id: as it was sent; None if the line has none.
    value: the answer (text; a list of floats for an embedding); None if and only if there is none.
    error: the reason, a short sentence, where status is not `succeeded`.
    usage: None where the provider reports none.
    unbilled: an error instead of an answer, so nothing was billed although no usage is reported.
    finish: why the model stopped (core/finish.py), also for a failure; None where not reported.
    stop: the provider's own finish reason, if the answer is not plain.
    tier: the service tier that the answer names.
    cost: the cost that the answer names, in the provider's currency.
    calls: the tool calls of the answer; `value` is then `ToolCalls.as_text`.
    """

    custom_id: str | None
    status: Status
    value: Any = None
    error: str | None = None
    usage: Usage | None = None
    finish: str | None = None
    raw: str | None = None
    unbilled: bool = False
    calls: ToolCalls | None = None
    stop: str | None = None
    tier: str | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        """Mask keys repeated in a reason; stored answers hold none (http/masked_stream.py)."""
        if self.error is None:
            return
        msgspec.structs.force_setattr(self, "error", masked(self.error))
        if self.raw is not None:
            msgspec.structs.force_setattr(self, "raw", masked(self.raw))
