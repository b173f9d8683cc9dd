"""Answers that were billed and can't be used are not asked again unasked: the cell attaches, `retry` sends."""

from __future__ import annotations

import pytest

from jupyter_batch.planning.retry import plan_again
from jupyter_batch.testing.scripted import Scripted

from .test_steps import harness, play, to_the_end  # noqa: F401 - a fixture


def nothing_usable(body):
    """An answer without a text, billed all the same."""
    text = body["messages"][-1]["content"]
    return None if text in "ab" else text.upper()


def lines(provider):
    """The number of request lines created."""
    return sum(view.total for view in provider.batches.values())


@pytest.mark.parametrize("times", [3])
def test_a_cell_whose_answers_can_not_be_used_is_one_job(harness, times):  # noqa: F811
    """No row has a usable answer, and all were billed: the same cell three times is one job and one batch."""
    harness.provider = Scripted(lambda _: None)
    jobs = set()
    for _ in range(times):
        job = harness.plan(shard_size=4)
        play(to_the_end(harness, job))
        jobs.add(job)
    assert len(jobs) == 1
    assert harness.provider.asked["create"] == 1


def test_a_grown_frame_does_not_ask_again_for_billed_failures(harness):  # noqa: F811
    """Rows that failed in a smaller frame, and were billed, are failures in the grown one; `retry` sends them."""
    harness.provider = Scripted(nothing_usable)
    first = harness.plan(shard_size=4)
    play(to_the_end(harness, first))
    harness.frame = harness.frame.iloc[[3, 2, 1, 0]]
    harness.frame = type(harness.frame)({"t": [*harness.frame["t"], "e"]})
    grown = harness.plan(shard_size=4)
    play(to_the_end(harness, grown))
    assert lines(harness.provider) == 5, "the new row alone was sent"
    assert harness.outcomes(grown).answers == ["D", "C", None, None, "E"]
    counts = harness.snapshot(grown).counts
    assert (counts.total, counts.succeeded, counts.reused, counts.failed) == (5, 1, 2, 2)
    assert set(harness.outcomes(grown).reasons) == {2, 3}
    harness.provider._answer = lambda body: body["messages"][-1]["content"].upper()
    record = harness.ledger.job(grown)
    again = plan_again(harness.ledger, record, harness.ledger.shards(grown), now=harness.now)
    play(to_the_end(harness, again.id))
    assert harness.outcomes(again.id).answers == ["D", "C", "B", "A", "E"]
    assert lines(harness.provider) == 7
