"""`question -> answer, confidence: float`: the short form is read, rendered and landed; other texts stay prompts."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Literal, Optional

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.prompts.signature import read_signature, spelled_out


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("question -> answer", ("question",), {"answer": str}),
        ("question->answer", ("question",), {"answer": str}),
        ("  a, b  ->  c ,d ", ("a", "b"), {"c": str, "d": str}),
        (
            "question -> answer, confidence: float",
            ("question",),
            {"answer": str, "confidence": float},
        ),
        ("q: str, c: list[str] -> n: int, ok: bool", ("q", "c"), {"n": int, "ok": bool}),
        (
            "q -> kind: Literal['a', 'b'], tags: list[str]",
            ("q",),
            {"kind": Literal["a", "b"], "tags": list[str]},
        ),
        ('q -> kind: Literal["a, b", "->"]', None, None),
        (
            "q -> kind: typing.Literal['x'], m: dict[str, list[int]]",
            ("q",),
            {"kind": Literal["x"], "m": dict[str, list[int]]},
        ),
        (
            "q -> n: Optional[int], m: int | None, k: Union[int, str]",
            ("q",),
            {"n": Optional[int], "m": int | None, "k": int | str},  # noqa: UP045
        ),
        (
            "q -> day: date, at: datetime.datetime, x: Any, l: list",
            ("q",),
            {"day": dt.date, "at": dt.datetime, "x": Any, "l": list},
        ),
    ],
)
def test_what_is_read(text, inputs, outputs):
    """Names, and types as dspy users write them; texts are the default."""
    found = read_signature(text)
    assert (found and found.inputs) == inputs
    assert (found and found.outputs) == outputs


@pytest.mark.parametrize(
    "text",
    [
        "Classify: {q}",
        "Translate English -> French",
        "a -> b -> c",
        "-> b",
        "a ->",
        "a, -> b c",
        "f(x) -> y",
        "a=1 -> b",
        "*a -> b",
        "a -> b\nand more",
        "1 -> 2",
        "a -> 'b'",
        "a; import os -> b",
        "a -> b): ...\ndef f(c",
        "->",
        "lambda -> x",
        "class -> kind",
    ],
)
def test_what_is_no_signature(text):
    """Ordinary prompts, arrows or not, are none; nothing in them is run."""
    assert read_signature(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q -> a: Sentiment", "the type Sentiment for 'a'"),
        ("q -> a: os.system('x')", "the type os.system"),
        ("q -> a: Literal[b]", "b in the Literal of 'a'"),
        ("q -> a: __import__('os')", "the type __import__"),
        ("q -> a: list[str, int]", "the type list"),
        ("q -> a: tuple[int]", "`schema` takes any other"),
        ("q -> a, a", "names 'a' twice"),
        ("q, q -> a", "names 'q' twice"),
    ],
)
def test_types_that_are_not_known(text, says):
    """Nothing is evaluated: an unknown type is refused by its name."""
    with pytest.raises(OptionError) as raised:
        read_signature(text)
    assert says in str(raised.value)


@given(st.text(max_size=40) | st.text("abq ->:,[]|'", max_size=30))
def test_any_text(text):
    """Any text is a signature, or none, or an error of ours."""
    try:
        found = read_signature(text)
    except OptionError:
        return
    assert found is None or (found.inputs and found.outputs)


def test_its_inputs_are_columns():
    """An input that is none is a mistake, one of all or the only one: as a prompt it would be the same for each row."""
    df = pd.DataFrame({"q": ["x"], "c": ["y"], "question": ["z"]})
    assert spelled_out(["q -> a"], None, {}) == (None, {})
    with pytest.raises(
        ColumnError,
        match=r"the column 'qestion', which the frame has not; did you mean 'question'\?",
    ):
        spelled_out(df, "qestion -> answer", {})
    with pytest.raises(
        ColumnError, match=r"asks for the column 'English', which the frame has not\. Columns: q, c"
    ):
        spelled_out(df, "English -> French", {})
    with pytest.raises(
        ColumnError, match=r"asks for the column 'd', which the frame has not\. Columns: q, c"
    ):
        spelled_out(df, "q, d -> a", {})
    with pytest.raises(
        OptionError, match="`schema` says what the answer holds, and so does the signature"
    ):
        spelled_out(df, "q -> a", {"schema": {"a": str}})


@pytest.mark.parametrize(
    "text", ["q ->", "q, c -> a b", "q -> a -> b", "q -> class", "q -> a\nBe brief."]
)
def test_inputs_without_outputs(text):
    """A malformed signature is a mistake, too, except where it names columns in braces."""
    df = pd.DataFrame({"q": ["x"], "c": ["y"]})
    with pytest.raises(
        OptionError, match="begins as a signature, but after the -> there must be names of fields"
    ):
        spelled_out(df, text, {})
    assert spelled_out(df, text + " {q}", {}) == (text + " {q}", {})


def test_any_column_can_be_an_input(call, home):
    """Also one whose name is no word; and over several lines, as dspy has it."""
    df = pd.DataFrame({"Customer Feedback": ["I love it"], "class": ["x"]})
    text = "Customer Feedback, class\n-> label: Literal['positive', 'negative'],\n   n: int"
    job = df.llm.batch(text, **call).wait(60)
    assert df["label"].tolist() == ["positive"]
    assert (
        sent(job)["messages"][1]["content"]
        == "[[ ## Customer Feedback ## ]]\nI love it\n\n[[ ## class ## ]]\nx"
    )
    df.llm.batch("Customer Feedback -> said", template="jinja", **call).wait(60)
    assert df["said"].tolist() == ["I love it"]


def sent(job):
    """The first request."""
    with job._folder.requests(0).open() as file:
        return json.loads(next(file))["body"]


def test_from_the_short_form_to_typed_columns(call, home):
    """The inputs are the prompt, the outputs columns, each of its type; run again it is the same job."""
    df = pd.DataFrame({"review": ["I love it", "It is awful"], "shop": ["north", "south"]})
    text = "review, shop -> answer, confidence: float, kind: Literal['good', 'bad'], tags: list[str], n: int | None"
    job = df.llm.batch(text, **call).wait(60)
    assert job.is_successful, job
    assert {name: str(df[name].dtype) for name in df.columns[2:]} == {
        "answer": "string",
        "confidence": "Float64",
        "kind": "category",
        "tags": "object",
        "n": "Int64",
    }
    assert df["kind"].tolist() == ["good", "bad"]
    asked = sent(job)
    assert asked["messages"] == [
        {
            "role": "system",
            "content": "Given the fields `review`, `shop`, produce the fields `answer`, `confidence`, "
            "`kind`, `tags`, `n`.",
        },
        {"role": "user", "content": "[[ ## review ## ]]\nI love it\n\n[[ ## shop ## ]]\nnorth"},
    ]
    assert asked["response_format"]["json_schema"]["strict"]
    assert df.llm.batch(text, **call) is job


def test_instructions_prefix_and_jinja(call, home):
    """`system` takes the place of the default; out= is the prefix; Jinja is Jinja still."""
    df = pd.DataFrame({"q": ["6 times 7"]})
    job = df.llm.batch(
        "q -> answer: str", system="Be brief.", out="r", template="jinja", **call
    ).wait(60)
    assert df["r_answer"].tolist() == ["6 times 7"]
    assert [message["content"] for message in sent(job)["messages"]] == ["Be brief.", "6 times 7"]


def test_missing_inputs(call, home):
    """An input that is missing leaves its row out, with its reason."""
    df = pd.DataFrame({"q": ["x", None]})
    job = df.llm.batch("q -> a", **call).wait(60)
    assert job.errors["_error"].tolist() == ["no value in column 'q'"]


def test_a_module_needs_dspy():
    """An object that is no module of dspy's is refused as such, whether dspy is installed or not."""
    with pytest.raises(InputError):
        pd.DataFrame({"q": ["x"]}).llm.batch(object(), model="local/echo")
