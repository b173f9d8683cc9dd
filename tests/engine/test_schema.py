"""`schema=`: an answer's fields become typed columns, here and in a process without the class."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import time
from typing import Literal

import numpy as np
import pandas as pd
import pydantic
import pytest

import jupyter_batch
from jupyter_batch import magics
from jupyter_batch.cli import main
from jupyter_batch.core.errors import AlignmentError, ColumnError, InputError, OptionError
from jupyter_batch.core.request import Status
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.ledgers import forget
from tests.providers.fakes.mistral import Mistral
from tests.waiting import wait_for

from .conftest import numbered
from .test_every_provider import anthropic


class Tone(enum.Enum):
    WARM = "warm"
    COLD = "cold"


class Place(pydantic.BaseModel):
    city: str


class Review(pydantic.BaseModel):
    label: Literal["positive", "negative", "neutral"]
    score: float
    stars: int
    sure: bool
    why: str
    tone: Tone
    when: dt.datetime
    day: dt.date
    tags: list[str]
    place: Place


SHORT = {"label": Literal["positive", "negative", "neutral"], "score": float}
DTYPES = {
    "label": "category",
    "score": "Float64",
    "stars": "Int64",
    "sure": "boolean",
    "why": "string",
    "tone": "category",
    "when": "datetime64[us, UTC]",
    "day": "datetime64[us]",
    "tags": "object",
    "place": "object",
}
CODE = {
    "type": "object",
    "required": ["code"],
    "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}$"}},
}


def frame():
    """Four rows with odd labels, one of which has nothing to ask for."""
    return pd.DataFrame(
        {"text": ["I love it", "It is awful", None, "It is made of wood"]},
        index=["a", "a", "b", "c"],
    )


def codes():
    """Rows of which echo answers two as the schema wants it, and one not."""
    return pd.DataFrame({"text": ["ABC", "abc", "XYZ"]})


def test_one_typed_column_for_each_field(call, home):
    """Named as the fields, each in its own dtype with all its categories; a row without an answer is missing."""
    df = frame()
    job = df.llm.batch("{text}", schema=Review, **call).wait(60)
    assert job.is_successful, job
    assert list(df.columns) == ["text", *DTYPES]
    assert {name: str(df[name].dtype) for name in DTYPES} == DTYPES
    assert df["label"].cat.categories.tolist() == ["positive", "negative", "neutral"]
    assert df["tone"].cat.categories.tolist() == ["warm", "cold"]
    assert df["label"].tolist()[:2] == ["positive", "negative"]
    assert df["why"].tolist()[0] == "I love it"
    assert df["day"].iloc[0] == pd.Timestamp("2024-01-01")
    assert df["tags"].iloc[0] == ["love", "it", "i"]
    assert df["place"].iloc[0] == {"city": "I love it"}
    assert df[list(DTYPES)].iloc[2].isna().all()
    shown = job.results()
    assert list(shown.columns)[: len(DTYPES)] == list(DTYPES)
    assert {name: str(shown[name].dtype) for name in DTYPES} == DTYPES
    assert shown["_raw"].isna().all()


def test_dtypes_do_not_depend_on_what_came(call, home):
    """No row has an answer: the columns have their dtypes, and missing values alone."""
    df = frame()
    job = df.llm.batch("{text}", schema=Review, max_tokens=1, **call).wait(60)
    assert job.counts.succeeded == 0
    assert {name: str(df[name].dtype) for name in DTYPES} == DTYPES | {"when": "datetime64[us]"}
    assert df[list(DTYPES)].isna().all(axis=None)


def test_a_prefix(call, home):
    """out="s": s_label, s_score; the same job, whatever the columns are called."""
    df = frame()
    job = df.llm.batch("{text}", schema=SHORT, out="s", **call).wait(60)
    assert list(df.columns) == ["text", "s_label", "s_score"]
    assert df.llm.batch("{text}", schema=SHORT, **call).wait(60) is job
    assert list(df.columns) == ["text", "s_label", "s_score", "label", "score"]
    assert (df["label"].dropna() == df["s_label"].dropna()).all()


def test_results_are_named_as_they_were_asked_for_last(call, home):
    """The same job into other columns, of a frame or of a list: `results` and `merge` have those names, too."""
    df = frame()
    job = df.llm.batch("{text}", schema=SHORT, out="s", **call).wait(60)
    assert df.llm.batch("{text}", schema=SHORT, **call).wait(60) is job
    assert list(job.results().columns)[:2] == ["label", "score"]
    other = frame()
    job.merge(other)
    assert list(other.columns) == ["text", "label", "score"]
    for out in ("one", "two"):
        job = jupyter_batch.batch(["a", "b"], out=out, **call).wait(60)
        assert job.results()[out].tolist() == ["a", "b"]


def test_a_cell_is_its_row_s_own(call, home):
    """A change of one cell's list changes no other row with the same request, nor the job's later results."""
    df, other = (pd.DataFrame({"text": ["I love it", "I love it"]}) for _ in range(2))
    job = df.llm.batch("{text}", schema={"tags": list[str], "place": Place}, **call).wait(60)
    values = list(df.loc[1, "tags"])
    df.loc[0, "tags"].append("mine")
    df.loc[0, "place"]["city"] = "mine"
    job.merge(other)
    for frame in (df.iloc[1:], other, job.results()):
        assert all(cell == values for cell in frame["tags"])
        assert all(cell == {"city": "I love it"} for cell in frame["place"])


def test_an_answer_that_does_not_fit_is_a_failed_row(server, call, home):
    """Missing in the column, its reason in `errors`, its text in `_raw`; `retry` sends it alone."""
    df = codes()
    job = df.llm.batch("{text}", schema=CODE, **call).wait(60)
    assert job.state == "completed"
    assert not job.is_successful
    assert (job.counts.succeeded, job.counts.failed) == (2, 1)
    assert df["code"].fillna("-").tolist() == ["ABC", "-", "XYZ"]
    assert str(df["code"].dtype) == "string"
    shown = job.results()
    assert shown["_status"].tolist() == ["succeeded", "failed", "succeeded"]
    assert shown["_raw"].fillna("-").tolist() == ["-", '{"code":"abc"}', "-"]
    assert job.errors["_error"].tolist() == [
        "code: expected a text like ^[A-Z]{3}$; got the text 'abc'"
    ]
    assert (shown["_output_tokens"] > 0).all(), "it was paid for all the same"
    again = job.retry().wait(60)
    assert again.counts.reused == 2
    assert (
        server.batches()[0]["request_counts"]["total"]
        + server.batches()[1]["request_counts"]["total"]
        == 4
    )
    assert df["code"].fillna("-").tolist() == ["ABC", "-", "XYZ"]


def test_a_cut_off_answer_says_so(call, home):
    """max_tokens too small: the reason is the cut-off, not the broken JSON; the text as far as it came is kept."""
    job = frame().llm.batch("{text}", schema=Review, max_tokens=5, **call).wait(60)
    assert set(job.errors["_error"].dropna()) == {
        "length: the answer was cut off at its last token; allow more (max_tokens)",
        "no value in column 'text'",
    }
    assert job.results()["_raw"].iloc[0].startswith('{"label":"positive"')
    assert job.results()["_raw"].isna().tolist() == [False, False, True, False]


def test_another_process_needs_no_class(server, call, home):
    """After a restart, opened by its id, the job is parsed from the schema that was stored with it."""
    df = frame()
    job = df.llm.batch("{text}", schema=Review, **call).wait(60)
    first = job.results()
    forget(home)
    again = jupyter_batch.open(job.id)
    pd.testing.assert_frame_equal(again.results(), first)
    fresh = frame()
    fresh.llm.attach(job.id)
    assert {name: str(fresh[name].dtype) for name in DTYPES} == DTYPES
    other = frame().iloc[::-1]
    other.llm.attach(job.id, "x")
    assert other["x_why"].fillna("").tolist() == fresh["why"].fillna("").tolist()[::-1]
    assert server.stats()["batches_created"] == 1


def test_run_again(server, call, home):
    """The same cell: the job that is there, its columns filled, nothing sent, no `overwrite` needed."""
    df = frame()
    job = df.llm.batch("{text}", schema=SHORT, **call).wait(60)
    df["label"] = None
    assert df.llm.batch("{text}", schema=SHORT, **call) is job
    assert df["label"].tolist()[:2] == ["positive", "negative"]
    assert server.stats()["batches_created"] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"label": Literal["positive", "negative"], "score": float},
        {"label": str, "score": float},
        {**SHORT, "more": int},
        {
            "properties": {
                "label": {"enum": ["positive", "negative", "neutral"], "default": "neutral"},
                "score": {"type": "number"},
            }
        },
    ],
)
def test_another_schema_is_another_job(server, call, home, other):
    """The requested fields are part of the request; so is the form of an accepted answer."""
    job = frame().llm.batch("{text}", schema=SHORT, **call).wait(60)
    assert frame().llm.batch("{text}", schema=other, **call).wait(60).id != job.id
    assert frame().llm.batch("{text}", **call).wait(60).id != job.id
    assert server.stats()["batches_created"] == 3


def test_answers_that_did_not_fit_are_asked_again_by_retry_alone(server, call, home):
    """A grown frame takes over what was answered and billed, fitting or not; `retry` sends the latter again."""
    codes().llm.batch("{text}", schema=CODE, **call).wait(60)
    df = pd.DataFrame({"text": ["ABC", "abc", "XYZ", "NEW"]})
    job = df.llm.batch("{text}", schema=CODE, **call).wait(60)
    assert job.counts.reused == 2
    assert sorted(batch["request_counts"]["total"] for batch in server.batches()) == [1, 3]
    assert df["code"].fillna("-").tolist() == ["ABC", "-", "XYZ", "NEW"]
    job.retry().wait(60)
    assert sorted(batch["request_counts"]["total"] for batch in server.batches()) == [1, 1, 3]


def test_columns_that_are_there(call, home):
    """A frame that has one of the columns is refused, with the way out; overwrite fills it; nothing else is touched."""
    df = frame().assign(score="mine")
    with pytest.raises(
        ColumnError, match=r"of 'score' were not written by this job .*overwrite=True .*or out="
    ):
        df.llm.batch("{text}", schema=SHORT, **call)
    assert list(df.columns) == ["text", "score"]
    with pytest.raises(
        ColumnError, match=r"8 cells of 'label', 'score' were not written.*replaces them"
    ):
        df.assign(label=1).llm.batch("{text}", schema=SHORT, **call)
    df.llm.batch("{text}", schema=SHORT, overwrite=True, **call).wait(60)
    assert list(df.columns) == ["text", "score", "label"]
    assert str(df["score"].dtype) == "Float64"


def test_a_column_that_came_is_left_alone(server, call, home):
    """One of the fields' names was taken while the job ran: nothing is written, and the monitor says what to do."""
    server.set_faults("latency=0.2")
    df = frame()
    job = df.llm.batch("{text}", schema=SHORT, **call)
    df["score"] = "mine"
    job.wait(60)
    assert list(df.columns) == ["text", "score"]
    assert "'score' of its own in the meantime" in job.snapshot().merged
    job.merge(df, overwrite=True)
    assert list(df.columns) == ["text", "score", "label"]


