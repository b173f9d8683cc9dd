"""Messages requests as chat requests, and chat completions as messages: pure functions."""

from __future__ import annotations

import pytest
from messages_asking import IMAGE, PNG, RESULT, USE, WEATHER, turns

from jupyter_batch.server.translate.messages import chat_of, message_of


def test_the_chat_request_that_asks_the_same():
    """Every field of a Messages request has its place in the chat request."""
    asked = chat_of(
        {
            "model": "m",
            "max_tokens": 7,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u"},
            "system": [
                {"type": "text", "text": "A.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "B."},
            ],
            "thinking": {"type": "enabled", "budget_tokens": 6000},
            "tools": [{**WEATHER, "cache_control": {"type": "ephemeral"}}],
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            "messages": turns(
                ("user", [{"type": "text", "text": "Oslo"}, IMAGE]),
                (
                    "assistant",
                    [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "text", "text": "Let me see."},
                        {**USE, "input": {"city": "Oslo"}},
                    ],
                ),
                (
                    "user",
                    [
                        {**RESULT, "content": [{"type": "text", "text": "Rain"}, IMAGE]},
                        {"type": "text", "text": "And tomorrow?"},
                    ],
                ),
            ),
        }
    )
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert asked == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop": ["END"],
        "user": "u",
        "reasoning_effort": "medium",
        "parallel_tool_calls": False,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "The weather in a city.",
                    "parameters": WEATHER["input_schema"],
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "messages": [
            {"role": "system", "content": "A.\nB."},
            {"role": "user", "content": [{"type": "text", "text": "Oslo"}, image]},
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "Rain"},
            {"role": "user", "content": [image, {"type": "text", "text": "And tomorrow?"}]},
        ],
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", "auto"), ("any", "required"), ("none", "none")],
)
def test_tool_choices(choice, expected):
    """Anthropic's `any` is chat's `required`; the others have the same name."""
    body = {"model": "m", "max_tokens": 1, "messages": [], "tools": [WEATHER]}
    assert chat_of({**body, "tool_choice": {"type": choice}})["tool_choice"] == expected


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        (None, "end_turn"),
    ],
)
def test_stop_reasons(finish, expected):
    """Every finish reason of chat has its stop reason."""
    chat = {"choices": [{"finish_reason": finish, "message": {"content": "x"}}]}
    assert message_of(chat, {"model": "m"}, id_="1")["stop_reason"] == expected


def test_the_message_out_of_a_completion():
    """Reasoning, a text, tool calls and cached tokens of a completion each have their place."""
    calls = [
        {"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "function": {"name": "f", "arguments": "not json"}},
    ]
    text = {"content": "text", "reasoning_content": "because", "tool_calls": calls}
    chat = {
        "model": "served",
        "choices": [{"finish_reason": "stop", "message": text, "stop_reason": "END"}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 6},
        },
    }
    body = {"model": "m", "thinking": {"type": "adaptive"}, "stop_sequences": ["END"]}
    message = message_of(chat, body, id_="1")
    assert message["content"] == [
        {"type": "thinking", "thinking": "because", "signature": ""},
        {"type": "text", "text": "text", "citations": None},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"arguments": "not json"}},
    ]
    assert message["model"] == "served"
    assert message["stop_reason"] == "tool_use"
    assert message["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 6,
        "output_tokens": 4,
        "service_tier": "standard",
    }
    del text["tool_calls"], body["thinking"]
    message = message_of(chat, body, id_="1")
    assert [one["type"] for one in message["content"]] == ["text"]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
