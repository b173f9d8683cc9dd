"""Passes of the worker: they look at jobs that changed or are due, and at no other."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest

from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.runner.agenda import LONGEST, Agenda
from jupyter_batch.runner.passes import AT_ONCE, FEW, LEASE_SECONDS
from jupyter_batch.testing.scripted import Scripted
from tests.engine.test_steps import ScriptedHarness, harness, play, to_the_end
from tests.messages import messages

__all__ = ["ScriptedHarness", "harness"]


@pytest.fixture
def looks(harness, monkeypatch):
    """The jobs that the worker looked at, in order."""
    found = []
    look = harness.worker._look

    async def counted(job):
        found.append(job.id)
        return await look(job)

    monkeypatch.setattr(harness.worker, "_look", counted)
    return found


def planned(harness, count, words="", **more):
    """So many jobs of one batch each."""
    jobs = []
    for number in range(count):
        harness.frame = harness.frame.assign(t=[f"{words}{number} {n}" for n in range(4)])
        jobs.append(harness.plan(shard_size=4, **more))
    return jobs


def test_a_pass_looks_at_no_job_that_is_not_due(harness, looks):
    """Of many running jobs, a pass in which none is due looks at none, and one that another process changed alone."""
    harness.provider = Scripted(lambda _: "x", polls=1000)

    async def way():
        jobs = planned(harness, 5)
        for _ in range(4):
            await harness.step()
        assert {harness.shard(job).step for job in jobs} == {Step.RUNNING}
        looks.clear()
        await harness.step()
        assert looks == []
        Ledger(harness.ledger.home).wake(jobs[3])
        await harness.step()
        assert set(looks) == {jobs[3]}
        looks.clear()
        await harness.step(400.0)
        assert set(looks) == set(jobs), "each is polled"

    play(way())


def test_a_poll_without_news_writes_nothing_and_costs_the_same_among_others(harness):
    """It takes a look at its job, no write but the leases', and no more statements with 8 jobs than with 2."""
    harness.provider = Scripted(lambda _: "x", polls=1000)
    shown, costs = [], []

    async def way():
        for count in (2, 6):
            for job in planned(harness, count, words=f"{count}"):
                harness.worker.take(job, shown.append)
            for _ in range(4):
                await harness.step(5.0)
            statements = []
            shown.clear()
            polls = harness.provider.asked["poll"]
            harness.ledger._connection.set_trace_callback(statements.append)
            await harness.step(15.0)
            harness.ledger._connection.set_trace_callback(None)
            writes = [one for one in statements if one.startswith(("INSERT", "UPDATE", "DELETE"))]
            assert all(one.startswith("UPDATE job SET lease_until") for one in writes), writes
            assert shown == [], "nothing is drawn"
            polls = harness.provider.asked["poll"] - polls
            costs.append((polls, len(statements)))
        (few, cost), (many, more) = costs
        assert (few, many) == (2, 8)
        assert more / many <= cost / few

    play(way())


def test_more_batches_than_seats_all_come_to_their_turn(harness, looks):
    """Jobs for which no seat was free are looked at as seats become free, without another change to them."""
    jobs = planned(harness, 2 * AT_ONCE + 1)

    async def way():
        for _ in range(4):
            await harness.step()
        assert {harness.shard(job).step for job in jobs} == {Step.RUNNING}

    play(way())


def test_leases_are_renewed_in_one_write_and_a_lost_one_is_noticed(harness):
    """All leases of a worker last while it makes passes; a job that another process took is left to it."""
    harness.provider = Scripted(lambda _: "x", polls=1000)

    async def way():
        jobs = planned(harness, 3)
        await harness.step()
        for _ in range(5):
            await harness.step(11.0)
            assert all(
                harness.ledger.job(job).lease_until >= harness.now + LEASE_SECONDS - 1
                for job in jobs
            )
        harness.ledger.release(jobs[0], harness.worker.holder)
        harness.ledger.lease(jobs[0], "elsewhere:1:a", harness.now, 1000.0)
        await harness.step(11.0)
        assert jobs[0] not in harness.worker._leased
        polls = harness.provider.asked["poll"]
        await harness.step(400.0)
        assert harness.provider.asked["poll"] == polls + 2
        await harness.step(600.0)
        assert jobs[0] in harness.worker._leased, "the other's lease has expired"

    play(way())


