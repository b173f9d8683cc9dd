"""OpenAI's dialect, both ways: what is written is what orjson writes, what comes back is read whatever its shape."""

import base64
import json
import struct
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import results as anthropic
from jupyter_batch.wire.openai import (
    CHAT,
    EMBEDDINGS,
    RESPONSES,
    Encoder,
    Hole,
    decode,
    decode_lines,
    whole_lines,
)
from jupyter_batch.wire.openai_batches import read_batch
from jupyter_batch.wire.row_error import REASON_CHARS

PAYLOADS = Path(__file__).parent / "payloads"


def records(name):
    """The cases of one file, by name."""
    with (PAYLOADS / f"{name}.jsonl").open(encoding="utf-8") as file:
        return {record["case"]: record for record in map(json.loads, file)}


LINES = {
    **records("openai_output_lines"),
    **records("openai_error_lines"),
    **records("other_provider_lines"),
}
EXPECTED = records("expected")
BATCHES = records("batch_objects")


def raw(record):
    """The line as it stands in a provider's file."""
    if "raw" in record:
        return record["raw"].encode()
    return json.dumps(record["line"], ensure_ascii=not record.get("write_unescaped")).encode()


def endpoint_of(record):
    """As the batch was created with."""
    return record.get("endpoint", CHAT)