def test_moved_rows(call, home):
    """Several columns land on their rows, or none does."""
    df = frame().dropna()
    job = df.llm.batch("{text}", schema=SHORT, **call).wait(60)
    turned = df[["text"]].iloc[::-1]
    job.merge(turned)
    assert turned["label"].tolist() == df["label"].tolist()[::-1]
    changed = df[["text"]].assign(text=["x", "y", "z"])
    with pytest.raises(AlignmentError):
        job.merge(changed)
    assert list(changed.columns) == ["text"]


def test_columns_of_several_levels(call, home):
    """The fields are the first level."""
    df = pd.DataFrame({("text", "en"): ["I love it"]})
    df.llm.batch([{"role": "user", "content": "I love it"}], schema=SHORT, **call).wait(60)
    assert list(df.columns) == [("text", "en"), ("label", ""), ("score", "")]


def test_iteration_and_lists(call, home):
    """Each result holds its fields by name; a list of prompts gives them in order; a failure has its text."""

    async def collected():
        job = jupyter_batch.batch(["ABC", "abc"], schema=CODE, **call)
        return [result async for result in job]

    results = sorted(asyncio.run(collected()), key=lambda result: result.custom_id)
    assert [result.value for result in results] == [{"code": "ABC"}, None]
    assert results[1].status is Status.FAILED
    assert results[1].raw == '{"code":"abc"}'
    assert asyncio.run(jupyter_batch.abatch(["ABC", "abc"], schema=CODE, **call)) == [
        {"code": "ABC"},
        None,
    ]


