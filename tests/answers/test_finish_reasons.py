"""Why a model stopped, in every dialect: the text of an answer that was cut off is kept, and the reason with it."""

from __future__ import annotations

import json

import pytest

from jupyter_batch.core.request import CUT, Finish, Status, finish_of
from jupyter_batch.wire import openai
from jupyter_batch.wire.anthropic import results
from jupyter_batch.wire.clouds import bedrock
from jupyter_batch.wire.clouds import gemini as generate_content
from jupyter_batch.wire.dialects import decode_lines
from jupyter_batch.wire.translated import JSON_TOOL


def chat(finish, text="half an", **message):
    """A chat completion's line."""
    answer = {"role": "assistant", "content": text, **message}
    body = {"choices": [{"index": 0, "message": answer, "finish_reason": finish}]}
    return {"custom_id": "j-0", "response": {"status_code": 200, "body": body}}


def responses(status, reason=None, text="half an"):
    """A line of /v1/responses."""
    content = [{"type": "output_text", "text": text}]
    body = {
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [{"type": "message", "content": content}],
    }
    return {"custom_id": "j-0", "response": {"status_code": 200, "body": body}}


def messages(stop, text="half an"):
    """A line of Anthropic's."""
    message = {"content": [{"type": "text", "text": text}], "stop_reason": stop}
    return {"custom_id": "j-0", "result": {"type": "succeeded", "message": message}}


def gemini(stop, text="half an"):
    """A kept line of Vertex AI's."""
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": stop}
    return {"custom_id": "j-0", "response": {"candidates": [candidate]}}


def converse(stop, text="half an"):
    """A kept line of Bedrock's."""
    message = {"content": [{"text": text}]}
    return {
        "custom_id": "j-0",
        "modelOutput": {"output": {"message": message}, "stopReason": stop},
    }


WAYS = {
    "chat": ("openai", openai.CHAT, chat),
    "responses": ("openai", openai.RESPONSES, responses),
    "anthropic": ("anthropic", "", messages),
    "vertex": ("vertex", "", gemini),
    "bedrock": ("bedrock", "", converse),
}
ENDED = [
    ("chat", ("stop",), "stop"),
    ("chat", ("length",), "length"),
    ("chat", ("content_filter",), "content_filter"),
    ("chat", ("model_length",), "model_context_window_exceeded"),  # Mistral's
    ("chat", ("error",), "error"),
    ("chat", ("tool_calls", None), None),
    ("chat", (None,), None),
    ("chat", ("strange",), "strange"),
    ("responses", ("completed",), "stop"),
    ("responses", ("incomplete", "max_output_tokens"), "length"),
    ("responses", ("incomplete", "content_filter"), "content_filter"),
    ("responses", ("incomplete",), "error"),
    ("anthropic", ("end_turn",), "stop"),
    ("anthropic", ("stop_sequence",), "stop"),
    ("anthropic", ("max_tokens",), "length"),
    ("anthropic", ("pause_turn",), "pause_turn"),
    ("anthropic", ("model_context_window_exceeded",), "model_context_window_exceeded"),
    ("vertex", ("STOP",), "stop"),
    ("vertex", ("MAX_TOKENS",), "length"),
    ("vertex", ("SAFETY",), "content_filter"),
    ("vertex", ("RECITATION",), "content_filter"),
    ("vertex", ("OTHER",), "error"),
    ("bedrock", ("end_turn",), "stop"),
    ("bedrock", ("max_tokens",), "length"),
    ("bedrock", ("content_filtered",), "content_filter"),
    ("bedrock", ("model_context_window_exceeded",), "model_context_window_exceeded"),
]


def decoded(way, *expected):
    """The Result of one line."""
    dialect, endpoint, line = WAYS[way]
    return next(decode_lines(dialect, json.dumps(line(*expected)).encode(), endpoint, {}))


@pytest.mark.parametrize(("way", "expected", "finish"), ENDED, ids=str)
def test_the_text_is_kept_and_its_reason_is_kept(way, expected, finish):
    """OpenAI's words for all providers, or the provider's own where OpenAI has none."""
    result = decoded(way, *expected)
    if expected[-1] is None and finish is None and len(expected) > 1:
        assert result.status is Status.FAILED
        return
    assert (result.status, result.value, result.finish) == (Status.SUCCEEDED, "half an", finish)


@pytest.mark.parametrize(
    ("line", "finish"),
    [
        (chat("length", ""), "length"),
        (chat("stop", None, refusal="No."), "refusal"),
        (chat("content_filter", None), "content_filter"),
        (responses("incomplete", "max_output_tokens", ""), "length"),
        (messages("refusal", "I can't"), "refusal"),
        (messages("max_tokens", ""), "length"),
        (gemini("SAFETY", ""), "content_filter"),
        (
            {"custom_id": "j-0", "response": {"promptFeedback": {"blockReason": "SAFETY"}}},
            "content_filter",
        ),
        (converse("guardrail_intervened"), "content_filter"),
    ],
    ids=str,
)
def test_a_failure_has_its_reason_too(line, finish):
    """An answer without any text says why it ended, and is a failure."""
    read = {
        "result": results.decode,
        "modelOutput": lambda data: bedrock.decode(data, {}),
    }
    data = json.dumps(line).encode()
    if set(line.get("response", {})) & {"candidates", "promptFeedback"}:
        result = generate_content.decode(data)
    else:
        way = next((read[key] for key in read if key in line), None)
        result = way(data) if way else openai.decode(data, openai.CHAT)
    assert (result.status, result.finish) == (Status.FAILED, finish)


def test_json_that_was_asked_for_as_a_tool_is_whole():
    """The JSON tool of litellm ends with `tool_use`; the answer is its input, and no call is left open."""
    line = messages("tool_use")
    line["result"]["message"]["content"] = [
        {"type": "tool_use", "name": JSON_TOOL, "input": {"a": 1}}
    ]
    result = results.decode(json.dumps(line).encode())
    assert (json.loads(result.value), result.finish) == ({"a": 1}, "stop")


def test_what_counts_as_cut_off():
    """All but a normal end, tool calls, and unknown words."""
    assert Finish.STOP not in CUT
    assert Finish.TOOL_CALLS not in CUT
    assert {finish_of(word) for word in ("MAX_TOKENS", "SAFETY", "pause_turn")} <= CUT
    assert finish_of("strange") not in CUT
    assert finish_of("") is None
