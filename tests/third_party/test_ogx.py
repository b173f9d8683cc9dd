"""OGX (llama-stack, renamed): OpenAI's batches and Anthropic's, each in a way of its own, before the embedded server.

Its OpenAI lines hold `response.body` as a JSON text, and errors with a `type` and without a `code`; a cancelled batch
has no files. Its Anthropic errors are flat. `pip install ogx==1.5.0` in an environment of Python 3.12 or newer gives
the command, whose folder JUPYTER_BATCH_THIRD_PARTY names:

    python3.12 -m venv there && there/bin/pip install ogx==1.5.0
    JUPYTER_BATCH_THIRD_PARTY=there/bin python -m pytest tests/third_party/test_ogx.py

`.ci/run` does not install it: 57 s to install (234 MB) and 68 s to run, measured on two busy cores, are more than
a third server is worth there, and the CI's Python may be older.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from typing import Literal

import numpy as np
import pytest

from jupyter_batch import col, jobs
from jupyter_batch.core.status import State
from jupyter_batch.runner import process as sessions
from jupyter_batch.runner.connect import connect
from tests.ledgers import forget
from tests.messages import messages
from tests.third_party.conftest import numbered
from tests.waiting import wait_for

SHARDS = 3


@pytest.fixture(params=["openai", "anthropic"])
def call(request, ogx):
    """The options that send a job to it, in either dialect."""
    return calling(request.param, ogx)


def calling(dialect, ogx):
    """The same by name; Anthropic's address has no version."""
    base = f"{ogx.url}/v1" if dialect == "openai" else ogx.url
    return {"model": f"{dialect}/up/echo", "api_base": base, "api_key": "none"}


def asked_of(home, job, question):
    """The answers of a job's provider."""

    async def ask():
        provider = await connect(
            sessions.session(home).ledger.job(job.id), home=home, api_key="none"
        )
        try:
            return await question(provider)
        finally:
            await provider.aclose()

    return asyncio.run(ask())


def test_the_whole_cycle(call, ogx, home):
    """Three batches, each answer on its row; the cell again, and after a restart on other rows, sends what is new."""
    before = len(ogx.batches(call["model"]))
    df, seen = numbered(60), []
    job = df.llm.batch("{text}", out="out", shard_size=20, **call)
    job._here.worker.take(job.id, seen.append)
    job.wait(90)
    assert job.is_successful, job
    assert df["out"].tolist() == df["text"].tolist()
    assert job.usage.input_tokens == job.usage.output_tokens > 60
    assert job.cost is None, "nobody knows what it costs: that is not nothing"
    assert not any("can't be read" in messages(snapshot) for snapshot in seen)
    assert len(ogx.batches(call["model"])) == before + SHARDS
    assert df.llm.batch("{text}", out="out", shard_size=20, **call).id == job.id
    forget(home)
    grown = numbered(62).iloc[::-1].copy()
    again = grown.llm.batch("{text}", out="out", **call).wait(90)
    assert (grown["out"] == grown["text"]).all()
    assert (again.counts.reused, again.counts.succeeded) == (60, 2)
    assert len(ogx.batches(call["model"])) == before + SHARDS + 1


def test_each_batch_is_found_by_its_tag(call, home):
    """Each shard's batch, and no other, is what a lost answer is made good by; cancelled too late it is as it was."""
    job = numbered(9).llm.batch("{text}", out="out", shard_size=3, **call).wait(90)
    found = [
        asked_of(home, job, lambda it, n=n: it.find({"jupyter_batch": f"{job.id}/{n}"}, since=0.0))
        for n in range(SHARDS)
    ]
    assert [view.id for views in found for view in views] == list(job.batches)
    assert len(set(job.batches)) == SHARDS
    assert asked_of(home, job, lambda it: it.cancel(job.batches[0])).ending is State.COMPLETED


