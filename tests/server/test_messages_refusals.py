"""Refusals of the Message Batches API: the SDK's own error classes, Anthropic's envelope, and rows that fail alone."""

from __future__ import annotations

import httpx
import pytest
from messages_asking import anthropic, client_of, counts, ended, request, results

NOBODY = "msgbatch_nobody"


def test_a_bad_request_is_its_own_row(client):
    """Parameters are checked row by row: a bad one is `errored` with Anthropic's error type, the others succeed."""
    bad = request("no-limit")
    del bad["params"]["max_tokens"]
    made = client.messages.batches.create(
        requests=[
            request("good"),
            bad,
            request("unknown-model", model="claude-nobody"),
            request("hot", temperature=1.5),
            request("typo", top_pp=1),
            request("streamed", stream=True),
        ]
    )
    assert counts(ended(client, made.id)) == {"succeeded": 1, "errored": 5}
    found = results(client, made.id)
    assert found["good"].type == "succeeded"
    kinds = {
        key: (one.error.error.type, one.error.error.message)
        for key, one in found.items()
        if one.type == "errored"
    }
    assert kinds == {
        "no-limit": ("invalid_request_error", "max_tokens: Field required"),
        "unknown-model": ("not_found_error", "model: claude-nobody"),
        "hot": ("invalid_request_error", "temperature: Input should be less than or equal to 1"),
        "typo": ("invalid_request_error", "top_pp: Extra inputs are not permitted"),
        "streamed": ("invalid_request_error", "stream: Streaming is not supported in a batch"),
    }
    assert found["hot"].error.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have at least 1 item after validation, not 0"),
        ([request("a b")], "requests.0.custom_id: String should match pattern"),
        ([request("x" * 65)], "requests.0.custom_id: String should match pattern"),
        ([request("")], "requests.0.custom_id: String should match pattern"),
        ([request("line\n")], "requests.0.custom_id: String should match pattern"),
        ([request("a"), request("a")], "requests.1.custom_id: Custom IDs must be unique"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{"params": {}}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a", "params": []}], "requests.0.params: Input should be a valid dict"),
        ([{"custom_id": 1, "params": {}}], "Expected `str`, got `int`"),
        ([{**request(), "method": "POST"}], "unknown field `method`"),
    ],
)
def test_a_create_that_is_refused(client, requests, message):
    """The envelope of a create is checked at once: nothing is created, and the SDK raises its own class."""
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.batches.create(requests=requests)
    assert message in str(refused.value)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert refused.value.body["request_id"] == refused.value.response.headers["request-id"]
    assert list(client.messages.batches.list()) == []


def test_errors_are_the_sdks_own_classes(server, client):
    """401, 404, 405 and 413 come in Anthropic's envelope, whatever raises them."""
    with client_of(server, api_key="wrong") as other:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            other.messages.batches.list()
        assert refused.value.body["error"]["type"] == "authentication_error"
    for call in ("retrieve", "cancel", "delete", "results"):
        with pytest.raises(anthropic.NotFoundError) as refused:
            getattr(client.messages.batches, call)(NOBODY)
        assert refused.value.body["type"] == "error"
        assert refused.value.body["error"]["type"] == "not_found_error"
    for cursor in ("after_id", "before_id"):
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.list(**{cursor: NOBODY})
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.list(limit=1001)
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.put("/v1/messages/batches", cast_to=object)
    assert refused.value.status_code == 405
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.get("/v1/messages/nothing/here/at/all", cast_to=object)
    assert refused.value.body["error"]["type"] == "not_found_error"


def test_an_address_that_ends_in_v1(server):
    """The SDK appends `/v1` itself: an address with `/v1` is answered by what to do about it."""
    with (
        anthropic.Anthropic(base_url=server.base_url, api_key=server.token) as other,
        pytest.raises(anthropic.NotFoundError) as refused,
    ):
        other.messages.batches.list()
    assert refused.value.body["error"]["type"] == "not_found_error"
    assert "give it the server's address without /v1" in refused.value.body["error"]["message"]