# --- requests -------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(TEXTS, TEXTS, VALUES), min_size=1, max_size=5), TEXTS, VALUES)
def test_a_line_is_byte_for_byte_what_orjson_makes_of_the_request(rows, model, constant):
    """Texts, parameters from the row, a hole that is there twice, percent signs and all."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": Hole("system")},
            {"role": "user", "content": Hole("user")},
        ],
        "deep": {"list": [Hole("param"), constant, "%s %b %"]},
        "again": Hole("user"),
    }
    encoder = Encoder(CHAT, body)
    assert encoder.holes == ("system", "user", "param")
    ids = [f"job-{n}" for n in range(len(rows))]
    systems, users, params = (list(column) for column in zip(*rows, strict=True))
    lines = encoder.encode(ids, {"system": systems, "user": users, "param": params})
    for line, custom_id, (system, user, param) in zip(lines, ids, rows, strict=True):
        full = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "deep": {"list": [param, constant, "%s %b %"]},
            "again": user,
        }
        request = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": full}
        assert line == orjson.dumps(request) + b"\n"
        assert line.count(b"\n") == 1


def test_whole_message_lists_differ_from_row_to_row():
    """The messages of a callable prompt."""
    encoder = Encoder(CHAT, {"model": "m", "messages": Hole("messages"), "temperature": 0})
    user, system = {"role": "user", "content": "a"}, {"role": "system", "content": "s"}
    messages = [[user], [system, user]]
    lines = encoder.encode(["j-0", "j-1"], {"messages": messages})
    assert [json.loads(line)["body"]["messages"] for line in lines] == messages


def test_a_row_that_can_not_be_sent_is_its_own_reason():
    """A lone surrogate, a value that is no JSON, a RowError from the template: the other rows are encoded."""
    encoder = Encoder(
        CHAT,
        {"model": "m", "messages": [{"role": "user", "content": Hole("text")}], "n": Hole("n")},
    )
    texts = ["fine", "half \ud800", "odd", RowError("no value"), "last"]
    lines = encoder.encode(
        [f"j-{n}" for n in range(5)], {"text": texts, "n": [1, 1, object(), 1, 2**65]}
    )
    assert json.loads(lines[0])["body"]["messages"][0]["content"] == "fine"
    assert isinstance(lines[1], RowError)
    assert "Unicode" in lines[1].reason
    assert isinstance(lines[2], RowError)
    assert "JSON" in lines[2].reason
    assert lines[3] == RowError("no value")
    assert isinstance(lines[4], RowError)


def test_a_parameter_that_is_no_json_is_refused_once():
    """Before any row."""
    with pytest.raises(OptionError, match="can't be sent as JSON"):
        Encoder(CHAT, {"model": "m", "stop": object()})


def test_a_text_that_looks_like_a_hole_is_a_text():
    """Nothing in a body can be taken for the mark of a hole."""
    encoder = Encoder(CHAT, {"model": "m", "note": "Hole('x')", "messages": Hole("x")})
    assert json.loads(encoder.encode(["j-0"], {"x": ["%b"]})[0])["body"] == {
        "model": "m",
        "note": "Hole('x')",
        "messages": "%b",
    }


# --- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in EXPECTED if case in LINES])
def test_a_recorded_line_gives_the_value_the_reason_and_the_tokens(case):
    """As a person should see them."""
    record, expected = LINES[case], EXPECTED[case]
    result = decode(raw(record), endpoint_of(record))
    kind = expected["value_kind"]
    if kind == "na_or_tool":
        assert result.value is None or json.loads(result.value)[0].keys() == {"name", "arguments"}
    elif kind == "text_or_tool":
        assert result.value
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
    if expected["usage"] is None:
        assert result.usage is None
    else:
        shown = expected["usage"]
        assert result.usage == Usage(
            shown["input_tokens"],
            shown["output_tokens"],
            shown["cached_tokens"] or 0,
            shown["reasoning_tokens"] or 0,
        )
    if "no_row" in record:
        assert result.custom_id is None
    else:
        assert result.custom_id == record["line"]["custom_id"]


@pytest.mark.parametrize("case", LINES)
def test_the_typed_and_the_tolerant_way_agree(case):
    """On every recorded line, whichever of them is taken."""
    assert decode(raw(LINES[case]), endpoint_of(LINES[case])) == tolerant.read(raw(LINES[case]))


def test_a_file_of_all_lines_gives_one_result_a_line():
    r"""In blocks of any size, cut at \n alone: U+2028, U+0085 and their like are text."""
    file = b"".join(raw(record) + b"\n" for record in LINES.values())
    assert "\u2028".encode() in file
    one_by_one = [decode(raw(record), CHAT) for record in LINES.values()]
    for chunk in (1, 7, 500, len(file)):
        chunks = (file[at : at + chunk] for at in range(0, len(file), chunk))
        results = [
            result for block in whole_lines(chunks, 2000) for result in decode_lines(block, CHAT)
        ]
        assert results == one_by_one


def test_two_objects_in_one_line_are_a_broken_line():
    """Also with an empty line, which makes the numbers agree: no error is reported of another row."""
    good, error = chat({"content": "good"}), line_of({"error": {"message": "bad"}}, code=400)
    for spaces in (b"", b"\n", b"\n ", b"\n\r", b"\n\t"):
        results = list(
            decode_lines(good + b" " + good + spaces + b"\n" + error + b"\n" + good, CHAT)
        )
        assert [r.custom_id for r in results] == [None, "x", "x"]
        assert [r.value for r in results] == [None, None, "good"]


def test_empty_lines_and_a_missing_last_newline_are_nothing():
    """Windows' line ends neither."""
    line = raw(LINES["chat_usage_null"])
    assert [r.value for r in decode_lines(b"\n" + line + b"\r\n\n \n" + line, CHAT)] == [
        "fine",
        "fine",
    ]
    assert list(decode_lines(b"", CHAT)) == []
    assert list(whole_lines([])) == []


