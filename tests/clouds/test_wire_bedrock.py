"""Bedrock's dialect: litellm's own translation, byte by byte, into what AWS describes; and every answer there is."""

from __future__ import annotations

import copy
import json

import orjson
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Result, Status
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.clouds import bedrock
from jupyter_batch.wire.openai import CHAT, Hole
from tests.clouds.bedrock import converse

MODELS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "amazon.nova-lite-v1:0",
    "meta.llama3-1-70b-instruct-v1:0",
    "mistral.mistral-large-2402-v1:0",
    "openai.gpt-oss-120b-1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcd1234",
)
TEXTS = ["hi", "", "  ", "\n tail ", '100% {x} "q" \\ é 🎉', "x-anthropic-billing: 1"]
MESSAGES = {
    "one": [{"role": "user", "content": Hole("t")}],
    "system": [{"role": "system", "content": Hole("s")}, {"role": "user", "content": Hole("t")}],
    "turns": [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": Hole("s")},
        {
            "role": "user",
            "content": [{"type": "text", "text": Hole("t")}, {"type": "text", "text": "end"}],
        },
    ],
    "all": Hole("m"),
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get weather!",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


def body_of(row, value):
    """A body with a row's values in its holes."""
    if isinstance(value, Hole):
        return row[value.name]
    if isinstance(value, dict):
        return {key: body_of(row, item) for key, item in value.items()}
    return [body_of(row, item) for item in value] if isinstance(value, list) else value


def theirs(model, messages, params):
    """Litellm's own translation of one request, by the calls that its real time makes."""
    litellm = load_litellm()
    from litellm.llms.bedrock.chat.converse_transformation import AmazonConverseConfig

    options = litellm.utils.get_optional_params(
        model=f"converse/{model}", custom_llm_provider="bedrock", **params
    )
    options.pop("stream")
    options.pop("json_mode", None)
    return AmazonConverseConfig().transform_request(
        model=model,
        messages=copy.deepcopy(messages),
        optional_params=options,
        litellm_params={},
        headers={},
    )


@pytest.mark.parametrize("shape", list(MESSAGES))
@pytest.mark.parametrize("model", MODELS)
def test_each_row_is_what_litellm_makes_of_it(model, shape):
    """Translated once and filled in, or row by row: the same bytes, and a Converse request by AWS's description."""
    params = {"max_tokens": 9, "temperature": 0.5, "stop": ["x"]}
    encoder = bedrock.Encoder(
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
    import botocore.session
    from botocore.validate import ParamValidator

    shape_of = (
        botocore.session.Session()
        .get_service_model("bedrock-runtime")
        .operation_model("Converse")
        .input_shape
    )
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        body = theirs(model, body_of(row, MESSAGES[shape]), params)
        assert line == b'{"custom_id":"jb-%d","modelInput":%b}\n' % (number, orjson.dumps(body))
        assert not ParamValidator().validate({"modelId": model, **body}, shape_of).has_errors()


def test_tools_and_schemas():
    """A tool's name in Bedrock's letters is shown as the user's; a schema is requested in the model's way."""
    for model in MODELS[:2]:
        choice = (
            {"tool_choice": "auto"} if model == MODELS[0] else {}
        )  # litellm 1.84 has none for the other
        encoder = bedrock.Encoder(
            CHAT,
            {"model": model, "messages": MESSAGES["one"], "tools": [TOOL], **choice},
            litellm=load_litellm(),
        )
        (line,) = encoder.encode(["jb-0"], {"t": ["hi"]})
        name = json.loads(line)["modelInput"]["toolConfig"]["tools"][0]["toolSpec"]["name"]
        assert encoder.tool_names == {name: "get weather!"}
        body = {"model": model, "messages": MESSAGES["one"], "response_format": SCHEMA}
        (line,) = bedrock.Encoder(CHAT, body, litellm=load_litellm()).encode(
            ["jb-0"], {"t": ["hi"]}
        )
        asked = json.loads(line)["modelInput"]
        assert (
            "outputConfig" in asked
            or asked["toolConfig"]["tools"][0]["toolSpec"]["name"] == "json_tool_call"
        )
        assert not asked.get("additionalModelRequestFields"), (
            "no field of ours or of litellm's reaches the model"
        )


def test_more_fields_of_the_body():
    """`extra_body` is laid over the request; what is an object on both sides is united."""
    body = {
        "model": MODELS[0],
        "messages": MESSAGES["one"],
        "max_tokens": 5,
        "extra_body": {
            "additionalModelRequestFields": {"top_k": 5},
            "inferenceConfig": {"topP": 0.5},
        },
    }
    (line,) = bedrock.Encoder(CHAT, body, litellm=load_litellm()).encode(["jb-0"], {"t": ["hi"]})
    made = json.loads(line)["modelInput"]
    assert made["additionalModelRequestFields"] == {"top_k": 5}
    assert made["inferenceConfig"] == {"maxTokens": 5, "topP": 0.5}


@pytest.mark.parametrize(
    "more", [{"seed": 1}, {"extra_headers": {"a": "b"}}, {"logit_bias": {"1": 1}}]
)
def test_what_converse_does_not_take_is_refused(more):
    """Before anything is planned."""
    with pytest.raises(OptionError):
        bedrock.Encoder(
            CHAT, {"model": MODELS[0], "messages": MESSAGES["one"], **more}, litellm=load_litellm()
        )


def test_no_address_is_fetched_while_rows_are_made():
    """Litellm would download an image's address, from whatever host: such a row says that the file is wanted."""
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": Hole("u")}}]}
    ]
    encoder = bedrock.Encoder(
        CHAT, {"model": MODELS[0], "messages": messages}, litellm=load_litellm()
    )
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAA"
        "ABJRU5ErkJggg=="
    )
    bad, good = encoder.encode(["jb-0", "jb-1"], {"u": ["https://example.com/cat.png", pixel]})
    assert isinstance(bad, RowError)
    assert "example.com" in bad.reason
    assert json.loads(good)["modelInput"]["messages"][0]["content"][0]["image"]["format"] == "png"


