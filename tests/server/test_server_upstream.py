"""Requests answered by a litellm model: here another of our servers, so that nothing leaves this machine."""

from __future__ import annotations

import pytest
from server_asking import jsonl, line, until

from jupyter_batch.server.errors import ApiError


@pytest.fixture
def pair(started):
    """(the server in front, the one behind it): the front one answers through litellm."""
    behind = started(token="behind-key")
    front = started(
        upstream="openai/echo", api_base=behind.server.base_url, api_key="behind-key", concurrency=4
    )
    return front, behind


def test_an_upstream_answers_whatever_model_is_named(pair):
    """A batch for any model name goes to the upstream, row by row; all rows come back on their own custom_id."""
    front, behind = pair
    ended = front.ended(
        front.create(jsonl(*(line(f"r-{i}", f"text {i}", model="anything") for i in range(30))))[
            "id"
        ],
        seconds=60,
    )
    output, errors = front.results(ended)
    assert errors == []
    assert {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
        for row in output
    } == {f"r-{i}": f"text {i}" for i in range(30)}
    assert behind.server.stats()["routes"]["POST /v1/chat/completions"]["received"] == 30
    assert ended["usage"]["total_tokens"] > 0
    assert (
        front.sdk.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}])
        .choices[0]
        .message.content
        == "hi"
    )
    assert len(front.sdk.embeddings.create(model="x", input="hi").data[0].embedding) > 10


def test_an_upstreams_refusal_is_an_error_line(pair, monkeypatch):
    """The upstream's refusals are in the error file with their status; passing errors are tried again."""
    front, behind = pair
    behind.server.set_faults("seed=2,429=0.3,500=0.2,retry_after=0")
    monkeypatch.setattr("jupyter_batch.server.upstream.TRIES", 12)
    ended = front.ended(
        front.create(jsonl(*(line(f"r-{i}", model="m") for i in range(10))))["id"], seconds=60
    )
    assert ended["request_counts"] == {"total": 10, "completed": 10, "failed": 0}
    behind.server.set_faults("500=1")
    monkeypatch.setattr("jupyter_batch.server.upstream.TRIES", 1)
    output, errors = front.results(
        front.ended(front.create(jsonl(line("a", model="m")))["id"], seconds=60)
    )
    assert output == []
    assert errors[0]["response"]["status_code"] == 500
    assert errors[0]["response"]["body"]["error"]["type"] == "server_error"
    assert front.call("POST", "/chat/completions", json=line(model="m")["body"]).status_code == 500


def test_cancel_keeps_what_the_upstream_answered(pair):
    """Rows that were answered are kept, those under way and to come are `batch_cancelled`."""
    front, behind = pair
    behind.server.set_faults("latency=0.3")
    batch = front.create(jsonl(*(line(f"r-{i}", model="m") for i in range(300))))
    until(lambda: front.batch(batch["id"])["request_counts"]["completed"] > 5, seconds=60)
    front.call("POST", f"/batches/{batch['id']}/cancel")
    ended = front.ended(batch["id"])
    output, errors = front.results(ended)
    assert (ended["status"], len(output) + len(errors)) == ("cancelled", 300)
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}


def test_a_restart_asks_the_upstream_only_for_what_is_missing(pair):
    """Rows that are on disk are not paid again."""
    front, behind = pair
    behind.server.set_faults("latency=0.02")
    batch = front.create(jsonl(*(line(f"r-{i}", model="m") for i in range(100))))
    until(lambda: front.batch(batch["id"])["request_counts"]["completed"] > 20, seconds=60)
    front.server.restart()
    ended = front.ended(batch["id"], seconds=60)
    output, _ = front.results(ended)
    assert sorted(row["custom_id"] for row in output) == sorted(f"r-{i}" for i in range(100))
    asked = behind.server.stats()["routes"]["POST /v1/chat/completions"]["received"]
    assert 100 <= asked <= 108  # those that were under way are asked again


def test_a_model_with_a_provider_needs_no_upstream_option(started):
    """`local/openai/echo` and `openai/echo` are answered by litellm at --api-base; a bare name is no model."""
    behind = started(token="k")
    front = started(api_base=behind.server.base_url, api_key="k")
    for model in ("local/openai/echo", "openai/echo"):
        answer = front.sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}]
        )
        assert answer.choices[0].message.content == "hi"
    assert (
        front.call("POST", "/chat/completions", json=line(model="gpt-4o-mini")["body"]).status_code
        == 404
    )


def test_a_call_that_times_out_is_reported_as_such(started, monkeypatch):
    """OpenAI's third code of a line: no response, and `request_timeout`."""

    async def ask_in_vain(*_):
        raise ApiError(408, "Request timed out.")

    monkeypatch.setattr("jupyter_batch.server.upstream.Upstream.ask", ask_in_vain)
    ask = started(upstream="ollama/x")
    _, errors = ask.results(ask.run(jsonl(line(model="m"))))
    assert errors[0]["response"] is None
    assert errors[0]["error"]["code"] == "request_timeout"


def test_a_broken_litellm_is_the_rows_failure(started, monkeypatch):
    """A failure below is that row's 500, and the batch ends."""

    async def break_down(*_):
        raise ImportError("no litellm here")

    monkeypatch.setattr("jupyter_batch.server.upstream.Upstream.ask", break_down)
    ask = started(upstream="ollama/x")
    ended = ask.run(jsonl(line("a", model="m"), line("b", model="m")))
    assert (ended["status"], ended["request_counts"]["failed"]) == ("completed", 2)
    assert (
        "no litellm here"
        in ask.lines(ended["error_file_id"])[0]["response"]["body"]["error"]["message"]
    )


def test_rows_do_not_go_to_openai_for_want_of_an_address(started):
    """A model that litellm would send to OpenAI without --api-base is refused."""
    ask = started()
    answer = ask.call("POST", "/chat/completions", json=line(model="hosted_vllm/x")["body"])
    assert answer.status_code == 400
    assert "--api-base" in answer.json()["error"]["message"]
