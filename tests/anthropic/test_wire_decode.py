"""Anthropic's result lines and batch objects: the value, the reason and the tokens of each, whatever its shape."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.request import Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire.anthropic import results as anthropic
from jupyter_batch.wire.anthropic.results import decode, decode_lines, read_batch

PAYLOADS = Path(__file__).parents[1] / "payloads"


def records(name):
    """The cases of one file, by name."""
    with (PAYLOADS / name).open(encoding="utf-8") as file:
        return {record["case"]: record for record in map(json.loads, file)}


LINES = records("anthropic_results.jsonl")
EXPECTED = records("expected.jsonl")
BATCHES = {
    case: record
    for case, record in records("batch_objects.jsonl").items()
    if case.startswith("anthropic")
}


def line_of(content, stop="end_turn", usage=None, **message):
    """A succeeded line."""
    usage = {"input_tokens": 3, "output_tokens": 4} if usage is None else usage
    return json.dumps(
        {
            "custom_id": "j-0",
            "result": {
                "type": "succeeded",
                "message": {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": content,
                    "stop_reason": stop,
                    "usage": usage,
                    **message,
                },
            },
        }
    ).encode()


def text(sentence):
    """A block of text."""
    return {"type": "text", "text": sentence}


@pytest.mark.parametrize("case", LINES)
def test_a_recorded_line_gives_the_value_the_reason_and_the_tokens(case):
    """As a person should see them, and by the tolerant way alone just the same."""
    raw, expected = json.dumps(LINES[case]["line"]).encode(), EXPECTED[case]
    result = decode(raw)
    if expected["value_kind"] == "na_or_tool":
        assert result.value is None or json.loads(result.value)[0].keys() == {"name", "arguments"}
    else:
        assert result.value == expected["value"]
    assert (
        (result.value is None)
        == (result.status is not Status.SUCCEEDED)
        == (result.error is not None)
    )
    for words in expected["error_contains"] or []:
        assert words in (result.error or "")
    assert result.value not in expected["must_not_be"]
    used = expected["usage"]
    assert result.usage == (
        used
        and Usage(
            used["input_tokens"],
            used["output_tokens"],
            used["cached_tokens"],
            used["reasoning_tokens"] or 0,
            used.get("cache_write_tokens") or 0,
        )
    )
    assert result.custom_id == LINES[case]["line"]["custom_id"]
    assert anthropic._read(raw, {}) == result


def test_each_way_for_a_row_to_end_has_its_status():
    """Not all that is no answer is a failure of the row."""

    def of(result):
        found = decode(json.dumps({"custom_id": "j-0", "result": result}).encode())
        return found.status, found.error

    assert of({"type": "expired"})[0] is Status.EXPIRED
    assert of({"type": "canceled"})[0] is Status.CANCELLED
    error = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "max_tokens: Field required"},
        "request_id": "req_1",
    }
    assert of({"type": "errored", "error": error}) == (
        Status.FAILED,
        "invalid_request_error: max_tokens: Field required",
    )
    assert of({"type": "errored"}) == (Status.FAILED, "no reason was given")
    assert "type: odd" in of({"type": "odd"})[1]


def test_the_input_counts_what_the_cache_gave_and_took():
    """Anthropic counts them in addition to `input_tokens`: a cost without them is a fraction of the truth."""
    usage = {
        "input_tokens": 3,
        "cache_read_input_tokens": 9511,
        "cache_creation_input_tokens": 100,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    whole = Usage(9614, 7, 9511, 5, 100)
    assert decode(line_of([text("a")], usage=usage)).usage == whole
    assert decode(line_of([], "refusal", usage=usage)).usage == whole
    by_age = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 3},
    }
    assert decode(line_of([], "refusal", usage=by_age)).usage == Usage(
        6, 1, 0, 0, 5, cache_write_1h_tokens=2
    )
    assert decode(line_of([text("a")], usage=by_age)).usage == Usage(
        6, 1, 0, 0, 5, cache_write_1h_tokens=2
    )
    both = {**by_age, "cache_creation_input_tokens": 5}
    for answer, stop in (([text("a")], "end_turn"), ([], "refusal")):
        assert decode(line_of(answer, stop, usage=both)).usage == Usage(
            6, 1, 0, 0, 5, cache_write_1h_tokens=2
        )
    rounds = {
        "input_tokens": 1,
        "output_tokens": 1,
        "iterations": [
            {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 1},
            {"input_tokens": 20, "output_tokens": 3},
        ],
    }
    assert decode(line_of([text("a")], usage=rounds)).usage == Usage(31, 5, 1)
    assert decode(line_of([text("a")], usage={})).usage is None


def test_what_a_message_says():
    """Texts are joined, thinking is no part of the answer, a truncated text is what there is."""
    thinking = {"type": "thinking", "thinking": "hm", "signature": "x"}
    assert decode(line_of([thinking, text("a"), text("b")])).value == "ab"
    assert decode(line_of([text("a lo")], "max_tokens")).value == "a lo"
    assert (
        decode(
            line_of(
                [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    text("found"),
                ]
            )
        ).value
        == "found"
    )
    assert decode(line_of([text("")])).value == ""
    assert decode(line_of([])).value == ""
    for content, stop, words in (
        ([thinking], "max_tokens", "allow more"),
        ([text("I")], "refusal", "refusal: I"),
        ([], "pause_turn", "pause_turn"),
        ([], None, "no content"),
    ):
        failed = decode(line_of(content, stop))
        assert failed.status is Status.FAILED
        assert words in failed.error
        assert failed.usage == Usage(3, 4)
    why = decode(
        line_of([], "refusal", stop_details={"type": "refusal", "explanation": "not this"})
    )
    assert why.error == "refusal: not this"


def test_tool_calls_are_reported_by_the_names_that_the_person_gave():
    """As for OpenAI's: name and arguments."""
    call = {"type": "tool_use", "id": "t", "name": "my_tool", "input": {"city": "Zürich"}}
    decoded = decode(line_of([call], "tool_use"), tool_names={"my_tool": "my.tool"})
    assert json.loads(decoded.value) == [{"name": "my.tool", "arguments": {"city": "Zürich"}}]
    assert "Zürich" in decoded.value
    block = line_of([call], "tool_use") + b"\n" + line_of([text("x")])
    assert [
        "my.tool" in result.value
        for result in decode_lines(block, tool_names={"my_tool": "my.tool"})
    ] == [True, False]


