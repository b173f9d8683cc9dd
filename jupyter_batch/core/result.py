"""What came back for one request: a Result is a value, or a reason why there is none. A failure is a result too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from operator import add
from typing import Any

import msgspec

from jupyter_batch.core.secrets import masked


class Status(StrEnum):
    """What became of one row (`results()["_status"]`)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    RUNNING = "running"
    REUSED = "reused"
    SKIPPED = "skipped"

    __repr__ = str.__repr__  # in a cell it is the word


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider billed them.

    `input_tokens` and `output_tokens` are all there are; the others are parts of them: read from the provider's cache
    (`cached_tokens`), written to it, thought (`reasoning_tokens`), and what were no words. `cache_write_1h_tokens` are
    those of `cache_write_tokens` that are kept for an hour, which costs more than the usual five minutes.
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
    """The tools that a model wants called: a dict for each call, {"id", "name", "arguments"}.

    arguments: a dict; the text as it came where that is no JSON object. text: what the model said beside its calls.
    """

    def __init__(self, calls: Iterable[dict[str, Any]] = (), text: str = "") -> None:
        super().__init__(calls)
        self.text = text

    def as_text(self) -> str:
        """What is read where nobody gave tools: the text, else the calls as JSON."""
        if self.text:
            return self.text
        return json.dumps(
            [{"name": call["name"], "arguments": call["arguments"]} for call in self],
            ensure_ascii=False,
        )


class Result(msgspec.Struct, frozen=True):
    """One request's outcome.

    custom_id: as it was sent; None where a line carried none.
    value: the answer (text; a list of floats for an embedding); None if and only if there is none.
    error: the reason, a short sentence, where status is not `succeeded`.
    usage: None where the provider said nothing of it.
    unbilled: an error came instead of an answer, so that nothing was paid though no usage is told.
    finish: why the model stopped (core/finish.py), of a failure too; None where the provider did not say.
    stop: the provider's own word for it, of an answer that is not plain.
    calls: of an answer that wants tools called; `value` is then what `ToolCalls.as_text` says.
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

    def __post_init__(self) -> None:
        """Mask what a server repeats of a key in a reason; a stored answer holds none (http/masked_stream.py)."""
        if self.error is None:
            return
        msgspec.structs.force_setattr(self, "error", masked(self.error))
        if self.raw is not None:
            msgspec.structs.force_setattr(self, "raw", masked(self.raw))
