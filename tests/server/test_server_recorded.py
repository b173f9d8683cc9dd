"""What api.openai.com was seen to answer, word for word: the refusals that no document of OpenAI's spells out."""

from __future__ import annotations

from typing import Any

import pytest
from server_asking import jsonl, line


def told(answer: Any, status: int) -> dict[str, Any]:
    """The error of a refusal."""
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def said(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as it is to be."""
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def lacking(name: str, **more: Any) -> dict[str, Any]:
    """A line whose body lacks a field."""
    whole = line(**more)
    return {**whole, "body": {key: value for key, value in whole["body"].items() if key != name}}


def test_a_body_without_model_or_messages_is_told_as_the_batch_api_tells_it(ask):
    """`invalid_request` and a sentence of its own, other than for the line's own fields."""
    ended = ask.run(jsonl(lacking("model", custom_id="a"), lacking("messages", custom_id="b"), line("c", model=7)))
    assert [(one["code"], one["message"], one["param"], one["line"]) for one in ended["errors"]["data"]] == [
        ("invalid_request", "Model parameter is required.", "body.model", 1),
        ("invalid_request", "Messages parameter is required.", "body.messages", 2),
        ("invalid_type", "Invalid type for 'model': expected a string, but got an integer instead.", "body.model", 3)]
    ended = ask.run(jsonl(lacking("input", url="/v1/embeddings")), "/v1/embeddings")
    assert [one["message"] for one in ended["errors"]["data"]] == ["Input parameter is required."]


@pytest.mark.parametrize(("method", "path"), [("GET", "/batches/{}"), ("POST", "/batches/{}/cancel")])
def test_what_is_no_batch_id_is_a_bad_request(ask, method, path):
    """An id with another beginning is a 400 that says so; one that looks like a batch's is a 404."""
    assert told(ask.call(method, path.format("file-1")), 400) == said(
        "Invalid 'batch_id': 'file-1'. Expected an ID that begins with 'batch'.", "batch_id", "invalid_value")
    assert told(ask.call(method, path.format("batch_1")), 404) == said("No batch found with id 'batch_1'.")
