"""Answers and refusals of an OpenAI-shaped server behind ours, as a Messages client sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from messages_asking import anthropic

QUESTION: dict[str, Any] = {
    "model": "claude-any",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "hi"}],
}
REFUSAL = {"error": {"message": "no such luck", "type": "some_error", "param": None, "code": None}}


class Behind(ThreadingHTTPServer):
    """A chat server that answers with `status` and `choice`, and keeps the bodies that it was asked with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.choice: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Behind
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        self.server.keys.add(self.headers["authorization"])
        self.server.keys.add(self.headers["x-api-key"])
        answer = REFUSAL
        if self.server.status == 200:
            answer = {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, **self.server.choice}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
            }
        data = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def behind() -> Iterator[Behind]:
    """The server behind ours."""
    with Behind() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def client(started, behind) -> Iterator[anthropic.Anthropic]:
    """The SDK's client of our server in front of it."""
    base = f"http://127.0.0.1:{behind.server_port}/v1"
    front = started(upstream="hosted_vllm/m", api_base=base, api_key="key").server
    base = front.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key=front.token, max_retries=0) as one:
        yield one


def test_a_stop_sequence_and_reasoning(client, behind):
    """The `stop_reason` of vLLM is the `stop_sequence`; its reasoning is a thinking block if asked for."""
    text = {"role": "assistant", "content": "one ", "reasoning_content": "because"}
    behind.choice = {"finish_reason": "stop", "stop_reason": "END", "message": text}
    message = client.messages.create(
        **QUESTION,
        stop_sequences=["END"],
        thinking={"type": "enabled", "budget_tokens": 1024},
        extra_body={"top_k": 4, "temperature": 0.5},
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert [one.type for one in message.content] == ["thinking", "text"]
    assert (message.content[0].thinking, message.content[1].text) == ("because", "one ")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 2)
    sent = behind.asked[0]
    assert (sent["stop"], sent["top_k"], sent["temperature"], sent["max_tokens"]) == (
        ["END"],
        4,
        0.5,
        2000,
    )
    assert [one.type for one in client.messages.create(**QUESTION).content] == ["text"]


def test_tool_calls(client, behind):
    """Parallel tool calls are `tool_use` blocks, with their ids; their results go back as tool messages."""
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}
        for n in range(2)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    behind.choice = {"finish_reason": "tool_calls", "message": message}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    called = client.messages.create(**QUESTION, tools=tools)
    assert called.stop_reason == "tool_use"
    assert [(one.type, one.id, one.input) for one in called.content] == [
        ("tool_use", "call_0", {"n": 1}),
        ("tool_use", "call_1", {"n": 1}),
    ]
    results = [
        {"type": "tool_result", "tool_use_id": one.id, "content": "1", "is_error": not n}
        for n, one in enumerate(called.content)
    ]
    turns = [
        *QUESTION["messages"],
        {"role": "assistant", "content": [one.model_dump() for one in called.content]},
        {"role": "user", "content": results},
    ]
    client.messages.create(**{**QUESTION, "messages": turns}, tools=tools)
    sent = behind.asked[1]["messages"]
    assert [one["id"] for one in sent[1]["tool_calls"]] == ["call_0", "call_1"]
    assert [(one["role"], one["tool_call_id"], one["content"]) for one in sent[2:]] == [
        ("tool", "call_0", "Error: 1"),
        ("tool", "call_1", "1"),
    ]


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "BadRequestError", "invalid_request_error"),
        (401, "AuthenticationError", "authentication_error"),
        (403, "PermissionDeniedError", "permission_error"),
        (404, "NotFoundError", "not_found_error"),
        (422, "UnprocessableEntityError", "invalid_request_error"),
    ],
)
def test_a_refusal_from_behind(client, behind, status, error, kind):
    """A refusal of the server behind comes with its status and text, in Anthropic's envelope."""
    behind.status = status
    with pytest.raises(getattr(anthropic, error)) as refused:
        client.messages.create(**QUESTION)
    assert refused.value.body["error"]["type"] == kind
    assert "no such luck" in refused.value.body["error"]["message"]


def test_a_key_of_another_server_is_not_sent_on(client, behind):
    """The token of our server stays here: the server behind gets the key that ours was started with."""
    behind.choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
    base = str(client.base_url).rstrip("/")
    answer = httpx.post(
        f"{base}/v1/messages", json=QUESTION, headers={"x-api-key": client.api_key}, timeout=60
    )
    assert answer.status_code == 200
    assert behind.keys == {"Bearer key", None}
