"""`keep=` gives columns of an answer's other fields; on a job that is done it costs nothing."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.config.magic_line import read_line
from jupyter_batch.config.options import EVERY
from jupyter_batch.config.settings import checked
from jupyter_batch.core.errors import ColumnError, OptionError
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.merging.columns import outcomes_of
from jupyter_batch.server.embedded import Embedded
from tests.example_snapshots import batch
from tests.example_snapshots import job as made_up
from tests.realtime.realtime_endpoint import Endpoint

CITED = [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]
KEEP = ["reasoning", "citations", "logprobs"]


def thinking(text, before):
    """An answer with its thinking, sources and log probabilities."""
    del before
    message = {
        "role": "assistant",
        "content": text.upper(),
        "reasoning_content": f"because of {text}",
        "annotations": CITED,
    }
    logprobs = {"content": [{"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


@pytest.fixture
def model():
    """A chat endpoint whose model thinks."""
    with Endpoint(thinking) as running:
        yield running


@pytest.fixture(params=["batch", "realtime"])
def call(request, model, tmp_path):
    """The options that ask it, in a batch and in real time."""
    if request.param == "realtime":
        yield {
            "model": "openai/m",
            "api_base": model.base,
            "api_key": "k",
            "mode": "realtime",
        }
        return
    with Embedded(
        tmp_path / "server", upstream="openai/m", api_base=model.base, api_key="k"
    ) as server:
        yield {"model": "openai/m", "api_base": server.base_url, "api_key": server.token}


def frame():
    """Three rows, two of which are alike, on an index of their own."""
    return pd.DataFrame({"text": ["sky", "sea", "sky"]}, index=list("abc"))


def test_the_columns_are_there(call, home):
    """Each on its row, rows that follow another included, in the frame and in results()."""
    df = frame()
    job = df.llm.batch("{text}", out="said", keep=KEEP, **call).wait(60)
    assert list(df.columns) == ["text", "said", "said_reasoning", "said_citations", "said_logprobs"]
    assert df["said_reasoning"].tolist() == ["because of sky", "because of sea", "because of sky"]
    assert df["said_reasoning"].dtype == "string"
    assert df["said_citations"]["a"][0]["url_citation"]["url"] == "https://a.example"
    assert df["said_logprobs"]["b"][0]["logprob"] == -0.5
    results = job.results()
    assert results["said_reasoning"].tolist() == df["said_reasoning"].tolist()
    assert jupyter_batch.open(job.id).results()["said_reasoning"]["b"] == "because of sea"


def test_added_to_a_job_that_is_done_it_costs_nothing(call, home, model):
    """The same cell with keep= attaches to the same job, and fills the columns from its files."""
    first = frame()
    job = first.llm.batch("{text}", out="said", **call).wait(60)
    asked = len(model.sent)
    again = first.llm.batch("{text}", out="said", keep="reasoning", **call).wait(60)
    assert (again.id, len(model.sent)) == (job.id, asked)
    assert first["said_reasoning"]["a"] == "because of sky"
    once_more = first.llm.batch("{text}", out="said", keep=["reasoning"], **call).wait(60)
    assert (once_more.id, len(model.sent)) == (job.id, asked)
    other = frame()
    other.llm.batch("{text}", out="b", keep=["reasoning"], **call).wait(60)
    assert (other["b_reasoning"]["b"], len(model.sent)) == ("because of sea", asked)


def test_a_grown_frame_has_them_of_all_its_rows(call, home, model):
    """Answers that another job paid for have theirs too, and only the new row is asked."""
    frame().llm.batch("{text}", out="said", **call).wait(60)
    asked = len(model.sent)
    grown = pd.concat([frame(), pd.DataFrame({"text": ["new"]}, index=["d"])])
    grown.llm.batch("{text}", out="said", keep="reasoning", **call).wait(60)
    assert grown["said_reasoning"].tolist()[1:] == [
        "because of sea",
        "because of sky",
        "because of new",
    ]
    assert len(model.sent) == asked + 1


def test_a_column_of_the_users_is_left_alone(call, home):
    """A column under that name which no job wrote needs overwrite=True, as for the answers."""
    df = frame().assign(said_reasoning="mine")
    with pytest.raises(ColumnError, match="said_reasoning"):
        df.llm.batch("{text}", out="said", keep="reasoning", **call)
    df.llm.batch("{text}", out="said", keep="reasoning", overwrite=True, **call).wait(60)
    assert df["said_reasoning"]["a"] == "because of sky"


def test_a_group_has_them_for_each_model(call, home):
    """The columns end with what is kept, after the model's own column."""
    if call.get("mode") == "realtime":
        call = {**call, "model": ["openai/m", "openai/n"]}
    df = frame()
    models = ["openai/m", "openai/n"]
    df.llm.batch("{text}", out="said", keep="reasoning", **{**call, "model": models}).wait(60)
    assert df["said_openai/m_reasoning"]["a"] == df["said_openai/n_reasoning"]["a"]
    fields = frame()
    group = fields.llm.batch(
        "{text}", schema={"word": str}, keep="reasoning", **{**call, "model": models}
    )
    group.wait(60)
    assert {"response_reasoning_openai/m", "response_reasoning_openai/n"} <= set(fields.columns)


