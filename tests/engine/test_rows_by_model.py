"""`model=col(...)`: each row's own model, of several providers, as one job with one column."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import col
from jupyter_batch.config.magic_line import read_line
from jupyter_batch.core.errors import (
    ColumnError,
    InputError,
    JupyterBatchError,
    ModelError,
    OptionError,
)
from jupyter_batch.providers import table
from jupyter_batch.server.embedded import Embedded
from tests.engine.test_rows import in_place
from tests.ledgers import forget

MODELS = ["openai/echo", "hosted_vllm/echo", "openai/echo", "groq/echo", "hosted_vllm/echo"]


@pytest.fixture
def any_model(server, tmp_path):
    """The options that send each row to a server that has every model."""
    with Embedded(
        tmp_path / "front", upstream="openai/echo", api_base=server.base_url, api_key=server.token
    ) as front:
        yield {"model": col("m"), "api_base": front.base_url, "api_key": front.token}


@pytest.fixture
def by_row(call):
    """The options that take the model from the column `m`."""
    return {**call, "model": col("m")}


def frame(models=MODELS):
    """A row for each model; two rows of different models have the same text."""
    texts = [f"row number {n}" for n in range(len(models))]
    texts[1] = texts[0]
    labels = [f"k{n}" for n in range(len(models))]
    return pd.DataFrame({"text": texts, "m": models}, index=labels)


def sent(job):
    """The requests in its files."""
    return sum(shard.requests for shard in job._shards())


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_one_job_with_one_column(mode, server, by_row, home):
    """The models' batches fill one column, in the frame's order; the user has one job, also after a restart."""
    df = frame()
    job = df.llm.batch("{text}", out="answer", mode=mode, **by_row).wait(60)
    assert df.columns.tolist() == ["text", "m", "answer"]
    assert df["answer"].tolist() == df["text"].tolist()
    assert df["answer"].dtype == df["text"].dtype
    assert job.is_successful
    assert (job.counts.total, job.counts.succeeded) == (5, 5)
    assert job.snapshot().out == "answer"
    found = job.results()
    assert found.index.tolist() == df.index.tolist()
    assert found["answer"].tolist() == df["answer"].tolist()
    assert found["_model"].tolist() == MODELS
    assert job.row("k3")["answer"] == "row number 3"
    assert job.row(position=-1).label == "k4"
    assert [one.id for one in jupyter_batch.jobs()] == [job.id]
    forget(home)
    opened = jupyter_batch.open(job.id)
    assert opened.results()["answer"].tolist() == df["answer"].tolist()
    assert opened.results().index.tolist() == df.index.tolist()
    again = frame().iloc[::-1]
    rerun = again.llm.batch("{text}", out="answer", mode=mode, **by_row).wait(60)
    assert rerun.id == job.id
    assert again["answer"].tolist() == again["text"].tolist()
    assert rerun.results().index.tolist() == again.index.tolist()
    assert rerun.results()["answer"].tolist() == again["text"].tolist()
    if mode == "batch":
        assert len(job.batches) == server.stats()["batches_created"] == 3


def test_rows_of_other_models_never_exchange_answers(by_row, server):
    """Each row's answer is from its own model, although texts are equal; changing a row's model asks that row alone."""
    df = frame()
    df.llm.batch("{text}", out="answer", **by_row).wait(60)
    df.loc["k1", "m"] = "openai/echo"
    df["answer"] = df["answer"].astype(object)
    job = df.llm.batch("{text}", out="answer", **by_row).wait(60)
    assert job.is_successful, job
    assert sent(job) == 1, (
        "only groq's, which is as it was; the text was asked of openai/echo before"
    )
    assert job.results().loc["k1", "_status"] == "reused"


def test_a_grown_frame_sends_its_new_rows_alone(by_row, server, home):
    """New rows of a known model and of a new one; the others are reused."""
    frame().llm.batch("{text}", out="answer", **by_row).wait(60)
    forget(home)
    start = time.time()
    df = frame([*MODELS, "openai/echo", "deepinfra/echo"])
    job = df.llm.batch("{text}", out="answer", **by_row).wait(60)
    assert df["answer"].tolist() == df["text"].tolist()
    assert (job.counts.total, job.counts.succeeded + job.counts.reused) == (7, 7)
    assert sent(job) == 5, "two new rows, and the three of the jobs that are unchanged"
    assert [one.requests for one in job._shards() if one.sent_at > start] == [1, 1]
    assert job.results().index.tolist() == df.index.tolist()


def test_a_row_without_a_usable_model_is_named_before_anything_is_sent(by_row, home, server):
    """A missing, an ambiguous, an unknown and a wrong value: each by the label of its row."""
    for value, content in (
        (None, r"row 'k1' of column 'm' names no model"),
        ("  ", r"row 'k1' of column 'm' names no model"),
        ("llama-3.3-70b", r"row 'k1': the model 'llama-3.3-70b' is served by several hosts"),
        ("frobnicate", r"row 'k1': the model 'frobnicate' has no provider"),
        ("nowhere/x", r"row 'k1': .*nowhere"),
        (7, r"row 'k1': a model is a text"),
    ):
        df = frame(["openai/echo", value, "openai/echo"])
        with pytest.raises(ModelError, match=content):
            df.llm.batch("{text}", **{**by_row, "api_base": None})
    assert not (home / "jobs").exists()
    assert server.stats()["batches_created"] == 0


def test_a_model_none_of_whose_rows_can_be_sent(by_row, server, home):
    """Its rows are skipped, those of other models are sent; run again, none is; filled in, it alone is sent."""
    texts = frame().assign(text=["a", None, "c", None, None])
    df = texts.copy()
    job = df.llm.batch("{text}", out="answer", **by_row).wait(60)
    assert df["answer"].fillna("-").tolist() == ["a", "-", "c", "-", "-"]
    assert (job.counts.succeeded, job.counts.skipped) == (2, 3)
    assert job.is_successful
    assert set(job.errors["_error"]) == {"no value in column 'text'"}
    forget(home)
    assert texts.copy().llm.batch("{text}", out="answer", **by_row).id == job.id
    other = texts.copy().llm.batch("{text}", out="other", n=2, mode="realtime", **by_row).wait(60)
    assert other.counts.skipped == 6
    df.loc["k3", "text"] = "d"
    assert df.llm.batch("{text}", out="answer", **by_row).wait(60).counts.succeeded == 3
    assert df.loc["k3", "answer"] == "d"
    assert server.stats()["batches_created"] == 2
    with pytest.raises(InputError, match="none of the"):
        texts.assign(text=None).llm.batch("{text}", **by_row)


def test_no_model_is_chosen_over_the_others(by_row):
    """`choose()` would clear the rows of the other models: it is refused, and the column stays."""
    df = frame()
    job = df.llm.batch("{text}", out="out", **by_row).wait(30)
    before = df["out"].tolist()
    with pytest.raises(InputError, match="one model"):
        job.choose("openai/echo", overwrite=True)
    assert df["out"].tolist() == before


def test_what_can_not_be_taken_from_a_column(by_row):
    """No frame, no such column, the column to fill."""
    with pytest.raises(InputError, match="pandas DataFrame, not of a list"):
        jupyter_batch.batch(["a"], **by_row)
    with pytest.raises(ColumnError, match="did you mean 'mm'"):
        frame().rename(columns={"m": "mm"}).llm.batch("{text}", **{**by_row, "model": col("m")})
    with pytest.raises(ColumnError, match="'m'"):
        frame().llm.batch("{text}", out="m", overwrite=True, **by_row)


def test_names_are_resolved_as_for_a_single_model(call, monkeypatch):
    """`openai:echo` and `openai/echo` are one model; a preview shows each model, with its price."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-y")
    df = frame(["gpt-4.1-mini", "claude-haiku-4-5", "openai:gpt-4.1-mini"])
    looks = df.llm.preview("{text}", model=col("m"), max_tokens=10)
    assert [(one.model, one.rows) for one in looks] == [
        ("anthropic/claude-haiku-4-5", 1),
        ("openai/gpt-4.1-mini", 2),
    ]
    assert looks[0].price != looks[1].price
    assert "openai/gpt-4.1-mini" in repr(looks)
    assert looks.cost.high == pytest.approx(sum(one.cost.high for one in looks))


