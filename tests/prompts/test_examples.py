"""Few-shot examples: rows of a frame, through the same template, before each row's own message."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

import jupyter_batch
from jupyter_batch import col
from jupyter_batch.config.settings import Options
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.prompts import few_shot as module
from jupyter_batch.prompts.additions import with_extras
from jupyter_batch.prompts.dspy_module import Module

from .files import png, sent


def dialogue(*texts):
    """Messages, user and assistant in turn; the first is the system's where it begins with S:."""
    first = [{"role": "system", "content": texts[0][2:]}] if texts[0].startswith("S:") else []
    return first + [
        {"role": "user" if n % 2 == 0 else "assistant", "content": text}
        for n, text in enumerate(texts[len(first) :])
    ]


EXAMPLES = pd.DataFrame(
    {"text": ["great", "awful"], "label": ["good", "bad"], "unused": [None, None]}
)
ROWS = pd.DataFrame({"text": ["I love it", "I hate it"]})


def test_pairs_before_each_row(server, call, home):
    """The same template, after the system message; run again it is the same job, other examples are another."""
    df = ROWS.copy()
    job = df.llm.batch(
        "Judge: {text}", system="S of {text}", out="label", examples=EXAMPLES, **call
    ).wait(60)
    assert sent(job) == [
        dialogue(f"S:S of {text}", "Judge: great", "good", "Judge: awful", "bad", f"Judge: {text}")
        for text in df["text"]
    ]
    assert df["label"].tolist() == ["Judge: I love it", "Judge: I hate it"]
    again = ROWS.copy()
    assert (
        again.llm.batch(
            "Judge: {text}", system="S of {text}", out="label", examples=EXAMPLES.copy(), **call
        ).id
        == job.id
    )
    other = ROWS.copy()
    assert (
        other.llm.batch(
            "Judge: {text}", system="S of {text}", out="label", examples=EXAMPLES.head(1), **call
        )
        .wait(60)
        .id
        != job.id
    )
    assert server.stats()["batches_created"] == 2


def test_all_forms_of_prompts(call, home):
    """Messages, functions, conversations and lists without a frame take them in the same place."""
    many = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "See {text}"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Now?"},
    ]
    df = ROWS.head(1).copy()
    job = df.llm.batch(many, out="label", examples=EXAMPLES.head(1), **call).wait(60)
    assert sent(job) == [
        dialogue(
            "S:Be brief.", "See great", "Yes.", "Now?", "good", "See I love it", "Yes.", "Now?"
        )
    ]

    def asked(row):
        return [
            {"role": "system", "content": "F"},
            {"role": "user", "content": row["text"].upper()},
        ]

    df = ROWS.head(1).copy()
    job = df.llm.batch(asked, out="label", examples=EXAMPLES, **call).wait(60)
    assert sent(job) == [dialogue("S:F", "GREAT", "good", "AWFUL", "bad", "I LOVE IT")]

    talks = pd.DataFrame({"talk": [dialogue("S:T", "one", "two", "three")]})
    shown = pd.DataFrame({"talk": [dialogue("a", "b", "c"), "d"], "response": ["e", 5]})
    job = talks.llm.batch(col("talk"), examples=shown, **call).wait(60)
    assert sent(job) == [dialogue("S:T", "a", "b", "c", "e", "d", "5", "one", "two", "three")]

    job = jupyter_batch.batch(
        ["x"], system="L", examples=[{"prompt": "p", "response": "r"}], **call
    ).wait(60)
    assert sent(job) == [dialogue("S:L", "p", "r", "x")]


class Verdict(BaseModel):
    label: Literal["good", "bad"]
    stars: int | None
    day: dt.date
    tags: list[str] = []


def test_with_a_schema(call, home):
    """The fields' columns are the JSON that is wanted, in its types, prefix or not."""
    shown = pd.DataFrame(
        {
            "text": ["a", "b"],
            "label": pd.Categorical(["good", "bad"]),
            "stars": [3, None],
            "day": pd.to_datetime(["2024-01-02", "2024-01-03"]),
            "tags": [["x"], np.array(["y", "z"], dtype=object)],
        }
    )
    wanted = [
        {"label": "good", "stars": 3, "day": "2024-01-02", "tags": ["x"]},
        {"label": "bad", "stars": None, "day": "2024-01-03", "tags": ["y", "z"]},
    ]
    for prefix, frame in (
        ({}, shown),
        ({"out": "v"}, shown),
        ({"out": "w"}, shown.rename(columns=lambda c: f"w_{c}").rename(columns={"w_text": "text"})),
    ):
        job = (
            ROWS.copy()
            .llm.batch("{text}", schema=Verdict, examples=frame, **prefix, **call)
            .wait(60)
        )
        asked = sent(job)[0]
        assert [json.loads(one["content"]) for one in asked if one["role"] == "assistant"] == wanted
    with pytest.raises(
        InputError,
        match=r"row 1 of the examples .* does not fit the schema: .*\(there is no value in "
        r"column 'label'\)",
    ):
        ROWS.copy().llm.batch(
            "{text}", schema=Verdict, examples=shown.assign(label=["good", None]), **call
        )
    with pytest.raises(
        InputError, match=r"row 0 of the examples .* does not fit the schema: .*'great'"
    ):
        ROWS.copy().llm.batch(
            "{text}", schema=Verdict, examples=shown.assign(label="great"), **call
        )
    with pytest.raises(ColumnError, match=r"examples= has no column 'day'"):
        ROWS.copy().llm.batch("{text}", schema=Verdict, examples=shown.drop(columns="day"), **call)