@given(st.lists(st.binary(max_size=20), max_size=12), st.integers(1, 40))
def test_blocks_hold_whole_lines_and_all_of_them(chunks, size):
    """However a file's bytes come in."""
    blocks = list(whole_lines(iter(chunks), size))
    assert b"".join(blocks) == b"".join(chunks)
    assert all(block.endswith(b"\n") for block in blocks[:-1])


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_no_bytes_at_all_are_an_exception(data):
    """A line that can't be read is a failed result that says so."""
    for line in data.split(b"\n"):
        result = decode(line, CHAT)
        assert result.custom_id is None
        assert result.status is Status.FAILED
        assert result.error


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 999)
    | st.floats()
    | st.sampled_from(
        [
            "",
            "text",
            "content_filter",
            "stop",
            "length",
            '{"choices": []}',
            "batch_expired",
            "output_text",
            "message",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "custom_id",
                    "response",
                    "status_code",
                    "body",
                    "error",
                    "message",
                    "code",
                    "choices",
                    "content",
                    "refusal",
                    "tool_calls",
                    "function",
                    "arguments",
                    "finish_reason",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "text",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "output",
                    "type",
                    "data",
                    "embedding",
                    "index",
                    "status",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=14,
)


@given(ANY, st.sampled_from([CHAT, RESPONSES, EMBEDDINGS, "/else"]))
def test_no_shape_at_all_is_an_exception(line, endpoint):
    """Every field of the wrong type, in every place: a value or a reason, never both, never neither."""
    result = decode(json.dumps(line).encode(), endpoint)
    assert (result.value is None) == (result.status is not Status.SUCCEEDED)
    assert (result.value is None) == (result.error is not None)
    wrapped = {"custom_id": "x", "response": {"status_code": 200, "body": line}}
    result = decode(json.dumps(wrapped).encode(), endpoint)
    assert result.custom_id == "x"
    assert (result.value is None) == bool(result.error)


def line_of(body=None, *, code=200, error=None, **more):
    """A line around a body."""
    line = {
        "custom_id": "x",
        "response": {"status_code": code, "body": body},
        "error": error,
        **more,
    }
    return json.dumps(line).encode()


def chat(message, finish="stop"):
    """A line around a message."""
    return line_of({"choices": [{"index": 0, "message": message, "finish_reason": finish}]})


@pytest.mark.parametrize(
    ("message", "finish", "value", "words"),
    [
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "yes"},
                ]
            },
            "stop",
            "yes",
            None,
        ),
        ({"content": {"type": "text", "text": "yes"}}, "stop", "yes", None),
        ({"content": {"label": "good"}}, "stop", None, 'is not a text: {"label": "good"}'),
        ({"content": [{"label": "good"}]}, "stop", None, 'is not a text: [{"label": "good"}]'),
        (
            {"content": 42},
            "stop",
            None,
            "the answer's content is not a text: 42",
        ),
        ({"content": [{"type": "thinking", "thinking": []}]}, "length", None, "length"),
        ({"content": [{"type": "refusal", "refusal": "no way"}]}, "stop", None, "no way"),
        ({"content": ["a", {"type": "text", "text": "b"}]}, "stop", "ab", None),
        ({"content": "", "reasoning_content": "thought"}, "length", None, "length"),
        ({"content": None, "reasoning": "thought"}, "length", None, "max_tokens"),
        ({"content": "cut off in the mid"}, "length", "cut off in the mid", None),
        ({"content": ""}, "stop", "", None),
        ({"content": ""}, "content_filter", None, "content_filter"),
        ({}, "content_filter", None, "content_filter"),
        ({"content": "half", "refusal": "I stop here"}, "stop", None, "I stop here"),
        ({"content": "null"}, "stop", "null", None),
        (
            {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]},
            "tool_calls",
            '[{"name": "f", "arguments": {"a": 1}}]',
            None,
        ),
        (
            {"content": None, "function_call": {"name": "f", "arguments": "broken {"}},
            "function_call",
            '[{"name": "f", "arguments": "broken {"}]',
            None,
        ),
        ({"content": None, "tool_calls": None}, "stop", None, "no content"),
        ({"content": []}, "stop", None, "no content"),
    ],
    ids=str,
)
def test_what_a_message_may_say(message, finish, value, words):
    """Thinking is no part of the answer; what is no answer says why."""
    result = decode(chat(message, finish), CHAT)
    assert result.value == value
    assert result.error is None if words is None else words in result.error


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        (
            line_of(error={"code": "batch_expired", "message": "too late"}),
            Status.EXPIRED,
            "batch_expired: too late",
        ),
        (
            line_of(error={"code": "batch_cancelled", "message": ""}),
            Status.CANCELLED,
            "batch_cancelled",
        ),
        (
            line_of(error={"code": "request_timeout", "message": "slow"}),
            Status.FAILED,
            "request_timeout: slow",
        ),
        (
            line_of({"error": {"message": "bad", "type": "t", "code": None}}, code=400),
            Status.FAILED,
            "t: bad",
        ),
        (line_of({"detail": "Not Found"}, code=404), Status.FAILED, "HTTP 404: Not Found"),
        (
            line_of({"object": "error", "message": "too long", "type": "T", "code": 400}, code=400),
            Status.FAILED,
            "HTTP 400: too long",
        ),
        (
            line_of({"object": "error", "message": "too long", "code": None}),
            Status.FAILED,
            "too long",
        ),
        (line_of({"message": "Unauthorized"}, code=401), Status.FAILED, "HTTP 401: Unauthorized"),
        (line_of({"error": {}}, code=500), Status.FAILED, "HTTP 500"),
        (line_of(None, code=502), Status.FAILED, "HTTP 502: no reason was given"),
        (
            line_of("<html>Bad gateway</html>", code=502),
            Status.FAILED,
            "HTTP 502: Bad gateway",
        ),
        (
            line_of({"error": {"message": {"message": "inner"}, "code": 5}}, code=400),
            Status.FAILED,
            "5: inner",
        ),
        (
            line_of('{"error": {"message": "from a text", "type": "t"}}', code=400),
            Status.FAILED,
            "t: from a text",
        ),
        (
            line_of({"choices": [], "error": {"message": "upstream", "code": 502}}),
            Status.FAILED,
            "502: upstream",
        ),
        (line_of({"choices": []}), Status.FAILED, "neither an answer nor an error"),
        (line_of({"choices": [None]}), Status.FAILED, "no content"),
        (line_of("plain words"), Status.FAILED, "plain words"),
        (line_of({"error": {"message": "m" * 9999}}, code=400), Status.FAILED, "…"),
        (
            b'{"custom_id": "x", "response": {"status_code": 400, "body": {"error": ["odd", 1]}}}',
            Status.FAILED,
            "odd",
        ),
    ],
    ids=str,
)
def test_errors_of_every_shape_say_what_they_say(line, status, words):
    """In a sentence of bearable length."""
    result = decode(line, CHAT)
    assert result.status is status
    assert result.value is None
    assert words in result.error
    assert len(result.error) <= REASON_CHARS