def test_chat_and_vectors_in_one_call(any_model):
    """The model decides: a text for a chat model's row, a vector for an embedding model's."""
    df = frame(["openai/echo", "openai/text-embedding-3-small", "openai/echo"])
    for overwrite in (False, True):
        job = df.llm.batch(
            "{text}",
            out="answer",
            system="Be brief.",
            max_tokens=20,
            overwrite=overwrite,
            reuse=not overwrite,
            **any_model,
        ).wait(60)
        assert job.is_successful, job
        assert df["answer"].iloc[0] == df["text"].iloc[0]
        assert isinstance(df["answer"].iloc[1], np.ndarray)
        assert df["answer"].iloc[2] == df["text"].iloc[2]
        assert isinstance(job.results()["answer"].iloc[1], np.ndarray)
    with pytest.raises(JupyterBatchError):
        job.vectors()
    with pytest.raises(OptionError, match="out="):
        df.llm.batch("{text}", schema={"a": int}, **any_model)


def test_the_endpoint_of_each_row(call, server, home):
    """A column names it: texts and vectors of one model, found again after a restart and on an attached frame."""

    def ask(**more):
        ways = ["/v1/chat/completions", "embeddings", None, "  "]
        df = pd.DataFrame({"text": list("abcd"), "way": ways}, index=list("wxyz"))
        df = df.iloc[more.pop("order", slice(None))]
        return df, {**call, "endpoint": col("way"), "out": "out", "system": "Be brief.", **more}

    df, given = ask()
    looks = df.llm.preview("{text}", **given)
    assert sorted(one.rows for one in looks) == [1, 3]
    assert server.stats()["batches_created"] == 0
    server.set_faults("row_errors=1")
    first = df.llm.batch("{text}", **given).wait(60)
    assert first.counts.failed == 4
    server.set_faults("")
    sent = server.stats()["batches_created"]
    with pytest.raises(OptionError, match="/v1/embeddings; only chat requests"):
        first.retry(model="groq/echo", api_base=server.base_url, api_key=server.token)
    assert server.stats()["batches_created"] == sent, "not those of chat either"
    job = first.retry().wait(60)
    assert job.is_successful
    assert df["out"].drop("x").tolist() == ["a", "c", "d"]
    assert df["out"]["x"].ndim == 1
    sent = server.stats()["batches_created"]
    forget(home)
    df, given = ask(order=slice(None, None, -1))
    again = df.llm.batch("{text}", **given).wait(60)
    assert df["out"].drop("x").tolist() == ["d", "c", "a"]
    assert df["out"]["x"].ndim == 1
    assert server.stats()["batches_created"] == sent
    other, _ = ask()
    other.llm.attach(again.id)
    assert other["out"].drop("x").tolist() == ["a", "c", "d"]
    for endpoint, kind, content in (
        ("speech", OptionError, "one of chat, responses, embeddings"),
        (col("text"), OptionError, r"row 'w': .*embeddings, not 'a'"),
        (col("ways"), ColumnError, "did you mean 'way'"),
    ):
        with pytest.raises(kind, match=content):
            other.llm.batch("{text}", **{**given, "endpoint": endpoint, "out": "two"})
    with pytest.raises(OptionError, match="not for a list of models"):
        other.llm.batch("{text}", **{**given, "model": ["openai/a", "openai/b"], "out": "two"})
    with pytest.raises(ColumnError, match="'way' names the rows' models or endpoints"):
        other.llm.batch("{text}", **{**given, "out": "way", "overwrite": True})


