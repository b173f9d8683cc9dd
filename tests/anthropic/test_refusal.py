"""Refusals of Anthropic, and of servers of its shape: the reason, and the requests that are at fault."""

from __future__ import annotations

import json

import pytest

from jupyter_batch.core.errors import BadRequestError
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.providers.anthropic.refusal import read_rows
from tests.anthropic.fake import RefusalError

from .test_via_anthropic import play

__all__ = ["play"]

HOT = "Input should be less than or equal to 1"
OGX = {
    "error": {
        "message": str(
            {
                "errors": [
                    {
                        "loc": ["body", "requests", 1, "params", "temperature"],
                        "msg": HOT,
                        "type": "less_than_equal",
                    },
                    {
                        "loc": ["body", "requests", 3, "params", "messages", 0, "content"],
                        "msg": "it's no text",
                        "type": "text",
                    },
                    {"loc": ["body", "requests", 3], "msg": "Field required", "type": "missing"},
                ]
            }
        )
    }
}
"""As OGX 1.5.0 says it: no `type`, and Python's own way to write a list."""


@pytest.mark.parametrize(
    ("body", "message", "lines"),
    [
        (
            {
                "type": "error",
                "error": {"type": "not_found_error", "message": "gone"},
                "request_id": "req_1",
            },
            "not_found_error: gone",
            (),
        ),
        ({"error": {"message": "without a type"}}, "without a type", ()),
        ({"error": "a text"}, "a text", ()),
        ({"message": "bare"}, "bare", ()),
        (
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "requests.2.params.model: no such",
                },
            },
            "invalid_request_error: requests.2.params.model: no such",
            ((3, "invalid_request_error: requests.2.params.model: no such"),),
        ),
        (
            OGX,
            (
                f"requests.1.params.temperature: {HOT}; requests.3.params.messages.0.content: it's no text; "
                "requests.3: Field required"
            ),
            (
                (2, f"requests.1.params.temperature: {HOT}"),
                (
                    4,
                    "requests.3.params.messages.0.content: it's no text; requests.3: Field required",
                ),
            ),
        ),
        (
            {
                "detail": [
                    {
                        "type": "missing",
                        "loc": ["body", "requests", 0, "params"],
                        "msg": "Field required",
                    }
                ]
            },
            "requests.0.params: Field required",
            ((1, "requests.0.params: Field required"),),
        ),
        ([1, 2], "[1, 2]", ()),
        ({"error": {"type": None, "message": 7}}, '{"error": {"type": null, "message": 7}}', ()),
    ],
)
def test_a_body_of_any_shape_has_its_reason(body, message, lines):
    """The message and the requests at fault, from 1, each once."""
    sent = json.dumps(body).encode()
    read = read_rows(sent, read_refusal(sent))
    assert (read.message, read.lines) == (message, lines)


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"{}", b"\xff<html>down", b'{"error": {"message": ""}}', b"null"]
)
def test_a_body_that_says_nothing(body):
    """There is some text in any case, and no row is blamed."""
    read = read_rows(body, read_refusal(body))
    assert read.message
    assert read.lines == ()


def test_the_calls_id_is_reported():
    """The header that Anthropic's support asks for."""
    body = b'{"error": {"type": "api_error", "message": "m"}, "request_id": "req_7"}'
    assert read_rows(body, read_refusal(body)).request == "req_7"


def test_the_key_is_in_no_reason(play):
    """A server that repeats the key in a row's reason does not put it on disk."""

    async def story(scene):
        scene.shard()
        key = scene.provider._access.api_key
        scene.fake.faults = [
            ("create", RefusalError(400, f"requests.1.params.model: {key} may not"))
        ]
        with pytest.raises(BadRequestError) as refused:
            await scene.submit()
        assert [line for line, _ in refused.value.bad_lines] == [2]
        assert key not in repr((refused.value, refused.value.bad_lines))

    play(story)
