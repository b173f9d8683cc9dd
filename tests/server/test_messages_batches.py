"""Message Batches on the embedded server, through Anthropic's own SDK: the whole cycle, its errors, and a restart."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import pytest
from server_asking import until

from jupyter_batch.server.embedded import Embedded

NOBODY = "msgbatch_nobody"


def client_of(server: Embedded, **options) -> anthropic.Anthropic:
    """The SDK's client of a server."""
    options = {"api_key": server.token, **options}
    base = server.base_url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=base, max_retries=0, **options)


@pytest.fixture
def client(server) -> Iterator[anthropic.Anthropic]:
    """The SDK, with the server's token as its key."""
    with client_of(server) as one:
        yield one


def request(custom_id: str = "r-0", text: str = "hello", **params) -> dict:
    """One request of a batch."""
    messages = [{"role": "user", "content": text}]
    params = {"model": "echo", "max_tokens": 100, "messages": messages, **params}
    return {"custom_id": custom_id, "params": params}


def ended(client, batch_id):
    """The batch once it has ended."""

    def look():
        found = client.messages.batches.retrieve(batch_id)
        return found.processing_status == "ended" and found

    return until(look)


def results(client, batch_id):
    """Results by custom_id."""
    lines = list(client.messages.batches.results(batch_id))
    found = {line.custom_id: line.result for line in lines}
    assert len(found) == len(lines)
    return found


def held(started, **options):
    """(server, client) of a server whose batches stay open for a minute."""
    server = started(pace=60, **options).server
    return server, client_of(server)


def counts(batch):
    """The request counts that are not zero."""
    return {name: n for name, n in batch.request_counts.model_dump().items() if n}