def test_a_clock_that_was_set_back_delays_no_job(harness):
    """A clock that goes back by a day makes no job wait for a day."""
    harness.provider = Scripted(lambda _: "x", polls=2)
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.now -= 86400.0
        await to_the_end(harness, job)

    play(way())


def test_the_agenda_has_each_job_once():
    """A touched job that is due, too, is looked at once; a later time replaces an earlier one, up to LONGEST."""
    agenda = Agenda()
    agenda.at("a", 10.0, 0.0)
    agenda.at("b", 5.0, 0.0)
    agenda.at("a", 20.0, 0.0)
    agenda.at("c", 1e9, 0.0)
    assert (agenda.pause(0.0), agenda.due(4.0)) == (5.0, [])
    agenda.touch(["b", "d", "b"])
    assert agenda.due(12.0) == ["b", "d"]
    assert agenda.pause(12.0) == 8.0
    assert agenda.due(20.0) == ["a"]
    assert agenda.pause(20.0) == LONGEST - 20.0
    assert set(agenda.due(1.0)) == {"a", "b", "c"}, "the clock was set back"


def test_a_job_of_many_batches_is_shown_at_intervals_and_at_last(harness):
    """Its first state is shown, then none until a while has passed, then the state of then, and the end at once."""
    harness.frame = pd.DataFrame({"t": [f"row {n}" for n in range(FEW + 5)]})
    harness.provider = Scripted(lambda _: "x", polls=2)
    job = harness.plan(shard_size=1)
    shots = []
    harness.worker.take(job, shots.append)

    async def way():
        for _ in range(4):
            await harness.step()
        assert [shot.state for shot in shots] == [State.PLANNED]
        for _ in range(2):  # nothing else is due then
            await harness.step(1.0)
        assert shots[-1].shards == harness.snapshot(job).shards
        await to_the_end(harness, job)
        await harness.step()
        assert shots[-1].is_complete

    play(way())


def test_a_silent_host_holds_up_no_other_and_its_jobs_say_so(harness):
    """Its calls take its own seats alone. After 10 s each has a line with the call and the time, until its answer."""

    class Silent(Scripted):
        async def poll(self, batch_id):
            if (await super().poll(batch_id)).tag["jupyter_batch"].split("/")[0] in stuck:
                await answers.wait()
            return self.batches[batch_id]

    async def until(holds):
        for _ in range(1000):
            await harness.worker.once()
            await asyncio.sleep(0.01)
            if holds():
                return
        raise AssertionError(dict(harness.provider.asked))

    def words():
        return "\n".join(messages(harness.snapshot(job)) for job in stuck)

    async def way():
        nonlocal answers
        answers = asyncio.Event()
        for _ in range(3):
            await harness.step()
        harness.now += 15.0
        await until(lambda: harness.provider.asked["poll"] >= AT_ONCE)
        harness.now += 9.0
        other = planned(harness, 1, words="other")[0]
        await until(lambda: harness.shard(other).step is Step.RUNNING)
        assert "not answered" not in words()
        harness.now += 9.0
        await until(lambda: "not answered" in words())
        assert (
            "the provider has not answered for 18 s to the question for a batch's state" in words()
        )
        assert "nothing is lost" in words()
        assert shown[-1].now == harness.now
        answers.set()
        await harness.worker.settled()
        assert all(harness.shard(job).unanswered is None for job in stuck)

    answers, shown = None, []
    harness.provider = Silent(lambda _: "x", polls=2)
    stuck = planned(harness, AT_ONCE + 2, api_base="https://silent.example/v1")
    for job in stuck:
        harness.worker.take(job, shown.append)
    play(way())
