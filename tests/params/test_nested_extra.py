"""`extra_body` in real time is what the batch sends, also where litellm would nest it."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.litellm_call import CallFailedError
from jupyter_batch.wire.dialects import encoder, request_in
from jupyter_batch.wire.openai import CHAT

CLAUDE = "anthropic/claude-sonnet-4-5"
BEDROCK = "bedrock/anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "bedrock/us.amazon.nova-lite-v1:0"
AWS = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "aws_region_name": "us-east-1",
}
MESSAGES = [{"role": "user", "content": "x"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


class _Recorder(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls.append((dict(self.headers), json.loads(body)))
        self.send_response(400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def recorder():
    """A server that takes down what it is sent, and refuses it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Recorder)
    server.calls = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _real_time(server, model, params):
    """The headers and the body of one call in real time."""
    server.calls.clear()
    base = f"http://127.0.0.1:{server.server_port}"
    access = {"api_key": "k"} if model == CLAUDE else AWS

    async def ask():
        call = call_to(model, api_base=base, **access)
        try:
            await call(CHAT, {"model": "m", "messages": MESSAGES, **params})
        except CallFailedError:
            pass
        finally:
            await call.aclose()

    with quiet():
        asyncio.run(ask())
    (made,) = server.calls
    return made


def _batch(model, params):
    dialect, _, name = model.partition("/")
    given = {key: value for key, value in params.items() if key != "extra_body"}
    body = {"model": name, "messages": MESSAGES, **given}
    with quiet():
        made = encoder(dialect, CHAT, body, load_litellm, extra=params["extra_body"])
        (line,) = made.encode(["a-0"], {})
    return request_in(line)


EXTRAS = [
    {"top_k": 5},
    {"thinking": {"type": "disabled"}},
    {"metadata": {"user_id": "u"}, "service_tier": "auto"},
    {"guardrailConfig": {"guardrailIdentifier": "a", "guardrailVersion": "1"}},
    {"inferenceConfig": {"topP": 0.3}, "mine": 1},
]


@pytest.mark.parametrize("more", [{}, {"response_format": FORMAT}], ids=["text", "schema"])
@pytest.mark.parametrize("model", [CLAUDE, BEDROCK, NOVA])
def test_real_time_sends_what_the_batch_sends(model, more, recorder):
    """`extra_body` is merged into the request in real time as in the batch, and never nested."""
    for extra in EXTRAS:
        params = {"max_tokens": 50, **more, "extra_body": extra}
        _, sent = _real_time(recorder, model, params)
        assert sent == _batch(model, params)


@pytest.mark.parametrize("model", [CLAUDE, BEDROCK])
def test_it_says_nothing_of_where_a_request_goes(model, recorder):
    """A field of `extra_body` named as an address or a key of litellm's is a field of the request, no more."""
    place = {"api_base": "http://127.0.0.1:9", "api_key": "other", "aws_access_key_id": "other"}
    headers, _ = _real_time(recorder, model, {"extra_body": {**place, "model_id": "other"}})
    assert "other" not in str(headers)


def test_calls_of_the_user_are_as_before(recorder):
    """Calls of litellm by the user, in the same process, are made as litellm makes them."""
    _real_time(recorder, CLAUDE, {"extra_body": {"mine": 1}})
    litellm = load_litellm()
    made = litellm.AnthropicConfig().transform_request(
        model="claude-sonnet-4-5",
        messages=[dict(one) for one in MESSAGES],
        optional_params={"max_tokens": 5, "extra_body": {"mine": 1}},
        litellm_params={},
        headers={},
    )
    assert made["extra_body"] == {"mine": 1}
