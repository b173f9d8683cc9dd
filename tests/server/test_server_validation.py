"""A batch whose input is wrong fails, with each line's errors as OpenAI words them."""

from __future__ import annotations

import json

import pytest
from server_asking import jsonl, line


def errors(ask, data: bytes, endpoint: str = "/v1/chat/completions") -> list[tuple]:
    """(code, param, line) of each error; what holds for every failed batch is checked."""
    ended = ask.run(data, endpoint)
    assert ended["status"] == "failed"
    assert ended["failed_at"] >= ended["created_at"]
    assert ended["in_progress_at"] is ended["output_file_id"] is ended["error_file_id"] is None
    assert ended["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert ended["errors"]["object"] == "list"
    for one in ended["errors"]["data"]:
        assert set(one) == {"code", "message", "param", "line"}
        assert one["message"]
    return [(one["code"], one["param"], one["line"]) for one in ended["errors"]["data"]]


def without(name: str, **more) -> dict:
    """A line that lacks a field."""
    return {key: value for key, value in line(**more).items() if key != name}


GOOD = line("good")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([GOOD, b"{nonsense"], [("invalid_json_line", None, 2)]),
        ([b"\xef\xbb\xbf{}"], [("invalid_json_line", None, 1)]),
        ([GOOD, b"[1, 2]", b"null"], [("invalid_request", None, 2), ("invalid_request", None, 3)]),
        ([GOOD, line("good")], [("duplicate_custom_id", "custom_id", 2)]),
        ([without("custom_id")], [("missing_required_parameter", "custom_id", 1)]),
        ([without("method")], [("missing_required_parameter", "method", 1)]),
        ([without("url")], [("missing_required_parameter", "url", 1)]),
        ([without("body")], [("missing_required_parameter", "body", 1)]),
        ([{**GOOD, "custom_id": 7}], [("invalid_type", "custom_id", 1)]),
        ([{**GOOD, "body": "text"}], [("invalid_type", "body", 1)]),
        ([line("a", method="GET")], [("invalid_method", "method", 1)]),
        ([line("a", url="/v1/embeddings")], [("invalid_url", "url", 1)]),
        ([GOOD, line("b", model="other/model")], [("mismatched_model", "body.model", 2)]),
        ([line("a", model="nonexistent-model")], [("model_not_found", "body.model", 1)]),
        ([line("a", stream=True)], [("streaming_unsupported", "body.stream", 1)]),
        ([{**GOOD, "body": {"messages": []}}], [("invalid_request", "body.model", 1)]),
        ([{**GOOD, "body": {"model": "echo"}}], [("invalid_request", "body.messages", 1)]),
        (
            [GOOD, b"", b"   ", {"custom_id": "c"}],
            [
                ("missing_required_parameter", "method", 4),
                ("missing_required_parameter", "url", 4),
                ("missing_required_parameter", "body", 4),
            ],
        ),
    ],
)
def test_each_wrong_line_is_reported_with_its_number(ask, lines, expected):
    """The code, the parameter and the line (from 1; blank lines count) of every error."""
    assert errors(ask, jsonl(*lines)) == expected


def test_the_words_are_openais(ask):
    """The messages are those that api.openai.com was recorded with."""
    ended = ask.run(
        jsonl(
            b"{",
            without("method", custom_id="b"),
            line("c", url="/v1/other"),
            line("d", stream=True),
        )
    )
    assert [one["message"] for one in ended["errors"]["data"]] == [
        "This line is not parseable as valid JSON.",
        "Missing required parameter: 'method'.",
        "The URL provided for this request does not match the batch endpoint.",
        "Chat Completions: Streaming is not supported in the Batch API.",
    ]


@pytest.mark.parametrize("data", [b"", b"\n \n\n"])
def test_an_empty_file_fails(ask, data):
    """A file without a request fails with `empty_file`."""
    assert errors(ask, data) == [("empty_file", "input_file_id", None)]


def test_a_file_that_is_not_there_fails_the_batch(ask):
    """As at OpenAI, the create is taken, and the batch fails with `invalid_request` in validation."""
    body = {
        "input_file_id": "file-none",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    created = ask.call("POST", "/batches", json=body).json()
    assert created["status"] == "validating"
    ended = ask.ended(created["id"])
    (error,) = ended["errors"]["data"]
    assert (ended["status"], error["code"], error["param"]) == (
        "failed",
        "invalid_request",
        "file_id",
    )
    assert error["message"].startswith("Cannot find file file-none")


def test_too_many_lines_fail(ask, monkeypatch):
    """More requests than the limit fail the batch; as many as the limit are taken."""
    monkeypatch.setattr("jupyter_batch.server.checks.validation.MOST_LINES", 5)
    assert errors(ask, jsonl(*(line(str(i)) for i in range(6)))) == [
        ("too_many_tasks", "input_file_id", None)
    ]
    assert ask.run(jsonl(*(line(str(i)) for i in range(5))))["status"] == "completed"


def test_too_many_embedding_inputs_fail(ask, monkeypatch):
    """The inputs of all embedding requests together are limited too."""
    monkeypatch.setattr("jupyter_batch.server.checks.validation.MOST_INPUTS", 5)
    many = [line(str(i), ["a", "b"], url="/v1/embeddings") for i in range(3)]
    assert errors(ask, jsonl(*many), "/v1/embeddings") == [
        ("too_many_tasks", "input_file_id", None)
    ]
    assert ask.run(jsonl(*many[:2]), "/v1/embeddings")["status"] == "completed"


def test_lines_that_end_otherwise_are_taken(ask):
    """Windows line ends, blank lines between, and no newline at the end are no error."""
    data = jsonl(line("a"), b"", line("b")).replace(b"\n", b"\r\n") + jsonl(line("c")).rstrip()
    ended = ask.run(data)
    assert (ended["status"], ended["request_counts"]["completed"]) == ("completed", 3)


def test_a_line_longer_than_a_block_is_read(ask):
    """A request of a megabyte is answered whole."""
    text = "x" * 1_500_000
    ended = ask.run(jsonl(line("a"), line("big", text), line("b")))
    rows = {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
        for row in ask.results(ended)[0]
    }
    assert rows == {"a": "hello", "big": text, "b": "hello"}


def test_a_body_that_only_this_row_spoils_fails_this_row(ask):
    """A row that real time would refuse is in the error file with real time's status and words; others are answered."""
    data = jsonl(
        line("good"), line("messages", messages=[]), line("temperature", temperature="hot")
    )
    output, failed = ask.results(ask.run(data))
    assert [row["custom_id"] for row in output] == ["good"]
    assert {
        row["custom_id"]: (row["response"]["status_code"], row["response"]["body"]["error"]["code"])
        for row in failed
    } == {"messages": (400, "empty_array"), "temperature": (400, "invalid_type")}


def test_half_a_surrogate_is_no_json(ask):
    """A lone surrogate can't be written as UTF-8 in the answer: the line is refused, as any that can't be parsed."""
    data = jsonl(line("a"), json.dumps(line("b", "\ud800")).encode())
    assert errors(ask, data) == [("invalid_json_line", None, 2)]