def test_a_batch_goes_its_whole_way(client):
    """Create, retrieve, list, results, delete: each in the shape that the SDK reads."""
    made = client.messages.batches.create(
        requests=[request(f"r-{i}", f"text {i}", system="Repeat.") for i in range(40)]
    )
    assert made.id.startswith("msgbatch_")
    assert (made.type, made.processing_status, made.results_url) == (
        "message_batch",
        "in_progress",
        None,
    )
    assert counts(made) == {"processing": 40}
    assert (made.expires_at - made.created_at).total_seconds() == 24 * 3600
    done = ended(client, made.id)
    assert counts(done) == {"succeeded": 40}
    assert done.ended_at is not None
    assert done.results_url.endswith(f"/v1/messages/batches/{made.id}/results")
    assert [one.id for one in client.messages.batches.list()] == [made.id]
    found = results(client, made.id)
    assert {key: one.message.content[0].text for key, one in found.items()} == {
        f"r-{i}": f"text {i}" for i in range(40)
    }
    message = found["r-0"].message
    assert (message.role, message.stop_reason, message.usage.service_tier) == (
        "assistant",
        "end_turn",
        "batch",
    )
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    gone = client.messages.batches.delete(made.id)
    assert (gone.id, gone.type) == (made.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(made.id)
    assert list(client.messages.batches.list()) == []


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


def test_custom_ids_of_the_longest_and_the_shortest_form(client):
    """Every character that a custom_id may have comes back as it was sent."""
    ids = ["a", "A-Z_0-9" + "x" * 57, "_", "-"]
    made = client.messages.batches.create(requests=[request(one) for one in ids])
    ended(client, made.id)
    assert sorted(results(client, made.id)) == sorted(ids)


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


def test_pages_in_both_directions(client):
    """`after_id` pages to older batches, `before_id` to newer ones; each page is newest first."""
    ids = [client.messages.batches.create(requests=[request()]).id for _ in range(7)]
    newest_first = ids[::-1]
    assert [one.id for one in client.messages.batches.list(limit=2)] == newest_first
    page = client.messages.batches.list(limit=3, after_id=newest_first[1])
    assert [one.id for one in page.data] == newest_first[2:5]
    assert (page.has_more, page.first_id, page.last_id) == (True, ids[4], ids[2])
    page = client.messages.batches.list(limit=3, before_id=newest_first[5])
    assert [one.id for one in page.data] == newest_first[2:5]
    assert page.has_more is True
    page = client.messages.batches.list(limit=3, before_id=newest_first[2])
    assert [one.id for one in page.data] == newest_first[:2]
    assert page.has_more is False
    page = client.messages.batches.list(limit=3, before_id=newest_first[0])
    assert (page.data, page.has_more, page.first_id) == ([], False, None)


def test_cancel_leaves_canceled_rows(started):
    """A canceled batch ends; each row that was not processed says `canceled`, and the counts add up."""
    _, client = held(started)
    with client:
        made = client.messages.batches.create(requests=[request(f"r-{i}") for i in range(200)])
        with pytest.raises(anthropic.BadRequestError) as refused:
            client.messages.batches.delete(made.id)
        assert "Cancel it first" in str(refused.value)
        with pytest.raises(anthropic.AnthropicError):
            client.messages.batches.results(made.id)
        with pytest.raises(anthropic.NotFoundError):
            client.get(f"/v1/messages/batches/{made.id}/results", cast_to=object)
        canceling = client.messages.batches.cancel(made.id)
        assert canceling.processing_status == "canceling"
        assert canceling.cancel_initiated_at is not None
        assert counts(canceling) == {"processing": 200}
        done = ended(client, made.id)
        found = [one.type for one in results(client, made.id).values()]
        assert len(found) == 200
        assert done.request_counts.canceled == found.count("canceled") > 100
        assert done.request_counts.succeeded == found.count("succeeded")
        with pytest.raises(anthropic.BadRequestError):
            client.messages.batches.cancel(made.id)
        client.messages.batches.delete(made.id)


def test_a_batch_that_expires(started):
    """Rows that were not processed in time are `expired`."""
    server = started(faults="expire_after=3").server
    with client_of(server) as client:
        made = client.messages.batches.create(requests=[request(f"r-{i}") for i in range(10)])
        assert counts(ended(client, made.id)) == {"succeeded": 3, "expired": 7}
        found = [one.type for one in results(client, made.id).values()]
        assert (found.count("succeeded"), found.count("expired")) == (3, 7)


def test_results_are_archived_after_29_days(started):
    """Results can be fetched for 29 days from the creation; then the batch is archived."""
    now = [1_800_000_000.0]
    server = started(clock=lambda: now[0]).server
    with client_of(server) as client:
        made = client.messages.batches.create(requests=[request()])
        ended(client, made.id)
        now[0] += 29 * 86_400 - 1
        assert len(results(client, made.id)) == 1
        now[0] += 1
        found = client.messages.batches.retrieve(made.id)
        assert found.results_url is None
        assert (found.archived_at - found.created_at).days == 29
        with pytest.raises(anthropic.NotFoundError):
            client.get(f"/v1/messages/batches/{made.id}/results", cast_to=object)


def test_batches_survive_a_restart(started):
    """An open batch goes on after a restart, and an ended one keeps its results; a canceled one stays so."""
    server, client = held(started)
    with client:
        cancelled = client.messages.batches.create(requests=[request(f"c-{i}") for i in range(100)])
        client.messages.batches.cancel(cancelled.id)
        before = counts(ended(client, cancelled.id))
        assert before["canceled"] > 50
        made = client.messages.batches.create(requests=[request(f"r-{i}") for i in range(50)])
        server.restart()
        assert counts(client.messages.batches.retrieve(made.id)) == {"processing": 50}
        server.stop()
        server._options = type(server._options)(
            state=server._options.state,
            token=server.token,
            prefer_port=int(client.base_url.port),
            pace=0,
        )
        server.start()
        assert counts(ended(client, made.id)) == {"succeeded": 50}
        assert len(results(client, made.id)) == 50
        assert counts(client.messages.batches.retrieve(cancelled.id)) == before
        assert results(client, cancelled.id)["c-99"].type in ("canceled", "succeeded")
        server.restart()
        assert len(results(client, made.id)) == 50


def test_the_two_apis_do_not_see_each_others_batches(ask, client):
    """A Message Batch and its files are in none of OpenAI's lists, and the other way round."""
    made = client.messages.batches.create(requests=[request()])
    ended(client, made.id)
    assert ask.call("GET", "/batches").json()["data"] == []
    assert ask.call("GET", "/files").json()["data"] == []
    assert ask.call("GET", f"/batches/{made.id}").status_code == 400
    assert ask.server.batches() == []


def test_a_batch_of_several_models(client):
    """Requests of a batch may name several models: each row gets its own answer."""
    models = ("echo", "local/echo", "claude-nobody")
    made = client.messages.batches.create(
        requests=[request(f"r-{i}", model=models[i % 3]) for i in range(9)]
    )
    assert counts(ended(client, made.id)) == {"succeeded": 6, "errored": 3}
    assert results(client, made.id)["r-1"].message.model == "local/echo"


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
    """Whatever is in a row, that row is `errored` alone, also where the rows name several models."""

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


def test_late_output_hides_the_results_url(server, client):
    """The fault `late_output`: an ended batch has no `results_url` for so many retrieves."""
    server.set_faults("late_output=2")
    made = client.messages.batches.create(requests=[request()])
    assert ended(client, made.id).results_url is None
    assert client.messages.batches.retrieve(made.id).results_url is None
    assert len(results(client, made.id)) == 1


def test_a_request_on_several_lines(server, client):
    """A body that is indented holds line ends between its fields: each request is still one line of the input."""
    body = b'{"requests": [{"custom_id": "a", "params": {\n "model": "echo",\n "max_tokens": 9,\n'
    body += b' "messages": [{"role": "user", "content": "two\\nlines"}]\n}}]}'
    answer = httpx.post(
        f"{server.base_url}/messages/batches",
        content=body,
        headers={"x-api-key": server.token, "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    batch_id = answer.json()["id"]
    ended(client, batch_id)
    assert results(client, batch_id)["a"].message.content[0].text == "two\nlines"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"requests": 1}', b"{}", b'{"requests": [' + b"[" * 100_000]
)
def test_a_create_that_is_no_json_object(server, body):
    """Whatever the body is, the refusal is a 400 in Anthropic's envelope."""
    headers = {"x-api-key": server.token, "content-type": "application/json"}
    answer = httpx.post(f"{server.base_url}/messages/batches", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_cut_download(server, client):
    """The fault `truncate` cuts the results too; the next download is whole."""
    made = client.messages.batches.create(requests=[request(f"r-{i}") for i in range(100)])
    ended(client, made.id)
    server.set_faults("truncate=1")
    url = f"{server.base_url}/messages/batches/{made.id}/results"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, headers={"x-api-key": server.token})
    server.set_faults("")
    assert len(results(client, made.id)) == 100
