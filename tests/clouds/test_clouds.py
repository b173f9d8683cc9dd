"""What holds at either cloud: what is lost on the way is paid once, and what passes is waited out."""

from __future__ import annotations

import pytest

from jupyter_batch.core.status import Step
from tests.providers.fakes.host import Fault


def every(desk):
    """By text, the answer to each row."""
    return {text: text.upper() for text in desk.frame["t"]}


def test_results_that_are_late_are_waited_for(desk):
    """It has ended, its counts say all rows, the folder is empty yet: looked at again until the files are there."""
    job = desk.plan()

    async def way():
        await desk.step()
        before = set(desk.fake.objects)
        desk.fake.finish(answers=every(desk))
        held = {name: desk.fake.objects.pop(name) for name in set(desk.fake.objects) - before}
        await desk.step(60)
        assert desk.shard(job).step is Step.RUNNING
        assert "not there yet" in desk.shard(job).note
        desk.fake.objects.update(held)
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == list(every(desk).values())


def test_a_create_whose_answer_is_lost_is_adopted(desk):
    """The job was made, the connection broke before that was told: it is found by what it is called, and paid once."""
    desk.fake.faults["create"] = [Fault(after=True)]
    job = desk.plan()

    async def way():
        await desk.step()
        for _ in range(4):
            await desk.step(60)
        desk.fake.finish(answers=every(desk))
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.fake.asked["create"] == len(desk.fake.jobs) == 1
    assert desk.told(job).answers == list(every(desk).values())


def test_a_create_that_never_arrived_is_sent_again(desk):
    """Once the list had time to show it, it is sent again; the file is there already."""
    desk.fake.faults["create"] = [Fault()]
    job = desk.plan()

    async def way():
        await desk.step()
        assert not desk.fake.jobs
        for _ in range(4):
            await desk.step(60)
        if desk.snapshot(
            job
        ).blocked:  # C1: it may have arrived; Bedrock's token tells that it has not
            assert desk.snapshot(job).blocked == "unknown create"
            assert not desk.fake.jobs
            desk.ledger.resume(job, send_again=True)
            for _ in range(3):
                await desk.step(400)
        desk.fake.finish(answers=every(desk))
        await desk.to_the_end(job)

    desk.play(way())
    assert (len(desk.fake.jobs), desk.fake.asked["upload"]) == (1, 1)
    assert desk.told(job).answers == list(every(desk).values())


def test_a_cancel_that_comes_too_late(desk):
    """The job was over: the refusal is no error, and all its answers are there."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.finish(answers=every(desk))
        desk.ledger.cancel(job, desk.now)
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == list(every(desk).values())


@pytest.mark.parametrize("verb", ["upload", "create", "poll", "objects_list", "fetch"])
@pytest.mark.parametrize(
    "fault",
    [Fault(429, headers={"retry-after": "90"}), Fault(500), Fault(503), Fault()],
    ids=["429", "500", "503", "cut"],
)
def test_what_passes_is_waited_out(desk, verb, fault):
    """At each verb, each asked once by itself: all rows arrive, and one job is paid."""
    desk.fake.faults[verb] = [fault]
    job = desk.plan()

    async def way():
        for _ in range(4):
            await desk.step(400)
        if desk.snapshot(
            job
        ).blocked:  # C1: it may have arrived; Bedrock's token tells that it has not
            assert desk.snapshot(job).blocked == "unknown create"
            desk.ledger.resume(job, send_again=True)
            for _ in range(3):
                await desk.step(400)
        desk.fake.finish(answers=every(desk))
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == list(every(desk).values())
    assert len(desk.fake.jobs) == 1


def test_results_that_break_off_are_fetched_again(desk):
    """Half of the file, then nothing: no row is lost, none is there twice."""
    desk.fake.faults["fetch"] = [Fault(half=True)]
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.finish(answers=every(desk))
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == list(every(desk).values())
