"""The cost of a small request to the built-in model is bounded: its time, the size of its answer, its nesting."""

from __future__ import annotations

import json
import time

import pytest
from server_asking import jsonl, line

from jupyter_batch.server.checks.nesting import MOST_NESTED, is_too_deep, pruned
from jupyter_batch.server.echo import model as echo

HUGE = 1_000_000_000


def doubling(levels: int, kind: str = "object") -> dict:
    """A schema of a few lines whose value has two to the power of `levels` leaves."""
    defs = {"d0": {"type": "string"}}
    for level in range(1, levels + 1):
        down = {"$ref": f"#/$defs/d{level - 1}"}
        defs[f"d{level}"] = {
            "object": {
                "type": "object",
                "properties": {"a": down, "b": down},
                "required": ["a", "b"],
            },
            "allOf": {"allOf": [down, down]},
            "prefixItems": {"type": "array", "prefixItems": [down, down]},
            "minItems": {"type": "array", "items": down, "minItems": 2},
        }[kind]
    return {"$ref": f"#/$defs/d{levels}", "$defs": defs}


SCHEMAS = {
    "minLength": {"type": "string", "minLength": HUGE},
    "minItems": {"type": "array", "items": {"type": "integer"}, "minItems": HUGE},
    "minItems of texts": {"type": "array", "items": {"type": "string"}, "minItems": HUGE},
    "minItems of an enum": {
        "type": "array",
        "items": {"type": "array", "items": {"enum": ["a"]}, "minItems": 9},
        "minItems": HUGE,
    },
    "both": {
        "type": "array",
        "items": {"type": "string", "format": "x", "minLength": 100_000},
        "minItems": 100_000,
    },
    "$defs": doubling(24),
    "allOf": doubling(24, "allOf"),
    "prefixItems": doubling(24, "prefixItems"),
    "arrays that double": doubling(24, "minItems"),
    "an array of itself": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "a choice of itself": {"anyOf": [{"$ref": "#"}]},
    "all of itself": {"allOf": [{"$ref": "#"}]},
    "an object of itself": {
        "type": "object",
        "properties": {"a": {"$ref": "#"}},
        "required": ["a"],
    },
    "no number": {"type": "string", "minLength": "many"},
    "infinity": {"type": "number", "multipleOf": 1e-320, "minimum": 1e308},
}


