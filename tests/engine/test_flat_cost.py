"""The work for a shard, and for a pass, counted: it does not grow with the job's shards or the open jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.cost import Price, Rates, Tariff
from jupyter_batch.core.errors import RateLimitError
from jupyter_batch.core.refusals.stated_limit import StatedLimit, Unit
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.rows import Kept
from jupyter_batch.providers.prices import OWN
from tests.engine.test_steps import ScriptedHarness, harness, play
from tests.test_ledger import record, shard

__all__ = ["harness"]

PACKAGE = str(Path(jupyter_batch.__file__).parent)
STEPS = 100
"""SQLite reports so many instructions of its machine at a time."""


class Work:
    """Counts: rows, statements and instructions of SQLite, files listed and looked at, calls of our functions."""

    def __init__(self, harness):
        self.connection = harness.ledger._connection
        self.patch = pytest.MonkeyPatch()
        self.counts = dict.fromkeys(
            ["rows", "statements", "instructions", "listings", "stats", "calls"], 0
        )

    def add(self, kind, count=1):
        self.counts[kind] += count

    def _calls(self, frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.add("calls")

    def __enter__(self):
        def row(_, found):
            self.add("rows")
            return found

        def counted(kind, real):
            def call(*args, **more):
                self.add(kind)
                return real(*args, **more)

            return call

        self.connection.row_factory = row
        self.connection.set_trace_callback(lambda _: self.add("statements"))
        self.connection.set_progress_handler(lambda: self.add("instructions", STEPS), STEPS)
        for name, kind in (
            ("listdir", "listings"),
            ("scandir", "listings"),
            ("stat", "stats"),
            ("lstat", "stats"),
        ):
            self.patch.setattr(os, name, counted(kind, getattr(os, name)))
        self.patch.setattr(os, "fsync", lambda _: None)  # for time alone
        sys.setprofile(self._calls)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        self.patch.undo()
        self.connection.row_factory = None
        self.connection.set_trace_callback(None)
        self.connection.set_progress_handler(None, 0)


def of(harness, jobs):
    """The work of one pass in which no job is due, of so many open ones."""
    sent = {"step": Step.RUNNING, "batch_id": "batch", "due_at": harness.now + 1000.0}
    for number in range(len(harness.ledger.jobs()), jobs):
        job = f"jb{number:04}"
        of_job = record(job, created_at=harness.now, provider="scripted")
        harness.ledger.plan(of_job, [shard(job, **sent)], lambda: None)

    async def way():
        await harness.step()  # leases are taken
        with Work(harness) as work:
            await harness.worker.once()
        assert len(harness.worker._leased) == jobs
        return work.counts

    return play(way())


TOKENS = RateLimitError(
    "Enqueued token limit reached for x. Limit: 100 enqueued tokens.", status=429
)
TOKENS.queue, TOKENS.limit = True, StatedLimit(Unit.TOKENS, 100)
PRICE = Price(source=OWN, batch=Tariff(rates=Rates(input=1e-6, output=1e-6)))
KINDS = {"plain": {}, "limited": {"max_cost": 1.0, "price": PRICE, "params": {"max_tokens": 5}}}


def shard_by_shard(tmp_path, shards, kind):
    """The work for one shard of so many, from its intent on disk to its counted answers."""
    harness = ScriptedHarness(tmp_path / f"{shards}")
    harness.frame = pd.DataFrame({"t": [f"row {n}" for n in range(shards)]})
    if kind == "limited":
        harness.provider.faults["create"] = [TOKENS]
    job = harness.plan(shard_size=1, **KINDS[kind])

    async def way():
        with Work(harness) as work:
            while harness.ledger.find(job).finished_at == 0:
                await harness.step(30.0)
        return work.counts

    counts = play(way())
    assert harness.outcomes(job).answers == [f"ROW {n}" for n in range(shards)]
    harness.ledger.close()
    return {kind: count / shards for kind, count in counts.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_costs_the_same_in_a_job_of_many(tmp_path, kind):
    """Of 100 shards each takes as many reads, listings, looks at files and calls of functions as of 20.

    limited: the job has a max_cost, and its provider named a limit of tokens.
    """
    shard_by_shard(tmp_path, 1, kind)  # what is done at the first use
    few, many = (shard_by_shard(tmp_path, count, kind) for count in (20, 100))
    assert few["listings"] <= 1
    assert many == pytest.approx(many | {k: min(few[k], many[k]) for k in few}, rel=0.1), (
        few,
        many,
    )


def test_a_pass_without_due_jobs_costs_the_same_among_many(harness):
    """With 100 open jobs it takes as many reads, looks at files and calls of functions as with 10."""
    few, many = (of(harness, count) for count in (10, 100))
    assert few == many
    assert few["calls"] > 0


def submission(home, process, rows=20):
    """The work for a submission of rows that no other job has, in a process that knows the ledger or is new."""
    harness = ScriptedHarness(home)
    harness.ledger.jobs()  # its connection is open
    counted = []
    for turn in range(2):
        harness.frame = pd.DataFrame(
            {"t": [f"{home} {process} {turn} {row}" for row in range(rows)]}
        )
        with Work(harness) as work:
            harness.plan()
        counted.append(work.counts)
    harness.ledger.close()
    return counted


def test_a_submission_costs_the_same_beside_many_jobs(tmp_path):
    """With 100 earlier jobs, the first 20 rows and later ones take as many reads, stats and calls as with 10."""
    harness = ScriptedHarness(tmp_path / "home")
    found = []
    for earlier in (10, 100):
        for number in range(len(harness.ledger.jobs()), earlier):
            harness.frame = pd.DataFrame({"t": [f"earlier {number}"]})
            harness.plan()
        found.append(submission(tmp_path / "home", earlier))
    harness.ledger.close()
    for few, many in zip(*found, strict=True):
        assert many == pytest.approx(few, rel=0.1), (few, many)


def test_sums_that_are_kept_are_those_of_the_shards(harness):
    """At each step of a job with a max_cost, the sums that follow its moves are those of its shards as they are."""
    job = harness.plan(shard_size=1, **KINDS["limited"])
    seen = set()

    async def way():
        while harness.ledger.find(job).finished_at == 0:
            await harness.worker.once()
            await harness.worker.settled()
            harness.now += 10.0
            kept = harness.ledger.kept(job)
            found, fresh = (
                msgspec.structs.asdict(one.totals()) for one in (kept, Kept(None, kept.shards))
            )
            assert found == pytest.approx(fresh)
            seen.add((kept.version is not None, found["sent"] > 0, found["ended"] > 0))

    play(way())
    assert {is_kept for is_kept, *_ in seen} == {True}
    assert len(seen) > 1
