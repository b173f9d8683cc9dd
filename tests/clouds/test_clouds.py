"""Either cloud: lost answers are paid once, and passing errors are waited out."""

from __future__ import annotations

import pytest

from jupyter_batch.core.status import Step
from tests.providers.fakes.host import Fault


def every(harness):
    """By text, the answer to each row."""
    return {text: text.upper() for text in harness.frame["t"]}


def test_results_that_are_late_are_waited_for(harness):
    """It has ended, its counts say all rows, the folder is empty yet: looked at again until the files are there."""
    job = harness.plan()

    async def way():
        await harness.step()
        before = set(harness.fake.objects)
        harness.fake.finish(answers=every(harness))
        held = {name: harness.fake.objects.pop(name) for name in set(harness.fake.objects) - before}
        await harness.step(60)
        assert harness.shard(job).step is Step.RUNNING
        assert "not there yet" in harness.shard(job).note
        harness.fake.objects.update(held)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(every(harness).values())


def test_a_create_whose_answer_is_lost_is_adopted(harness):
    """The job was made, and the connection broke before the answer: it is found by its name, and paid once."""
    harness.fake.faults["create"] = [Fault(after=True)]
    job = harness.plan()

    async def way():
        await harness.step()
        for _ in range(4):
            await harness.step(60)
        harness.fake.finish(answers=every(harness))
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["create"] == len(harness.fake.jobs) == 1
    assert harness.outcomes(job).answers == list(every(harness).values())


def test_a_create_that_never_arrived_is_sent_again(harness):
    """Once the list had time to show it, it is sent again; the file is there already."""
    harness.fake.faults["create"] = [Fault()]
    job = harness.plan()

    async def way():
        await harness.step()
        assert not harness.fake.jobs
        for _ in range(4):
            await harness.step(60)
        if harness.snapshot(
            job
        ).blocked:  # it may have arrived; Bedrock's token shows that it has not
            assert harness.snapshot(job).blocked == "unknown create"
            assert not harness.fake.jobs
            harness.ledger.resume(job, send_again=True)
            for _ in range(3):
                await harness.step(400)
        harness.fake.finish(answers=every(harness))
        await harness.to_the_end(job)

    harness.play(way())
    assert (len(harness.fake.jobs), harness.fake.asked["upload"]) == (1, 1)
    assert harness.outcomes(job).answers == list(every(harness).values())


def test_a_cancel_that_comes_too_late(harness):
    """The job was over: the refusal is no error, and all its answers are there."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=every(harness))
        harness.ledger.cancel(job, harness.now)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(every(harness).values())


@pytest.mark.parametrize("verb", ["upload", "create", "poll", "objects_list", "fetch"])
@pytest.mark.parametrize(
    "fault",
    [Fault(429, headers={"retry-after": "90"}), Fault(500), Fault(503), Fault()],
    ids=["429", "500", "503", "cut"],
)
def test_what_passes_is_waited_out(harness, verb, fault):
    """At each verb, each asked once by itself: all rows arrive, and one job is paid."""
    harness.fake.faults[verb] = [fault]
    job = harness.plan()

    async def way():
        for _ in range(4):
            await harness.step(400)
        if harness.snapshot(
            job
        ).blocked:  # it may have arrived; Bedrock's token shows that it has not
            assert harness.snapshot(job).blocked == "unknown create"
            harness.ledger.resume(job, send_again=True)
            for _ in range(3):
                await harness.step(400)
        harness.fake.finish(answers=every(harness))
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(every(harness).values())
    assert len(harness.fake.jobs) == 1


def test_results_that_break_off_are_fetched_again(harness):
    """Half of the file, then nothing: no row is lost, none is there twice."""
    harness.fake.faults["fetch"] = [Fault(half=True)]
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=every(harness))
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(every(harness).values())
