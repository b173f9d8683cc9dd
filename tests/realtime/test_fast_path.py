"""Past litellm's network, in its words: what is sent is the same byte for byte, and the rest is its own call."""

from __future__ import annotations

import asyncio
import gc
from copy import deepcopy

import pytest
from aiohttp import web
from realtime_endpoint import Endpoint
from realtime_harness import KEY, provider, requests, run, texts

from jupyter_batch.core.errors import (
    BadRequestError,
    ConnectionFailedError,
    ProviderDownError,
    RateLimitError,
)
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.http.network import proxy_for
from jupyter_batch.realtime.fast_path import StraightCall, call_to
from jupyter_batch.realtime.litellm_call import CallFailedError, LitellmCall
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS


def message_of(text, role="user"):
    """A message."""
    return {"role": role, "content": text}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
BODIES = {
    "plain": ("openai/m", {"messages": [message_of("é “x”")]}),
    "system": (
        "openai/m",
        {
            "messages": [message_of("be short", "system"), message_of("x")],
            "temperature": 0.2,
            "seed": 7,
        },
    ),
    "turns": (
        "openai/m",
        {
            "messages": [message_of("a"), message_of("b", "assistant"), message_of("c")],
            "stop": ["\n"],
        },
    ),
    "renamed": (
        "openai/gpt-5-mini",
        {"messages": [message_of("x")], "max_tokens": 9, "reasoning_effort": "low"},
    ),
    "other roles": (
        "openai/o3-mini",
        {"messages": [message_of("be short", "system"), message_of("x")]},
    ),
    "schema": (
        "openai/m",
        {"messages": [message_of("x")], "response_format": {"type": "json_object"}},
    ),
    "tools": ("openai/m", {"messages": [message_of("x")], "tools": [TOOL], "tool_choice": "auto"}),
    "image": (
        "openai/m",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}]},
    ),
    "empty": ("openai/m", {"messages": [message_of("")]}),
    "cache": (
        "openai/m",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ]
        },
    ),
    "bare image": (
        "openai/m",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": "data:image/png;base64,AAAA"}],
                }
            ]
        },
    ),
    "called": (
        "openai/m",
        {
            "messages": [
                message_of("x"),
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
            ],
            "tools": [TOOL],
        },
    ),
}


class Counted(StraightCall):
    """Counts how often litellm's own call was made."""

    own = 0

    async def _ask(self, endpoint, body, **more):
        self.own += 1
        return await super()._ask(endpoint, body, **more)


def asked(call, bodies, endpoint=CHAT):
    """The answers to bodies, one after the other; the call is closed."""

    async def cycle():
        try:
            return [
                await call(endpoint, deepcopy(body)) for body in bodies
            ]  # litellm changes what it is given
        finally:
            await call.aclose()

    return asyncio.run(cycle())


def refused(call, body):
    """The failure of a call with this body."""
    with pytest.raises(CallFailedError) as raised:
        asked(call, [body])
    return raised.value


@pytest.fixture
def endpoint():
    """An endpoint that answers."""
    with Endpoint() as running:
        yield running


@pytest.mark.parametrize("name", BODIES)
def test_what_is_sent_is_what_litellm_sends(endpoint, name):
    """For any request: address, body and headers are litellm's own, byte for byte, the second time, too."""
    model, body = BODIES[name]
    where = {"api_base": endpoint.base, "api_key": KEY}
    asked(LitellmCall(model, **where), [body])
    asked(call_to(model, **where), [body, body])
    (path, sent, headers), *ours = endpoint.sent
    assert [(p, b) for p, b, _ in ours] == [(path, sent)] * 2
    of_the_connection = {"host", "accept-encoding", "connection", "content-length", "user-agent"}
    for _, _, mine in ours:
        assert {k: v for k, v in mine.items() if k not in of_the_connection} == {
            k: v for k, v in headers.items() if k not in of_the_connection
        }


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("plain", 1),
        ("renamed", 1),
        ("other roles", 1),
        ("image", 1),
        ("tools", 1),
        ("empty", 3),
        ("cache", 3),
        ("bare image", 3),
        ("called", 3),
    ],
)
def test_a_kind_of_request_is_learnt_once(endpoint, name, own):
    """Texts and images are translated once for all rows; what litellm may change is asked by its own call."""
    model, body = BODIES[name]
    call = Counted(model, api_base=endpoint.base, api_key=KEY)
    answers = asked(call, [body] * 3)
    assert [answer["choices"][0]["message"]["role"] for answer in answers] == ["assistant"] * 3
    assert (len(endpoint.sent), call.own) == (3, own)


def test_rows_that_start_together_learn_together(tmp_path):
    """A run's first rows wait for one of them; each row is asked once, and litellm's call is made once."""
    with Endpoint() as endpoint:
        real = provider(tmp_path, endpoint.base, concurrency=32)
        real._call = call = Counted("openai/m", api_base=endpoint.base, api_key=KEY)
        view, _ = run(real, requests(tmp_path, texts(100)))
    assert (view.completed, call.own) == (100, 1)
    assert set(endpoint.asked.values()) == {1}


def test_a_parameter_from_each_row_is_sent_with_its_row(endpoint):
    """A parameter that differs is another kind: each request goes out with its own."""
    call = Counted("openai/m", api_base=endpoint.base, api_key=KEY)
    asked(call, [{"messages": [message_of("x")], "max_tokens": most} for most in (5, 6, 5)])
    assert [
        b'"max_tokens":%d' % most in sent
        for most, (_, sent, _) in zip((5, 6, 5), endpoint.sent, strict=True)
    ]
    assert call.own == 2


