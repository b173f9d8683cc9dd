"""The price of Finish and Retry, and the expected cost of a job that runs: fields of the Snapshot."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_batch.core.cost import Spend, added_spends
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import price
from jupyter_batch.planning.action_prices import ActionPrices
from jupyter_batch.server.embedded import Embedded
from jupyter_batch.viewer.actions import JobActions

from .conftest import PRICES, numbered


@pytest.fixture
def slow(tmp_path):
    """A server whose batches take an hour."""
    with Embedded(tmp_path / "slow", pace=3600.0) as running:
        yield running


def test_a_retry_is_priced_before_it_is_sent(tmp_path, home):
    """Rows that failed are priced by the answered ones; the retry then costs no more than the bound."""
    with Embedded(tmp_path / "faulty", faults="seed=3,row_errors=0.3") as server:
        where = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        job = numbered(40).llm.batch("{text}", out="out", max_tokens=50, prices=PRICES, **where)
        seen = job.wait(60).snapshot()
        server.set_faults("")
        one = int(job.results()["_status"].eq("failed").to_numpy().nonzero()[0][0])
        (left,) = job._retried(None, rows=[one]).wait(60).snapshot().prices
    (retry,) = seen.prices
    assert (retry.action, retry.rows) == ("retry", seen.counts.failed)
    assert retry.about == pytest.approx(seen.cost / seen.counts.succeeded * retry.rows, rel=0.1)
    assert retry.about < retry.most
    assert f"retry: {retry.rows} rows, about $" in repr(job)
    assert left.rows == retry.rows - 1, "those that the retry of a single row leaves"
    assert retry.about / retry.rows == pytest.approx(left.about / left.rows, rel=0.3)
    assert left.about < left.most <= retry.most


def test_finish_is_priced_in_real_time_before_any_answer(server, home, priced, slow):
    """An earlier job's answers give what is expected, at the real-time price; max_tokens gives the bound.

    Without any answer, one of 200 tokens is assumed, as in preview().
    """
    there = {**priced, "api_base": slow.base_url, "api_key": slow.token}
    job = numbered(30).llm.batch("First {text}", out="out", **there)
    look = numbered(30).llm.preview("Then {text}", out="out", **there)
    (finish,) = job.snapshot().prices
    assert view(job.snapshot()).estimate.endswith(" in all without max_tokens")
    assert finish.about == pytest.approx(2 * look.about(look.price.paid("batch")), rel=0.1)
    assert finish.about < finish.most
    job.cancel()
    first = numbered(10).llm.batch("{text}", out="out", max_tokens=50, **priced).wait(60)
    assert first.is_successful
    job = numbered(30).iloc[10:].llm.batch("Now {text}", out="out", max_tokens=50, **there)
    seen = job.snapshot()
    assert seen.offers == ("finish",)
    (finish,) = seen.prices
    assert (finish.action, finish.rows, finish.limited) == ("finish", 20, True)
    assert 0 < finish.about < finish.most
    assert finish.about == pytest.approx(2 * seen.expected)  # PRICES: real time is twice the batch
    assert dict(view(seen).prices)["finish"].startswith("20 rows, about $0.0")
    assert "about $" in view(seen).estimate
    assert "at most $" in view(seen).estimate
    offered = {one["name"]: one["price"] for one in JobActions(job._here.ledger, job.id).offered()}
    assert offered["estimate"] == view(seen).estimate, (
        "the page of rows and the panel of JupyterLab"
    )
    assert offered["finish"] == dict(view(seen).prices)["finish"]
    job.cancel()


def test_answers_that_are_not_collected_are_in_the_cost_of_the_whole_job(home, slow, priced):
    """The cost of the job stays as expected while the provider answers; Finish is for the open rows alone."""
    there = {**priced, "api_base": slow.base_url, "api_key": slow.token}
    job = numbered(20).llm.batch("{text}", out="out", max_tokens=50, **there)
    ledger = job._here.ledger
    record, shards = ledger.job(job.id), ledger.shards(job.id)
    before = ActionPrices().look(ledger, record, shards)
    answered = [msgspec.structs.replace(shard, completed=15) for shard in shards]
    after = ActionPrices().look(ledger, record, answered)
    assert before.most == after.most > 0
    assert [one.rows for one in (*before.actions, *after.actions)] == [20, 5]
    job.cancel()


@pytest.mark.parametrize(
    ("spend", "phrase"),
    [
        ({"about": 0.02, "most": 0.05}, "36 rows, about $0.0200 (at most $0.0500)"),
        ({"about": 0.02}, "36 rows, about $0.0200"),
        ({"most": 0.05}, "36 rows, at most $0.0500"),
        ({}, "36 rows, price unknown"),
        ({"about": 0.0, "most": 0.0}, "36 rows, free of charge"),
        (
            {"about": 0.02, "most": 30.0, "limited": False},
            "36 rows, about $0.0200 (at most $30.00 without max_tokens)",
        ),
    ],
)
def test_the_phrase_of_a_price(spend, phrase):
    """Rows first, then what is expected, then the bound; what is unknown is not $0."""
    assert price(Spend(action="retry", rows=36, **spend)) == phrase


def test_the_price_of_a_group_is_the_sum_and_unknown_where_one_is():
    """An unknown price of one job makes the sum unknown."""
    known, unknown = (
        Spend(action="retry", rows=2, about=0.5, most=1.0),
        Spend(action="retry", rows=3),
    )
    assert added_spends([known, known]) == Spend(action="retry", rows=4, about=1.0, most=2.0)
    assert added_spends([known, unknown]) == Spend(action="retry", rows=5)