def test_what_is_sent_and_what_is_kept():
    """A record's id is alphanumeric; a line comes back as it was."""
    line = b'{"custom_id":"jbabc234efgh-10","modelInput":{"messages":[{"content":[{"text":"a-b, c"}]}]}}\n'
    assert bedrock.sent(line) == line.replace(
        b'"custom_id":"jbabc234efgh-10"', b'"recordId":"jbabc234efghZ10"'
    )
    assert bedrock.kept(bedrock.sent(line)) == line
    came = {
        "modelInput": {"recordId": "no"},
        "modelOutput": {"a": 1},
        "recordId": "jbabc234efghZ10",
    }
    assert (
        bedrock.slim(json.dumps(came).encode())
        == b'{"custom_id":"jbabc234efgh-10","modelOutput":{"a":1}}\n'
    )
    for odd in (b"{", b"null", b'{"modelOutput":{}}', b"\xff"):
        assert bedrock.slim(odd) == odd + b"\n"


ASK = {"toolUse": {"toolUseId": "1", "name": "get_weather_", "input": {"city": "Bern"}}}
FORCED = {"toolUse": {"toolUseId": "1", "name": "json_tool_call", "input": {"a": 1}}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "x"}}}
CITED = {"citationsContent": {"content": [{"text": "so it is"}], "citations": []}}
DECODED = {
    "a text": ({"modelOutput": converse("yes")}, "yes", None),
    "several, thoughts apart": (
        {"modelOutput": converse("", blocks=[THOUGHT, {"text": "a"}, {"text": "b"}])},
        "ab",
        None,
    ),
    "cited": ({"modelOutput": converse("", blocks=[CITED])}, "so it is", None),
    "a tool's call": (
        {"modelOutput": converse("", "tool_use", [ASK])},
        '[{"name": "get weather!", "arguments": {"city": "Bern"}}]',
        None,
    ),
    "JSON by a tool": (
        {"modelOutput": converse("", "tool_use", [{"text": "So:"}, FORCED])},
        '{"a": 1}',
        None,
    ),
    "nothing to say": ({"modelOutput": converse("")}, "", None),
    "cut off": ({"modelOutput": converse("par", "max_tokens")}, "par", None),
    "cut off before": (
        {"modelOutput": converse("", "max_tokens", [THOUGHT])},
        None,
        "max_tokens: all the tokens",
    ),
    "filtered": (
        {"modelOutput": converse("", "content_filtered")},
        None,
        "content_filter: the provider's filter",
    ),
    "filtered halfway": ({"modelOutput": converse("x", "content_filtered")}, "x", None),
    "guarded": (
        {"modelOutput": converse("Sorry", "guardrail_intervened")},
        None,
        "content_filter: a guardrail",
    ),
    "malformed": (
        {"modelOutput": converse("", "malformed_tool_use")},
        None,
        "no content (stopReason: malformed_tool",
    ),
    "an error": (
        {"error": {"errorCode": 400, "errorMessage": "bad request"}},
        None,
        "400: bad request",
    ),
    "an odd error": ({"error": {"why": 1}}, None, '{"why": 1}'),
    "an error that is a text": ({"error": "no"}, None, "no"),
    "neither": ({}, None, "neither an answer nor an error"),
    "odd": ({"modelOutput": {"output": [], "usage": 3}}, None, "no content (stopReason: none)"),
    "odder": ({"modelOutput": {"output": {"message": {"content": 7}}}}, None, "no content"),
}


@pytest.mark.parametrize("name", list(DECODED))
def test_what_a_line_says(name):
    """The value, or the reason why there is none."""
    held, value, reason = DECODED[name]
    result = bedrock.decode(
        json.dumps({"custom_id": "jb-1", **held}).encode(), {"get_weather_": "get weather!"}
    )
    assert (result.custom_id, result.value) == ("jb-1", value)
    assert result.status is (Status.SUCCEEDED if value is not None else Status.FAILED)
    assert result.error is None if reason is None else reason in result.error


def test_what_expired_is_no_failure_of_the_row():
    """`expired` in a record's error: it can be sent again."""
    line = json.dumps(
        {"custom_id": "jb-1", "error": {"errorCode": 408, "errorMessage": "late", "expired": True}}
    )
    assert bedrock.decode(line.encode(), {}) == Result(
        "jb-1", Status.EXPIRED, error="expired: 408: late"
    )


def test_what_was_used():
    """Tokens read from the cache and written to it are part of the input, as they are billed."""
    line = {
        "custom_id": "a",
        "modelOutput": converse("x", cacheReadInputTokens=10, cacheWriteInputTokens=100),
    }
    used = bedrock.decode(json.dumps(line).encode(), {}).usage
    assert (used.input_tokens, used.output_tokens, used.cached_tokens) == (113, 2, 10)
    assert bedrock.usage_of(None) is None


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b'{"custom_id":3}', b'{"custom_id":null}'],
)
def test_junk_is_a_failed_result(junk):
    """No bytes raise an error."""
    assert bedrock.decode(junk, {}).status is Status.FAILED
