"""Vertex AI's dialect: litellm's own translation, byte by byte; and every answer there is."""

from __future__ import annotations

import copy
import json

import orjson
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.vertex.batches import labels_of, tag_of
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.clouds import gemini, vertex
from jupyter_batch.wire.openai import CHAT, Hole
from tests.clouds.test_wire_bedrock import MESSAGES, SCHEMA, TEXTS, TOOL, body_of
from tests.clouds.vertex import response

MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash-001")


def theirs(model, messages, params):
    """The request of litellm, by the calls that its real time makes."""
    litellm = load_litellm()
    from litellm.llms.vertex_ai.gemini import transformation

    options = litellm.utils.get_optional_params(
        model=model, custom_llm_provider="vertex_ai", **params
    )
    transform = (
        getattr(transformation, "transform_request_body", None)
        or transformation._transform_request_body
    )
    return transform(
        messages=copy.deepcopy(messages),
        model=model,
        optional_params=options,
        custom_llm_provider="vertex_ai",
        litellm_params={},
        cached_content=None,
    )


@pytest.mark.parametrize("shape", list(MESSAGES))
@pytest.mark.parametrize("model", MODELS)
def test_each_row_is_what_litellm_makes_of_it(model, shape):
    """Translated once and filled in, or row by row: the same bytes, and out they go with the row's label."""
    params = {"max_tokens": 9, "temperature": 0.5, "stop": ["x"], "response_format": SCHEMA}
    encoder = vertex.Encoder(
        CHAT, {"model": model, "messages": MESSAGES[shape], **params}, litellm=load_litellm()
    )
    rows = [
        {"t": text, "s": other, "m": [{"role": "user", "content": text}]}
        for text, other in zip(TEXTS, TEXTS[::-1], strict=True)
    ]
    lines = encoder.encode(
        [f"jb-{n}" for n in range(len(rows))],
        {name: [row[name] for row in rows] for name in encoder.holes},
    )
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        body = theirs(model, body_of(row, MESSAGES[shape]), params)
        assert line == b'{"custom_id":"jb-%d","request":%b}\n' % (number, orjson.dumps(body))
        sent = vertex.sent(line)
        assert json.loads(sent) == {
            "request": {"labels": {"jupyter_batch_row": f"jb-{number}"}, **body}
        }
        assert vertex.kept(sent) == line


def test_tools():
    """As Gemini takes them, with the person's names."""
    body = {"model": MODELS[0], "messages": MESSAGES["one"], "tools": [TOOL], "tool_choice": "auto"}
    encoder = vertex.Encoder(CHAT, body, litellm=load_litellm())
    (line,) = encoder.encode(["jb-0"], {"t": ["hi"]})
    request = json.loads(line)["request"]
    assert request["tools"][0]["function_declarations"][0]["name"] == "get weather!"
    assert encoder.tool_names == {}


def test_more_fields_of_the_body():
    """`extra_body` goes into the request; labels are ours, since a row is known by them."""
    safe = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
    body = {"model": MODELS[0], "messages": MESSAGES["one"], "extra_body": {"safetySettings": safe}}
    (line,) = vertex.Encoder(CHAT, body, litellm=load_litellm()).encode(["jb-0"], {"t": ["hi"]})
    assert json.loads(line)["request"]["safetySettings"] == safe
    with pytest.raises(OptionError, match="metadata="):
        vertex.Encoder(CHAT, {**body, "extra_body": {"labels": {"a": "b"}}}, litellm=load_litellm())


@pytest.mark.parametrize("more", [{"logit_bias": {"1": 1}}, {"extra_headers": {"a": "b"}}])
def test_what_gemini_does_not_take_is_refused(more):
    """Before anything is planned."""
    with pytest.raises(OptionError):
        vertex.Encoder(
            CHAT, {"model": MODELS[0], "messages": MESSAGES["one"], **more}, litellm=load_litellm()
        )