def test_what_it_sends_is_as_odd_as_we_say(ogx, home):
    """The bodies are JSON texts, and the error has a type alone: what this file claims to prove is there."""
    df = numbered(4).assign(heat=[0.5, 5.0, 0.5, 5.0])
    job = df.llm.batch("{text}", out="out", temperature=col("heat"), **calling("openai", ogx)).wait(
        90
    )
    lines = []

    async def both(provider):
        view = await provider.poll(job.batches[0])
        for file in (view.output_file_id, view.error_file_id):
            content = []
            await provider.fetch(file, content.append)
            lines.append([json.loads(line) for line in b"".join(content).splitlines()])

    asked_of(home, job, both)
    assert all(isinstance(line["response"]["body"], str) for line in lines[0])
    assert all(
        "response" not in line and set(line["error"]) == {"type", "message"} for line in lines[1]
    )
    assert df["out"].isna().tolist() == [False, True, False, True]
    assert job.state == "completed"
    assert job.errors["_error"].str.contains(
        "request_failed: .*temperature.*less than or equal to 2", regex=True, flags=re.DOTALL
    ).tolist() == [True, True]


def test_rows_that_fail_are_retried_alone(call, ogx, upstream):
    """Some rows fail behind it: they have their reasons, the others their answers, and `retry` sends them alone."""
    df = numbered(20)
    upstream.set_faults("500=0.8,seed=4")
    try:
        job = df.llm.batch("{text}", out="out", **call).wait(90)
    finally:
        upstream.set_faults("")
    failed = job.counts.failed
    assert 0 < failed < 20, "by these dice"
    assert job.state == "completed"
    assert (df["out"].dropna() == df["text"][df["out"].notna()]).all()
    assert df["out"].isna().sum() == failed
    assert job.errors["_error"].str.contains("50[0-9]|server", regex=True).all(), job.errors[
        "_error"
    ].tolist()
    before = len(ogx.batches(call["model"]))
    again = job.retry().wait(90)
    assert again.is_successful, again
    assert (df["out"] == df["text"]).all()
    there = ogx.batches(call["model"])
    assert len(there) == before + 1
    counts = there[0]["request_counts"]
    assert counts.get("total", counts.get("succeeded")) == failed


def test_all_rows_fail(call, upstream):
    """The file of answers is empty: no row is lost for it, and each is retried."""
    df = numbered(3)
    upstream.set_faults("500=1")
    try:
        job = df.llm.batch("{text}", out="out", **call).wait(90)
    finally:
        upstream.set_faults("")
    assert (job.counts.failed, job.is_complete) == (3, True)
    assert not job.errors["_error"].str.contains("no line").any()
    assert job.retry().wait(90).is_successful
    assert (df["out"] == df["text"]).all()


def test_cancelled_and_retried(call, upstream):
    """A cancelled batch's answers are kept, the rest is reported as cancelled, and `retry` sends that.

    A file that its counts promise, and which OGX never gives, is looked for in the background.
    """
    df = numbered(100)
    upstream.set_faults("latency=0.5")
    try:
        asked = chats(upstream)
        job = df.llm.batch("{text}", out="out", **call)
        wait_for(
            lambda: chats(upstream) > asked + 10, job
        )  # ten at once: the first of them have answers
        job.cancel().wait(90)
    finally:
        upstream.set_faults("")
    assert job.state == "cancelled", job
    counts = job.counts
    assert counts.succeeded + counts.cancelled == 100
    kept = call["model"].startswith("anthropic/")
    assert (counts.succeeded > 0) == kept, "OGX gives no files of OpenAI's"
    assert ("answers, and named no file that holds them" in messages(job.snapshot())) == (not kept)
    assert (job.results()["_status"] == "cancelled").sum() == counts.cancelled
    assert job.errors["_error"].str.contains("cancelled").all()
    again = job.retry().wait(90)
    assert again.is_successful, again
    assert (again.counts.reused, again.counts.succeeded) == (counts.succeeded, counts.cancelled)
    assert (df["out"] == df["text"]).all()


def chats(upstream):
    """The number of chat requests to the model."""
    return upstream.stats()["routes"].get("POST /v1/chat/completions", {"received": 0})["received"]


