"""Message Batches on the embedded server, through Anthropic's own SDK: the whole cycle, pages, endings, a restart."""

from __future__ import annotations

import httpx
import pytest
from messages_asking import anthropic, client_of, counts, ended, request, results


def held(started, **options):
    """(server, client) of a server whose batches stay open for a minute."""
    server = started(pace=60, **options).server
    return server, client_of(server)


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


def test_custom_ids_of_the_longest_and_the_shortest_form(client):
    """Every character that a custom_id may have comes back as it was sent."""
    ids = ["a", "A-Z_0-9" + "x" * 57, "_", "-"]
    made = client.messages.batches.create(requests=[request(one) for one in ids])
    ended(client, made.id)
    assert sorted(results(client, made.id)) == sorted(ids)


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