def test_a_function_of_the_row_does_not_see_the_columns_that_are_filled(call, home):
    """Else the second run of the cell would be another job than the first."""
    df = frame().dropna()
    job = df.llm.batch(lambda row: f"{dict(row)}", schema=SHORT, **call).wait(60)
    assert df.llm.batch(lambda row: f"{dict(row)}", schema=SHORT, **call) is job


def test_in_real_time(call, home):
    """The same columns, asked at once."""
    df = frame()
    assert df.llm.batch("{text}", schema=Review, mode="realtime", **call).wait(60).is_successful
    assert {name: str(df[name].dtype) for name in DTYPES} == DTYPES


REFUSED = {
    "a list at the root": ({"schema": {"type": "array"}}, "root is 'array'"),
    "no schema at all": ({"schema": int}, "takes a Pydantic model"),
    "said twice": (
        {"schema": SHORT, "response_format": {"type": "json_object"}},
        "give one of them",
    ),
    "a column of results": ({"schema": {"_status": str}}, "'_status'.*give an out="),
    "too much": ({"schema": {f"f{n}": int for n in range(5001)}}, "5,001 fields"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_schema_that_can_not_be_sent(server, call, home, name):
    """One sentence, before anything is sent or kept."""
    options, says = REFUSED[name]
    with pytest.raises(InputError, match=says):
        frame().llm.batch("{text}", **options, **call)
    assert not home.exists()
    assert server.stats()["batches_created"] == 0


def test_an_old_model_is_refused(home):
    """A model that has no structured output is named in the refusal, with no request and no litellm."""
    with pytest.raises(OptionError, match=r"openai/gpt-3\.5-turbo has no structured output"):
        frame().llm.batch("{text}", schema=SHORT, model="openai/gpt-3.5-turbo", api_key="sk-none")
    assert not home.exists()


def test_the_magics_line_takes_a_name():
    """--schema Review is the class of that name; an unknown one is refused."""
    assert magics.read_line("df --schema Review", {"Review": Review})[1] == {"schema": Review}
    with pytest.raises(OptionError, match=r"--schema takes the name of .*; 'Gone' is not defined"):
        magics.read_line("df --schema Gone", {})


def test_anthropic(home):
    """As a format of the answer, and as a tool for an older model: the columns are the same."""
    with anthropic() as fake:

        def result(request, kind):
            params = request["params"]
            text = params["messages"][-1]["content"][0]["text"]
            answer = {"label": "positive" if "love" in text else "negative", "score": 0.5}
            if "output_format" in params:
                content = [{"type": "text", "text": json.dumps(answer)}]
            else:
                content = [
                    {
                        "type": "tool_use",
                        "id": "t1",
                        "name": params["tools"][0]["name"],
                        "input": answer,
                    }
                ]
            stop = "max_tokens" if "wood" in text else "end_turn"
            if stop == "max_tokens":
                content = [{"type": "text", "text": '{"label": "pos'}]
            return {
                "custom_id": request["custom_id"],
                "result": {
                    "type": "succeeded",
                    "message": {
                        "content": content,
                        "stop_reason": stop,
                        "usage": {"input_tokens": 3, "output_tokens": 4},
                    },
                },
            }

        fake.result = result
        for model in ("claude-haiku-4-5", "claude-3-haiku-20240307"):
            df = frame()
            job = df.llm.batch(
                "{text}",
                schema=SHORT,
                model=f"anthropic/{model}",
                api_base=fake.base,
                api_key=ANTHROPIC_KEY,
            ).wait(60)
            assert df["label"].tolist()[:2] == ["positive", "negative"], job.errors
            assert str(df["score"].dtype) == "Float64"
            assert job.errors["_error"].iloc[-1].startswith("max_tokens: the answer was cut off")
            assert job.results()["_raw"].iloc[-1] == '{"label": "pos'


def test_what_models_write(home):
    """Fenced and chatty answers of a server that does not enforce schemas."""
    good = {"label": "positive", "score": 1}
    answer_text = [
        json.dumps(good),
        f"```json\n{json.dumps(good)}\n```",
        f"Here you are: {json.dumps(good)}",
        "positive",
    ]
    with Mistral(time.time) as fake:
        df = pd.DataFrame({"t": list("abcd")})
        job = df.llm.batch(
            "{t}", schema=SHORT, model="mistral/the-model", api_base=fake.url, api_key=fake.key
        )
        wait_for(lambda: fake.batches, job)
        form = next(iter(fake.only.requests.values()))["response_format"]
        assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
        ids = sorted(fake.only.requests, key=lambda one: int(one.rpartition("-")[2]))
        fake.end(answers=dict(zip(ids, answer_text, strict=True)))
        job.wait(60)
        assert df["score"].tolist()[:3] == [1.0, 1.0, 1.0]
        assert df["label"].isna().tolist() == [False, False, False, True]
        assert job.results()["_raw"].iloc[3] == "positive"
        assert job.errors["_error"].tolist() == ["the answer is not JSON"]


def test_a_large_frame(call, home):
    """Ten thousand rows, ten columns: each answer on its row."""
    df = pd.DataFrame({"text": [f"number {n} is good" for n in range(10_000)]})
    df.llm.batch("{text}", schema={"n": int, "said": str}, **call).wait(120)
    assert (df["said"] == df["text"]).all()
    assert np.array_equal(df["n"].to_numpy(dtype=np.int64), np.arange(10_000))


def test_objects_that_parquet_has_no_form_for_are_json_there(home, call, tmp_path):
    """Empty objects, or such of many forms, go into .parquet as texts; every other column as it is."""
    df = numbered(2)
    job = df.llm.batch("{text}", schema={"n": dict[str, int], "score": float}, **call).wait(60)
    assert df["n"].tolist() == [{}, {}]
    assert main(["export", job.id, str(tmp_path / "out.parquet")]) == 0
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert written["n"].tolist() == ["{}", "{}"]
    assert written["score"].dtype == "Float64"