def test_a_body_that_is_a_text_of_json_is_read():
    """As OGX sends it."""
    body = json.dumps(
        {
            "choices": [{"index": 0, "message": {"content": "in a text"}}],
            "usage": {"prompt_tokens": 3},
        }
    )
    assert decode(line_of(body), CHAT) == Result("x", Status.SUCCEEDED, "in a text", usage=Usage(3))


def test_the_first_choice_is_the_one_with_index_zero():
    """Wherever it stands."""
    choices = [
        {"index": 1, "message": {"content": "second"}},
        {"index": 0, "message": {"content": "first"}},
    ]
    assert decode(line_of({"choices": choices}), CHAT).value == "first"


def test_what_python_writes_as_json_is_read():
    """NaN, control characters, bytes that are no UTF-8, a lone surrogate: none of them loses the line's row."""
    head = (
        b'{"custom_id":"x","response":{"status_code":200,"body":{"choices":[{"message":{"content":"'
    )
    tail = b'"}}]}}}'
    assert decode(head + b"tab\there" + tail, CHAT).value == "tab\there"
    assert decode(head + b"\xff\xfe" + tail, CHAT).value == "\ufffd\ufffd"
    assert decode(head + b"half \\ud800" + tail, CHAT).value == "half \ufffd"
    assert decode(head.replace(b"200", b'200,"x":NaN') + b"ok" + tail, CHAT).value == "ok"


def test_a_byte_order_mark_loses_no_row():
    """A file that begins with a BOM has its first row, in OpenAI's dialect and in Anthropic's."""
    line = b'{"custom_id":"a-0","response":{"status_code":200,"body":{"choices":[{"message":{"content":"A"}}]}}}\n'
    assert [one.value for one in decode_lines(b"\xef\xbb\xbf" + line + line, CHAT)] == ["A", "A"]
    line = b'{"custom_id":"a-0","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"A"}]}}}\n'
    assert [one.value for one in anthropic.decode_lines(b"\xef\xbb\xbf" + line + line)] == [
        "A",
        "A",
    ]