@pytest.mark.parametrize("endpoint", ["chat", "embeddings", "responses"])
def test_the_endpoint_of_all_rows(endpoint, call):
    """A name in place of the one by which litellm knows the model."""
    df = frame(["a", "b"])
    job = df.llm.batch("{text}", out="out", endpoint=endpoint, **call).wait(60)
    assert job.is_successful, job
    assert job._record().endpoint.rpartition("/v1/")[2].startswith(endpoint)
    assert isinstance(df["out"].iloc[0], str) == (endpoint != "embeddings")


def test_vectors_of_several_models(any_model):
    """`embed` by row: one array in the frame's order."""
    df = frame(
        ["openai/text-embedding-3-small", "hosted_vllm/echo", "openai/text-embedding-3-small"]
    )
    job = df.llm.embed("text", **any_model).wait(60)
    assert job.vectors().shape[0] == 3
    for at, vector in enumerate(df["vector"]):
        np.testing.assert_array_equal(vector, job.vectors()[at])


def test_a_schema_fills_its_columns_row_by_row(call):
    """Integers stay integers where one model's rows are merged after another's."""
    df = frame(MODELS[:3])
    job = df.llm.batch("{text}", schema={"n": int, "s": str}, **{**call, "model": col("m")}).wait(
        60
    )
    assert job.is_successful, job
    assert str(df["n"].dtype) == "Int64"
    assert df["s"].notna().all()
    assert job.results()["n"].tolist() == df["n"].tolist()