def test_no_address_is_fetched_while_rows_are_made():
    """An address whose kind litellm can tell goes to Gemini as it is; one that it would fetch says what is wanted."""
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": Hole("u")}}]}
    ]
    encoder = vertex.Encoder(
        CHAT, {"model": MODELS[0], "messages": messages}, litellm=load_litellm()
    )
    bad, good = encoder.encode(
        ["jb-0", "jb-1"], {"u": ["https://example.com/cat", "gs://bucket/cat.png"]}
    )
    assert isinstance(bad, RowError)
    assert (
        json.loads(good)["request"]["contents"][0]["parts"][0]["file_data"]["file_uri"]
        == "gs://bucket/cat.png"
    )


def test_what_comes_is_kept_without_what_was_sent():
    """The row's id first; the older form of a failed line, too; what can't be read, as it is."""
    labelled = {
        "contents": [{"parts": [{"text": "labels"}]}],
        "labels": {"jupyter_batch_row": "jb-7"},
    }
    came = {"status": "", "processed_time": "x", "request": labelled, "response": {"a": [1, 2]}}
    assert (
        vertex.slim(json.dumps(came).encode())
        == b'{"custom_id":"jb-7","response":{"a":[1,2]},"status":""}\n'
    )
    for sent in ({"request": labelled}, labelled):
        old = {"instance": sent, "error": {"status": "INTERNAL", "message": "no"}}
        assert json.loads(vertex.slim(json.dumps(old).encode())) == {
            "custom_id": "jb-7",
            "error": old["error"],
        }
    for odd in (b"{", b"null", b'{"request":{}}', b"\xff"):
        assert vertex.slim(odd) == odd + b"\n"


def line_with(parts, finish="STOP", **more):
    """A line with an answer of these parts."""
    return {
        "status": "",
        "response": {
            "candidates": [
                {"content": {"role": "model", "parts": parts}, "finishReason": finish, **more}
            ]
        },
    }


CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Bern"}}}
BLOCKED = {
    "response": {
        "promptFeedback": {
            "blockReason": "PROHIBITED_CONTENT",
            "blockReasonMessage": "no such thing",
        }
    }
}
DECODED = {
    "a text": ({"response": response("yes")}, "yes", None),
    "several, thoughts apart": (
        line_with([{"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"}]),
        "ab",
        None,
    ),
    "a call": (line_with([CALL]), '[{"name": "get_weather", "arguments": {"city": "Bern"}}]', None),
    "nothing to say": (line_with([]), "", None),
    "cut off": (line_with([{"text": "par"}], "MAX_TOKENS"), "par", None),
    "cut off before": (
        line_with([{"text": "hm", "thought": True}], "MAX_TOKENS"),
        None,
        "MAX_TOKENS: all the tokens",
    ),
    "filtered": (
        line_with([], "SAFETY"),
        None,
        "content_filter: the answer was held back (SAFETY)",
    ),
    "recited": (
        line_with([], "RECITATION", finishMessage="a book"),
        None,
        "(RECITATION): a book",
    ),
    "recited halfway": (line_with([{"text": "Call me Ish"}], "RECITATION"), "Call me Ish", None),
    "malformed": (
        line_with([], "MALFORMED_FUNCTION_CALL"),
        None,
        "no content (finishReason: MALFORMED_FUNCTION_CALL)",
    ),
    "blocked": (
        BLOCKED,
        None,
        "content_filter: the prompt was blocked (PROHIBITED_CONTENT): no such thing",
    ),
    "no candidates": ({"response": {"candidates": []}}, None, "no candidates"),
    "a status": ({"status": "Internal error", "response": {}}, None, "Internal error"),
    "a status with an error": (
        {
            "status": 'Bad Request: {"error": {"code": 400, "message": "too long", "status": '
            '"INVALID_ARGUMENT"}}'
        },
        None,
        "INVALID_ARGUMENT: too long",
    ),
    "a status with half an error": (
        {"status": 'Bad Request: {"error'},
        None,
        'Bad Request: {"error',
    ),
    "an error": ({"error": {"code": 3, "message": "bad"}}, None, "INVALID_ARGUMENT: bad"),
    "odd": ({"response": {"candidates": [7]}}, None, "no candidates"),
    "odder": ({"response": {"candidates": [{"content": {"parts": 7}}]}}, None, "no content"),
}