def test_what_no_answer_holds_is_reported(call, home):
    """The column is there, empty, and the merge says what is missing."""
    df = frame()
    job = df.llm.batch("{text}", out="said", keep="transcript", **call).wait(60)
    assert df["said_transcript"].isna().all()
    assert "no answer holds what 'said_transcript' is for" in job.snapshot().merged


def test_a_list_of_prompts(call, home):
    """Without a frame results() has the column."""
    job = jupyter_batch.batch(["sky"], keep="reasoning", **call).wait(60)
    assert job.results()["response_reasoning"].tolist() == ["because of sky"]


def test_the_magic_takes_several():
    """--keep may be given several times, or with commas."""
    _, given = read_line("df --keep reasoning --keep logprobs,citations", {})
    assert list(checked(EVERY["keep"], given["keep"])) == ["reasoning", "logprobs", "citations"]


def answered(dialect):
    """A result line with thinking, in a provider's own words."""
    if dialect == "anthropic":
        content = [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "hi"}]
        message = {"content": content, "stop_reason": "end_turn"}
        return {"result": {"type": "succeeded", "message": message}}
    if dialect == "vertex":
        parts = [{"text": "why", "thought": True}, {"text": "hi"}]
        return {"response": {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}}
    content = [{"reasoningContent": {"reasoningText": {"text": "why"}}}, {"text": "hi"}]
    return {"modelOutput": {"output": {"message": {"content": content}}, "stopReason": "end_turn"}}


@pytest.mark.parametrize("dialect", ["anthropic", "vertex", "bedrock"])
def test_other_dialects_have_them_too(dialect, tmp_path):
    """From the file as the provider wrote it, on the right row; a row without a line has nothing."""
    folder = JobFolder(tmp_path)
    job = made_up(rows=3, provider=dialect, dialect=dialect)
    shard, _ = batch(rows=3)
    line = json.dumps({"custom_id": f"{job.id}-1", **answered(dialect)}) + "\n"
    folder.output(0).write_text(line)
    folder.unsent.write_text("[]")
    found = outcomes_of(job, [shard], folder, {"reasoning": "reasoning"})
    assert found.kept == {"reasoning": [None, "why", None]}
    assert found.answers == [None, "hi", None]


def test_what_can_not_be_kept_is_refused(call, home):
    """A name that is none, a clash with a field of the schema, and embeddings."""
    with pytest.raises(OptionError, match="reasoning, logprobs, citations"):
        frame().llm.batch("{text}", keep="thoughts", **call)
    with pytest.raises(OptionError, match="both fill"):
        frame().llm.batch("{text}", out="s", schema={"reasoning": str}, keep="reasoning", **call)
    with pytest.raises(OptionError, match="keep"):
        frame().llm.embed("text", keep="reasoning", **call)
