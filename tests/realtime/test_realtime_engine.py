"""The engine with real time as its provider: ledger, lease, collect and merge as with any batch."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pandas as pd
import pytest
from realtime_endpoint import HANG, Endpoint
from realtime_harness import FACTS, KEY, QUICK, until

from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.plan import plan_all
from jupyter_batch.planning.resolve import Order
from jupyter_batch.prompts.prompt import prompt_of
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.provider import Realtime
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.runner.step import LostError
from jupyter_batch.runner.worker import Worker
from tests.messages import messages

ROWS = 25


@pytest.fixture(autouse=True)
def _ledgers_are_closed():
    yield
    while Harness.ledgers:
        Harness.ledgers.pop().close()


class Harness:
    """A ledger with one planned job of three shards, and workers over it, each as in a process of its own."""

    ledgers: list[Ledger] = []

    def __init__(self, home, endpoint):
        self.now = 1_000_000.0
        self.endpoint = endpoint
        self.key = KEY
        self.ledger = Ledger(home)
        self.ledgers.append(self.ledger)
        frame = pd.DataFrame({"t": [f"row {n}" for n in range(ROWS)]})
        ask = Ask(
            prompt=prompt_of("{t}", ["t"], system=None, kind="braces"),
            params={},
            model="openai/m",
            provider="openai",
            dialect="openai",
            body_model="m",
            out="out",
            limits=msgspec.structs.replace(FACTS.limits, requests=10),
        )
        self.job = plan_all(self.ledger, [Order(ask, frame, True, {})], self.now)[0].record.id
        self.worker = self.process()

    def process(self) -> Worker:
        async def connect(job):
            folder = self.ledger.folders.of(job.id).path
            return Realtime(
                FACTS,
                folder=folder,
                concurrency=4,
                tries=QUICK,
                call=call_to("openai/m", api_base=self.endpoint.base, api_key=self.key),
            )

        return Worker(
            self.ledger, connect, clock=lambda: self.now, dice=lambda: 0.5, everything=True
        )

    async def step(self, seconds=0.0, worker=None):
        self.now += seconds
        await (worker or self.worker).once()
        await (worker or self.worker).settled()

    async def finished(self, worker=None):
        async def look():
            await self.step(1.0, worker)
            return self.shown().state in (State.COMPLETED, State.CANCELLED, State.FAILED)

        await until(look)
        await (worker or self.worker)._close()

    def shown(self):
        job = self.ledger.job(self.job)
        return snapshot_of(job, self.ledger.shards(self.job), self.now)

    def written(self):
        """The rows that have a line on disk, before any shard has ended."""
        folder = self.ledger.folders.of(self.job).path
        lines = [
            line
            for path in folder.glob("*.output.jsonl")
            for line in path.read_bytes().splitlines()
        ]
        return {f"row {json.loads(line)['custom_id'].rpartition('-')[2]}" for line in lines}

    def answers(self):
        return of_job(
            self.ledger.job(self.job),
            self.ledger.shards(self.job),
            self.ledger.folders.of(self.job),
        )


@pytest.fixture
def endpoint():
    """An endpoint that answers."""
    with Endpoint() as running:
        yield running


def test_a_job_in_real_time_ends_like_any_other(tmp_path, endpoint):
    """Three shards share one limit; every row has its answer, its tokens are counted."""
    harness = Harness(tmp_path, endpoint)
    asyncio.run(harness.finished())
    assert harness.answers().answers == [f"ROW {n}" for n in range(ROWS)]
    assert harness.answers().usage.input_tokens == 5 * ROWS
    assert set(endpoint.asked.values()) == {1}
    assert endpoint.peak <= 4


def test_an_end_waits_for_no_poll(tmp_path, endpoint):
    """On a clock that stands still, no poll is ever due: what has ended is collected all the same."""
    harness = Harness(tmp_path, endpoint)

    async def cycle():
        async def look():
            await harness.step()
            return harness.shown().state is State.COMPLETED

        await until(look)
        await harness.worker._close()

    asyncio.run(cycle())
    assert harness.answers().answers == [f"ROW {n}" for n in range(ROWS)]


def test_counts_move_while_it_runs(tmp_path, endpoint):
    """The monitor sees what is answered before the shard has ended."""
    endpoint.decide = lambda text, before: HANG if endpoint.answered >= 6 else None
    harness = Harness(tmp_path, endpoint)

    async def cycle():
        async def look():
            await harness.step(1.0)
            return sum(s.completed for s in harness.ledger.shards(harness.job)) == 6

        await until(look)
        endpoint.release()
        await harness.finished()

    asyncio.run(cycle())
    assert set(endpoint.asked.values()) == {1}


def test_a_refused_key_pauses_the_job_and_another_process_goes_on(tmp_path, endpoint):
    """The job says which variable to set; a process with a good key answers all rows."""
    endpoint.decide = lambda text, before: 401
    harness = Harness(tmp_path, endpoint)

    async def refused():
        async def look():
            await harness.step(1.0)
            return any(s.blocked_by is Block.KEY for s in harness.ledger.shards(harness.job))

        await until(look)
        shards = harness.ledger.shards(harness.job)
        note = messages(snapshot_of(harness.ledger.job(harness.job), shards, harness.now))
        await harness.worker._close()
        return note

    note = asyncio.run(refused())
    assert "OPENAI_API_KEY" in note
    assert KEY not in note
    endpoint.decide = lambda text, before: None
    endpoint.asked.clear()
    harness.now += 120
    asyncio.run(harness.finished(harness.process()))
    assert harness.answers().answers == [f"ROW {n}" for n in range(ROWS)]
    assert set(endpoint.asked.values()) == {1}


def test_a_kill_after_the_run_has_begun_and_a_cancel_lose_no_answer(
    tmp_path, endpoint, monkeypatch
):
    """A process that dies between the start of a run and the note of it, then a cancel: the answers are merged."""
    submit = Realtime.submit

    async def dies(self, *args, **more):
        await submit(self, *args, **more)
        raise LostError

    async def way():
        harness = Harness(tmp_path / "home", endpoint)
        monkeypatch.setattr(Realtime, "submit", dies)
        await harness.step()
        await until(lambda: len(harness.written()) == ROWS)
        monkeypatch.setattr(Realtime, "submit", submit)
        assert {shard.step for shard in harness.ledger.shards(harness.job)} == {Step.SUBMITTING}
        await harness.worker._close()
        harness.ledger.cancel(harness.job, harness.now)
        await harness.finished(harness.process())
        return harness.answers()

    found = asyncio.run(way())
    assert found.answers == [f"ROW {n}" for n in range(ROWS)]


def test_a_cancelled_job_keeps_its_answers(tmp_path, endpoint):
    """Answered rows are merged, the rest says that it was cancelled."""
    endpoint.decide = lambda text, before: HANG if endpoint.answered >= 6 else None
    harness = Harness(tmp_path, endpoint)

    async def cycle():
        async def look():
            await harness.step(1.0)
            return endpoint.answered == 6 and endpoint.hanging == 4

        await until(look)
        harness.ledger.cancel(harness.job, harness.now)
        await harness.step(1.0)
        endpoint.release()
        await harness.finished()

    asyncio.run(cycle())
    found = harness.answers()
    assert {n: a for n, a in enumerate(found.answers) if a} == {
        int(t[4:]): t.upper() for t in endpoint.asked
    }
    assert len(found.reasons) == ROWS - 10
    assert {"cancelled" in reason for reason in found.reasons.values()} == {True}
    assert sum(endpoint.asked.values()) == 10


def test_another_process_takes_over_in_the_middle(tmp_path, endpoint):
    """A worker that ends leaves the rest to the next; no answered row is asked again."""
    endpoint.decide = lambda text, before: HANG if endpoint.answered >= 16 and not before else None
    harness = Harness(tmp_path, endpoint)

    async def first():
        async def look():
            await harness.step(1.0)
            return endpoint.answered == 16 and endpoint.hanging == 4

        await until(look)
        await harness.worker._close()

    asyncio.run(first())
    done = harness.written()
    assert len(done) == 16
    endpoint.release()
    asyncio.run(harness.finished(harness.process()))
    assert harness.answers().answers == [f"ROW {n}" for n in range(ROWS)]
    assert sum(endpoint.asked.values()) <= ROWS + 4
    assert {endpoint.asked[text] for text in done} == {1}
