"""max_cost: refused before anything is sent, and stopped between batches where the real cost runs ahead."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.status import Step

from .conftest import numbered


def jobs_in(home):
    """The content of the ledger's folder of jobs."""
    return list((home / "jobs").iterdir()) if (home / "jobs").exists() else []


def test_above_it_nothing_is_sent_and_nothing_is_kept(server, home, priced):
    """The sentence says the estimate, the limit, and what can be done."""
    with pytest.raises(
        OptionError,
        match=r"max_cost=0\.0001: 50 requests with \d+ tokens of input; it may cost up to "
        r"\$0\.\d+, with answers of up to 100 tokens.*Nothing was sent",
    ):
        numbered(50).llm.batch("{text}", out="out", max_tokens=100, max_cost=0.0001, **priced)
    assert jobs_in(home) == []
    assert server.stats()["batches_created"] == 0


def test_below_it_it_is_sent(server, home, priced):
    """And the bound held: it cost less than the most that was estimated, which was less than the limit."""
    job = (
        numbered(50)
        .llm.batch("{text}", out="out", max_tokens=100, max_cost=0.05, **priced)
        .wait(60)
    )
    assert job.is_successful
    assert 0 < job.cost <= job._record().most <= 0.05


def test_unknown_price_with_a_limit_is_refused(server, home, call):
    """Its cost is unknown, so no limit can be kept: the message says how to give a price."""
    with pytest.raises(OptionError, match=r'prices=\{"openai/echo": \{"input": \.\.\.') as caught:
        numbered(5).llm.batch("{text}", out="out", max_cost=5, **call)
    assert "%config LLMBatch.prices" in str(caught.value)
    assert jobs_in(home) == []
    assert server.stats()["batches_created"] == 0


def test_what_is_free_is_within_any_limit(home):
    """A model on one's own machine, with a limit of nothing."""
    assert (
        numbered(3)
        .llm.batch("{text}", out="out", model="local/echo", max_cost=0)
        .wait(60)
        .is_successful
    )


def test_without_max_tokens_the_longest_answers_count_until_some_are_known(home, priced):
    """40 answers of an unknown model could be long; the length of earlier answers is a better estimate."""
    with pytest.raises(OptionError, match=r"answers of up to 128,000 tokens: max_tokens= says"):
        numbered(40).llm.batch("{text}", out="out", max_cost=0.5, **priced)
    numbered(4).llm.batch("{text}", out="out", **priced).wait(60)
    job = numbered(40).llm.batch("{text}", out="out", max_cost=0.5, **priced).wait(60)
    assert job.is_successful
    assert job._record().most > 0.5
    with pytest.raises(OptionError, match=r"likely to cost \$0\.\d+, by what earlier answers took"):
        numbered(400).llm.batch("{text}", out="out", max_cost=0.0001, **priced)


def test_between_batches_it_stops_where_the_real_cost_runs_ahead(server, home, priced):
    """Short answers once, then long ones: one batch is sent, its cost is seen, the rest ends with the reason.

    And `retry` with a higher limit sends just that rest.
    """
    long = numbered(40)
    long["text"] = [f"row {n} " + "word " * 200 for n in range(40)]
    brief = long.iloc[:4].assign(text=["a", "b", "c", "d"])
    brief.llm.batch("{text}", out="out", **priced).wait(60)
    options = {**priced, "shard_size": 10, "max_cost": 0.05, "out": "out"}
    job = long.llm.batch("{text}", **options).wait(60)
    results = job.results()
    sent = results["_status"] == "succeeded"
    assert 0 < sent.sum() < 40
    assert sent.sum() % 10 == 0
    assert job.state == "cancelled"
    assert job.cost <= 0.05
    assert job.cost == pytest.approx(results["_cost"].sum())
    reasons = set(results["_error"][~sent])
    assert len(reasons) >= 1
    assert all(
        reason.startswith("max_cost: $0.0") and "max_cost=0.05; job.retry(max_cost=...)" in reason
        for reason in reasons
    )
    assert (results["_cost"][~sent] == 0).all()
    with pytest.raises(InputError, match=r"job\.retry\(max_cost=\.\.\.\) allows more"):
        job.retry()
    again = job.retry(max_cost=10).wait(60)
    assert again.is_successful
    assert again.counts.reused == sent.sum()
    assert long["out"].notna().all()


def test_batches_wait_for_the_real_cost_of_those_that_are_out(server, home, priced):
    """Where all of them at once could come to more than the limit they go one after the other, and all are sent."""
    df = numbered(40)
    numbered(4).llm.batch("{text}", out="out", **priced).wait(60)
    job = df.llm.batch(
        "{text}", out="out", shard_size=10, max_cost=0.5, reuse=False, **priced
    ).wait(60)
    assert job.is_successful
    assert job.cost < 0.5 < job._record().most
    moved = [
        (shard, step)
        for _, shard, step, _, _ in job._here.ledger.events(job.id)
        if shard is not None
    ]
    first_collected = moved.index(next(event for event in moved if event[1] == Step.COLLECTED))
    assert len({shard for shard, step in moved[:first_collected] if step == Step.SUBMITTING}) == 1


def test_real_time_has_a_limit_too(home, priced):
    """At its own price: what a batch may cost is less."""
    options = {**priced, "max_tokens": 10, "out": "out"}
    with pytest.raises(OptionError, match="max_cost"):
        numbered(20).llm.batch("{text}", max_cost=0.003, mode="realtime", **options)
    assert numbered(20).llm.batch("{text}", max_cost=0.003, **options).wait(60).is_successful


def test_rows_that_another_job_was_to_answer_are_within_the_limit(server, home, priced):
    """Waiting costs nothing; where it comes back unanswered, no more is sent than max_cost allows."""
    server.set_faults("enqueued_tokens=1")  # nothing gets through
    options = {**priced, "max_tokens": 100, "out": "out"}
    one = numbered(20).llm.batch("{text}", **options)
    few, many = numbered(5), numbered(20)
    afford = few.llm.batch("{text}", max_cost=0.01, **options)
    dear = many[::-1].iloc[:19].llm.batch("{text}", max_cost=0.001, **options)
    one.cancel().wait(60)
    server.set_faults("")
    assert afford.resume().wait(60).is_successful
    assert dear.resume().wait(60).counts.cancelled == 15
    assert "max_cost" in dear.errors["_error"].iloc[0]


def test_an_unknown_price_with_a_limit_is_refused_while_others_pay(server, home, call):
    """Rows that another job was to answer may come back: what they would cost then has to be known."""
    server.set_faults("enqueued_tokens=1")
    numbered(5).llm.batch("{text}", out="out", **call)
    with pytest.raises(OptionError, match="is not known"):
        numbered(4).llm.batch("{text}", out="out", max_cost=5, **call)
