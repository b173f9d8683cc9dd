"""Vectors: a column of float32 arrays, and one array of all of them; through a batch and at once; what goes wrong."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import ColumnError, InputError, ModelError, OptionError
from jupyter_batch.server.echo import model as echo
from tests.ledgers import forget


def frame(rows: int = 6) -> pd.DataFrame:
    """Texts with a missing and an empty one, and one that stands there twice."""
    texts = [f"text {n}" for n in range(rows)]
    texts[1:4] = [None, "", "text 0"]
    return pd.DataFrame({"text": texts, "n": range(rows)}, index=[f"k{n}" for n in range(rows)])


def expected(texts, dim: int = echo.DIMENSIONS) -> np.ndarray:
    """The echo model's answers to these texts, NaN for a missing or empty one."""
    return np.array(
        [
            echo.vector(text, dim) if isinstance(text, str) and text else [np.nan] * dim
            for text in texts
        ],
        dtype=np.float32,
    )


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize("model", ["local/echo", "openai/echo"])
def test_a_column_of_vectors(mode, model, call, home):
    """Each cell is a 1-d float32 array, `vectors()` all of them; rows without a text say why."""
    df = frame()
    where = call if model.startswith("openai") else {}
    job = df.llm.embed("text", mode=mode, **{**where, "model": model}).wait(60)
    assert job.is_complete, job
    whole = job.vectors()
    assert (whole.dtype, whole.shape) == (np.float32, (6, echo.DIMENSIONS))
    np.testing.assert_array_equal(whole, expected(df["text"]))
    for cell, vector in zip(df["vector"], whole, strict=True):
        if np.isnan(vector).all():
            assert pd.isna(cell)
        else:
            assert (cell.dtype, cell.ndim) == (np.float32, 1)
            np.testing.assert_array_equal(cell, vector)
    results = job.results()
    assert results["_status"].tolist() == [
        "succeeded",
        "skipped",
        "failed",
        "reused",
        "succeeded",
        "succeeded",
    ]
    assert results["_error"].iloc[2] == "an empty text has no vector"
    assert sum(shard.requests for shard in job._shards()) == 3, (
        "what can't have a vector is not sent"
    )
    assert np.array_equal(results["vector"].iloc[5], whole[5])
    assert job.usage.input_tokens == job.counts.succeeded * 2
    assert job.usage.output_tokens == 0


def test_run_again_sends_nothing_and_a_new_row_alone(call, home, server):
    """After a restart, on a frame in another order, the vectors are there; a grown frame sends its new row alone."""
    first = frame().llm.embed("text", dimensions=8, **call).wait(60)
    forget(home)
    df = frame().iloc[::-1]
    again = df.llm.embed("text", dimensions=8, **call).wait(60)
    assert again.id == first.id
    assert server.stats()["batches_created"] == 1
    np.testing.assert_array_equal(
        np.stack(df["vector"].dropna()),
        expected(df["text"].dropna().replace("", None), 8)[~df["text"].dropna().eq("").to_numpy()],
    )
    grown = pd.concat([frame(), pd.DataFrame({"text": ["one more"], "n": [9]}, index=["new"])])
    more = grown.llm.embed("text", dimensions=8, **call).wait(60)
    assert more.counts.succeeded == 1
    np.testing.assert_array_equal(more.vectors(), expected(grown["text"], 8))


def test_vectors_are_aligned_with_the_frame_that_asks(call, home):
    """The same rows under other labels: `vectors()` and `results()` are in the order of that frame."""
    frame().llm.embed("text", dimensions=4, **call).wait(60)
    df = frame().iloc[::-1].set_axis([f"x{n}" for n in range(6)])
    job = df.llm.embed("text", dimensions=4, **call).wait(60)
    np.testing.assert_array_equal(job.vectors(), expected(df["text"], 4))
    assert list(job.results().index) == list(df.index)


def test_a_template_makes_the_text(call, home):
    """Several columns in one text, and a column that holds numbers."""
    df = frame().dropna()
    job = df.llm.embed("{n}: {text}", out="v", dimensions=4, **call).wait(60)
    texts = [f"{n}: {text}" for n, text in zip(df["n"], df["text"], strict=True)]
    np.testing.assert_array_equal(job.vectors(), expected(texts, 4))
    numbers = df.llm.embed("n", out="w", dimensions=4, **call).wait(60)
    np.testing.assert_array_equal(numbers.vectors(), expected([str(n) for n in df["n"]], 4))