def test_failed_rows_are_sent_again_into_the_same_column(tmp_path, home, monkeypatch):
    """`retry` sends them as one job again, to each row's own model."""
    monkeypatch.setattr(table, "_NEAR", table._OURS)
    with Embedded(tmp_path / "server", faults="row_errors=0.6,seed=1") as server:
        given = {"model": col("m"), "api_base": server.base_url, "api_key": server.token}
        df = frame()
        job = df.llm.batch("{text}", out="answer", **given).wait(60)
        assert len(job.errors) > 0
        server.set_faults("")
        again = job.retry().wait(60)
        assert again.is_successful, again
        assert df["answer"].tolist() == df["text"].tolist()
        assert again.results().index.tolist() == df.index.tolist()
        assert again.results()["_model"].tolist() == MODELS


def test_the_other_doors(by_row):
    """Attach, sample, build and abatch know the rows' models."""
    job = frame().llm.batch("{text}", out="answer", **by_row).wait(60)
    other = frame()
    other.llm.attach(job.id, out="again")
    assert other["again"].tolist() == other["text"].tolist()
    looked = frame().llm.sample("{text}", n=3, out="answer", **by_row)
    assert looked["answer"].tolist() == looked["text"].tolist()
    df = frame()
    built = df.llm.build("{text}", out="built", system="x", **by_row)
    assert len(built) == 3
    for one in built:
        one.submit(wait=True)
    assert df["built"].tolist() == df["text"].tolist()
    answers = asyncio.run(jupyter_batch.abatch(frame(), "{text}", out="more", **by_row))
    assert answers == frame()["text"].tolist()


def test_a_line_takes_parameters_from_columns():
    """`--model col(m)` and `--tools col:t`, as in Python; a name that is no option by row is a text."""
    _, given = read_line(
        'df --model col(m) --max-tokens col("the budget") --tools col:t --out col(x)', {}
    )
    assert given == {
        "model": col("m"),
        "max_tokens": col("the budget"),
        "tools": col("t"),
        "out": "col(x)",
    }


class _Note:
    """A cell whose text is stored elsewhere, as a database's proxy has it: all such cells look the same."""

    texts: ClassVar[dict[int, str]] = {}

    @property
    def text(self) -> str:
        """The text, which no fingerprint of the cell covers."""
        return self.texts[id(self)]

    def __str__(self) -> str:
        return "a note"


def test_rows_that_are_rendered_again_keep_their_endpoint(call, server):
    """Where only the request identifies a row, a text and a vector of the same text stay apart in a sorted frame."""
    server.set_faults("latency=0.2")
    notes = [_Note() for _ in "aabb"]
    _Note.texts = dict(zip(map(id, notes), "aabb", strict=True))
    ways = ["chat", "embeddings", "chat", "embeddings"]
    df = pd.DataFrame({"o": notes, "way": ways, "n": [4, 3, 2, 1]})
    job = df.llm.batch(
        "{{ o.text }}", template="jinja", out="out", **{**call, "endpoint": col("way")}
    )
    in_place(df, "sort_values", "n", ignore_index=True)
    job.wait(60)
    assert df["out"][[1, 3]].tolist() == ["b", "a"]
    assert [df["out"][at].ndim for at in (0, 2)] == [1, 1]
