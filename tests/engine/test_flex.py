"""mode="flex" as a user has it: refused where it saves nothing, waits, costs by tier, and goes on at the full price."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch import cli
from jupyter_batch.core.cost import actual
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.core.request import Usage
from jupyter_batch.magics import _job_command
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.prices import price_of
from jupyter_batch.runner.connect import connect
from jupyter_batch.runner.worker import Worker
from jupyter_batch.server.embedded import Embedded
from tests.messages import messages

from .conftest import numbered

MODEL = "openai/gpt-5-mini"
PRICE = price_of(MODEL)
ROWS = 6
SECONDS = 300
"""Until a test gives up; the first job of a process imports litellm."""


@pytest.fixture
def tiered(tmp_path, monkeypatch):
    """A server with a flex tier, that answers for any model's name; its batches take an hour."""
    with Embedded(tmp_path / "tiered", pace=3600.0) as running:
        yield running


@pytest.fixture
def ask(tiered):
    """The options that send a job there."""
    half, full = {"input": 1.0, "output": 4.0}, {"input": 2.0, "output": 8.0}
    own = {"openai/echo": {**half, "realtime": full, "flex": half}}
    return {
        "model": "openai/echo",
        "api_base": tiered.base_url,
        "api_key": tiered.token,
        "prices": own,
        "poll_interval": 0.05,
    }


def asked_as(model, ask):
    """The options for a model by another name."""
    return {**ask, "model": model, "prices": {model: ask["prices"]["openai/echo"]}}


def at(tier, usage):
    """The cost of the answers at the prices of `ask`."""
    rate = 1e-6 if tier == "flex" else 2e-6
    return usage.input_tokens * rate + usage.output_tokens * 4 * rate


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "openai/gpt-4o-mini",
            r'batch" costs \$0\.0. in, \$0\.30 out per million and mode="realtime" costs \$0\.15 in, \$0\.60 out',
        ),
        (
            "anthropic/claude-haiku-4-5",
            r"Anthropic is not known to have a flex tier.*mode=\"batch\" costs",
        ),
        ("groq/llama-3.1-8b-instant", r"Groq's flex tier costs the full price"),
        ("cohere/command-r", r"Cohere is not known.*; mode=\"realtime\" costs an unknown price"),
        ("openai/text-embedding-3-small", r"no flex price of text-embedding-3-small"),
    ],
)
def test_flex_where_it_saves_nothing_is_refused(home, model, message):
    """Before anything is stored, with the other modes and their prices."""
    with pytest.raises(ModelError, match=message):
        numbered(2).llm.batch("{text}", out="out", model=model, mode="flex", api_key="sk-x")
    assert not (home / "jobs").exists()


def test_options_that_contradict_flex(home, ask):
    """A tier of one's own, and a deadline that has no batch."""
    df = numbered(2)
    with pytest.raises(OptionError, match="sets the service tier itself"):
        df.llm.batch("{text}", out="o", mode="flex", service_tier="default", **ask)
    with pytest.raises(OptionError, match="give deadline="):
        df.llm.batch("{text}", out="o", deadline_mode="flex", **ask)
    with pytest.raises(OptionError, match="for a batch with a deadline"):
        df.llm.batch("{text}", out="o", mode="flex", deadline="1h", deadline_mode="flex", **ask)


@pytest.mark.parametrize("model", ["openai/echo", "openai/responses/echo"])
def test_a_job_on_flex(tiered, ask, home, model):
    """Every third call is refused, each is slow, every second answer has the default tier: all are there, by tier."""
    tiered.set_faults("flex_refuse=3,flex_default=2,latency=0.02")
    ask = asked_as(model, ask)
    df = numbered(ROWS)
    job = df.llm.batch("{text}", out="out", mode="flex", **ask).wait(SECONDS)
    assert (df["out"] == df["text"]).all()
    assert (job.counts.succeeded, job.counts.failed) == (ROWS, 0)
    rows = job.results()
    flex = sum(
        cost == pytest.approx(at("flex", Usage(into, out)))
        for cost, into, out in zip(
            rows["_cost"], rows["_input_tokens"], rows["_output_tokens"], strict=True
        )
    )
    assert flex == ROWS / 2
    assert job.cost == pytest.approx(sum(rows["_cost"]))
    assert at("flex", job.usage) < job.cost < at("default", job.usage)
    path = "/v1/responses" if "responses" in model else "/v1/chat/completions"
    assert tiered.stats()["routes"][f"POST {path}"]["took_effect"] == ROWS
    again = numbered(ROWS)
    assert again.llm.batch("{text}", out="out", mode="flex", **ask).is_complete
    assert (again["out"] == df["out"]).all()


def test_from_flex_to_the_full_price(tiered, ask, monkeypatch):
    """The tier answers two rows and refuses the rest: finish() asks those in real time; counts and costs add up.

    Another thread waits for the job just when it is connected: its calls stay in sight.
    """
    df = numbered(2)
    first = df.llm.batch("{text}", out="out", mode="flex", **ask).wait(SECONDS)
    assert first.cost == pytest.approx(at("flex", first.usage))
    tiered.set_faults("flex_refuse=1")
    lease, taken = Worker._lease, []

    def taken_once(worker, job, now):
        if not taken:
            taken.append(worker.take(job.id))
        return lease(worker, job, now)

    monkeypatch.setattr(Worker, "_lease", taken_once)
    more = numbered(ROWS)
    job = more.llm.batch("{text}!", out="out", mode="flex", max_cost=1.0, max_tokens=50, **ask)
    while not any(shard.shed for shard in job.snapshot().shards):
        job.wait(0.05)
    shown = messages(job.snapshot())
    assert "requests wait for the flex tier, which has no room now: nothing is billed" in shown
    assert "job.finish() asks the rest in real time, at the full price" in shown
    assert "finish" in job.snapshot().offers
    assert not job.counts.failed
    assert job.finish().wait(SECONDS).is_successful
    assert (more["out"] == more["text"] + "!").all()
    assert job.counts.succeeded == job.counts.total == ROWS
    assert job.cost == pytest.approx(at("default", job.usage))