def test_a_lost_ledger_is_made_good(call, ogx, home):
    """The ledger is gone: its batches are listed, taken up, and the cell run again has its column and pays nothing."""
    df = numbered(7)
    job = df.llm.batch("{text}", out="out", shard_size=4, **call).wait(90)
    before, own, batches = len(ogx.batches(call["model"])), job.id, set(job.batches)
    forget(home)
    shutil.rmtree(home)
    found = [one for one in jobs.orphans(**call) if one.job == own]
    assert {one.batch.id for one in found} == batches
    taken = jobs.adopt(own, **call).follow()[0].wait(90)
    assert taken.id == own
    assert taken.is_successful
    assert taken.results().iloc[:, 0].tolist() == df["text"].tolist()
    if call["model"].startswith("openai/"):  # Anthropic's way gives no requests back
        assert {(one.number, one.shards, one.rows) for one in found} == {(0, 2, 7), (1, 2, 7)}
        again = df[["text"]].copy()
        again.llm.batch("{text}", out="out", shard_size=4, **call).wait(90)
        assert (again["out"] == again["text"]).all()
    assert len(ogx.batches(call["model"])) == before


def test_a_batch_that_is_refused_names_its_rows(call, ogx):
    """OpenAI's fails its validation, Anthropic's is never made: each row at fault has the reason, nothing is paid."""
    df = numbered(3).assign(heat=[0.5, 3.0, 0.5])
    if call["model"].startswith("openai/"):
        call["model"] = "openai/up/nothing"
    job = df.llm.batch("{text}", out="out", temperature=col("heat"), **call).wait(90)
    assert job.state == "failed"
    errors = job.errors["_error"]
    if call["model"].startswith("openai/"):
        assert errors.str.contains("model_not_found: Model 'up/nothing' does not exist").all()
        assert "refused the whole batch for this row" in errors.iloc[0]
    else:
        assert (
            "requests.1.params.temperature: Input should be less than or equal to 1"
            in errors.iloc[1]
        )
        assert errors.str.contains("refused the whole batch for this row").tolist() == [
            False,
            True,
            False,
        ]
        assert errors.str.contains(r"at fault: row 1 \(from 0\)", regex=True).tolist() == [
            True,
            False,
            True,
        ]
    assert df["out"].isna().all()


def test_in_real_time(call, ogx):
    """The same frame at once: answers on their rows, the row that is refused has its reason, and no batch is made."""
    before = len(ogx.batches(call["model"]))
    df = numbered(8).assign(heat=[0.5] * 7 + [5.0])
    job = df.llm.batch("{text}", out="out", mode="realtime", temperature=col("heat"), **call).wait(
        90
    )
    assert job.is_complete
    assert df["out"].tolist()[:7] == df["text"].tolist()[:7]
    assert job.errors.index.tolist() == ["k7"]
    assert "temperature" in job.errors["_error"].iloc[0]
    assert len(ogx.batches(call["model"])) == before


def test_typed_columns_and_tools(call):
    """A schema's fields are columns, and calls of tools are read out of its bodies, run, and answered."""
    df = numbered(3)
    df.llm.batch(
        "{text} is good", schema={"label": Literal["good", "bad"], "score": float}, **call
    ).wait(90)
    assert df["label"].tolist() == ["good"] * 3
    assert str(df["score"].dtype) == "Float64"

    def look_up(number: int) -> str:
        """The facts of a number."""
        return f"{number} is known"

    tools = numbered(2).assign(text=['look_up({"number": 3})', 'look_up({"number": 4})'])
    job = tools.llm.batch("{text}", out="out", tools=[look_up], **call).wait(90)
    assert [calls[0]["arguments"] for calls in tools["out"]] == [{"number": 3}, {"number": 4}]
    job.run_tools({"look_up": look_up}).wait(90)
    assert tools["out"].tolist() == ["3 is known", "4 is known"]


def test_vectors(ogx):
    """Embeddings come through its batches: the vectors are those that the model gives in real time."""
    df, call = numbered(4), {**calling("openai", ogx), "model": "openai/up/vectors"}
    job = df.llm.embed("text", out="vector", **call).wait(90)
    assert job.is_successful, job
    now = df.llm.embed("text", out="now", mode="realtime", reuse=False, **call).wait(90)
    assert job.vectors().shape == (4, 256)
    assert np.allclose(job.vectors(), now.vectors())
