"""A ledger and a worker whose clock only moves when it is told, and a cloud's adapter against its fake."""

from __future__ import annotations

import asyncio
import shutil

import pandas as pd

from jupyter_batch.engine import session as sessions
from jupyter_batch.engine.gather import of_job
from jupyter_batch.engine.plan import Ask, plan
from jupyter_batch.engine.prompt import prompt_of
from jupyter_batch.engine.worker import Worker
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.table import facts_of

NOW = 1_790_121_600.0


class Desk:
    """fake: the far side. make: the adapter, of facts. model: with its provider. rows: of the frame."""

    def __init__(self, home, fake, make, *, model, rows):
        self.now = NOW
        self.fake = fake
        self.model = model
        self.make = make
        self.ledger = Ledger(home)
        self.frame = pd.DataFrame({"t": [f"text {n}" for n in range(rows)]})
        self.worker = self.another_process()

    @property
    def facts(self):
        """The provider's, as at its own address."""
        return facts_of(self.model.partition("/")[0], None)

    def another_process(self):
        """A worker of its own."""
        async def connect(_):
            return self.make(self.facts)

        return Worker(self.ledger, connect, clock=lambda: self.now, dice=lambda: 0.5, everything=True)

    def plan(self, **more):
        """A job of the frame's rows."""
        provider, _, name = self.model.partition("/")
        limits = more.pop("limits", self.facts.limits)
        ask = Ask(**{"prompt": prompt_of("{t}", ["t"], system=None, kind="braces"), "params": {}, "model": self.model,
                     "provider": provider, "dialect": self.facts.dialect, "body_model": name, "out": "out",
                     "limits": limits, **more})
        return plan(self.ledger, ask, self.frame, now=self.now, reuse=True, accept=lambda _: None).id

    async def step(self, seconds=0.0):
        """Let time pass, and the worker do what is due."""
        self.now += seconds
        for _ in range(2):
            await self.worker.once()
            await self.worker.settled()

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

    def told(self, job):
        """The job's outcomes."""
        return of_job(self.ledger.job(job), self.ledger.shards(job), self.ledger.folders.of(job))

    def snapshot(self, job):
        """The job as a screen has it."""
        return self.ledger.job(job).snapshot(self.ledger.shards(job), self.now)

    def play(self, coroutine):
        """In a loop of its own, at whose end the worker closes what it holds."""
        async def way():
            try:
                return await coroutine
            finally:
                await self.worker._close()

        return asyncio.run(way())


def lose(home):
    """This process forgets a ledger, which is then deleted with all of its folder."""
    held = sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
    shutil.rmtree(home)


def assert_nowhere(secret, root):
    """No file holds it."""
    for path in root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def outcome(desk, job):
    """(answers, statuses, reasons by row, usage) of a job that is over."""
    from jupyter_batch.engine.gather import CODES

    found = desk.told(job)
    return found.answers, [str(CODES[code]) for code in found.status], found.reasons, found.usage
