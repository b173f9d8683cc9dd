"""The request that follows tool calls, in each dialect: what litellm makes of the same conversation, and more kept."""

from __future__ import annotations

import json

import pytest

from jupyter_batch.core.errors import LedgerNewerError
from jupyter_batch.core.request import ToolCalls
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.wire.dialects import decode_lines, encoder, next_turn
from jupyter_batch.wire.openai import CHAT, RESPONSES
from jupyter_batch.wire.turns import ToolOutput

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
    },
}
ASKED = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi"}]
CALLS = [
    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
    {"id": "t2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
]
TOLD = [ToolOutput("t1", "one", failed=False), ToolOutput("t2", "two", failed=False)]
GONE_ON = [
    *ASKED,
    {"role": "assistant", "content": "so:", "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "t1", "content": "one"},
    {"role": "tool", "tool_call_id": "t2", "content": "two"},
]
USED = {"input_tokens": 1, "output_tokens": 2}
ANSWERS = {
    "openai": {
        "response": {
            "status_code": 200,
            "body": {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "so:", "tool_calls": CALLS},
                    }
                ]
            },
        }
    },
    "anthropic": {
        "result": {
            "type": "succeeded",
            "message": {
                "stop_reason": "tool_use",
                "usage": USED,
                "content": [
                    {"type": "text", "text": "so:", "citations": None},
                    {
                        "type": "tool_use",
                        "id": "t1",
                        "name": "f",
                        "input": {"x": 1},
                        "caller": None,
                    },
                    {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
                ],
            },
        }
    },
    "bedrock": {
        "modelOutput": {
            "stopReason": "tool_use",
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"text": "so:"},
                        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
                        {"toolUse": {"toolUseId": "t2", "name": "f", "input": {}}},
                    ],
                }
            },
        }
    },
    "vertex": {
        "response": {
            "candidates": [
                {
                    "finishReason": "STOP",
                    "content": {
                        "role": "model",
                        "parts": [
                            {"text": "so:"},
                            {"functionCall": {"name": "f", "args": {"x": 1}}},
                            {"functionCall": {"name": "f", "args": {}}},
                        ],
                    },
                }
            ]
        }
    },
}
MODELS = {
    "openai": "m",
    "anthropic": "claude-sonnet-4-5",
    "bedrock": "amazon.nova-lite-v1:0",
    "vertex": "gemini-2.5-flash",
}


def line_of(dialect, messages, endpoint=CHAT, **params):
    """A request line, as a job's own."""
    body = {
        "model": MODELS[dialect],
        "messages": messages,
        "max_tokens": 9,
        "tools": [TOOL],
        **params,
    }
    (line,) = encoder(dialect, endpoint, body, load_litellm).encode(["jb-0"], {})
    return line


def calls_of(dialect, answer, endpoint=CHAT):
    """(the answer's line, its calls), as they are read out of a result file."""
    line = json.dumps({"custom_id": "jb-0", **answer}).encode()
    (result,) = decode_lines(dialect, line, endpoint, {})
    return line, result.calls


@pytest.mark.parametrize("dialect", list(ANSWERS))
@pytest.mark.parametrize(
    "choice", [None, "auto", "required", {"type": "function", "function": {"name": "f"}}], ids=str
)
def test_it_is_what_litellm_makes_of_the_whole_conversation(dialect, choice):
    """Nothing but the turns differs from the request before; a forced choice is auto from then on."""
    forced = {} if choice is None else {"tool_choice": choice}
    line, calls = calls_of(dialect, ANSWERS[dialect])
    assert [(call["name"], call["arguments"]) for call in calls] == [("f", {"x": 1}), ("f", {})]
    assert calls.text == "so:"
    made = json.loads(
        next_turn(line_of(dialect, ASKED, **forced), "jb-7", dialect, CHAT, line, calls, TOLD)
    )
    kept = {"tool_choice": "auto"} if choice == "auto" else {}
    theirs = json.loads(line_of(dialect, GONE_ON, **kept))
    assert made.pop("custom_id") == "jb-7"
    del theirs["custom_id"]
    assert plain(made) == plain(theirs)


@pytest.mark.parametrize("dialect", list(ANSWERS))
def test_an_answer_of_another_dialect_is_reported_by_its_calls(dialect):
    """The job went on in real time: the batch's answers were in the provider's own words."""
    _, calls = calls_of("anthropic", ANSWERS["anthropic"])
    made = json.loads(next_turn(line_of(dialect, ASKED), "jb-0", dialect, CHAT, None, calls, TOLD))
    assert plain(made) == plain(json.loads(line_of(dialect, GONE_ON)))


