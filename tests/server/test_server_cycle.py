"""The whole way through the server with the official SDK, and each ending a batch can have."""

from __future__ import annotations

import json
import time

import openai
import pytest
from server_asking import jsonl, line, until

BATCH_FIELDS = {
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "usage",
    "metadata",
}
FILE_FIELDS = {
    "id",
    "object",
    "bytes",
    "created_at",
    "expires_at",
    "filename",
    "purpose",
    "status",
    "status_details",
}


def test_the_sdk_does_the_whole_cycle(ask):
    """The official SDK uploads, creates, polls, downloads both files, lists and deletes."""
    data = jsonl(*(line(f"r-{i}", f"text {i}") for i in range(20)), line("bad", "x", temperature=9))
    sdk = ask.sdk
    file = sdk.files.create(file=("rows.jsonl", data), purpose="batch")
    batch = sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"job": "j1"},
    )
    assert (batch.status, batch.request_counts.total, batch.errors) == ("validating", 0, None)
    done = until(lambda: (now := sdk.batches.retrieve(batch.id)).status == "completed" and now)
    assert (
        done.request_counts.total,
        done.request_counts.completed,
        done.request_counts.failed,
    ) == (21, 20, 1)
    assert done.metadata == {"job": "j1"}
    assert done.model == "echo"
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens > 0
    rows = [json.loads(one) for one in sdk.files.content(done.output_file_id).text.splitlines()]
    assert {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
        for row in rows
    } == {f"r-{i}": f"text {i}" for i in range(20)}
    assert [row["custom_id"] for row in rows] != [f"r-{i}" for i in range(20)]
    failed = [json.loads(one) for one in sdk.files.content(done.error_file_id).text.splitlines()]
    assert failed[0]["error"] is None
    assert failed[0]["response"]["status_code"] == 400
    assert failed[0]["response"]["body"]["error"]["code"] == "decimal_above_max_value"
    assert [one.id for one in sdk.batches.list()] == [batch.id]
    output = sdk.files.retrieve(done.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.files.retrieve(file.id)
    assert refused.value.body == {
        "message": f"No such File object: {file.id}",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }


def test_objects_have_each_field_of_the_openapi_document(ask):
    """A File and a Batch have all fields that OpenAI's document names, and no others."""
    data = jsonl(line())
    assert set(ask.upload(data)) == FILE_FIELDS
    created = ask.create(data)
    ended = ask.ended(created["id"])
    assert set(created) == set(ended) == BATCH_FIELDS
    assert ended["expires_at"] == ended["created_at"] + 86400
    assert (
        ended["created_at"]
        <= ended["in_progress_at"]
        <= ended["finalizing_at"]
        <= ended["completed_at"]
    )
    assert ended["error_file_id"] is None
    assert set(ended["usage"]) == {
        "input_tokens",
        "input_tokens_details",
        "output_tokens",
        "output_tokens_details",
        "total_tokens",
    }


def test_result_lines_have_the_documented_shape(ask):
    """A line is `{id, custom_id, response: {status_code, request_id, body}, error}`."""
    (row,), _ = ask.results(ask.run(jsonl(line("one"))))
    assert list(row) == ["id", "custom_id", "response", "error"]
    assert row["id"].startswith("batch_req_")
    assert row["error"] is None
    assert set(row["response"]) == {"status_code", "request_id", "body"}
    body = row["response"]["body"]
    assert (body["object"], body["model"], body["choices"][0]["finish_reason"]) == (
        "chat.completion",
        "echo",
        "stop",
    )
    assert body["choices"][0]["message"]["refusal"] is None


def test_a_batch_with_no_good_row_has_no_output_file(ask):
    """All rows failed: the batch is completed, and its output file id is null."""
    ended = ask.run(jsonl(line("a", n=1000), line("b", n=1000)))
    assert (ended["status"], ended["output_file_id"]) == ("completed", None)
    assert len(ask.lines(ended["error_file_id"])) == ended["request_counts"]["failed"] == 2


def test_embeddings_go_through_a_batch(ask):
    """An embeddings batch answers vectors with their usage."""
    ended = ask.run(jsonl(line("a", "cat", url="/v1/embeddings", dimensions=8)), "/v1/embeddings")
    (row,), _ = ask.results(ended)
    vector = row["response"]["body"]["data"][0]["embedding"]
    assert len(vector) == 8
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-5)
    assert ended["usage"]["input_tokens"] == 1


def test_states_can_be_seen_at_a_pace(started):
    """With a pace, validating, in_progress with moving counts, finalizing and completed are all seen."""
    ask = started(pace=5.0)
    batch = ask.create(jsonl(*(line(f"r-{i}") for i in range(200))))
    seen, counts = [batch["status"]], set()

    def look():
        now = ask.batch(batch["id"])
        seen.append(now["status"])
        counts.add(now["request_counts"]["completed"])
        return now["status"] == "completed"

    until(look)
    assert list(dict.fromkeys(seen)) == ["validating", "in_progress", "finalizing", "completed"]
    assert len(counts) > 4
    assert max(counts) == 200


