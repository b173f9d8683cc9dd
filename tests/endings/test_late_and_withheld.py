"""Cancelled batches that counted one answer and one failure, and named the error file alone."""

from __future__ import annotations

from contextlib import contextmanager

import pandas as pd

from tests.endings.remote import remote_provider
from tests.endings.table import WHY


@contextmanager
def cancelled(harness):
    """(the provider, job): of four rows "a" was answered, and its file is not named; "b" failed."""
    with remote_provider("openai", harness.clock) as remote:
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        batch = list(remote.fake.batches.values())[-1]
        first, second = list(batch.requests)[:2]
        batch.answers, batch.errors = {first: "A"}, {second: WHY}
        batch.output_named = False
        job.cancel()
        batch.ending = "cancelled"
        harness.until(lambda: job.is_complete, skip=1.0)
        yield remote, job


def test_an_error_file_does_not_hide_a_withheld_answer(harness):
    """It is over within seconds; the same cell sends nothing, a grown frame sends no row that is answered."""
    with cancelled(harness) as (remote, job):
        (shard,) = harness.here.ledger.shards(job.id)
        assert harness.clock() - shard.ended_at < 90
        assert shard.missing == 1
        again = harness.frame().llm.batch("{t}", out="out", **remote.call)
        assert again.id == job.id
        assert len(remote.sent) == 1
        remote.name_output()
        harness.until(lambda: job.counts.succeeded == 1)
        grown = pd.DataFrame({"t": list("abcde")})
        more = grown.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: len(remote.sent) == 2)
        assert "a" not in remote.sent[1]
        remote.answer_all()
        harness.until(lambda: more.is_complete)
        more.wait(30)
        assert grown["out"].iloc[0] == "A"
        assert "".join(remote.sent).count("a") == 1


def test_a_late_file_serves_the_grown_frame_s_retry(harness):
    """A grown frame leaves the withheld row out; once the file is there, its retry sends the others alone."""
    with cancelled(harness) as (remote, job):
        grown = pd.DataFrame({"t": list("abcde")})
        more = grown.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: len(remote.sent) == 2)
        assert "a" not in remote.sent[1]
        newest = list(remote.fake.batches.values())[-1]
        newest.answers = {
            one: body["messages"][-1]["content"].upper() for one, body in newest.requests.items()
        }
        newest.ending = "completed"
        harness.until(lambda: more.is_complete)
        more.wait(30)
        assert (
            more.errors["_error"].str.contains(job.id).sum() == 3
        )  # which one was counted is unknown
        next(iter(remote.fake.batches.values())).output_named = True
        harness.until(lambda: job.counts.succeeded == 1)
        again = more.retry()
        harness.until(lambda: len(remote.sent) == 3)
        assert remote.sent[2] == "cd"
        remote.answer_all()
        harness.until(lambda: again.is_complete)
        again.wait(30)
        assert grown["out"].tolist() == list("ABCDE")
        assert "".join(remote.sent).count("a") == 1
