"""The server's own sentence reaches the user, whatever shape its errors have, also where they come with a 200."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    NoBatchApiError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
    RateLimitError,
)
from jupyter_batch.core.refusals.quota import is_spent
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.providers.anthropic.batches import ViaAnthropic
from jupyter_batch.providers.failures import refused
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from tests.providers.test_errors import call

PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Hello</h1></body></html>"
EXPRESS = (
    "<html><head><title>Error</title></head><body><pre>Cannot POST /v1/files</pre></body></html>"
)
SHAPES = [
    ({"error": {"message": "no such thing", "type": "t", "code": "c"}}, "no such thing"),
    ({"error": "no such thing"}, "no such thing"),
    ({"error": {"message": None, "code": "tenant_suspended"}}, "tenant_suspended"),
    ({"error": {"code": 1234}}, "error code 1234"),
    ({"error": {"message": {"detail": "deep down"}}}, "deep down"),
    ({"error": {"message": json.dumps({"error": {"message": "packed"}})}}, "packed"),
    ({"error": None, "message": "beside a null"}, "beside a null"),
    ({"error": "invalid_grant", "error_description": "it expired"}, "it expired"),
    ({"detail": "Not allowed here"}, "Not allowed here"),
    ({"detail": [{"loc": ["body", "file"], "msg": "Field required"}]}, "body.file: Field required"),
    ({"detail": {"message": "inside", "code": 7}}, "inside"),
    ({"detail": {"error": {"message": "two deep"}}}, "two deep"),
    ({"type": "about:blank", "title": "Halt.", "detail": "No more"}, "Halt: No more"),
    ({"title": "Alone"}, "Alone"),
    ({"errors": [{"code": 1, "message": "first"}, {"message": "second"}]}, "first; second"),
    ({"errors": ["a", "b", "c", "d"]}, "a; b; c; and 1 more"),
    ({"errors": {"file": ["is too large"]}}, "file: is too large"),
    ({"success": False, "msg": "not today"}, "not today"),
    ({"ok": False, "reason": "closed"}, "closed"),
    ({"message": "bare"}, "bare"),
    ([{"error": {"code": 400, "message": "an array", "status": "INVALID"}}], "an array"),
    ({"__type": "com.amazon.coral#Oops", "Message": "from AWS"}, "from AWS"),
    ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login fail"),
    ({"fault": {"faultstring": "from a gateway"}}, "from a gateway"),
    ({"Response": {"Error": {"Code": "X", "Message": "nested"}}}, "nested"),
    ("plain\n words", "plain words"),
    (PAGE, "Sign in"),
    (EXPRESS, "Cannot POST /v1/files"),
    ("<Error><Code>Gone</Code><Message>It left.</Message></Error>", "Gone: It left."),
    ({"what": "ever"}, '{"what": "ever"}'),
]


def sent(body) -> bytes:
    """The bytes of a body."""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


@pytest.mark.parametrize(("body", "sentence"), SHAPES)
def test_each_shape_has_its_sentence(body, sentence):
    """An error body of any shape is its sentence."""
    assert read_refusal(sent(body)).message == sentence


def test_a_body_that_says_nothing_has_the_reason_of_its_status():
    """An empty body, or an empty object: the words that go with the status."""
    for body in (b"", b"{}", b"[]", b"  "):
        assert "Bad Gateway" in str(refused(502, body, "http://h", reason="Bad Gateway"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"detail": "Not Found"}, NoBatchApiError),
        (404, "404 page not found", NoBatchApiError),
        (404, EXPRESS, NoBatchApiError),
        (404, "", NoBatchApiError),
        (405, {"detail": "Method Not Allowed"}, NoBatchApiError),
        (501, "Not Implemented", NoBatchApiError),
        (
            404,
            {"error": {"message": "Unknown request URL: POST /files", "code": "unknown_url"}},
            NoBatchApiError,
        ),
        (404, {"statusCode": 404, "message": "Route POST:/files not found"}, NoBatchApiError),
        (404, {"error": {"message": "No such File object: file-1"}}, NotFoundError),
        (404, {"error": {"message": "Input file not found"}}, NotFoundError),
        (404, {"error": {"message": "No batch found with id 'batch_1'."}}, NotFoundError),
    ],
)
def test_a_path_that_is_not_there_is_distinguished_from_an_object_that_is_not(status, body, kind):
    """A server's answers for a missing call, and for a missing object."""
    assert type(refused(status, sent(body), "http://h")) is kind


SPENT = [
    (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
    (400, {"error": {"message": "Billing hard limit has been reached"}}),
    (400, {"error": {"code": "billing_hard_limit_reached"}}),
    (429, {"error": {"message": "Your account is not active, please check your billing details"}}),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
    ),
    (400, {"error": {"message": "You have reached your specified API usage limits."}}),
    (402, {"error": {"message": "Insufficient Balance"}}),
    (402, "whatever"),
    (403, {"error": "Your team doesn't have any credits or licenses yet."}),
    (429, {"error": "Your team has used all available credits or reached its spending limit"}),
    (403, {"error": {"message": "This API method requires billing to be enabled"}}),
    (400, {"error": {"message": "Budget has been exceeded! Current cost: 11, Max budget: 10"}}),
    (200, {"error": {"message": "Insufficient balance"}}),
]
IN_TIME = [
    "Rate limit reached for gpt-4o. You can increase it by adding a payment method to your account",
    "You exceeded your current quota, please check your plan and billing details. RESOURCE_EXHAUSTED",
    "Out of call volume quota. Quota will be replenished in 12:12:12.",
    "Enqueued token limit reached",
    "Too many requests",
]