def test_a_line_cut_off_has_no_custom_id_and_loses_no_other():
    """Cut off in the middle of a download, wherever; a whole line that can't be read is a failure of its row."""
    good = chat({"content": "a } b"})
    cuts = [good[:at] for at in range(1, len(good))]
    results = list(decode_lines(b"\n".join([good, *cuts, good]), CHAT))
    assert [r.custom_id for r in results] == ["x", *[None] * len(cuts), "x"]
    assert "not valid JSON" in results[1].error
    for value in (b"[" * 9_999 + b"]" * 9_999, b'{"":' * 9_999 + b"1" + b"}" * 9_999, b"oops"):
        broken = good[:-1] + b',"more":' + value + b"}"
        assert decode(broken, CHAT).custom_id == "x"
        assert "not valid JSON" in decode(broken.replace(b"200", b"500"), CHAT).error
        assert isinstance(tolerant.raw(broken), str)
    assert tolerant.raw(good[:-1] + b',"more":' + b"9" * 5_000 + b"}")["more"] == float("inf")


def test_tokens_are_read_in_every_dialect():
    """Also as floats and texts; a usage that says nothing is None, not zero."""

    def usage(value):
        body = {"choices": [{"index": 0, "message": {"content": "a"}}], "usage": value}
        return decode(line_of(body), CHAT).usage

    assert usage(
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}
    ) == Usage(5, 2, 4)
    assert usage(
        {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}
    ) == Usage(5, 2, 0, 1)
    assert usage({"prompt_tokens": 5.0, "completion_tokens": "2"}) == Usage(5, 2)
    assert usage(
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 10,
            "completion_tokens_details": {"reasoning_tokens": 3},
        }
    ) == Usage(5, 5, 0, 3)  # xAI: reasoning tokens are counted in addition to the answer's
    assert usage(
        {
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "total_tokens": 16,
            "prompt_tokens_details": {
                "cache_write_tokens": 1,
                "audio_tokens": 2,
                "image_tokens": 3,
            },
            "completion_tokens_details": {"audio_tokens": 4, "image_tokens": 5},
        }
    ) == Usage(9, 7, 0, 0, 1, 2, 3, 4, 5)
    by_litellm = {
        "prompt_tokens": 47,
        "completion_tokens": 5,
        "prompt_tokens_details": {  # Anthropic, in real time
            "cached_tokens": 7,
            "cache_creation_tokens": 30,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": 20,
                "ephemeral_1h_input_tokens": 10,
            },
        },
    }
    assert (
        usage(by_litellm)
        == usage({**by_litellm, "prompt_tokens": "47"})
        == Usage(47, 5, 7, 0, 30, cache_write_1h_tokens=10)
    )
    assert usage(
        {"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens": None}
    ) == Usage(5)
    assert usage({}) is None
    assert usage("many") is None


def test_responses_are_read_part_by_part():
    """Reasoning is passed over, several texts are joined, a refusal or a failure is its reason."""

    def read(output, **more):
        return decode(line_of({"object": "response", "output": output, **more}), RESPONSES)

    def message(*parts):
        return {"type": "message", "content": list(parts)}

    text = {"type": "output_text", "text": "a"}
    thought = {
        "type": "reasoning",
        "content": [{"type": "reasoning_text", "text": "hm"}],
        "summary": [],
    }
    assert read([thought, message(text, text), message(text)]).value == "aaa"
    assert read([message({"type": "refusal", "refusal": "not that"})]).error == "refusal: not that"
    assert (
        read([{"type": "function_call", "name": "f", "arguments": "{}"}]).value
        == '[{"name": "f", "arguments": {}}]'
    )
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read([message(text)], **cut).value == "a"
    assert (
        "content_filter"
        in read([], status="incomplete", incomplete_details={"reason": "content_filter"}).error
    )
    assert (
        "server_error: oops"
        in read([], status="failed", error={"code": "server_error", "message": "oops"}).error
    )


