"""A ledger and a worker with a manual clock, and an adapter that calls a fake."""

from __future__ import annotations

import asyncio

import pandas as pd

from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.plan import plan_all
from jupyter_batch.planning.resolve import Order
from jupyter_batch.prompts.prompt import prompt_of
from jupyter_batch.results.outcomes import CODES, of_job
from jupyter_batch.runner.worker import Worker

NOW = 1_790_121_600.0


class Harness:
    """make: the adapter, of what `another_process` is given. model: with its provider. texts: the frame's rows.

    fake: what the adapter calls.
    """

    def __init__(
        self, home, make, *, model, limits, fake=None, dialect="openai", texts="abcd", now=NOW
    ):
        self.now = now
        self.fake = fake
        self.make = make
        self.model = model
        self.limits = limits
        self.dialect = dialect
        self.ledger = Ledger(home)
        self.frame = pd.DataFrame({"t": list(texts)})
        self.worker = self.another_process()

    def another_process(self, **given):
        """A worker of its own."""

        async def connect(_):
            return self.make(**given)

        return Worker(
            self.ledger, connect, clock=lambda: self.now, dice=lambda: 0.5, everything=True
        )

    def plan(self, **more):
        """A job of the frame's rows."""
        provider, _, name = self.model.partition("/")
        ask = Ask(
            **{
                "prompt": prompt_of("{t}", ["t"], system=None, kind="braces"),
                "params": {},
                "model": self.model,
                "provider": provider,
                "dialect": self.dialect,
                "body_model": name,
                "out": "out",
                "limits": self.limits,
                **more,
            }
        )
        (planned,) = plan_all(self.ledger, [Order(ask, self.frame, True, {})], self.now)
        return planned.record.id

    async def step(self, seconds=0.0, worker=None):
        """Let time pass, and the worker do what is due."""
        self.now += seconds
        worker = worker or self.worker
        for _ in range(2):
            await worker.once()
            await worker.settled()

    async def to_the_end(self, job, steps=40, pause=400.0):
        """Step on until the job is complete."""
        for _ in range(steps):
            if self.snapshot(job).is_complete:
                return
            await self.step(pause)
        raise AssertionError([(s.step, s.note, s.provider_status) for s in self.ledger.shards(job)])

    def shard(self, job, number=0):
        """As the ledger has it."""
        return self.ledger.shards(job)[number]

    def outcomes(self, job):
        """The job's outcomes."""
        return of_job(self.ledger.job(job), self.ledger.shards(job), self.ledger.folders.of(job))

    def outcome(self, job):
        """(answers, statuses, reasons by row, usage) of a job that is over."""
        found = self.outcomes(job)
        return (
            found.answers,
            [str(CODES[code]) for code in found.status],
            found.reasons,
            found.usage,
        )

    def snapshot(self, job):
        """The job as a screen has it."""
        return snapshot_of(self.ledger.job(job), self.ledger.shards(job), self.now)

    def play(self, coroutine):
        """In a loop of its own, at whose end the worker closes what it holds."""

        async def way():
            try:
                return await coroutine
            finally:
                await self.worker._close()

        return asyncio.run(way())