@pytest.mark.parametrize(("status", "body"), SPENT)
def test_a_quota_that_is_used_up_is_distinguished_from_one_that_comes_back(status, body):
    """The words of each provider for an account without credit."""
    error = refused(status, sent(body), "http://h")
    assert isinstance(error, RateLimitError)
    assert error.spent
    assert not error.queue


@pytest.mark.parametrize("message", IN_TIME)
def test_a_limit_on_a_pace_is_no_quota_that_is_used_up(message):
    """It passes with time."""
    assert not is_spent(message)


OK_ERRORS = [
    ({"error": {"message": "the disk is full"}}, ProviderDownError),
    ({"success": False, "msg": "the disk is full"}, ProviderDownError),
    ({"detail": "the disk is full"}, ProviderDownError),
    ([{"error": {"message": "the disk is full"}}], ProviderDownError),
    ({"object": "error", "message": "the disk is full", "code": 400}, BadRequestError),
    ({"error": {"message": "the disk is full", "code": "invalid_api_key"}}, AuthenticationError),
    ({"error": {"message": "the disk is full", "code": "insufficient_quota"}}, RateLimitError),
    ("<html><title>the disk is full</title></html>", ProviderDownError),
    ("the disk is full", ProviderDownError),
]


async def _nothing(_):
    pass


async def _verb(provider, verb, requests):
    how = {"endpoint": "/v1/chat/completions", "window": "24h", "on_upload": _nothing}
    match verb:
        case "upload":
            await provider.submit(requests, {"jupyter_batch": "a/0"}, uploaded=None, **how)
        case "create":
            await provider.submit(requests, {"jupyter_batch": "a/0"}, uploaded="file-1", **how)
        case "poll":
            await provider.poll("batch_1")
        case "cancel":
            await provider.cancel("batch_1")
        case _:
            await provider.find({"jupyter_batch": "a/0"}, since=0)


async def _asked_at(made, body, verb, requests):
    """The error of a verb at a server that answers each call with this body and a 200."""

    async def answer(_):
        return web.Response(body=sent(body), content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        with pytest.raises(ProviderError) as raised:
            await _verb(made(base), verb, requests)
        return raised.value
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("verb", ["upload", "create", "poll", "cancel", "list"])
@pytest.mark.parametrize(("body", "kind"), OK_ERRORS)
def test_an_error_that_comes_with_a_200_is_one(tmp_path, verb, body, kind):
    """From a server of OpenAI's API, on each verb: the sentence, and the kind where the body names one."""
    requests = tmp_path / "requests.jsonl"
    requests.write_text("{}\n")

    def made(base):
        return ViaOpenAI(facts_of("openai", base), Access(api_base=base, api_key="k"))

    error = asyncio.run(_asked_at(made, body, verb, requests))
    assert type(error) is kind or (kind is ProviderDownError and isinstance(error, kind))
    assert "the disk is full" in str(error)
    assert "HTTP 200" in str(error)


@pytest.mark.parametrize("verb", ["create", "poll", "cancel", "list"])
@pytest.mark.parametrize("body", [body for body, _ in OK_ERRORS])
def test_an_error_that_comes_with_a_200_is_one_in_anthropic_s_shape(tmp_path, verb, body):
    """Message batches."""
    requests = tmp_path / "requests.jsonl"
    line = {"custom_id": "a-0", "params": {}}
    requests.write_text(json.dumps(line) + "\n")

    def made(base):
        facts, access = facts_of("anthropic", base), Access(api_base=base, api_key="k")
        return ViaAnthropic(facts, access, requests_of=lambda _: requests)

    error = asyncio.run(_asked_at(made, body, verb, requests))
    assert "the disk is full" in str(error)


@pytest.mark.parametrize("verb", ["upload", "create", "poll", "list", "cancel"])
def test_an_error_that_comes_with_a_200_is_one_everywhere(harness, verb):
    """Azure, Mistral, xAI and Gemini."""

    async def way():
        provider = harness.provider()
        await call(harness, provider, "create")
        harness.fake.spoil = lambda *_: web.json_response(
            {"error": {"message": "the disk is full"}}
        )
        with pytest.raises(ProviderDownError, match="the disk is full"):
            await call(harness, provider, verb)
        harness.fake.batches.clear()

    harness.play(way())


def test_what_is_no_list_is_not_an_empty_one(tmp_path):
    """An object without `data` does not mean that no batch is there: that would send one again."""
    requests = tmp_path / "requests.jsonl"

    def made(base):
        return ViaOpenAI(facts_of("openai", base), Access(api_base=base, api_key="k"))

    error = asyncio.run(_asked_at(made, {"status": "up"}, "list", requests))
    assert "answered without 'data'" in str(error)