def formed(schema: dict) -> dict:
    """A `response_format` with this schema."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"response_format": form}


def tooled(schema: dict) -> dict:
    """Tools with this schema as parameters, one of which must be called."""
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    return {"tools": [tool], "tool_choice": "required"}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("way", [formed, tooled])
def test_a_schema_that_asks_for_too_much_is_that_rows_400(ask, name, way):
    """The row fails with a 400, the others are answered, in a batch and in real time, soon."""
    began = time.perf_counter()
    more = way(SCHEMAS[name])
    ended = ask.run(jsonl(line("good"), line("bad", **more), line("also good")))
    output, errors = ask.results(ended)
    assert {row["custom_id"] for row in output} == {"good", "also good"}
    assert [row["response"]["status_code"] for row in errors] == [400]
    assert errors[0]["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert ask.call("POST", "/chat/completions", json=line(**more)["body"]).status_code == 400
    assert time.perf_counter() - began < 20


def test_the_responses_api_has_the_same_bounds(ask):
    """A schema in `text.format`, and the parameters of a flat tool."""
    form = {"type": "json_schema", "name": "x", "schema": SCHEMAS["$defs"]}
    tool = {"type": "function", "name": "f", "parameters": SCHEMAS["minLength"]}
    for more in ({"text": {"format": form}}, {"tools": [tool], "tool_choice": "required"}):
        answer = ask.call("POST", "/responses", json={"model": "echo", "input": "x", **more})
        assert answer.status_code == 400


def test_copies_of_a_long_answer_are_bounded(ask):
    """`n` copies of a text of megabytes are a 400; n of a short one are not."""
    long = "x" * (1 << 20)
    assert (
        ask.call("POST", "/chat/completions", json=line(text=long, n=128)["body"]).status_code
        == 400
    )
    assert ask.call("POST", "/chat/completions", json=line(n=128)["body"]).status_code == 200


def test_schemas_of_a_usual_size_are_filled(ask):
    """Many fields on a long text are well within the bound."""
    properties = {f"field{i}": {"type": "string"} for i in range(60)}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    answer = ask.call(
        "POST", "/chat/completions", json=line(text="word " * 4_000, **formed(schema))["body"]
    )
    filled = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert set(filled) == set(properties)


PROMPTS = {
    "keywords": "Pick the topic of these keywords: "
    + ", ".join(f"keyword{i}" for i in range(1_500)),
    "one word": "pick " + "a" * 30_000,
    "dashes": "pick " + "a-" * 15_000,
    "or": "pick " + "a or " * 7_000,
    "quoted, commas": 'pick "a"' + ",  " * 9_000,
    "quoted": "pick " + '"a", ' * 7_000,
    "quotes": "pick " + '"' * 30_000,
    "newlines": "labels" + "\n" * 30_000,
    "spaces": "one of" + " " * 30_000,
    "as": "pick as" + " \n" * 15_000,
    "slashes": "pick " + "a/" * 15_000,
    "brackets": "pick " + "([{abc" * 5_000,
    "commas": "pick " + "a,          " * 2_500,
    "classes": "classify: " + "label it as " * 2_500,
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_is_read_in_linear_time(name):
    """No text makes the rules for labels slow, and eight times the text takes about eight times as long."""

    def seconds(prompt: str) -> float:
        began = time.thread_time()
        echo.answer_text({"messages": [{"role": "user", "content": prompt}]})
        return time.thread_time() - began

    assert seconds(PROMPTS[name]) < 1.0
    assert seconds(PROMPTS[name] * 8) < 3.0


def test_a_long_text_that_names_a_tool_often_is_read_in_linear_time():
    """Mentions of a tool whose arguments never end, or are no JSON, stay cheap."""
    for text in ("f([" * 20_000, 'f(["' * 20_000, "f({" * 20_000, "f " * 20_000, "f(1" * 20_000):
        began = time.thread_time()
        echo.chat(
            {
                "model": "echo",
                "messages": [{"role": "user", "content": text}],
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
            id_="x",
            created=0,
        )
        assert time.thread_time() - began < 2.0


def test_labels_in_a_long_list_are_still_found():
    """The bounded patterns find a list of 20 labels, and labels at the end of a long prompt."""
    labels = [f"topic{i}" for i in range(20)]
    listed = ", ".join(labels[:-1]) + " or " + labels[-1]
    for prompt in (
        f"Is it {listed}? about topic7",
        f"{'word ' * 20_000}\nClassify ({'/'.join(labels)})",
    ):
        assert echo.answer_text({"messages": [{"role": "user", "content": prompt}]}) in labels


def deep(levels: int, inner: str = "1") -> bytes:
    """A value nested so deep."""
    return b"[" * levels + inner.encode() + b"]" * levels


def deep_line(custom_id: str, levels: int, where: str = "body") -> bytes:
    """A line with a member of its body (or of itself) that is nested so deep."""
    whole = json.dumps(line(custom_id)).encode()
    member = b'"user": %b, ' % deep(levels)
    if where == "body":
        return whole.replace(b'"messages"', member + b'"messages"')
    return b'{"more": %b, %b' % (deep(levels), whole[1:])


@pytest.mark.parametrize("levels", [129, 1_000, 5_000, 100_000])
@pytest.mark.parametrize("where", ["body", "line"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_line_that_is_nested_deep_is_that_rows_400(ask, levels, where, place):
    """The row's error names its line; the batch goes on, wherever the nesting is, first line or not."""
    rows = [line("a"), line("b")]
    rows.insert(place, deep_line("deep", levels, where))
    ended = ask.run(jsonl(*rows))
    assert (ended["status"], ended["errors"]) == ("completed", None)
    assert ended["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    output, errors = ask.results(ended)
    assert {row["custom_id"] for row in output} == {"a", "b"}
    assert errors[0]["custom_id"] == "deep"
    assert errors[0]["response"]["status_code"] == 400
    assert f"Line {place + 1} " in errors[0]["response"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    "raw", [b"[" * 1_000, b'{"a":' * 5_000, b'{"custom_id": "x", "body": ' + b"[" * 500]
)
def test_deep_nesting_that_does_not_end_is_no_json(ask, raw):
    """Unbalanced nesting is a line that can't be parsed, with its number."""
    ended = ask.run(jsonl(line("a"), raw))
    assert ended["status"] == "failed"
    assert [(one["code"], one["line"]) for one in ended["errors"]["data"]] == [
        ("invalid_json_line", 2)
    ]


@pytest.mark.parametrize(
    "path",
    ["/chat/completions", "/responses", "/embeddings", "/batches", "/../jupyter_batch/faults"],
)
def test_a_deep_body_is_a_400_on_every_route(ask, path):
    """In real time and on create, at any depth above the bound."""
    method = "PUT" if "faults" in path else "POST"
    for levels in (200, 1_000, 50_000):
        body = b'{"model": "echo", "x": %b}' % deep(levels)
        answer = ask.call(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert f"{MOST_NESTED} levels" in answer.json()["error"]["message"]


def test_brackets_in_texts_are_no_nesting():
    """Only real nesting counts, strings and escapes do not; what is within the bound is left as it is."""
    text = json.dumps({"a": '[{"\\' * 500, "b": [1] * 500}).encode()
    assert not is_too_deep(text)
    assert pruned(text) == text
    assert not is_too_deep(deep(MOST_NESTED))
    assert is_too_deep(deep(MOST_NESTED + 1))
    assert json.loads(pruned(b'{"a": %b, "b": 2}' % deep(300)))["b"] == 2


def test_odd_requests_are_400s(ask):
    """A failure while a request is read or answered is that request's 400, never a 500."""
    odd = [
        {
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": {"function": {}},
        },
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [1]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": 7}]},
        {"stop": [1]},
        {"tools": [{"type": {}}]},
        formed({"enum": [1, {"a": 1}]}) | {"stop": {"a": 1}},
    ]
    for more in odd:
        answer = ask.call("POST", "/chat/completions", json={**line()["body"], **more})
        assert answer.status_code in (200, 400), more