def test_faults_are_anthropics_errors(server, client):
    """429 and 500 come as `rate_limit_error` with `retry-after`, and `api_error`."""
    server.set_faults("429=1,retry_after=7")
    with pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.batches.list()
    assert refused.value.body["error"]["type"] == "rate_limit_error"
    assert refused.value.response.headers["retry-after"] == "7"
    server.set_faults("500=1")
    with pytest.raises(anthropic.InternalServerError) as refused:
        client.messages.batches.create(requests=[request()])
    assert refused.value.body["error"]["type"] == "api_error"
    server.set_faults("row_errors=1")
    made = client.messages.batches.create(requests=[request()])
    server.set_faults("")
    assert counts(ended(client, made.id)) == {"errored": 1}
    assert results(client, made.id)["r-0"].error.error.type == "api_error"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "embedded", "anthropic-version": "2023-06-01"},
        {"Authorization": "Bearer embedded", "anthropic-version": "2023-06-01"},
        {"x-api-key": "embedded", "anthropic-version": "2026-10-21"},
        {"x-api-key": "embedded"},
    ],
)
def test_the_token_in_either_header(server, headers):
    """The token is taken from `x-api-key` as from `Authorization`."""
    answer = httpx.get(f"{server.base_url}/messages/batches", headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert answer.headers["request-id"].startswith("req_")


def test_an_unknown_version_is_refused(server):
    """An `anthropic-version` that is no date is named in the refusal."""
    headers = {"x-api-key": "embedded", "anthropic-version": "newest"}
    answer = httpx.get(f"{server.base_url}/messages/batches", headers=headers)
    assert answer.status_code == 400
    assert "newest" in answer.json()["error"]["message"]


def test_no_key_at_all(server):
    """Without a key the refusal is an `authentication_error` with a request id."""
    answer = httpx.post(f"{server.base_url}/messages", json={})
    assert answer.status_code == 401
    body = answer.json()
    assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
    assert body["request_id"] == answer.headers["request-id"]


ODD = {
    "number": b'"messages": [{"role": "user", "content": "x"}], "temperature": 1e999',
    "integer": b'"messages": [{"role": "user", "content": "x"}], "top_k": ' + b"9" * 5000,
    "schema": b'"messages": [{"role": "user", "content": "x"}], "tool_choice": {"type": "any"}, '
    b'"tools": [{"name": "t", "input_schema": {"properties": {"a": {"minLength": "x"}}}}]',
    "title": b'"messages": [{"role": "user", "content": [{"type": "document", "title": 5, '
    b'"source": {"type": "text", "media_type": "text/plain", "data": "x"}}]}]',
    "empty": b'"messages": [{"role": "user", "content": []}]',
    "role": b'"messages": [{"role": ["user"], "content": "x"}]',
    "source": b'"messages": [{"role": "user", "content": [{"type": "image", "source": '
    b'{"type": ["url"]}}]}]',
}


@pytest.mark.parametrize("model", ["echo", "nobody"])
def test_odd_requests_lose_no_other(server, client, model):
    """A faulty row is `errored` alone, also where the rows name several models."""

    def one(custom_id, params, model="echo"):
        return b'{"custom_id": "%s", "params": {"model": "%s", "max_tokens": 9, %s}}' % (
            custom_id.encode(),
            model.encode(),
            params,
        )

    good = b'"messages": [{"role": "user", "content": "fine"}]'
    requests = [one(name, params) for name, params in ODD.items()]
    requests += [one("good", good), one("other", good, model)]
    answer = httpx.post(
        f"{server.base_url}/messages/batches",
        content=b'{"requests": [' + b", ".join(requests) + b"]}",
        headers={"x-api-key": server.token, "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    batch_id = answer.json()["id"]
    ended(client, batch_id)
    found = results(client, batch_id)
    assert found["good"].message.content[0].text == "fine"
    assert {name: found[name].error.error.type for name in ODD} == dict.fromkeys(
        ODD, "invalid_request_error"
    )
    assert found["other"].type == ("succeeded" if model == "echo" else "errored")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"requests": 1}', b"{}", b'{"requests": [' + b"[" * 100_000]
)
def test_a_create_that_is_no_json_object(server, body):
    """Each bad body is refused with a 400 in Anthropic's envelope."""
    headers = {"x-api-key": server.token, "content-type": "application/json"}
    answer = httpx.post(f"{server.base_url}/messages/batches", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