@pytest.mark.parametrize("name", list(DECODED))
def test_what_a_line_says(name):
    """The value, or the reason why there is none."""
    held, value, reason = DECODED[name]
    result = gemini.decode(json.dumps({"custom_id": "jb-1", **held}).encode())
    assert (result.custom_id, result.value) == ("jb-1", value)
    assert result.status is (Status.SUCCEEDED if value is not None else Status.FAILED)
    assert result.error is None if reason is None else reason in result.error


@pytest.mark.parametrize(
    ("used", "usage"),
    [
        ({}, Usage(3, 2)),
        ({"thoughtsTokenCount": 7, "totalTokenCount": 12}, Usage(3, 9, 0, 7)),
        ({"thoughtsTokenCount": 1}, Usage(3, 2, 0, 1)),  # the total says that they are within
        (
            {"cachedContentTokenCount": 1, "toolUsePromptTokenCount": 4, "totalTokenCount": 9},
            Usage(7, 2, 1),
        ),
    ],
)
def test_what_was_used(used, usage):
    """Reasoning is output; tool results are input."""
    line = {"custom_id": "a", "response": response("x", **used)}
    assert gemini.decode(json.dumps(line).encode()).usage == usage


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b'{"custom_id":3}', b'{"custom_id":null}'],
)
def test_junk_is_a_failed_result(junk):
    """No bytes raise an error."""
    assert gemini.decode(junk).status is Status.FAILED


STATES = {
    "QUEUED": None,
    "PENDING": None,
    "RUNNING": None,
    "CANCELLING": None,
    "PAUSED": None,
    "UPDATING": None,
    "UNSPECIFIED": None,
    "NEW": None,
    "SUCCEEDED": State.COMPLETED,
    "PARTIALLY_SUCCEEDED": State.COMPLETED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "EXPIRED": State.EXPIRED,
}


@pytest.mark.parametrize("state", list(STATES))
def test_every_state(state):
    """The documented states, and an unknown one, which counts as open."""
    view = vertex.read_job(
        {
            "name": "n",
            "state": f"JOB_STATE_{state}",
            "createTime": "2026-04-13T10:18:18.102004123Z",
            "completionStats": {
                "successfulCount": "3",
                "failedCount": "1",
                "incompleteCount": "-1",
            },
            "partialFailures": [{"code": 5, "message": "no such file"}],
        }
    )
    assert (view.status, view.ending) == (state.lower(), STATES[state])
    assert (view.total, view.completed, view.failed) == (4, 3, 1)
    assert view.errors == "no such file"
    assert int(view.created_at) == 1776075498


def test_a_tag_as_labels():
    """A text that no label can hold is sent as base32 and comes back; a long one is left out, without harm."""
    tag = {
        "jupyter_batch": "jbabc/7",
        "team": "red",
        "jupyter_batch_out": "Größe",
        "jupyter_batch_of": "3/9",
    }
    labels = labels_of(tag)
    assert labels["jupyter_batch"] == "jbabc-7"
    assert all(len(value) <= 63 and value == value.lower() for value in labels.values())
    assert tag_of(labels) == tag
    huge = labels_of({**tag, "jupyter_batch_out": "x" * 5000})
    assert len(huge) <= 64
    assert tag_of(huge) == {"jupyter_batch": "jbabc/7", "team": "red"}
    assert (
        tag_of({"jupyter_batch": "jbabc-7", "jupyter_batch_more_00": "!"})["jupyter_batch"]
        == "jbabc/7"
    )
    assert tag_of(None) == {}
