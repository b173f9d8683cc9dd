"""`job.row(label)` is the whole record of one row."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import InputError
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.results.row import row_of
from tests.answers.test_keep import answered, call, frame, model
from tests.example_snapshots import batch
from tests.example_snapshots import job as made_up

__all__ = ["call", "model"]


def test_a_row_is_whole(call, home):
    """Request, prompt, answer, thinking, finish, tokens, and the provider's line; as attributes and as items."""
    job = frame().llm.batch("Say {text}", system="Be brief", out="said", **call).wait(60)
    row = job.row("b")
    assert (row.label, row.position, row.status, row.answer) == ("b", 1, "succeeded", "SAY SEA")
    assert [message["content"] for message in row.prompt] == ["Be brief", "Say sea"]
    assert row.request["messages"] == row.prompt
    assert (row.reasoning, row.finish, row.error) == ("because of Say sea", "stop", None)
    assert row.citations[0]["url_citation"]["title"] == "A"
    assert row.logprobs[0]["logprob"] == -0.5
    assert (row.input_tokens, row.output_tokens, row.tokens.output_tokens) == (5, 2, 2)
    body = row.raw["response"]["body"]
    assert body["choices"][0]["message"]["content"] == "SAY SEA"
    assert (row["answer"], dict(row)["finish"]) == ("SAY SEA", "stop")
    assert "because of Say sea" in repr(row)
    opened = jupyter_batch.open(job.id)
    assert opened.row("b") == row
    assert opened.row(position=1) == row


def test_rows_that_follow_or_were_answered_elsewhere(call, home):
    """A row that asks what another asked has that one's line; a reused answer has its request in the other job."""
    job = frame().llm.batch("{text}", out="said", **call).wait(60)
    twin = job.row("c")
    assert (twin.status, twin.answer, twin.reasoning) == ("reused", "SKY", "because of sky")
    assert twin.prompt[0]["content"] == "sky"
    grown = pd.concat([frame(), pd.DataFrame({"text": ["new"]}, index=["d"])])
    more = grown.llm.batch("{text}", out="said", **call).wait(60)
    row = more.row("b")
    assert (more.id != job.id, row.status, row.answer) == (True, "reused", "SEA")
    assert row.prompt[0]["content"] == "sea"
    assert row.raw is not None


def test_a_row_without_a_request_or_an_answer(call, home, model):
    """It says why; what was not sent has neither a request nor a line."""
    model.decide = lambda text, before: 400 if text == "bad" else None
    df = pd.DataFrame({"text": ["sky", None, "bad"]})
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    assert job.row(0).answer == "SKY"
    left_out = job.row(1)
    assert (left_out.status, left_out.request, left_out.prompt, left_out.raw) == (
        "skipped",
        None,
        None,
        None,
    )
    assert "text" in left_out.error
    failed = job.row(2)
    assert (failed.status, failed.answer, failed.prompt[0]["content"]) == ("failed", None, "bad")
    assert "told 400 about bad" in failed.error
    assert "told 400 about bad" in json.dumps(failed.raw)


def test_labels(call, home):
    """A label that no row has, or several have, is refused with the way out; a tuple is one of a MultiIndex."""
    df = pd.DataFrame({"text": ["sky", "sea"]}, index=["a", "a"])
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    with pytest.raises(InputError, match=r"2 rows .*job.row\(position=0\)"):
        job.row("a")
    with pytest.raises(InputError, match="no row 'z'"):
        job.row("z")
    for odd in (slice(None), ["a"], None):
        with pytest.raises(InputError, match="no row"):
            job.row(odd)
    with pytest.raises(InputError, match="none at 2"):
        job.row(position=2)
    assert job.row(position=-1).answer == "SEA"
    several = pd.MultiIndex.from_tuples([("x", 1), ("x", 2)])
    df = pd.DataFrame({"text": ["sky", "sea"]}, index=several)
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    assert job.row(("x", 2)).answer == "SEA"
    with pytest.raises(InputError, match=r"no row .* from \('x', 1\) on"):
        job.row([0, 1])


def test_a_group_has_one_of_each_model(call, home):
    """By model."""
    models = ["openai/m", "openai/n"]
    group = frame().llm.batch("{text}", out="said", **{**call, "model": models}).wait(60)
    rows = group.row("a")
    assert [(name, row.answer) for name, row in rows.items()] == [(one, "SKY") for one in models]


@pytest.mark.parametrize("dialect", ["anthropic", "vertex", "bedrock"])
def test_other_dialects(dialect, tmp_path):
    """The request in the provider's words, the prompt in OpenAI's, where that is kept."""
    folder = JobFolder(tmp_path)
    job = made_up(rows=2, provider=dialect, dialect=dialect)
    shard, _ = batch(rows=2)
    where = {"anthropic": "params", "vertex": "request", "bedrock": "modelInput"}[dialect]
    sent = {"custom_id": f"{job.id}-1", where: {"contents": "native"}}
    asked = {"custom_id": f"{job.id}-1", "body": {"messages": [{"role": "user", "content": "x"}]}}
    folder.requests(0).write_bytes(json.dumps(sent, separators=(",", ":")).encode() + b"\n")
    folder.asked.write_bytes(json.dumps(asked, separators=(",", ":")).encode() + b"\n")
    line = {"custom_id": f"{job.id}-1", **answered(dialect)}
    folder.output(0).write_text(json.dumps(line) + "\n")
    folder.unsent.write_text("[]")
    row = row_of(None, job, [shard], folder, of_job(job, [shard], folder), 1, "b")
    assert (row.request, row.prompt) == ({"contents": "native"}, asked["body"]["messages"])
    assert (row.answer, row.reasoning, row.raw) == ("hi", "why", line)
