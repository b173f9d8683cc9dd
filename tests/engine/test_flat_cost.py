"""The work for a shard, and for a pass, counted: it does not grow with the job's shards or the open jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.status import Step
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


def shard_by_shard(tmp_path, shards):
    """The work for one shard of so many, from its intent on disk to its counted answers."""
    harness = ScriptedHarness(tmp_path / f"{shards}")
    harness.frame = pd.DataFrame({"t": [f"row {n}" for n in range(shards)]})
    job = harness.plan(shard_size=1)

    async def way():
        with Work(harness) as work:
            while harness.ledger.find(job).finished_at == 0:
                await harness.step(30.0)
        return work.counts

    counts = play(way())
    assert harness.outcomes(job).answers == [f"ROW {n}" for n in range(shards)]
    harness.ledger.close()
    return {kind: count / shards for kind, count in counts.items()}


def test_a_shard_costs_the_same_in_a_job_of_many(tmp_path):
    """Of 100 shards each takes as many reads, listings, looks at files and calls of functions as of 20."""
    shard_by_shard(tmp_path, 1)  # what is done at the first use
    few, many = (shard_by_shard(tmp_path, count) for count in (20, 100))
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