def test_a_deadline_of_a_flex_job(tiered, ask):
    """Half of the rows are answered on flex by the deadline, the rest at the full price: the sum of both."""
    tiered.set_faults("flex_refuse=2,retry_after=1")
    df = numbered(ROWS)
    job = df.llm.batch("{text}", out="out", mode="flex", concurrency=1, **ask)
    while job.counts.succeeded < 2:
        job.wait(0.05)
    tiered.set_faults("flex_refuse=1")
    assert df.llm.batch("{text}", out="out", mode="flex", deadline=0.2, concurrency=1, **ask) is job
    job.wait(SECONDS)
    assert job.is_successful
    assert (df["out"] == df["text"]).all()
    assert job.counts.reused >= 2, "answered on flex"
    assert job.counts.succeeded + job.counts.reused == job.counts.total == ROWS
    assert at("flex", job.usage) < job.cost < at("default", job.usage)
    assert job.snapshot().bill.standard == pytest.approx(at("default", job.usage))


def _by_magic(job):
    return _job_command("finish", [job.id, "--mode", "flex"], {})


def _in_a_terminal(job):
    assert cli.main(["finish", job.id, "--mode", "flex", "--max-cost", "9"]) == 0
    return job


@pytest.mark.parametrize("finish", [lambda job: job.finish(mode="flex"), _by_magic, _in_a_terminal])
def test_a_batch_is_finished_on_flex(tiered, ask, finish):
    """It is cancelled, and its rows are asked at the batch price; the requests are the same."""
    df = numbered(ROWS)
    job = df.llm.batch("{text}", out="out", **ask)
    assert finish(job).wait(SECONDS).is_successful
    assert job.cost == pytest.approx(at("flex", job.usage))
    assert (df["out"] == df["text"]).all()
    assert job._record().mode == "flex"
    assert view(job.snapshot()).model.endswith("on the flex tier")
    with pytest.raises(OptionError, match="mode"):
        job.finish(mode="soon")


def test_a_deadline_finishes_on_flex(tiered, ask):
    """deadline_mode="flex": the batch's open rows are asked there."""
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", deadline=0.2, deadline_mode="flex", **ask).wait(SECONDS)
    assert job.is_successful
    assert job._record().mode == "flex"


def test_a_batch_without_a_flex_tier_goes_on(tiered, ask):
    """finish(mode="flex") of a model without a flex price changes nothing."""
    job = numbered(2).llm.batch("{text}", out="out", **{**ask, "prices": None})
    with pytest.raises(ModelError, match="no flex price of echo is known"):
        job.finish(mode="flex")
    assert not job._record().cancel_at
    job.cancel().wait(SECONDS)


def test_a_preview_has_each_mode_with_its_cost_and_wait(tiered, ask):
    """Batch, flex and real time one below the other; the wait is that of earlier jobs of that mode."""
    for number in range(3):
        numbered(1).llm.batch(f"{number} {{text}}", out="o", mode="flex", **ask).wait(SECONDS)
    df = numbered(ROWS)
    seen = df.llm.preview("{text}", out="out", max_tokens=10, **ask)
    assert seen.batch == seen.flex == seen.cost
    assert seen.realtime.high == pytest.approx(2 * seen.flex.high)
    reported = dict(seen.facts())
    assert reported["on the flex tier"].startswith(reported["cost"])
    assert "; usually " in reported["on the flex tier"]
    assert "usually" not in reported["in real time"]
    assert set(seen.waits) == {"flex"}
    live = dict(df.llm.preview("{text}", out="out", max_tokens=10, mode="flex", **ask).facts())
    assert {"in a batch", "in real time"} <= set(live)
    assert "on the flex tier" not in live
    for text in (reported["on the flex tier"], reported["in real time"]):
        assert text.partition(";")[0] in repr(seen)


@pytest.mark.parametrize(("mode", "seconds"), [("flex", 900.0), ("realtime", 600.0)])
@pytest.mark.parametrize("model", ["openai/echo", "openai/responses/echo"])
def test_an_answer_may_take_longer_on_flex(tiered, ask, mode, seconds, model):
    """15 minutes, as OpenAI's guide advises: that is the timeout of each call."""
    job = numbered(1).llm.batch("{text}", out="o", mode=mode, **asked_as(model, ask))
    job.cancel().wait(SECONDS)
    there = connect(job._record(), home=job._here.ledger.home, api_key="k", named=None)
    assert asyncio.run(there)._call._seconds == seconds


def test_the_list_price_of_flex_is_half():
    """The prices that the tests above do not read: litellm's."""
    usage = Usage(1_000_000, 1_000_000)
    assert actual(PRICE.flex, usage) == pytest.approx(actual(PRICE.standard, usage) / 2)
