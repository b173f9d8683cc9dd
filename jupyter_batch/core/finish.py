"""Finish reasons: why a model stopped, in OpenAI's terms, and which of them truncate an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


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


def counted(cut: Mapping[int, str], rows: Iterable[int]) -> Cuts:
    """Return the counts of these rows. cut: the finish reasons of rows with truncated answers."""
    return added(((cut[row], 1),) for row in rows if row in cut) if cut else ()


def added(cuts: Iterable[Cuts]) -> Cuts:
    """Return the sum of several shards' or jobs' counts."""
    counted: dict[str, int] = {}
    for each in cuts:
        for finish, answers in each:
            counted[finish] = counted.get(finish, 0) + answers
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def answer_finish(finish: str | None, calls: object | None) -> str | None:
    """Return an answer's finish reason; JSON requested as a tool's input is not a tool call."""
    return Finish.STOP if finish == Finish.TOOL_CALLS and calls is None else finish
