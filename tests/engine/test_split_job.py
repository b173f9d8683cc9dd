"""The job of `model=col(...)` does all that a single job does: each row at its own model."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import cli, col
from jupyter_batch.core.errors import InputError, NothingToRetryError
from jupyter_batch.providers import table
from jupyter_batch.results.rows import Rows
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget

MODELS = ["openai/echo", "hosted_vllm/echo", "openai/echo", "hosted_vllm/echo"]
TEXTS = ["row a", "row b", "row c", "row d"]


def frame(**more):
    """Four rows, of two models in turn."""
    return pd.DataFrame({"text": TEXTS, "m": MODELS, **more}, index=list("wxyz"))


def at(server):
    """The options of a call whose models are in the column `m`."""
    return {"model": col("m"), "api_base": server.base_url, "api_key": server.token}


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A server whose batches take an hour."""
    monkeypatch.setattr(table, "_NEAR", table._OURS)
    with Embedded(tmp_path / "slow", pace=3600) as running:
        yield running


def look_up(n: int) -> str:
    """Look a thing up."""
    return f"thing {n}"


def count(n: int) -> str:
    """Count to a number."""
    return f"counted to {n}"


def test_tools_of_the_row_at_the_row_s_model(server, home):
    """Two columns decide: each model's rounds run with each row's own tools, also in a new process."""
    asked = [
        'look_up({"n": 1})',
        'count({"n": 2})',
        "plain",
        'look_up({"n": 4}) then count({"n": 3})',
    ]
    tools = [[look_up], [count], None, [look_up, count]]
    df = frame(tools=tools).assign(text=asked)
    job = df.llm.batch("{text}", out="out", tools=col("tools"), **at(server)).wait(60)
    last = job.run_tools()
    done = ["thing 1", "counted to 2", "plain", "counted to 3"]
    assert df["out"].tolist() == done
    assert last.results()["out"].tolist() == done
    assert next(iter(jupyter_batch.jobs())).id == last.id
    forget(home)
    df = frame(tools=tools).assign(text=asked).iloc[::-1]
    again = df.llm.batch("{text}", out="out", tools=col("tools"), **at(server)).run_tools()
    assert df["out"].tolist() == done[::-1]
    assert [job.id for job in again.jobs] == [job.id for job in last.jobs]


def test_finish_asks_the_open_rows_now(slow):
    """The batches of every model are cancelled, and each row is asked at its own model in real time."""
    df = frame()
    job = df.llm.batch("{text}", out="out", **at(slow))
    job.finish().wait(60)
    assert df["out"].tolist() == TEXTS
    assert job.counts.succeeded == 4
    assert job.results()["_model"].tolist() == MODELS


def test_cancel_and_retry(slow, home):
    """All batches are cancelled; one retry sends every row again to its own model, into the same column."""
    df = frame()
    job = df.llm.batch("{text}", out="out", **at(slow))
    job.cancel().wait(60)
    assert job.state == "cancelled"
    assert job.counts.cancelled == 4
    assert job.errors["_model"].tolist() == MODELS
    forget(home)
    again = jupyter_batch.open(job.id).retry(api_key=slow.token)
    again.finish().wait(60)
    assert again.results()["out"].tolist() == TEXTS
    with pytest.raises(NothingToRetryError):
        again.retry()


def test_a_retry_at_another_model_names_the_model_of_each_answer(server, home):
    """Rows that had failed are answered by the new model; the others keep theirs."""
    df = pd.DataFrame({"text": [f"row {n}" for n in range(16)], "m": MODELS * 4})
    server.set_faults("row_errors=0.5,seed=1")
    job = df.llm.batch("{text}", out="out", **at(server)).wait(60)
    failed = set(job.errors.index)
    assert 0 < len(failed) < 16
    server.set_faults("")
    again = job.retry(model="groq/echo", api_base=server.base_url, api_key=server.token).wait(60)
    assert again.is_successful
    expected = df["m"].mask(df.index.isin(failed), "groq/echo")
    assert again.results()["_model"].tolist() == expected.tolist()


def test_several_answers_a_row_and_what_is_next_to_them(server):
    """`n=` gives a list in each cell; the summary by model has no agreement, as no row has two models."""
    df = frame()
    job = df.llm.batch("{text}", out="out", n=2, **at(server)).wait(60)
    assert df["out"].tolist() == [[text, text] for text in TEXTS]
    assert job.counts.total == 8
    assert job.row("x")["answer"] == ["row b", "row b"]
    assert job.answers() == df["out"].tolist()
    found = job.compare()
    assert found["answered"].to_dict() == {"hosted_vllm/echo": 4, "openai/echo": 4}
    assert found["agreement"].isna().all()
    with pytest.raises(InputError, match="one model"):
        job.choose("openai/echo")


def test_labels_of_all_models_come_into_the_frame(server, home):
    """One table in the frame's order; none of the jobs clears the labels of the others."""
    df = frame()
    job = df.llm.batch("{text}", out="out", **at(server)).wait(60)
    for row, text in (("w", "A"), ("z", "D")):
        member = next(one for one in job.jobs if row in one.results().index)
        labels = Rows(member._here.ledger, member.id).labels()
        labels.write(member.results().index.get_loc(row), "out", text, 0.0)
    assert job.labels().to_dict("index") == {
        "w": {"out": "row a", "out_human": "A"},
        "z": {"out": "row d", "out_human": "D"},
    }
    job.merge_labels()
    assert df["out_human"].fillna("").tolist() == ["A", "", "", "D"]
    examples = job.examples()
    assert examples.to_dict("index") == {
        "w": {"text": "row a", "out": "A"},
        "z": {"text": "row d", "out": "D"},
    }


def test_chat_responses_and_vectors_in_one_call(server, tmp_path):
    """The model decides the endpoint: texts and a vector in one column, of one job."""
    with Embedded(
        tmp_path / "front", upstream="openai/echo", api_base=server.base_url, api_key=server.token
    ) as front:
        df = frame().iloc[:3]
        df["m"] = ["openai/echo", "openai/text-embedding-3-small", "openai/responses/gpt-5-mini"]
        job = df.llm.batch("{text}", out="out", **at(front)).wait(60)
    assert job.is_successful, job
    assert {one._record().endpoint for one in job.jobs} == {
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/responses",
    }
    assert (df["out"].iloc[0], df["out"].iloc[2]) == ("row a", "row c")
    assert df["out"].iloc[1].ndim == 1


def test_from_the_command_line(server, home, tmp_path, monkeypatch, capsys):
    """`--model col:m --endpoint col:way --tools col:tools` over a file of JSON cells; run again, nothing is sent."""
    monkeypatch.setenv("THE_KEY", server.token)
    path, out = tmp_path / "rows.csv", tmp_path / "rows.out.csv"
    tools = [
        '[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]',
        None,
        None,
        None,
    ]
    frame(tools=tools, way=[None, "/v1/chat/completions", "embeddings", None]).to_csv(
        path, index=False
    )
    words = [
        "run",
        str(path),
        "{text}",
        "--out",
        "said",
        "--model",
        "col:m",
        "--tools",
        "col:tools",
        "--endpoint",
        "col:way",
    ]
    words += ["--api-base", server.base_url, "--api-key", "THE_KEY"]
    for _ in range(2):
        assert cli.main(words) == 0
        assert "no name leads" not in capsys.readouterr().out
        written = pd.read_csv(out)["said"].tolist()
        assert len(json.loads(written.pop(2))) > 1
        assert written == ["row a", "row b", "row d"]
        forget(home)
        out.unlink()
    assert server.stats()["batches_created"] == 3