def test_json_that_came_as_a_tool_call_is_the_answer():
    """Where litellm asks for JSON by a forced tool, what it was called with is the text."""
    call = {
        "type": "tool_use",
        "id": "t",
        "name": "json_tool_call",
        "input": {"values": ["ä"], "n": 1},
    }
    assert json.loads(decode(line_of([text("so:"), call], "tool_use")).value) == {
        "values": ["ä"],
        "n": 1,
    }


def test_lines_of_a_block_end_at_newlines_and_nowhere_else():
    """A text may hold any other line separator; empty lines and a missing last newline are nothing."""
    odd = json.dumps(
        {
            "custom_id": "j-1",
            "result": {
                "type": "succeeded",
                "message": {"content": [text("a\u2028b\x85c")], "stop_reason": "end_turn"},
            },
        },
        ensure_ascii=False,
    ).encode()
    found = list(decode_lines(b"\n" + line_of([text("x")]) + b"\n\r\n" + odd + b"\n{broken"))
    assert [result.value for result in found] == ["x", "a\u2028b\x85c", None]
    assert found[2].custom_id is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "content",
                    "usage",
                    "message",
                    "error",
                    "input_tokens",
                    "name",
                    "input",
                    "stop_reason",
                    "iterations",
                    "cache_creation",
                    "output_tokens",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON, JSON, st.sampled_from(["succeeded", "errored", "canceled", "expired", "odd", None]))
def test_no_shape_of_a_line_raises(inner, other, kind):
    """Each is a Result with a value or a reason."""
    for data in (
        {"custom_id": "j-0", "result": {"type": kind, "message": inner, "error": other}},
        {"custom_id": other, "result": inner},
        inner,
        {
            "custom_id": "j-0",
            "result": {
                "type": kind,
                "message": {
                    "content": inner if isinstance(inner, list) else [inner],
                    "usage": other,
                },
            },
        },
    ):
        result = decode(json.dumps(data).encode())
        assert (
            (result.value is None)
            == (result.error is not None)
            == (result.status is not Status.SUCCEEDED)
        )


@given(st.binary(max_size=60))
def test_no_bytes_raise(data):
    """Not even half a file."""
    for result in (
        decode(data),
        *decode_lines(data),
        *decode_lines(line_of([text("x")])[: len(data) * 3]),
    ):
        assert (result.value is None) == (result.error is not None)


# --- batch objects --------------------------------------------------------------------------------------------------


def batch(status="ended", cancelled=False, **counts):
    """A message_batch object."""
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0,
            "succeeded": 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
            **counts,
        },
        "created_at": "2024-08-20T18:37:24.100435Z",
        "expires_at": "2024-08-21T18:37:24.100435Z",
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": "2024-08-20T19:00:00Z" if cancelled else None,
        "results_url": "https://api/results" if status == "ended" else None,
    }


@pytest.mark.parametrize("case", BATCHES)
def test_a_recorded_batch_under_way_is_open(case):
    """All its requests are counted from the start."""
    obj = BATCHES[case]["line"]
    view = read_batch(obj)
    assert view.ending is None
    assert view.id == obj["id"]
    assert view.total == obj["request_counts"]["processing"] > 0
    assert view.output_file_id is None
    assert view.expires_at - view.created_at == 86400


@pytest.mark.parametrize(
    ("obj", "ending"),
    [
        (batch("in_progress", processing=3), None),
        (batch("canceling", cancelled=True, processing=3), None),
        (batch("of_tomorrow", processing=3), None),
        ({"id": "x"}, None),
        (batch(succeeded=3), State.COMPLETED),
        (batch(errored=3), State.COMPLETED),
        (batch(succeeded=2, expired=1), State.COMPLETED),
        (batch(expired=3), State.EXPIRED),
        (batch(cancelled=True, succeeded=2, canceled=1), State.CANCELLED),
        (batch(cancelled=True, canceled=3), State.CANCELLED),
        (batch(cancelled=True, succeeded=3), State.COMPLETED),
    ],
)
def test_the_ending_is_reported_by_the_counts(obj, ending):
    """A cancel that came too late changed nothing; an unknown status is no ending."""
    view = read_batch(obj)
    assert view.ending is ending
    assert view.status == obj.get("processing_status", "unknown")


def test_counts_and_the_file_of_an_ended_batch():
    """Errors and answers are in one file, known by the batch's id; it is there once the batch says where."""
    obj = batch(succeeded=5, errored=2, expired=1, canceled=1)
    view = read_batch(obj)
    assert (view.total, view.completed, view.failed) == (9, 5, 2)
    assert view.output_file_id == "msgbatch_1"
    assert view.error_file_id is None
    assert view.created_at == 1724179044.100435
    assert read_batch({**obj, "results_url": None}).output_file_id is None
    assert read_batch(
        {**obj, "results_url": None, "archived_at": "2024-10-01T00:00:00Z"}
    ).output_file_id
    assert (
        read_batch({**obj, "request_counts": None, "created_at": "soon", "expires_at": 5}).total
        == 0
    )
