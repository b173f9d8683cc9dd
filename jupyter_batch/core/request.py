"""A request and its result: ids, the limits of a file of requests; status, usage, finish reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from operator import add
from typing import Any

import msgspec

from jupyter_batch.core.secrets import masked


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's limits on a request file. minimum: the fewest requests of a batch."""

    requests: int
    bytes: int
    minimum: int = 1

    def at_most(self, requests: int | None) -> Limits:
        """Return the limits with the user's maximum of requests per file, if there is one."""
        return (
            self
            if requests is None
            else msgspec.structs.replace(self, requests=min(self.requests, requests))
        )


def custom_id(job: str, position: int) -> str:
    """Return the request id for the row at `position` (from 0) of the submitted frame.

    `position_of` reads the position back, so no table of ids is needed; the job's id makes it
    unique across jobs. Letters, digits and one '-', far fewer than 64: the strictest rule of any
    provider (Anthropic's).
    """
    return f"{job}-{position}"


def custom_ids(job: str, first: int, rows: int) -> list[str]:
    """Return the request ids of consecutive rows; see `custom_id`."""
    return [f"{job}-{position}" for position in range(first, first + rows)]


def position_of(job: str, text: str | None) -> int | None:
    """Return the row's position from a custom_id of this job; None for any other id."""
    if text is None:
        return None
    head, _, tail = text.rpartition("-")
    if head != job or not (tail.isascii() and tail.isdecimal()) or (tail[0] == "0" and tail != "0"):
        return None
    return int(tail)


class Finish(StrEnum):
    """Why an answer ended (`results()["_finish"]`); unknown provider terms are stored unchanged."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    PAUSE = "pause_turn"
    CONTEXT_WINDOW = "model_context_window_exceeded"
    ERROR = "error"

    __repr__ = str.__repr__  # displayed as the plain word in a cell


# Sources: OpenAI API reference (chat finish_reason, responses incomplete_details); Anthropic "Handling stop reasons";
# Gemini API reference, FinishReason; Bedrock API reference, Converse stopReason; Mistral API reference (model_length);
# litellm's own table of finish reasons (litellm_core_utils/core_helpers.py) for the rest.
_WORDS: dict[Finish, str] = {
    Finish.STOP: "stop completed end_turn stop_sequence STOP STOP_SEQUENCE COMPLETE eos eos_token",
    Finish.LENGTH: "length max_tokens max_output_tokens MAX_TOKENS compaction CONTINUATION",
    Finish.CONTENT_FILTER: (
        "content_filter content_filtered guardrail_intervened sensitive ERROR_TOXIC SAFETY RECITATION BLOCKLIST "
        "PROHIBITED_CONTENT SPII LANGUAGE MODEL_ARMOR IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION ESCALATION"
    ),
    Finish.TOOL_CALLS: "tool_calls function_call tool_use TOOL_CALL",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
    Finish.CONTEXT_WINDOW: "model_context_window_exceeded model_length",
    Finish.ERROR: (
        "error ERROR OTHER IMAGE_OTHER network_error insufficient_system_resource abort incomplete cancelled failed "
        "MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS malformed_model_output "
        "malformed_tool_use"
    ),
}
FINISH: Mapping[str, str] = {
    word: str(finish) for finish, words in _WORDS.items() for word in words.split()
}
"""Provider term -> our term."""

CUT: frozenset[str] = frozenset(map(str, Finish)) - {Finish.STOP, Finish.TOOL_CALLS}
"""Finish reasons of incomplete answers."""

Cuts = tuple[tuple[str, int], ...]
"""Numbers of truncated answers by finish reason, most frequent first."""


def finish_of(word: object) -> str | None:
    """Return the finish reason for a provider's term; unknown terms unchanged, None for nothing."""
    if not isinstance(word, str) or not word:
        return None
    return FINISH.get(word, word)


def is_whole(word: str | None) -> bool:
    """Whether a provider's term means a complete answer; missing and unknown terms do."""
    return word is None or FINISH.get(word, word) not in CUT


def cuts_of(cut: Mapping[int, str], rows: Iterable[int]) -> Cuts:
    """Return the counts of these rows. cut: the finish reasons of rows with truncated answers."""
    return all_cuts(((cut[row], 1),) for row in rows if row in cut) if cut else ()


def all_cuts(cuts: Iterable[Cuts]) -> Cuts:
    """Return the sum of several shards' or jobs' counts."""
    total: dict[str, int] = {}
    for each in cuts:
        for finish, answers in each:
            total[finish] = total.get(finish, 0) + answers
    return tuple(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def answer_finish(finish: str | None, calls: object | None) -> str | None:
    """Return an answer's finish reason; JSON requested as a tool's input is not a tool call."""
    return Finish.STOP if finish == Finish.TOOL_CALLS and calls is None else finish


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
    finish: why the model stopped (core/request.py), also for a failure; None where not reported.
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
