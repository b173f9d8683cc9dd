"""`retry(max_tokens=...)` sends what was cut off again, once, into the same column."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.config.option import col
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.planning.resent_lines import Changed, changes_of
from tests.answers.test_cut_off import LONG, frame
from tests.example_snapshots import job as made_up


def bodies(job):
    """The requests of a job's request files."""
    files = [path for path in job.files if path.name.startswith("requests-")]
    return [json.loads(line)["body"] for path in files for line in path.read_bytes().splitlines()]


def asked(df, call, **more):
    """The answers of a frame, three tokens long at the most."""
    return df.llm.batch("{text}", out="said", max_tokens=3, **call, **more)


def test_what_was_cut_off_is_sent_again_into_the_same_column(call, home):
    """Those rows alone; equal rows follow; the cell run again has the new answers, and nothing is paid."""
    df = frame()
    job = asked(df, call).wait(60)
    again = job.retry(max_tokens=500).wait(60)
    assert [body["max_tokens"] for body in bodies(again)] == [500]
    assert df["said"].tolist()[:2] == [LONG, "ok"]
    assert df["said"]["d"] == LONG
    assert again.is_successful
    assert again.results()["_finish"].dropna().tolist() == ["stop"] * 3
    assert (again.counts.succeeded, again.counts.reused, again.counts.skipped) == (1, 2, 1)
    assert job.retry(max_tokens=500) is again
    fresh = frame()
    assert asked(fresh, call).wait(60).id == again.id
    assert fresh["said"]["a"] == LONG


def test_a_grown_frame_takes_the_retried_answers(call, home):
    """Not the ones that were cut off; and the parameters of the retry, typed into the cell, cost nothing."""
    job = asked(frame(), call).wait(60)
    job.retry(max_tokens=500).wait(60)
    grown = pd.concat([frame(), pd.DataFrame({"text": ["new"]}, index=["e"])])
    more = asked(grown, call).wait(60)
    assert (grown["said"]["a"], len(bodies(more))) == (LONG, 1)
    typed = frame()
    same = typed.llm.batch("{text}", out="said", max_tokens=500, **call).wait(60)
    assert (typed["said"]["a"], [body["messages"][-1]["content"] for body in bodies(same)]) == (
        LONG,
        ["ok"],
    )


def test_still_cut_off_goes_on_from_the_last(call, home):
    """Another limit goes on from the retry before; the same one again sends nothing."""
    job = asked(frame(), call).wait(60)
    second = job.retry(max_tokens=5).wait(60)
    assert second.cut_off == 2
    with pytest.raises(InputError, match="no row is left"):
        second.retry(max_tokens=5)
    third = job.retry(max_tokens=500).wait(60)
    assert third.is_successful
    assert third.results()["said"].tolist()[0] == LONG


def test_answers_that_another_job_gave_are_sent_again_too(call, home):
    """A reused answer that was cut off has its request in the job that paid for it."""
    asked(frame(), call).wait(60)
    df = pd.concat([frame(), pd.DataFrame({"text": ["new"]}, index=["e"])])
    job = asked(df, call).wait(60)
    again = job.retry(max_tokens=500).wait(60)
    assert (len(bodies(again)), again.is_successful, df["said"]["a"]) == (1, True, LONG)


def test_a_retry_that_fails_keeps_the_text(call, home):
    """What was paid for is never thrown away: a refused retry leaves the answers as they were."""
    df = frame()
    job = asked(df, call).wait(60)
    short = df["said"]["a"]
    again = job.retry(max_tokens=500, temperature=99.0).wait(60)
    assert df["said"]["a"] == short
    assert again.counts.total == 4
    assert again.results()["_finish"]["a"] == "length"


def test_without_parameters_nothing_is_sent_again(call, home):
    """The same request would be cut off again: it says what to give."""
    job = asked(frame(), call).wait(60)
    with pytest.raises(InputError, match=r"1 that (was|were) cut off.*retry\(max_tokens="):
        job.retry()
    for wrong, why in (({"max_token": 5}, "did you mean"), ({"max_tokens": col("a")}, "column")):
        with pytest.raises(OptionError, match=why):
            job.retry(**wrong)


def test_another_process_has_them(call, home):
    """Opened by its id, the retry has its answers and counts."""
    again = asked(frame(), call).wait(60).retry(max_tokens=500).wait(60)
    opened = jupyter_batch.open(again.id)
    assert (opened.cut_off, opened.is_successful) == (0, True)


def test_a_group_sends_all_of_its_models_again(call, home):
    """With max_cost too; a limit that is raised twice goes on from the last retry of each."""
    models = ["openai/echo", "openai/local/echo"]
    prices = {model: {"input": 1, "output": 1} for model in models}
    first = asked(frame(), {**call, "model": models}, prices=prices).wait(60)
    second = first.retry(max_tokens=5, max_cost=1).wait(60)
    assert second.cut_off == 4
    third = first.retry(max_tokens=500, max_cost=1).wait(60)
    assert (third.cut_off, third.is_successful) == (0, True)


def test_embeddings_take_no_parameters(call, home):
    """A parameter that the endpoint has none of is refused before anything is sent."""
    job = frame().llm.embed("text", out="v", **call).wait(60)
    with pytest.raises(OptionError, match="no chat parameters"):
        job.retry(max_tokens=5)


LINES = {
    "openai": {"method": "POST", "url": "/v1/chat/completions"},
    "anthropic": {},
    "bedrock": {},
}
BODIES = {
    "openai": ("openai/gpt-4.1-mini", "gpt-4.1-mini", "body", {"max_tokens": 5}, "max_tokens"),
    "anthropic": (
        "anthropic/claude-haiku-4-5",
        "claude-haiku-4-5",
        "params",
        {"max_tokens": 5},
        "max_tokens",
    ),
}


@pytest.mark.parametrize("dialect", list(BODIES))
def test_the_parameter_is_reported_in_the_dialect(dialect):
    """In the provider's words; the rest of a request stays as it was."""
    model, bare, where, body, name = BODIES[dialect]
    record = made_up(model=model, provider=dialect, dialect=dialect, body_model=bare)
    line = json.dumps(
        {"custom_id": "a-0", **LINES[dialect], where: {"model": bare, "top_k": 3, **body}}
    )
    made = json.loads(
        Changed(record, dialect, changes_of({"max_tokens": 900})).line(line.encode(), "b-0")
    )
    assert made["custom_id"] == "b-0"
    assert (made[where][name], made[where]["top_k"]) == (900, 3)


def test_a_limit_has_one_name_in_a_request():
    """`max_completion_tokens` takes the place of max_tokens."""
    record = made_up(model="openai/m", provider="openai", body_model="m")
    line = b'{"custom_id":"a-0","body":{"model":"m","messages":[],"max_tokens":5}}'
    made = json.loads(Changed(record, "openai", {"max_completion_tokens": 900}).line(line, "b-0"))
    assert made["body"] == {"model": "m", "messages": [], "max_completion_tokens": 900}