def plain(value):
    """Without the dialects' double forms: an auto that need not be given, ids and roles that Gemini ignores."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"type"} and value["type"] == "auto":
        return None
    made = {
        key: plain(item)
        for key, item in value.items()
        if not (key == "status" and item == "success")
    }
    if "functionResponse" in made or "function_response" in made:
        return {"response": text_of(made.get("functionResponse") or made["function_response"])}
    made = {{"function_call": "functionCall"}.get(key, key): item for key, item in made.items()}
    if made.get("type") == "tool_result" and isinstance(made["content"], list):
        made["content"] = made["content"][0]["text"]
    if isinstance(made.get("arguments"), str):
        made["arguments"] = json.loads(made["arguments"])
    return {key: item for key, item in made.items() if item is not None}


def text_of(response):
    """Gemini's result of a call: litellm calls its field `content`, Google's documents `output`."""
    return [response["name"], *response["response"].values()]


def test_thoughts_go_back_as_they_came():
    """With their signatures, which a provider checks; what is null or empty is left out; errors are marked."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    answer = {
        "result": {
            "type": "succeeded",
            "message": {
                "stop_reason": "tool_use",
                "content": [
                    thought,
                    {"type": "text", "text": ""},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
                ],
            },
        }
    }
    line, calls = calls_of("anthropic", answer)
    made = json.loads(
        next_turn(
            line_of("anthropic", ASKED),
            "jb-0",
            "anthropic",
            CHAT,
            line,
            calls,
            [ToolOutput("t1", "", failed=True)],
        )
    )
    assert made["params"]["messages"][-2]["content"] == [
        thought,
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    ]
    assert made["params"]["messages"][-1]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "(nothing)", "is_error": True}
    ]
    parts = [
        {"text": "thinking", "thought": True},
        {"functionCall": {"name": "f"}, "thoughtSignature": "x"},
    ]
    line, calls = calls_of("vertex", {"response": {"candidates": [{"content": {"parts": parts}}]}})
    made = json.loads(
        next_turn(
            line_of("vertex", ASKED),
            "jb-0",
            "vertex",
            CHAT,
            line,
            calls,
            [ToolOutput("", "bad", failed=True)],
        )
    )
    assert made["request"]["contents"][-2]["parts"] == parts
    assert made["request"]["contents"][-1]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"error": "bad"}}}
    ]


def test_what_servers_of_openai_s_dialect_leave_out_or_add():
    """No id, no type, arguments as an object or broken; reasoning is kept; a call that can't be run is reported so."""
    message = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "annotations": [],
        "refusal": None,
        "tool_calls": [
            {"index": 0, "function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "b", "function": {"name": "f", "arguments": '{"x": '}},
            {"id": "c", "type": "custom", "custom": {"name": "g", "input": "?"}},
        ],
    }
    line, calls = calls_of(
        "openai", {"response": {"status_code": 200, "body": {"choices": [{"message": message}]}}}
    )
    assert [call["id"] for call in calls] == [None, "b"]
    made = json.loads(
        next_turn(
            line_of("openai", ASKED),
            "jb-0",
            "openai",
            CHAT,
            line,
            calls,
            [ToolOutput("call_0_0", "one", failed=False), ToolOutput("b", "bad", failed=True)],
        )
    )
    text, *results = made["body"]["messages"][2:]
    assert text == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [
            {
                "id": "call_0_0",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x": 1}'},
            },
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c", "type": "custom", "custom": {"name": "g", "input": "?"}},
        ],
    }
    assert [(one["tool_call_id"], one["content"]) for one in results] == [
        ("call_0_0", "one"),
        ("b", "bad"),
        ("c", "Error: this kind of tool can't be run here"),
    ]


def test_the_old_form_of_a_call():
    """`function_call`, which has no id, is answered by a message of the role `function`."""
    message = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    line, calls = calls_of(
        "openai", {"response": {"status_code": 200, "body": {"choices": [{"message": message}]}}}
    )
    made = json.loads(
        next_turn(
            line_of("openai", ASKED),
            "jb-0",
            "openai",
            CHAT,
            line,
            calls,
            [ToolOutput("call_0_0", "one", failed=False)],
        )
    )
    assert made["body"]["messages"][2:] == [
        message,
        {"role": "function", "name": "f", "content": "one"},
    ]


@pytest.mark.parametrize("store", [None, False])
def test_the_responses_api_gets_its_items_back(store):
    """All of them where the provider keeps them; a thought that it does not keep only where it is whole."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"},
        {
            "type": "function_call",
            "id": "fc",
            "call_id": "t1",
            "name": "f",
            "arguments": '{"x": 1}',
            "status": "completed",
        },
    ]
    line, calls = calls_of(
        "openai",
        {
            "response": {
                "status_code": 200,
                "body": {"object": "response", "status": "completed", "output": items},
            }
        },
        RESPONSES,
    )
    asked = json.dumps(
        {
            "custom_id": "jb-0",
            "method": "POST",
            "url": RESPONSES,
            "body": {
                "model": "m",
                "input": "hi",
                "tools": [TOOL],
                "tool_choice": "required",
                "store": store,
            },
        }
    ).encode()
    made = json.loads(next_turn(asked, "jb-0", "openai", RESPONSES, line, calls, TOLD[:1]))
    assert "tool_choice" not in made["body"]
    assert made["body"]["input"][0] == {"type": "message", "role": "user", "content": "hi"}
    ids = [item.get("id") for item in made["body"]["input"][1:-1]]
    assert ids == (["rs_2", "fc"] if store is False else ["rs_1", "rs_2", "fc"])
    assert made["body"]["input"][-1] == {
        "type": "function_call_output",
        "call_id": "t1",
        "output": "one",
    }
    made = json.loads(next_turn(asked, "jb-0", "openai", RESPONSES, None, calls, TOLD[:1]))
    assert made["body"]["input"][1] == {
        "type": "function_call",
        "call_id": "t1",
        "name": "f",
        "arguments": '{"x": 1}',
    }


def test_a_dialect_of_a_newer_version_is_reported_so():
    """Nothing is guessed."""
    with pytest.raises(LedgerNewerError, match="upgrade"):
        next_turn(b"{}", "jb-0", "klingon", CHAT, None, ToolCalls(), [])