def test_a_cancelled_batch_keeps_what_was_done(started):
    """Cancel in the middle: finished rows are in the output file, the rest say `batch_cancelled`, none is lost."""
    ask = started(pace=10.0)
    batch = ask.create(jsonl(*(line(f"r-{i}") for i in range(400))), metadata={"k": "v"})
    until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] > 20)
    cancelling = ask.call("POST", f"/batches/{batch['id']}/cancel").json()
    assert cancelling["status"] == "cancelling"
    assert cancelling["cancelling_at"]
    ended = ask.ended(batch["id"])
    assert (ended["status"], ended["metadata"]) == ("cancelled", {"k": "v"})
    assert ended["cancelled_at"] >= ended["cancelling_at"]
    output, errors = ask.results(ended)
    assert 20 < len(output) < 400
    assert sorted(row["custom_id"] for row in output + errors) == sorted(
        f"r-{i}" for i in range(400)
    )
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    assert all(row["response"] is None for row in errors)
    assert ended["request_counts"] == {
        "total": 400,
        "completed": len(output),
        "failed": len(errors),
    }
    again = ask.call("POST", f"/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_a_batch_cancelled_while_validating_has_no_files(started):
    """Cancel before the first row: cancelled, nothing was in progress, no file."""
    ask = started(pace=30.0)
    batch = ask.create(jsonl(line()))
    ask.call("POST", f"/batches/{batch['id']}/cancel")
    ended = ask.ended(batch["id"])
    assert ended["status"] == "cancelled"
    assert ended["in_progress_at"] is ended["output_file_id"] is ended["error_file_id"] is None


def test_cancel_of_a_finished_batch_is_a_conflict(ask):
    """409 with OpenAI's words, for completed and failed alike; 404 for one that never was."""
    for data, status in ((jsonl(line()), "completed"), (b"nonsense\n", "failed")):
        ended = ask.run(data)
        assert ended["status"] == status
        answer = ask.call("POST", f"/batches/{ended['id']}/cancel")
        assert answer.status_code == 409
        assert answer.json()["error"] == {
            "message": f"Cannot cancel a batch with status '{status}'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    assert ask.call("POST", "/batches/batch_none/cancel").status_code == 404


def test_a_batch_expires_after_its_window(started):
    """When the window is over, finished rows stay and the rest have `batch_expired`."""
    shift = [0.0]
    ask = started(pace=10.0, clock=lambda: time.time() + shift[0])
    batch = ask.create(jsonl(*(line(f"r-{i}") for i in range(300))))
    until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] > 5)
    shift[0] = 86400.0
    ended = ask.ended(batch["id"])
    output, errors = ask.results(ended)
    assert ended["status"] == "expired"
    assert ended["expired_at"] >= ended["expires_at"]
    assert ended["finalizing_at"] is ended["completed_at"] is None
    assert len(output) + len(errors) == 300
    assert errors[0]["error"] == {
        "code": "batch_expired",
        "message": ("This request could not be executed before the completion window expired."),
    }


def test_output_expires_after_is_what_was_asked(ask):
    """`output_expires_after` sets the life of the result files."""
    ended = ask.run(jsonl(line()), output_expires_after={"anchor": "created_at", "seconds": 3600})
    file = ask.call("GET", f"/files/{ended['output_file_id']}").json()
    assert file["expires_at"] == file["created_at"] + 3600


def test_a_file_that_expired_is_gone(started):
    """A file past its `expires_at` is neither listed nor found."""
    shift = [0.0]
    ask = started(clock=lambda: time.time() + shift[0])
    file = ask.upload(
        jsonl(line()), **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    )
    assert file["expires_at"] == file["created_at"] + 3600
    shift[0] = 3601
    assert ask.call("GET", f"/files/{file['id']}").status_code == 404
    assert ask.call("GET", "/files").json()["data"] == []


def test_the_input_can_be_deleted_while_the_batch_runs(started):
    """Deleting the input of a running batch takes nothing from the batch."""
    ask = started(pace=3.0)
    batch = ask.create(jsonl(*(line(f"r-{i}") for i in range(50))))
    until(lambda: ask.batch(batch["id"])["status"] == "in_progress")
    assert ask.call("DELETE", f"/files/{batch['input_file_id']}").json()["deleted"]
    ended = ask.ended(batch["id"])
    assert ended["request_counts"]["completed"] == 50


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("behind", [False, True])
def test_a_pace_is_kept_by_few_rows_too(started, count, behind):
    """A batch of one row takes the seconds that were asked for, at the built-in model and at an upstream."""
    options = {}
    if behind:
        other = started(token="k").server
        options = {"upstream": "openai/echo", "api_base": other.base_url, "api_key": "k"}
    ask = started(pace=1.0, **options)
    began = time.monotonic()
    ended = ask.run(jsonl(*(line(f"r-{i}") for i in range(count))))
    assert ended["status"] == "completed"
    assert time.monotonic() - began >= 1.0
