"""Cancelled batches that counted one answer and one failure, and named the error file alone (C3, E10)."""

from __future__ import annotations

from contextlib import contextmanager

import pandas as pd

from tests.endings.far import far_side
from tests.endings.table import WHY


@contextmanager
def cancelled(desk):
    """(far side, job): of four rows "a" was answered, and its file is not named; "b" failed."""
    with far_side("openai", desk.clock) as far:
        job = desk.frame().llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: far.sent)
        batch = list(far.fake.batches.values())[-1]
        first, second = list(batch.requests)[:2]
        batch.answers, batch.errors = {first: "A"}, {second: WHY}
        batch.output_named = False
        job.cancel()
        batch.ending = "cancelled"
        desk.until(lambda: job.is_complete, skip=1.0)
        yield far, job


def test_an_error_file_does_not_hide_a_withheld_answer(desk):
    """E10, C3: it is over within seconds; the same cell sends nothing, a grown frame sends no row that is answered."""
    with cancelled(desk) as (far, job):
        (shard,) = desk.here.ledger.shards(job.id)
        assert desk.clock() - shard.ended_at < 90
        assert shard.missing == 1
        again = desk.frame().llm.batch("{t}", out="out", **far.call)
        assert again.id == job.id
        assert len(far.sent) == 1
        far.name_output()
        desk.until(lambda: job.counts.succeeded == 1)
        grown = pd.DataFrame({"t": list("abcde")})
        more = grown.llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: len(far.sent) == 2)
        assert "a" not in far.sent[1]
        far.answer_all()
        desk.until(lambda: more.is_complete)
        more.wait(30)
        assert grown["out"].iloc[0] == "A"
        assert "".join(far.sent).count("a") == 1


def test_a_late_file_serves_the_grown_frame_s_retry(desk):
    """E10, C3: a grown frame leaves the withheld row out; once the file is there, its retry sends the others alone."""
    with cancelled(desk) as (far, job):
        grown = pd.DataFrame({"t": list("abcde")})
        more = grown.llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: len(far.sent) == 2)
        assert "a" not in far.sent[1]
        newest = list(far.fake.batches.values())[-1]
        newest.answers = {
            one: body["messages"][-1]["content"].upper() for one, body in newest.requests.items()
        }
        newest.ending = "completed"
        desk.until(lambda: more.is_complete)
        more.wait(30)
        assert (
            more.errors["_error"].str.contains(job.id).sum() == 3
        )  # which one was counted is unknown
        next(iter(far.fake.batches.values())).output_named = True
        desk.until(lambda: job.counts.succeeded == 1)
        again = more.retry()
        desk.until(lambda: len(far.sent) == 3)
        assert far.sent[2] == "cd"
        far.answer_all()
        desk.until(lambda: again.is_complete)
        again.wait(30)
        assert grown["out"].tolist() == list("ABCDE")
        assert "".join(far.sent).count("a") == 1
