"""Cancelled batches that count answers and name no result file (E10)."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.endings.far import far_side
from tests.messages import messages


@contextmanager
def cancelled(desk, provider="openai", **more):
    """(far side, frame, job): cancelled after three of its rows were answered; no file is named."""
    with far_side(provider, desk.clock) as far:
        frame = desk.frame()
        job = frame.llm.batch("{t}", out="out", **far.call, **more)
        desk.until(lambda: far.sent)
        end_without_file(desk, far, job)
        yield far, frame, job


def end_without_file(desk, far, job):
    """Cancel a job whose newest batch has answered three rows, and wait until it is over."""
    batch = list(far.fake.batches.values())[-1]
    rows = list(batch.requests)[:3]
    batch.answers = {one: batch.requests[one]["messages"][-1]["content"].upper() for one in rows}
    batch.output_named = False
    job.cancel()
    batch.ending = "cancelled"
    desk.until(lambda: job.is_complete, skip=1.0)


def patience(desk):
    """Seconds since the job's batch has ended."""
    (shard,) = desk.here.ledger.shards(desk.here.ledger.jobs()[-1].id)
    return desk.clock() - shard.ended_at


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_the_job_is_over_within_seconds_and_says_what_is_missing(desk, provider):
    """E10: it is cancelled at once, says how many answers are missing, and offers to retry."""
    with cancelled(desk, provider) as (_, _, job):
        assert patience(desk) < 90
        assert job.state == "cancelled"
        assert "counted 3 answers, and named no file that holds them yet" in messages(
            job.snapshot()
        )
        assert "job.retry()" in messages(job.snapshot())
        assert job.counts.cancelled == 4


def test_it_can_be_retried(desk):
    """E10: the retry sends every row, since no answer of theirs can be had."""
    with cancelled(desk) as (far, frame, job):
        again = job.retry()
        desk.until(lambda: len(far.sent) == 2)
        far.answer_all()
        desk.until(lambda: again.is_complete)
        again.wait(60)
        assert frame["out"].tolist() == list("ABCD")
        desk.rest()
        assert (len(far.sent), job.counts.succeeded) == (2, 0)


def test_a_file_that_comes_late_is_merged_by_itself(desk):
    """E10: it is looked for in the background; its answers reach the frame, and nothing is sent for it."""
    with cancelled(desk) as (far, frame, job):
        desk.rest(300.0)
        assert job.counts.succeeded == 0
        far.name_output()
        desk.until(lambda: job.counts.succeeded == 3)
        assert job.wait(60).state == "cancelled"
        assert frame["out"].tolist()[:3] == list("ABC")
        assert len(far.sent) == 1
        again = job.retry()
        desk.until(lambda: len(far.sent) == 2)
        assert far.sent[1] == "d"
        far.answer_all()
        desk.until(lambda: again.is_complete)
        again.wait(60)
        assert frame["out"].tolist() == list("ABCD")


def test_a_group_receives_a_late_file(desk):
    """E10: a member's late answers reach the frame of its group."""
    with far_side("openai", desk.clock) as far:
        frame = desk.frame()
        call = {**far.call, "model": ["openai/the-model"]}
        group = frame.llm.batch("{t}", out="out", **call)
        desk.until(lambda: far.sent)
        end_without_file(desk, far, group)
        far.name_output()
        desk.until(lambda: group.counts.succeeded == 3)
        group.wait(60)
        assert frame.iloc[:3, -1].tolist() == list("ABC")


def test_a_late_file_is_found_by_the_next_run_of_the_cell(desk):
    """E10: long after nobody looks any more, the same cell sends nothing, and `resume` takes the answers."""
    with cancelled(desk) as (far, frame, job):
        desk.rest(7200.0)
        far.name_output()
        desk.rest(600.0)
        assert job.counts.succeeded == 0
        again = frame.llm.batch("{t}", out="out", **far.call).resume()
        desk.until(lambda: again.counts.succeeded == 3)
        again.wait(60)
        assert again.id == job.id
        assert frame["out"].tolist()[:3] == list("ABC")
        assert len(far.sent) == 1


def test_a_finish_waits_for_the_file(desk):
    """E10: `finish` asks without another question, so it waits for what may be there and would be paid twice."""
    with far_side("openai", desk.clock) as far:
        frame = desk.frame()
        job = frame.llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: far.sent)
        batch = next(iter(far.fake.batches.values()))
        batch.answers = dict.fromkeys(list(batch.requests)[:3], "X")
        batch.output_named = False
        asked = job.id  # `job` is the real-time job once that is planned
        job.finish()
        batch.ending = "cancelled"
        desk.until(lambda: "not there yet" in desk.here.ledger.shards(asked)[0].note, skip=1.0)
        desk.rest(120.0)
        assert "not there yet" in desk.here.ledger.shards(asked)[0].note
        far.name_output()
        desk.until(lambda: desk.here.ledger.job(asked).finished_at)
        assert desk.here.ledger.shards(asked)[0].row_counts().succeeded == 3
