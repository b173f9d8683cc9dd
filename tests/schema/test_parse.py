"""From an answer's text to its fields: clear values are read, nothing is guessed, and a failure has its reason."""

import datetime as dt
import json
import re
import time
from pathlib import Path
from typing import Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.schema import Parser, read
from jupyter_batch.schema.check import Misfit
from jupyter_batch.wire import openai
from jupyter_batch.wire.anthropic import results
from jupyter_batch.wire.dialects import BEDROCK, VERTEX, decode_lines

PAYLOADS = Path(__file__).parents[1] / "payloads"
SENTIMENT = Parser(read({"label": Literal["pos", "neg"], "score": float, "note": str | None}))
GOOD = '{"label": "pos", "score": 1, "note": null}'
VALUES = {"label": "pos", "score": 1.0, "note": None}


def one(text, parser=SENTIMENT, finish=None):
    """The result of an answer with that text."""
    return parser.one(Result("j-0", Status.SUCCEEDED, text, None, Usage(3, 4), finish))


def test_a_default_belongs_to_its_row():
    """A change of one row's list changes no other row's."""
    parser = Parser(
        read(
            {
                "type": "object",
                "properties": {
                    "tags": {"type": "array", "default": ["x"]},
                    "n": {"type": "integer"},
                },
            }
        )
    )
    first, second = one('{"n": 1}', parser).value, one('{"n": 2}', parser).value
    first["tags"].append("mine")
    assert second["tags"] == ["x"]
    assert one('{"n": 3}', parser).value["tags"] == ["x"]


# --- where the JSON is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"\ufeff{GOOD}",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```JSON\n{GOOD}\n```\n",
        f"Sure! Here it is:\n\n```json\n{GOOD}\n```\nLet me know.",
        f"Sure! {GOOD} I hope {{this}} helps.",
        f"{{label}} is what you asked for: {GOOD}",
        f"```python\nx = {{}}\n```\n{GOOD}".replace("{}", "1"),
        f'<think>It might be {{"label": "neg"}}.</think>{GOOD}',
        f"{GOOD}\n{GOOD}",
        f"[1] says: {GOOD}",
        f"```json\n{GOOD}\n```\nor, the same:\n```json\n{GOOD}\n```",
    ],
)
def test_fenced_and_chatty_json_is_read(text):
    """In a fence, among words, after thoughts, twice the same: there is one thing that can be meant."""
    assert one(text).value == VALUES


OTHER = GOOD.replace("pos", "neg")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("positive", "not JSON"),
        ("I can't help with that.", "not JSON"),
        ("null", "not a JSON object"),
        ('"pos"', "not a JSON object"),
        ("3", "not a JSON object"),
        ("NaN", "not valid JSON|not JSON"),
        (f"[{GOOD}]", "is a list"),
        (f"Here: [{GOOD}, {OTHER}]", "is a list"),
        (f"{GOOD} or {OTHER}", "2 JSON objects, and it is not clear which is meant"),
        (f"```json\n{GOOD}\n```\n```json\n{OTHER}\n```", "2 JSON objects"),
        (GOOD[:-1], "not valid JSON"),
        (f"Sure: {GOOD[:-8]}", "not valid JSON"),
        ('{"label": "pos", "inner": {"label": "pos", "score": 1, "note": null}', "not valid JSON"),
        ("{'label': 'pos', 'score': 1, 'note': None}", "not JSON"),
        ('{"label": "pos",}', "not valid JSON"),
        ('{"label": "pos", "score": NaN, "note": null}', "NaN is no number"),
        ('{"label": "pos", "score": 1e999, "note": null}', "too large"),
        ("{" * 5000, "not JSON"),
        ('{"a":' * 100_000, "not valid JSON|too deep"),
        ('{"a":' * 900 + "1" + "}" * 900, "missing|can't be checked"),
    ],
)
def test_what_is_unknown_is_a_failure(text, reason):
    """The row has failed, its text is kept whole, its usage too, and the reason says what is wrong."""
    result = one(text)
    assert result.status is Status.FAILED
    assert result.value is None
    assert result.raw == text
    assert result.usage == Usage(3, 4)
    assert any(part in result.error for part in reason.split("|")), result.error
    assert len(result.error) <= 500


def test_a_deep_answer_that_fits_nothing_costs_no_more_than_its_length():
    """Ten thousand braces in prose are passed over at once."""
    began = time.process_time()
    assert one("{x} " * 10_000 + GOOD).value == VALUES
    assert one("```\n" * 20_000).status is Status.FAILED
    assert time.process_time() - began < 5


