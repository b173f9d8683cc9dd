"""C8: answers that were billed and can't be used are not asked again unasked: the cell attaches, `retry` sends."""

from __future__ import annotations

import pytest

from jupyter_batch.planning.retry import plan_again
from jupyter_batch.testing.scripted import Scripted

from .test_tick import desk, play, to_the_end  # noqa: F401 - a fixture


def nothing_usable(body):
    """An answer without a text, billed all the same."""
    text = body["messages"][-1]["content"]
    return None if text in "ab" else text.upper()


def lines(provider):
    """How many request lines were created."""
    return sum(view.total for view in provider.batches.values())


@pytest.mark.parametrize("times", [3])
def test_a_cell_whose_answers_can_not_be_used_is_one_job(desk, times):  # noqa: F811
    """C8: no row has a usable answer, and all were billed: the same cell three times is one job and one batch."""
    desk.provider = Scripted(lambda _: None)
    jobs = set()
    for _ in range(times):
        job = desk.plan(shard_size=4)
        play(to_the_end(desk, job))
        jobs.add(job)
    assert len(jobs) == 1
    assert desk.provider.asked["create"] == 1


def test_a_grown_frame_does_not_ask_again_for_billed_failures(desk):  # noqa: F811
    """C8: rows that failed in a smaller frame, and were billed, are failures in the grown one; `retry` sends them."""
    desk.provider = Scripted(nothing_usable)
    first = desk.plan(shard_size=4)
    play(to_the_end(desk, first))
    desk.frame = desk.frame.iloc[[3, 2, 1, 0]]
    desk.frame = type(desk.frame)({"t": [*desk.frame["t"], "e"]})
    grown = desk.plan(shard_size=4)
    play(to_the_end(desk, grown))
    assert lines(desk.provider) == 5, "the new row alone was sent"
    assert desk.told(grown).answers == ["D", "C", None, None, "E"]
    counts = desk.snapshot(grown).counts
    assert (counts.total, counts.succeeded, counts.reused, counts.failed) == (5, 1, 2, 2)
    assert set(desk.told(grown).reasons) == {2, 3}
    desk.provider._answer = lambda body: body["messages"][-1]["content"].upper()
    record = desk.ledger.job(grown)
    again = plan_again(desk.ledger, record, desk.ledger.shards(grown), now=desk.now)
    play(to_the_end(desk, again.id))
    assert desk.told(again.id).answers == ["D", "C", "B", "A", "E"]
    assert lines(desk.provider) == 7