def test_vectors_go_straight_too(endpoint):
    """Embeddings are learnt and asked like chat."""
    call = Counted("openai/m", api_base=endpoint.base, api_key=KEY)
    answers = asked(call, [{"input": "abc"}, {"input": "abcd"}], EMBEDDINGS)
    assert [answer["data"][0]["embedding"] for answer in answers] == [[0.5, 3.0], [0.5, 4.0]]
    assert call.own == 1


def test_a_model_that_speaks_another_endpoint_is_litellm_s(endpoint):
    """The model o1-pro is asked at /v1/responses by litellm: nothing is sent to the chat endpoint in its stead."""
    call = Counted("openai/o1-pro", api_base=endpoint.base, api_key=KEY)
    refused(call, {"messages": [message_of("x")]})
    assert endpoint.sent == []
    assert call.own == 1


def test_a_person_s_cache_and_client_are_used(endpoint, monkeypatch):
    """Where user code set litellm's cache or its http client, all calls are litellm's own."""
    monkeypatch.setattr(load_litellm(), "aclient_session", object())
    call = Counted("openai/m", api_base=endpoint.base, api_key=KEY)
    with pytest.raises(CallFailedError):
        asked(call, [BODIES["plain"][1]])
    monkeypatch.undo()
    assert (call.own, endpoint.sent) == (1, [])


def test_rows_go_nowhere_else(endpoint):
    """A redirect is not followed: the rows and the key stay with the address that was given; the failure names it."""
    with Endpoint() as stranger:
        away = {"location": f"{stranger.base}/chat/completions"}
        endpoint.decide = lambda text, before: web.Response(status=307, headers=away)
        failure = refused(
            call_to("openai/m", api_base=endpoint.base, api_key=KEY), BODIES["plain"][1]
        )
    assert isinstance(
        failure.error, ProviderDownError
    )  # about the address: no row is failed for it at once
    assert stranger.base in str(failure.error)
    assert stranger.sent == []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            web.Response(
                status=400, text='{"error": {"message": "no sk-of-the-test here", "code": "c"}}'
            ),
            BadRequestError,
            "no *** here",
        ),
        (
            web.Response(status=429, text="slow down", headers={"retry-after": "7"}),
            RateLimitError,
            "slow down",
        ),
        (web.Response(text="<html>hello</html>"), ProviderDownError, "hello"),
        (web.Response(text='{"choices": []}'), ProviderDownError, "no answer"),
        (web.Response(text='{"error": {"message": "busy", "code": 429}}'), RateLimitError, "busy"),
        (web.Response(text='{"error": "broken"}'), BadRequestError, "broken"),
        (web.Response(text='{"success": false, "msg": "no."}'), BadRequestError, "no."),
        (web.Response(text='{"object": "error", "message": "long"}'), BadRequestError, "long"),
        (web.Response(text='[{"error": {"message": "bad"}}]'), BadRequestError, "bad"),
        (
            web.Response(text='{"error": {"type": "overloaded_error", "message": "busy"}}'),
            ProviderDownError,
            "busy",
        ),
        (
            web.Response(text='{"error": {"code": 500}}'),
            ProviderDownError,
            "Internal Server Error",
        ),
        (web.Response(status=400, text='{"error": {}}'), BadRequestError, "Bad Request"),
        (web.Response(status=529, text=""), ProviderDownError, "no reason was given"),
    ],
    ids=[
        "key",
        "text",
        "page",
        "nothing",
        "told with 200",
        "no code",
        "success false",
        "object error",
        "list of errors",
        "overloaded",
        "code alone",
        "empty error",
        "empty body",
    ],
)
def test_an_answer_that_is_none(endpoint, answer, kind, words):
    """The error is in our tree, in the provider's words, without the key."""
    endpoint.decide = lambda text, before: answer
    failure = refused(call_to("openai/m", api_base=endpoint.base, api_key=KEY), BODIES["plain"][1])
    assert isinstance(failure.error, kind)
    assert words in str(failure.error)
    assert words in failure.error_object["message"] or failure.error_object["message"] == str(
        failure.error
    )
    assert KEY not in str(failure.error) + str(failure.error_object)
    if kind is RateLimitError and "slow" in words:
        assert failure.error.retry_after == 7


def test_no_connection_is_nobody_s_fault():
    """Where no server listens the call says so, and that no row is to blame."""
    failure = refused(
        call_to("openai/m", api_base="http://127.0.0.1:9/v1", api_key=KEY), BODIES["plain"][1]
    )
    assert isinstance(failure.error, ConnectionFailedError)
    assert failure.unreachable


def test_nothing_stays_open(endpoint):
    """After aclose no session is open, and the call can be used on another loop."""
    call = call_to("openai/m", api_base=endpoint.base, api_key=KEY)
    for _ in range(2):
        asked(call, [BODIES["plain"][1]])
    assert call._connector is None
    gc.collect()  # an open session or socket would warn, and a warning is an error


def test_only_openai_s_shape_goes_straight():
    """Other providers, and calls with more to say, are litellm's."""
    where = {"api_base": "http://h/v1", "api_key": KEY}
    assert type(call_to("openai/m", **where)) is StraightCall
    for model, more in (
        ("anthropic/m", where),
        ("mistral/m", where),
        ("openai/m", {"api_key": KEY}),
        ("openai/m", {"api_base": "http://h/v1"}),
        ("azure/m", {**where, "api_version": "v"}),
    ):
        assert type(call_to(model, **more)) is LitellmCall, (model, more)


def test_the_proxy_is_the_environment_s(monkeypatch):
    """HTTPS_PROXY and NO_PROXY count, as for litellm."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for("https://api.openai.com/v1/") == "http://proxy:3128"
    assert proxy_for("https://inside.example/v1/") is None
    assert proxy_for("http://127.0.0.1:1/v1/") is None
