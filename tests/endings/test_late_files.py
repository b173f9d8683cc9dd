"""Cancelled batches that count answers and name no result file."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.endings.remote import remote_provider
from tests.messages import messages


@contextmanager
def cancelled(harness, provider="openai", **more):
    """(the provider, frame, job): cancelled after three of its rows were answered; no file is named."""
    with remote_provider(provider, harness.clock) as remote:
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call, **more)
        harness.until(lambda: remote.sent)
        end_without_file(harness, remote, job)
        yield remote, frame, job


def end_without_file(harness, remote, job):
    """Cancel a job whose newest batch has answered three rows, and wait until it is over."""
    batch = list(remote.fake.batches.values())[-1]
    rows = list(batch.requests)[:3]
    batch.answers = {one: batch.requests[one]["messages"][-1]["content"].upper() for one in rows}
    batch.output_named = False
    job.cancel()
    batch.ending = "cancelled"
    harness.until(lambda: job.is_complete, skip=1.0)


def patience(harness):
    """Seconds since the job's batch has ended."""
    (shard,) = harness.here.ledger.shards(harness.here.ledger.jobs()[-1].id)
    return harness.clock() - shard.ended_at


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_the_job_is_over_within_seconds_and_says_what_is_missing(harness, provider):
    """It is cancelled at once, says how many answers are missing, and offers to retry."""
    with cancelled(harness, provider) as (_, _, job):
        assert patience(harness) < 90
        assert job.state == "cancelled"
        assert "counted 3 answers, and named no file that holds them yet" in messages(
            job.snapshot()
        )
        assert "job.retry()" in messages(job.snapshot())
        assert job.counts.cancelled == 4


def test_it_can_be_retried(harness):
    """The retry sends every row, since no answer of theirs can be had."""
    with cancelled(harness) as (remote, frame, job):
        again = job.retry()
        harness.until(lambda: len(remote.sent) == 2)
        remote.answer_all()
        harness.until(lambda: again.is_complete)
        again.wait(60)
        assert frame["out"].tolist() == list("ABCD")
        harness.rest()
        assert (len(remote.sent), job.counts.succeeded) == (2, 0)


def test_a_file_that_comes_late_is_merged_by_itself(harness):
    """It is looked for in the background; its answers reach the frame, and nothing is sent for it."""
    with cancelled(harness) as (remote, frame, job):
        harness.rest(300.0)
        assert job.counts.succeeded == 0
        remote.name_output()
        harness.until(lambda: job.counts.succeeded == 3)
        assert job.wait(60).state == "cancelled"
        assert frame["out"].tolist()[:3] == list("ABC")
        assert len(remote.sent) == 1
        again = job.retry()
        harness.until(lambda: len(remote.sent) == 2)
        assert remote.sent[1] == "d"
        remote.answer_all()
        harness.until(lambda: again.is_complete)
        again.wait(60)
        assert frame["out"].tolist() == list("ABCD")


def test_a_group_receives_a_late_file(harness):
    """A member's late answers reach the frame of its group."""
    with remote_provider("openai", harness.clock) as remote:
        frame = harness.frame()
        call = {**remote.call, "model": ["openai/the-model"]}
        group = frame.llm.batch("{t}", out="out", **call)
        harness.until(lambda: remote.sent)
        end_without_file(harness, remote, group)
        remote.name_output()
        harness.until(lambda: group.counts.succeeded == 3)
        group.wait(60)
        assert frame.iloc[:3, -1].tolist() == list("ABC")


def test_a_late_file_is_found_by_the_next_run_of_the_cell(harness):
    """Long after the results are deleted, the same cell sends nothing, and `resume` takes the answers."""
    with cancelled(harness) as (remote, frame, job):
        harness.rest(7200.0)
        remote.name_output()
        harness.rest(600.0)
        assert job.counts.succeeded == 0
        again = frame.llm.batch("{t}", out="out", **remote.call).resume()
        harness.until(lambda: again.counts.succeeded == 3)
        again.wait(60)
        assert again.id == job.id
        assert frame["out"].tolist()[:3] == list("ABC")
        assert len(remote.sent) == 1


def test_a_finish_waits_for_the_file(harness):
    """`finish` asks without another question, so it waits for what may be there and would be paid twice."""
    with remote_provider("openai", harness.clock) as remote:
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        batch = next(iter(remote.fake.batches.values()))
        batch.answers = dict.fromkeys(list(batch.requests)[:3], "X")
        batch.output_named = False
        asked = job.id  # `job` is the real-time job once that is planned
        job.finish()
        batch.ending = "cancelled"
        harness.until(
            lambda: "not there yet" in harness.here.ledger.shards(asked)[0].note, skip=1.0
        )
        harness.rest(120.0)
        assert "not there yet" in harness.here.ledger.shards(asked)[0].note
        remote.name_output()
        harness.until(lambda: harness.here.ledger.job(asked).finished_at)
        assert harness.here.ledger.shards(asked)[0].row_counts().succeeded == 3