def test_failed_rows_are_nan_and_retry_fills_them(call, home, server):
    """Rows that failed are NaN with a reason; `retry` sends those alone, into the same column."""
    df = pd.DataFrame({"text": [f"text {n}" for n in range(60)]})
    server.set_faults("row_errors=0.3,seed=5")
    job = df.llm.embed("text", dimensions=5, **call).wait(60)
    failed = job.counts.failed
    assert 0 < failed < 60
    gone = np.isnan(job.vectors()).all(axis=1)
    assert gone.sum() == failed == df["vector"].isna().sum() == len(job.errors)
    assert job.vectors()[~gone].tolist() == expected(df["text"], 5)[~gone].tolist()
    server.set_faults("")
    again = job.retry().wait(60)
    assert again.counts.succeeded == failed
    np.testing.assert_array_equal(again.vectors(), expected(df["text"], 5))
    np.testing.assert_array_equal(np.stack(df["vector"]), again.vectors())


def test_a_column_without_a_vector_is_one_of_objects(call, home, server):
    """Where all rows failed, too: no column of texts."""
    server.set_faults("row_errors=1")
    df = pd.DataFrame({"text": ["a", "b"]})
    job = df.llm.embed("text", **call).wait(60)
    assert df["vector"].isna().all()
    assert (df["vector"].dtype, job.results()["vector"].dtype) == (object, object)


def test_a_list_of_texts_needs_no_frame(call, home):
    """`jupyter_batch.embed(texts)`: the vectors in order; what is no text is that row's reason."""
    job = jupyter_batch.embed(["a", "b", ["c"]], dimensions=3, **call).wait(60)
    np.testing.assert_array_equal(job.vectors(), expected(["a", "b", None], 3))
    assert "no text" in job.errors["_error"].iloc[0]


def test_a_model_that_makes_vectors_is_asked_for_them(any_model, home, server):
    """`batch` is then what `embed` is; in one call with a model that makes text each is asked for what it makes."""
    df = frame()
    job = df.llm.batch("{text}", model="openai/text-embedding-3-small", **any_model).wait(60)
    np.testing.assert_array_equal(job.vectors(), expected(df["text"]))
    assert df.llm.embed("{text}", model="openai/text-embedding-3-small", **any_model).id == job.id
    models = ["openai/gpt-4.1-mini", "openai/text-embedding-3-large"]
    several = {"model": models, "out": "out", **any_model}
    assert [one.requests for one in df.llm.preview("{text}", **several)] == [4, 3]
    group = df.llm.batch("{text}", **several).wait(60)
    assert df["out_openai/gpt-4.1-mini"].tolist()[0] == "text 0"
    np.testing.assert_array_equal(group.jobs[1].vectors(), expected(df["text"]))
    compared = group.compare()
    assert compared["agreement"].isna().all(), "a text and a vector can't say the same"
    assert compared["answered"].tolist() == [5, 4]
    with pytest.raises(OptionError, match="`max_tokens` has no meaning for vectors"):
        df.llm.batch("{text}", max_tokens=3, **several)


def test_a_preview_of_vectors(home):
    """The cost before it is spent: a known embedding model is previewed as `embed` sends it."""
    seen = frame().llm.preview("text", model="openai/text-embedding-3-small", dimensions=3)
    assert (seen.rows, seen.requests, seen.same, seen.skipped, seen.unsendable) == (6, 3, 1, 1, 1)
    assert seen.cost.low == seen.cost.high == pytest.approx(seen.tokens.count * 0.01 / 1e6)
    assert seen.realtime.high == pytest.approx(2 * seen.cost.high)
    assert seen.prompts[0] == "text 0"
    with pytest.raises(OptionError, match="`max_tokens` has no meaning for vectors"):
        frame().llm.preview("text", model="openai/text-embedding-3-small", max_tokens=3)


def test_results_as_they_come_are_float32(call, home):
    """`async for` gives each row's array."""

    async def all_of_them():
        return [result.value async for result in frame().llm.embed("text", dimensions=3, **call)]

    values = [value for value in asyncio.run(all_of_them()) if value is not None]
    assert len(values) == 4
    assert all(value.dtype == np.float32 and value.shape == (3,) for value in values)