# --- what it says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"label": "pos", "score": "1", "note": null}',
            "score: expected a number; got the text '1'",
        ),
        ('{"label": "pos", "score": true, "note": null}', "score: expected a number; got true"),
        (
            '{"label": "POS", "score": 1, "note": null}',
            "label: expected one of 'pos', 'neg'; got the text 'POS'",
        ),
        ('{"label": "pos", "note": null}', "'score' is missing"),
        ('{"label": null, "score": 1, "note": ""}', "label: expected a text; got null"),
    ],
)
def test_nothing_is_guessed(text, reason):
    """A number in quotes is a text, true is no 1, and a label is what was offered, letter for letter."""
    assert one(text).error.startswith(reason)


def test_texts_stay_texts():
    """A text that looks like a missing value is the model's answer."""
    for answer in ("null", "NaN", "None", "", "N/A"):
        assert (
            one(json.dumps({"label": "pos", "score": 0.5, "note": answer})).value["note"] == answer
        )


def test_line_breaks_in_texts_and_half_characters():
    """Models write raw line breaks in JSON; half a character becomes U+FFFD, which a column can hold."""
    assert one('{"label": "pos", "score": 1, "note": "a\n\tb"}').value["note"] == "a\n\tb"
    assert one('{"label": "pos", "score": 1, "note": "\\ud83d"}').value["note"] == "\ufffd"
    assert one('x {"label": "pos", "score": 1, "note": "\\ud83d"}').value["note"] == "\ufffd"


@pytest.mark.parametrize("lax", [False, True])
def test_equal_items_of_a_set_are_merged(lax):
    """The first of each stays, in lists within lists, too; other demands on the list are checked after that."""
    parser = Parser(read({"tags": set[str], "groups": list[set[int]]}), lax=lax)
    found = parser.values('{"tags": ["b", "a", "b"], "groups": [[1, 1], [2, 3, 2]]}')
    assert found == {"tags": ["b", "a"], "groups": [[1], [2, 3]]}
    pair = {"type": "array", "uniqueItems": True, "minItems": 2}
    parser = Parser(read({"type": "object", "properties": {"pair": pair}}), lax=lax)
    with pytest.raises(Misfit, match="at least 2 items; got 1"):
        parser.values('{"pair": [1, 1]}')


def test_values_in_their_own_types():
    """Whole floats are whole numbers, dates are dates; a number that 64 bits can't hold has its reason."""
    parser = Parser(read({"n": int, "x": float, "day": dt.date, "at": dt.datetime}))
    shown = {"n": 3.0, "x": 2, "day": "2024-02-29", "at": "2024-02-29T10:00:00Z"}
    value = one(json.dumps(shown), parser).value
    assert value == {
        "n": 3,
        "x": 2.0,
        "day": dt.date(2024, 2, 29),
        "at": dt.datetime(2024, 2, 29, 10, tzinfo=dt.UTC),
    }
    assert [type(value[key]) for key in ("n", "x")] == [int, float]
    assert (
        "n: 9223372036854775808 is too large" in one(json.dumps(shown | {"n": 2**63}), parser).error
    )
    assert "x: the number is too large" in one(json.dumps(shown | {"x": 10**400}), parser).error
    assert "at: expected a date-time; got" in one(json.dumps(shown | {"at": "soon"}), parser).error
    early = "0001-01-01T00:00:00+23:00"
    assert f"at: {early} is a time before" in one(json.dumps(shown | {"at": early}), parser).error


def test_fields_that_are_left_out():
    """The default, where there is one; a null counts as left out unless null is something to say; else missing."""

    class Rated(pydantic.BaseModel):
        stars: int = 3
        note: str | None = "none given"
        name: str = pydantic.Field(alias="fullName")

    parser = Parser(read(Rated))
    assert one('{"fullName": "x"}', parser).value == {"stars": 3, "note": "none given", "name": "x"}
    answer = one('{"fullName": "x", "stars": null, "note": null}', parser)
    assert answer.value == {"stars": 3, "note": None, "name": "x"}
    plain = Parser(read({"properties": {"a": {"type": "string"}}}))
    assert one("{}", plain).value == one('{"a": null}', plain).value == {"a": None}


def test_fields_that_nobody_asked_for():
    """They are passed over, as JSON schema has it, unless the schema forbids them."""
    assert one(GOOD[:-1] + ', "more": 1}').value == VALUES
    strict = Parser(read({"properties": {"a": {"type": "string"}}, "additionalProperties": False}))
    assert "'more' is not in the schema" in one('{"a": "x", "more": 1}', strict).error


# --- why an answer is not whole -------------------------------------------------------------------------------------


def chat(content, finish, **message):
    """A line of OpenAI's."""
    return json.dumps(
        {
            "custom_id": "j-0",
            "error": None,
            "response": {
                "status_code": 200,
                "body": {
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": finish,
                            "message": {"role": "assistant", "content": content, **message},
                        }
                    ],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
                },
            },
        }
    ).encode()


