"""Retries of chosen rows: only those are sent; the others stay failed, with their reasons, for a later retry."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import NothingToRetryError
from jupyter_batch.planning.retry import plan_again
from tests.answers.test_retry_params import bodies

ROWS = 6


@pytest.fixture
def failed(server, call, home):
    """A job whose rows all failed: rows 1 and 4 are equal."""
    server.set_faults("row_errors=1")
    df = pd.DataFrame(
        {"text": ["zero", "one", "two", "three", "one", "five"]}, index=list("abcdef")
    )
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    assert (job.counts.failed, df["said"].isna().sum()) == (ROWS, ROWS)
    server.set_faults("")
    return df, job


def asked(job):
    """The texts that a job's own requests have."""
    return [body["messages"][-1]["content"] for body in bodies(job)]


def test_chosen_rows_alone_are_sent(failed):
    """Of a duplicate its original is sent; the others keep their reasons, and counts add up."""
    df, job = failed
    again = job._retried(None, rows=[2, 4]).wait(60)
    assert asked(again) == ["one", "two"]
    assert df["said"].dropna().to_dict() == {"b": "one", "c": "two", "e": "one"}
    assert (again.counts.failed, again.counts.total) == (3, ROWS)
    table = again.results()
    assert table["_status"].value_counts().to_dict() == {"succeeded": 2, "reused": 1, "failed": 3}
    assert table.loc["a", "_error"] == job.results().loc["a", "_error"]


def test_the_rest_is_sent_later(failed, home):
    """Also by another process, in one go or row by row; each request is paid once."""
    df, job = failed
    first = job._retried(None, rows=[2]).wait(60)
    second = first._retried(None, rows=[0]).wait(60)
    last = jupyter_batch.open(second.id).retry().wait(60)
    assert [asked(one) for one in (first, second, last)] == [
        ["two"],
        ["zero"],
        ["one", "three", "five"],
    ]
    assert last.is_successful
    assert df["said"].tolist() == df["text"].tolist()
    assert last.row("a").prompt[-1]["content"] == "zero"
    with pytest.raises(NothingToRetryError):
        last.retry()


def test_rows_that_are_left_have_their_requests_and_reasons(failed):
    """`row()` shows them whole."""
    _, job = failed
    left = job._retried(None, rows=[2]).wait(60).row("f")
    assert left.prompt[-1]["content"] == "five"
    assert left.status == "failed"
    assert left.error


def test_changed_parameters_for_chosen_rows(server, call, home):
    """Cut off answers of chosen rows are sent with another limit; failed rows are left, and sent later."""
    long = "a text of more words than three tokens can hold"
    df = pd.DataFrame({"text": [f"{n} {long}" for n in range(4)]})
    job = df.llm.batch("{text}", out="said", max_tokens=3, **call).wait(60)
    assert job.cut_off == 4
    again = job._retried(None, params={"max_tokens": 500}, rows=[1, 3]).wait(60)
    assert [body["max_tokens"] for body in bodies(again)] == [500, 500]
    assert df["said"].tolist() == [
        *[f"0 {long}"[: len(df["said"][0])], f"1 {long}"],
        f"2 {long}"[: len(df["said"][2])],
        f"3 {long}",
    ]
    assert again.cut_off == 2


def test_an_open_retry_is_not_doubled(failed, server):
    """While chosen rows are under way, no others are sent: nothing is paid twice."""
    _, job = failed
    ledger = job._here.ledger
    record, shards = ledger.job(job.id), ledger.shards(job.id)
    again = plan_again(ledger, record, shards, now=2e9, rows=[0])
    with pytest.raises(NothingToRetryError, match="not over"):
        plan_again(ledger, record, shards, now=2e9, rows=[0])
    assert ledger.child(job.id).id == again.id
    left = (ledger.folders.of(again.id).path / "left.jsonl").read_bytes().splitlines()
    assert len(left) == 4, "five other rows, two of them equal"
    assert {json.loads(line)["custom_id"].partition("-")[0] for line in left} == {again.id}