def test_before_anything_came_there_are_no_numbers(call, home, server):
    """A job that is under way has an array of its rows already, without numbers."""
    server.set_faults("latency=0.2")
    job = frame().llm.embed("text", **call)
    assert job.vectors().shape[0] == 6
    job.wait(60)


def test_vectors_can_not_be_written_by_mistake(call, home):
    """The cells are views of the array: what is to be changed is copied first."""
    df = frame()
    job = df.llm.embed("text", **call).wait(60)
    with pytest.raises(ValueError, match="read-only"):
        job.vectors()[0] = 0
    assert np.shares_memory(job.vectors(), df["vector"].iloc[0])


@pytest.mark.parametrize(("packed", "asked"), [("local/echo", "base64"), ("openai/echo", None)])
def test_base64_is_asked_for_where_it_is_sure(packed, asked, call, home):
    """Our own server sends base64; another server of OpenAI's API is asked for what it sends by itself."""
    where = call if packed.startswith("openai") else {}
    job = frame().llm.embed("text", **{**where, "model": packed}).wait(60)
    line = json.loads(job._folder.requests(0).read_bytes().splitlines()[0])
    assert line["url"] == "/v1/embeddings"
    assert line["body"].get("encoding_format") == asked
    answer = json.loads(job._folder.output(0).read_bytes().splitlines()[0])
    assert isinstance(answer["response"]["body"]["data"][0]["embedding"], str if asked else list)


@pytest.mark.parametrize(
    ("text", "given", "error", "message"),
    [
        ("txt", {}, ColumnError, "did you mean 'text'"),
        ("nothing like it", {}, ColumnError, "no column"),
        (7, {}, ColumnError, "Columns: text, n"),
        (lambda row: row["text"], {}, InputError, "its texts into a column"),
        ("text", {"temperature": 0.5}, OptionError, "temperature"),
        ("text", {"system": "be brief"}, OptionError, "system"),
        ("text", {"dimensions": 0}, OptionError, "dimensions"),
        ("text", {"modle": "x"}, OptionError, "did you mean"),
        ("text", {"model": "openai/gpt-4.1-mini"}, ModelError, "no vectors"),
        ("text", {"model": "anthropic/claude-sonnet-4-5", "api_key": "k"}, ModelError, "vectors"),
        ("text", {"model": "cohere/embed-v4", "api_key": "k"}, ModelError, 'mode="realtime"'),
        (
            "text",
            {"model": "mistral/mistral-embed", "api_key": "k", "dimensions": 8},
            OptionError,
            "output_dimension",
        ),
    ],
)
def test_what_can_not_be_used_is_reported_before_anything_is_sent(
    text, given, error, message, call, home, server
):
    """A wrong column, a parameter of text, a model or a provider that makes no vectors: an error with the way out."""
    where = {} if "api_key" in given else call
    with pytest.raises(error, match=message):
        frame().llm.embed(text, **{**where, **given})
    assert server.stats()["uploads"] == 0


def test_a_job_of_texts_has_no_vectors(call, home):
    """`vectors()` of a chat job says what makes them."""
    job = frame().llm.batch("{text}", **call).wait(60)
    with pytest.raises(InputError, match=r"df\.llm\.embed"):
        job.vectors()


def test_the_vectors_of_a_frame_in_another_order(call, home):
    """Row k of `vectors()` and of `results()` is row k of the frame that was given last."""
    texts = pd.DataFrame({"text": [f"text {n}" for n in range(6)]}, index=[1, 1, 2, 3, 4, 5])
    job = texts.llm.embed("text", out="v", dimensions=4, **call).wait(60)
    for bring in (
        lambda df: df.llm.embed("text", out="v", dimensions=4, **call),
        lambda df: df.llm.attach(job.id),
    ):
        forget(home)
        df = texts[["text"]].iloc[[5, 1, 0, 3, 2, 4]]
        again = bring(df)
        assert again.id == job.id
        assert np.array_equal(again.vectors(), np.stack(df["v"].tolist()))
        assert again.results().index.equals(df.index)
        assert np.array_equal(np.stack(again.results()["v"].tolist()), again.vectors())
