"""One request for /v1/responses in real time: failures are in our tree, and nothing goes elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch.core.errors import AuthenticationError, ConnectionFailedError, RateLimitError
from jupyter_batch.realtime.litellm_call import CallFailedError
from jupyter_batch.realtime.responses_call import ResponsesCall
from jupyter_batch.wire.openai import CHAT, RESPONSES

BODY = {
    "model": "whatever",
    "input": "hi",
    "api_base": "http://elsewhere.example/v1",
    "stream": True,
}


def ask(endpoint, base, key):
    """Ask once, and close."""

    async def once():
        call = ResponsesCall("echo", api_base=base, api_key=key)
        try:
            return await call(endpoint, BODY)
        finally:
            await call.aclose()

    return asyncio.run(once())


def test_an_answer_comes_back_as_it_was_sent(server):
    """The answer's own JSON; the model is the call's, and a body can't say where it goes."""
    answer = ask(RESPONSES, server.base_url, server.token)
    assert (answer["object"], answer["model"], answer["output"][0]["content"][0]["text"]) == (
        "response",
        "echo",
        "hi",
    )


def test_failures_are_reported_in_our_tree(server):
    """A wrong key, a limit and an address without a server; the key is in none of the messages."""
    with pytest.raises(CallFailedError) as e:
        ask(RESPONSES, server.base_url, "sk-very-secret-key-indeed")
    assert isinstance(e.value.error, AuthenticationError)
    assert "very-secret-key" not in f"{e.value} {e.value.error_object}"
    server.set_faults("429=1,retry_after=7")
    with pytest.raises(CallFailedError) as e:
        ask(RESPONSES, server.base_url, server.token)
    assert isinstance(e.value.error, RateLimitError)
    assert e.value.error.retry_after == 7
    with pytest.raises(CallFailedError) as e:
        ask(RESPONSES, "http://127.0.0.1:9/v1", "k")
    assert isinstance(e.value.error, ConnectionFailedError)
    assert e.value.unreachable


def test_it_speaks_one_endpoint(server):
    """A chat request is refused here."""
    with pytest.raises(CallFailedError, match="/v1/responses"):
        ask(CHAT, server.base_url, server.token)