def claude(content, stop):
    """A line of Anthropic's."""
    return json.dumps(
        {
            "custom_id": "j-0",
            "result": {
                "type": "succeeded",
                "message": {
                    "content": content,
                    "stop_reason": stop,
                    "usage": {"input_tokens": 3, "output_tokens": 4},
                },
            },
        }
    ).encode()


def response(text, reason):
    """A line of OpenAI's responses."""
    return json.dumps(
        {
            "custom_id": "j-0",
            "error": None,
            "response": {
                "status_code": 200,
                "body": {
                    "status": "incomplete",
                    "incomplete_details": {"reason": reason},
                    "output": [
                        {"type": "message", "content": [{"type": "output_text", "text": text}]}
                    ],
                    "usage": {"input_tokens": 3, "output_tokens": 4},
                },
            },
        }
    ).encode()


def gemini(text, stop):
    """A line of Vertex AI's."""
    return json.dumps(
        {
            "custom_id": "j-0",
            "status": "",
            "response": {
                "candidates": [
                    {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": stop}
                ],
                "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
            },
        }
    ).encode()


def converse(text, stop):
    """A line of Bedrock's."""
    return json.dumps(
        {
            "recordId": "j-0",
            "custom_id": "j-0",
            "modelOutput": {
                "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
                "stopReason": stop,
                "usage": {"inputTokens": 3, "outputTokens": 4},
            },
        }
    ).encode()


HALF = GOOD[:20]


@pytest.mark.parametrize(
    ("line", "dialect", "reason"),
    [
        (chat(HALF, "length"), openai, "length: the answer was cut off.*max_tokens"),
        (chat(HALF, "content_filter"), openai, "content_filter: "),
        (chat(None, "content_filter"), openai, "content_filter: "),
        (chat(None, "stop", refusal="I won't"), openai, "refusal: I won't"),
        (chat(None, "length"), openai, "length: "),
        (chat(HALF, "stop"), openai, "the answer is not valid JSON"),
        (response(HALF, "max_output_tokens"), openai, "max_output_tokens: the answer was cut off"),
        (response(HALF, "content_filter"), openai, "content_filter: "),
        (
            claude([{"type": "text", "text": HALF}], "max_tokens"),
            results,
            "max_tokens: the answer was cut off",
        ),
        (
            claude(
                [{"type": "tool_use", "name": "json_tool_call", "input": {"label": "pos"}}],
                "max_tokens",
            ),
            results,
            "max_tokens: the answer was cut off",
        ),
        (claude([{"type": "text", "text": HALF}], "refusal"), results, "refusal: "),
        (gemini(HALF, "MAX_TOKENS"), VERTEX, "MAX_TOKENS: the answer was cut off"),
        (gemini(HALF, "SAFETY"), VERTEX, "content_filter: "),
        (gemini(HALF, "STOP"), VERTEX, "the answer is not valid JSON"),
        (converse(HALF, "max_tokens"), BEDROCK, "max_tokens: the answer was cut off"),
        (
            claude([{"type": "text", "text": HALF}], "model_context_window_exceeded"),
            results,
            "model_context_window_exceeded: .*context",
        ),
    ],
)
def test_each_is_named_as_what_it_is(line, dialect, reason):
    """A cut-off, a filter and a refusal are no validation errors; what there is of the text is kept."""
    endpoint = openai.RESPONSES if b"output_text" in line else openai.CHAT
    if isinstance(dialect, str):
        (plain,) = decode_lines(dialect, line, endpoint, {})
    else:
        (plain,) = dialect.decode_lines(line, endpoint)
    (result,) = SENTIMENT.read([plain])
    assert result.status is Status.FAILED
    assert re.match(reason, result.error), result.error
    if plain.status is Status.SUCCEEDED:
        assert result.raw == plain.value
    assert result.usage == Usage(3, 4)


@pytest.mark.parametrize(
    "line",
    [
        chat(GOOD, "stop"),
        chat(GOOD, "length"),
        response(GOOD, "max_output_tokens"),
        claude([{"type": "text", "text": GOOD}], "end_turn"),
        claude([{"type": "text", "text": GOOD}], "max_tokens"),
        claude(
            [{"type": "tool_use", "name": "json_tool_call", "input": json.loads(GOOD)}], "tool_use"
        ),
        claude(
            [{"type": "tool_use", "name": "json_tool_call", "input": {"values": json.loads(GOOD)}}],
            "tool_use",
        ),
        claude(
            [{"type": "thinking", "thinking": HALF}, {"type": "text", "text": GOOD}], "end_turn"
        ),
    ],
)
def test_an_answer_that_is_whole_is_an_answer(line):
    """In each dialect's way of carrying it; and where it was cut off, but not in the JSON."""
    dialect = results if b'"result"' in line else openai
    (plain,) = dialect.decode_lines(
        line, openai.RESPONSES if b"output_text" in line else openai.CHAT
    )
    (result,) = SENTIMENT.read([plain])
    assert result.value == VALUES


# --- recorded lines -------------------------------------------------------------------------------------------------


def records(name):
    """The cases of one file, by name."""
    with (PAYLOADS / f"{name}.jsonl").open(encoding="utf-8") as file:
        return {record["case"]: record for record in map(json.loads, file)}


CASES = {
    **{
        case: (record, openai)
        for name in ("openai_output_lines", "openai_error_lines", "other_provider_lines")
        for case, record in records(name).items()
        if "line" in record
    },
    **{case: (record, results) for case, record in records("anthropic_results").items()},
}
EXPECTED = records("expected")
HELD = {
    "responses_structured_1": ({"name": str}, {"name": "Berlin"}),
    "chat_n3": (
        {"city": str, "temperature": float, "units": Literal["c", "f"]},
        {"city": "San Francisco", "temperature": 64.0, "units": "f"},
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_recorded_lines(case):
    """With a schema each recorded line gives its fields, or a failure that keeps its text, its reason and its usage."""
    record, dialect = CASES[case]
    fields, value = HELD.get(case, ({"name": str}, None))
    line = json.dumps(record["line"]).encode()
    (plain,) = dialect.decode_lines(line, record.get("endpoint", openai.CHAT))
    (result,) = Parser(read(fields)).read([plain])
    assert result.value == value
    assert result.usage == plain.usage
    if value is not None:
        return
    assert result.error
    if plain.status is Status.SUCCEEDED:
        assert result.status is Status.FAILED
        assert result.raw == (
            plain.value if isinstance(plain.value, str) else json.dumps(plain.value)
        )
    else:
        assert result == plain
    for part in EXPECTED.get(case, {}).get("error_contains") or ():
        assert part in result.error


def test_broken_json_of_the_records():
    """finish_reason stop, and yet the JSON is broken: no value, the text kept, as the record says."""
    assert EXPECTED["chat_broken_json_stop"]["json_value"] == "na"
    record, dialect = CASES["chat_broken_json_stop"]
    (plain,) = dialect.decode_lines(json.dumps(record["line"]).encode(), openai.CHAT)
    result = one(plain.value)
    assert (result.value, result.raw) == (None, EXPECTED["chat_broken_json_stop"]["value"])


# --- anything at all ------------------------------------------------------------------------------------------------

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["label", "score", "note", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
PIECES = (
    st.text(max_size=30)
    | JSONS.map(json.dumps)
    | st.sampled_from(
        [
            GOOD,
            OTHER,
            HALF,
            "```json\n",
            "\n```\n",
            "{",
            "}",
            "[",
            '"',
            "<think>",
            "</think>",
            "NaN",
            "\ud800",
        ]
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=5).map("".join))
def test_any_text_gives_fields_or_a_reason(text):
    """No answer raises an error; a parsed one fits the schema, any other has its reason and its text."""
    result = one(text)
    if result.status is Status.SUCCEEDED:
        assert list(result.value) == ["label", "score", "note"]
        assert result.value["label"] in ("pos", "neg")
        assert type(result.value["score"]) is float
    else:
        assert result.error
        assert result.raw == text


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["pos", "neg"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.text(max_size=20),
    st.sampled_from(["{}", "```json\n{}\n```", "Here: {} Bye", "\n\n{}"]),
)
def test_what_was_reported_is_what_is_read(label, score, note, around):
    """Every value comes through as it was, in any wrapping."""
    try:
        answer = json.dumps({"label": label, "score": score, "note": note}, ensure_ascii=False)
        answer.encode()
    except UnicodeEncodeError:
        return
    assert one(around.replace("{}", answer)).value == {"label": label, "score": score, "note": note}


def test_speed():
    """A thousand rows of three fields take some milliseconds: less than 25 times what bare json takes here."""
    rows = [Result(f"j-{n}", Status.SUCCEEDED, GOOD) for n in range(1000)]
    best, bare = min(_timed(rows) for _ in range(5)), min(_bare() for _ in range(5))
    assert best < 25 * bare, f"{best * 1000:.1f} us a row, where json takes {bare * 1000:.1f}"


def _bare():
    began = time.process_time()
    for _ in range(1000):
        json.loads(GOOD)
    return time.process_time() - began


def _timed(rows):
    began = time.process_time()
    assert sum(result.status is Status.SUCCEEDED for result in SENTIMENT.read(rows)) == len(rows)
    return time.process_time() - began
