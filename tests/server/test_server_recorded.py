"""Recorded answers of api.openai.com, word for word: the refusals that no document of OpenAI's spells out."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from server_asking import jsonl, line


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """The error of a refusal."""
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def recorded_error(
    message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error as it is to be."""
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def lacking(name: str, **more: Any) -> dict[str, Any]:
    """A line whose body lacks a field."""
    whole = line(**more)
    return {**whole, "body": {key: value for key, value in whole["body"].items() if key != name}}


def test_a_body_without_model_or_messages_is_reported_as_the_batch_api_tells_it(ask):
    """`invalid_request` and a sentence of its own, other than for the line's own fields."""
    ended = ask.run(
        jsonl(
            lacking("model", custom_id="a"), lacking("messages", custom_id="b"), line("c", model=7)
        )
    )
    assert [
        (one["code"], one["message"], one["param"], one["line"]) for one in ended["errors"]["data"]
    ] == [
        ("invalid_request", "Model parameter is required.", "body.model", 1),
        ("invalid_request", "Messages parameter is required.", "body.messages", 2),
        (
            "invalid_type",
            "Invalid type for 'model': expected a string, but got an integer instead.",
            "body.model",
            3,
        ),
    ]
    ended = ask.run(jsonl(lacking("input", url="/v1/embeddings")), "/v1/embeddings")
    assert [one["message"] for one in ended["errors"]["data"]] == ["Input parameter is required."]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/batches/{}"), ("POST", "/batches/{}/cancel")]
)
def test_what_is_no_batch_id_is_a_bad_request(ask, method, path):
    """An id with another beginning is a 400 that says so; one that looks like a batch's is a 404."""
    assert error_of(ask.call(method, path.format("file-1")), 400) == recorded_error(
        "Invalid 'batch_id': 'file-1'. Expected an ID that begins with 'batch'.",
        "batch_id",
        "invalid_value",
    )
    assert error_of(ask.call(method, path.format("batch_1")), 404) == recorded_error(
        "No batch found with id 'batch_1'."
    )


@pytest.mark.parametrize(
    "data", [b'{"a": "\xe9"}\n', "{}\n".encode("utf-16"), jsonl(line()) + b"\xe2\x82"]
)
def test_a_batch_file_that_is_no_utf_8_is_refused_at_its_upload(ask, tmp_path, data):
    """Latin-1, UTF-16, half a character at the end: a 400, and no bytes stay; other purposes take any bytes."""
    answer = ask.call(
        "POST", "/files", files={"file": ("a.jsonl", data)}, data={"purpose": "batch"}
    )
    assert error_of(answer, 400) == recorded_error(
        "Invalid file for Batch API. Must be utf-8 encoded"
    )
    assert list((tmp_path / "state" / "files").iterdir()) == []
    assert ask.upload(data, purpose="user_data")["bytes"] == len(data)


def test_a_character_may_lie_across_two_blocks_of_an_upload(ask):
    """UTF-8 is checked over the whole file, not block by block."""
    text = "a\u20ac\U0001d11e" * 100_000
    raw = json.dumps(line("a", text), ensure_ascii=False).encode() + b"\n"
    (row,), _ = ask.results(ask.run(raw))
    assert row["response"]["body"]["choices"][0]["message"]["content"] == text


def test_a_batch_file_of_another_name_is_reported_in_openais_words(ask):
    """`.jsonl` is asked for; no parameter is named."""
    answer = ask.call(
        "POST", "/files", files={"file": ("a.txt", jsonl(line()))}, data={"purpose": "batch"}
    )
    assert error_of(answer, 400) == recorded_error(
        "Invalid file format for Batch API. Must be .jsonl"
    )


def test_the_key_may_be_the_password_of_basic_auth(ask):
    """With a blank username, as OpenAI's own message for a missing key says; any other name is no key."""
    url, token = ask.server.base_url + "/models", ask.server.token
    assert httpx.get(url, auth=("", token)).status_code == 200
    assert (
        error_of(httpx.get(url, auth=("", "sk-of-somebody-else-0123")), 401)["code"]
        == "invalid_api_key"
    )
    for headers in (
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic"},
        {"Authorization": f"Token {token}"},
    ):
        assert error_of(httpx.get(url, headers=headers), 401)["code"] is None
    assert error_of(httpx.get(url, auth=("somebody", token)), 401)["code"] is None


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": True, "stream_options": "usage"}, "stream_options", "invalid_type"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
    ],
)
def test_wrong_stream_options_are_refused_before_the_stream_begins(ask, more, param, code):
    """A 400 that names the parameter, never a stream that breaks off."""
    asked = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], **more}
    error = error_of(ask.call("POST", "/chat/completions", json=asked), 400)
    assert (error["param"], error["code"]) == (param, code)


def test_stream_options_without_a_stream_are_reported_in_openais_words(ask):
    """The sentence that clients look for."""
    asked = {
        "model": "echo",
        "messages": [{"role": "user", "content": "hello"}],
        "stream_options": {},
    }
    assert error_of(ask.call("POST", "/chat/completions", json=asked), 400) == recorded_error(
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
    )


@pytest.mark.parametrize("limit", ["\u0665", "1_0", " 5", "+5", "9" * 5000])
def test_a_limit_is_written_in_plain_digits(ask, limit):
    """A whole number only to Python is none here."""
    for path in ("/files", "/batches"):
        error = error_of(ask.call("GET", path, params={"limit": limit}), 400)
        assert (error["param"], error["code"]) == ("limit", "invalid_type")


def test_the_seconds_of_an_output_are_a_number_not_a_text(ask):
    """A form has only texts, JSON has numbers: there a text is the wrong type."""
    body = {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "output_expires_after": {"anchor": "created_at", "seconds": "3600"},
    }
    error = error_of(ask.call("POST", "/batches", json=body), 400)
    assert (error["param"], error["code"]) == ("output_expires_after.seconds", "invalid_type")
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = ask.upload(jsonl(line()), **form)
    assert file["expires_at"] == file["created_at"] + 3600


def test_an_empty_text_among_embedding_inputs_is_refused(ask):
    """OpenAI's document: an input can't be an empty string; neither can one of several."""
    error = error_of(
        ask.call("POST", "/embeddings", json={"model": "echo", "input": ["a", ""]}), 400
    )
    assert (error["param"], error["code"]) == ("input", "empty_string")