def test_vectors_come_as_lists_or_as_base64():
    """Little-endian 32-bit floats in the latter."""
    packed = base64.b64encode(struct.pack("<3f", 1.0, -2.5, 0.25)).decode()
    assert list(
        decode(line_of({"data": [{"index": 0, "embedding": packed}]}), EMBEDDINGS).value
    ) == [1.0, -2.5, 0.25]
    assert decode(line_of({"data": [{"index": 0, "embedding": [1, 2]}]}), EMBEDDINGS).value == [
        1.0,
        2.0,
    ]
    assert (
        "no vector"
        in decode(line_of({"data": [{"index": 0, "embedding": None}]}), EMBEDDINGS).error
    )


# --- batch objects --------------------------------------------------------------------------------------------------


def test_each_recorded_batch_is_read():
    """None of them is an exception, and its word is kept."""
    views = {case: read_batch(record["line"]) for case, record in BATCHES.items()}
    endings = {"completed": State.COMPLETED, "failed": State.FAILED, "expired": State.EXPIRED}
    for case, view in views.items():
        line = BATCHES[case]["line"]
        assert view.id == line["id"]
        assert view.ending is endings.get(line.get("status"))
        assert view.output_file_id == (line.get("output_file_id") or None)
        assert view.error_file_id == (line.get("error_file_id") or None)
    limit = views["failed_token_limit"]
    assert limit.quota
    assert limit.errors.startswith("token_limit_exceeded: Enqueued token limit reached")
    mismatch = views["failed_mismatched_model"]
    assert not mismatch.quota
    assert "mismatched_model" in mismatch.errors
    assert "line 2" in mismatch.errors
    both = views["failed_missing_method_and_url"].errors
    assert "at method" in both
    assert "at url" in both
    thousand = views["failed_1000_errors"].errors
    assert thousand.endswith("and 997 more")
    assert len(thousand) < 400
    partial = views["expired_with_partial_output"]
    assert (partial.ending, partial.total, partial.completed, partial.failed) == (
        State.EXPIRED,
        3,
        1,
        2,
    )
    assert views["openai_completed_with_usage_structured"].usage == Usage(72, 12)
    assert views["azure_empty_string_file_ids"].output_file_id is None
    assert views["production_stack_status_pending_running"].ending is None
    assert views["production_stack_status_pending_running"].status == "running"


@pytest.mark.parametrize(
    "status",
    ["validating", "in_progress", "finalizing", "cancelling", "scheduling", "pending", None, 7],
)
def test_a_status_that_is_no_ending_is_open(status):
    """Unknown words too: it is asked again, never given up."""
    assert read_batch({"id": "b", "status": status}).ending is None


def test_fields_may_be_missing_null_or_of_another_kind():
    """The official object, and what others make of it."""
    view = read_batch(
        {
            "id": "b",
            "status": "Cancelled",
            "request_counts": None,
            "errors": None,
            "metadata": None,
            "usage": None,
            "created_at": 12.5,
            "expires_at": 0,
        }
    )
    assert (view.ending, view.total, view.errors) == (State.CANCELLED, 0, "")
    assert (view.created_at, view.expires_at) == (12.5, None)
    assert read_batch({}).status == "unknown"
    assert read_batch({"errors": "plain"}).errors == "plain"
    assert read_batch({"errors": {"message": "m", "code": "c"}}).errors == "c: m"
    assert read_batch({"errors": {"data": [None, {}, "x"]}}).errors == "x"
    assert read_batch({"created_at": "2024-01-01T00:00:00Z"}).created_at == 1704067200.0
    assert read_batch({"created_at": "2024-01-01T00:00:00"}).created_at == 1704067200.0
    assert read_batch({"created_at": "soon"}).created_at is None
    assert read_batch({"metadata": {"job": "x", "n": 1}}).tag == {"job": "x", "n": "1"}
