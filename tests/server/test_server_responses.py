"""The Responses API of the embedded server: in a batch, at once, through the official SDK, and in front of a model."""

from __future__ import annotations

import pytest
from server_asking import jsonl, line

from jupyter_batch.server.checks.requests import check
from jupyter_batch.server.translate.responses import chat_of, response_of

RESPONSES = "/v1/responses"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def asked(custom_id: str, text: str = "hello", **body) -> dict:
    """A line for /v1/responses."""
    made = line(custom_id, url=RESPONSES, **body)
    del made["body"]["messages"]
    made["body"].setdefault(
        "input",
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}],
    )
    return made


def test_responses_go_through_a_batch(ask):
    """A batch for /v1/responses is answered in that API's form, and its usage is counted."""
    ended = ask.run(
        jsonl(
            asked("a"),
            asked("b", instructions="Choose one of: yes, no"),
            asked("c", input="just a text"),
        ),
        RESPONSES,
    )
    answers, errors = ask.results(ended)
    content = {row["custom_id"]: row["response"]["body"] for row in answers}
    assert errors == []
    assert content["a"]["object"] == "response"
    assert content["a"]["status"] == "completed"
    assert content["a"]["output"][0]["content"][0]["text"] == "hello"
    assert content["b"]["output"][0]["content"][0]["text"] in ("yes", "no")
    assert content["c"]["output"][0]["content"][0]["text"] == "just a text"
    assert (
        ended["usage"]["total_tokens"]
        == sum(one["usage"]["total_tokens"] for one in content.values())
        > 0
    )
    assert ended["usage"]["output_tokens"] == sum(
        one["usage"]["output_tokens"] for one in content.values()
    )


def test_the_sdk_speaks_responses(ask):
    """The official SDK's `responses.create` and `output_text`, with a schema and with a cut."""
    assert ask.sdk.responses.create(model="local/echo", input="hi there").output_text == "hi there"
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    assert (
        ask.sdk.responses.create(model="echo", input="what a good day", text=form).output_text
        == '{"label":"good"}'
    )
    cut = ask.sdk.responses.create(model="echo", input="word " * 100, max_output_tokens=16)
    assert cut.status == "incomplete"
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert cut.usage.output_tokens == 16


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 4}]}, "input[0].content"),
        ({"input": "x", "instructions": 3}, "instructions"),
        ({"input": "x", "max_output_tokens": 15}, "max_output_tokens"),
        ({"input": "x", "text": "json"}, "text"),
        ({"input": "x", "text": {"format": {"type": "yaml"}}}, "text.format.type"),
        (
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}},
            "text.format.schema",
        ),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
def test_a_wrong_request_names_its_parameter(body, param):
    """Each refusal names the parameter that is wrong."""
    refused = check(RESPONSES, {"model": "echo", **body})
    assert refused is not None
    assert (refused.status, refused.param) == (400, param)


def test_streaming_and_chat_lines_are_refused(ask):
    """No stream of responses; a chat request in a batch of responses makes the batch fail, with its line."""
    refused = ask.call("POST", "/responses", json={"model": "echo", "input": "x", "stream": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")
    ended = ask.run(jsonl(asked("a"), line("b")), RESPONSES)
    assert ended["status"] == "failed"
    assert [(one["code"], one["line"]) for one in ended["errors"]["data"]] == [("invalid_url", 2)]


def test_a_batch_of_responses_has_no_limit_on_items(ask, monkeypatch):
    """The limit on embedding inputs counts no items of a conversation."""
    monkeypatch.setattr("jupyter_batch.server.checks.validation.MOST_INPUTS", 2)
    items = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert ask.run(jsonl(asked("a", input=items)), RESPONSES)["status"] == "completed"


def test_tools_images_and_parameters_are_reported_to_a_chat_model():
    """A response's request in the chat request: tools flat there, nested here; turns; effort."""
    chat = chat_of(
        {
            "model": "m",
            "instructions": "be short",
            "max_output_tokens": 20,
            "temperature": 0,
            "truncation": "auto",
            "reasoning": {"effort": "low"},
            "text": {"verbosity": "low", "format": {"type": "json_object"}},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "f"},
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "see"},
                        {"type": "input_image", "image_url": "http://x/y.png"},
                    ],
                },
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "one"},
                {
                    "type": "function_call_output",
                    "call_id": "2",
                    "output": [{"type": "input_text", "text": "two"}],
                },
            ],
        }
    )
    assert [message["role"] for message in chat["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert chat["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "http://x/y.png", "detail": "auto"},
    }
    assert [call["id"] for call in chat["messages"][2]["tool_calls"]] == ["1", "2"]
    assert chat["messages"][4] == {"role": "tool", "tool_call_id": "2", "content": "two"}
    assert chat["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert (chat["max_completion_tokens"], chat["reasoning_effort"], chat["verbosity"]) == (
        20,
        "low",
        "low",
    )
    assert chat["response_format"] == {"type": "json_object"}
    assert "truncation" not in chat


def test_tool_calls_and_refusals_come_back_as_items():
    """A chat model's tool calls become function_call items, its refusal a refusal part."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chat = {
        "created": 1,
        "model": "m",
        "choices": [
            {"message": {"content": "", "tool_calls": [call]}, "finish_reason": "tool_calls"}
        ],
    }
    made = response_of(chat, {"model": "m", "input": "x"}, id_="k")
    assert [(item["type"], item.get("call_id")) for item in made["output"]] == [
        ("function_call", "c")
    ]
    chat["choices"] = [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]
    made = response_of(chat, {"model": "m", "input": "x"}, id_="k")
    assert made["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_a_model_behind_the_server_answers_responses(started):
    """With an upstream model that speaks chat alone, /v1/responses is answered by it, in a batch too."""
    behind = started()
    front = started(
        upstream="openai/echo", api_base=behind.server.base_url, api_key=behind.server.token
    )
    assert (
        front.sdk.responses.create(model="x", input="through two servers").output_text
        == "through two servers"
    )
    answers, _ = front.results(front.run(jsonl(asked("a", "in a batch", model="x")), RESPONSES))
    assert answers[0]["response"]["body"]["output"][0]["content"][0]["text"] == "in a batch"