def test_of_several_models(call, home):
    """Each model's column ends with its name; the examples' columns need not."""
    df = ROWS.copy()
    models = ["openai/echo", "openai/local/echo"]
    group = df.llm.batch(
        "{text}", out="label", examples=EXAMPLES, **{**call, "model": models}
    ).wait(60)
    for job in group.jobs:
        assert sent(job)[0] == dialogue("great", "good", "awful", "bad", "I love it")
    shown = pd.DataFrame({"text": ["a"], "ok": [True]})
    group = df.llm.batch(
        "{text}", schema={"ok": bool}, examples=shown, **{**call, "model": models}
    ).wait(60)
    for job in group.jobs:
        assert sent(job)[0][1]["content"] == '{"ok":true}'


def test_with_pictures(call, home, here):
    """The examples' rows show their own pictures."""
    (here / "b.png").write_bytes(png(4, 4))
    shown = pd.DataFrame({"text": ["x"], "photo": ["b.png"], "label": ["grey"]})
    df = pd.DataFrame({"text": ["y"], "photo": [png(2, 2)]})
    job = df.llm.batch("{text}", images="photo", examples=shown, out="label", **call).wait(60)
    asked = sent(job)[0]
    assert [[part["type"] for part in one["content"]] for one in (asked[0], asked[2])] == [
        ["text", "image_url"]
    ] * 2
    assert df["label"].tolist() == ["y\n[image png 2x2]"]
    with pytest.raises(
        InputError, match=r"row 0 of the examples \(counted from 0\): no such file: gone\.png"
    ):
        df.llm.batch(
            "{text}", images="photo", examples=shown.assign(photo="gone.png"), out="label", **call
        )
    with pytest.raises(ColumnError, match="examples= has no column 'photo'"):
        df.llm.batch(
            "{text}", images="photo", examples=shown.drop(columns="photo"), out="label", **call
        )


@pytest.mark.parametrize(
    ("shown", "error", "says"),
    [
        (EXAMPLES.drop(columns="text"), ColumnError, r"examples= has no column 'text'"),
        (
            EXAMPLES.rename(columns={"label": "lable"}),
            ColumnError,
            r"no column 'label'; did you mean 'lable'\?",
        ),
        (
            EXAMPLES.assign(label=["good", None]),
            InputError,
            r"row 1 of the examples .* no value in column 'label'",
        ),
        (
            EXAMPLES.assign(text=[None, "x"]),
            InputError,
            r"row 0 of the examples .* no value in column 'text'",
        ),
        (EXAMPLES.head(0), InputError, "examples= has no rows"),
        (
            pd.concat([EXAMPLES] * 501),
            InputError,
            r"examples= has 1,002 rows, and each request repeats them all",
        ),
        (
            pd.DataFrame({"text": ["x" * 17_000_000], "label": "y"}),
            InputError,
            "makes 17,000,.* bytes of each request",
        ),
        ("examples.csv", OptionError, "`examples` takes a DataFrame .*, not a str"),
        (["a", "b"], OptionError, "`examples` takes a DataFrame .*, not a list"),
    ],
)
def test_mistakes(shown, error, says, call, home):
    """Each mistake in them is refused before anything is sent, by its row or its column."""
    with pytest.raises(error, match=says):
        ROWS.copy().llm.batch("{text}", out="label", examples=shown, **call)


def test_the_system_message_is_the_rows_own(call, home):
    """Columns that only the system message reads need not be in the examples."""
    df = ROWS.head(1).assign(who="a judge")
    job = df.llm.batch(
        "{text}", system="You are {who}.", out="label", examples=EXAMPLES.head(1), **call
    ).wait(60)
    assert sent(job) == [dialogue("S:You are a judge.", "great", "good", "I love it")]


def test_missing_where_a_function_looks(call, home):
    """Of a function, what it looks at counts."""
    shown = EXAMPLES.assign(text=["great", None])
    with pytest.raises(InputError, match=r"row 1 of the examples .* no value in column 'text'"):
        ROWS.copy().llm.batch(lambda row: f"{row['text']}", out="label", examples=shown, **call)


def test_no_meaning(call, home):
    """Vectors have no examples."""
    with pytest.raises(OptionError, match="`examples` has no meaning for vectors"):
        ROWS.copy().llm.embed("text", examples=EXAMPLES, **call)


def test_rendered_once(call, home, monkeypatch):
    """However many rows there are, the examples are rendered once."""
    calls = []
    real = module._filled
    monkeypatch.setattr(module, "_filled", lambda *given: calls.append(1) or real(*given))
    df = pd.DataFrame({"text": [f"row {n}" for n in range(2000)]})
    df.llm.batch("{text}", out="label", examples=EXAMPLES, **call).wait(60)
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["examples", "images"])
def test_a_modules_own_business(name):
    """A dspy module has both by its own ways, and says so."""
    signature = SimpleNamespace(input_fields={"text": SimpleNamespace(annotation=str)})
    prompt = Module(SimpleNamespace(signature=signature), None)
    options = Options(model="local/echo", **{name: {"examples": EXAMPLES, "images": "text"}[name]})
    with pytest.raises(
        OptionError,
        match=f"`{name}` is the prompt's own business here: a dspy module has it in its",
    ):
        with_extras(prompt, ["text"], prompt, options, None)
