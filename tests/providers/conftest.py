"""A ledger, a provider's adapter, the fake it talks to, a clock of our own; and what holds in every test here."""

from __future__ import annotations

import asyncio
import sys

import pandas as pd
import pytest

from jupyter_batch.core.request import Limits
from jupyter_batch.engine.gather import of_job
from jupyter_batch.engine.plan import Ask, plan
from jupyter_batch.engine.prompt import prompt_of
from jupyter_batch.engine.worker import Worker
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.protocol import Access, Facts
from jupyter_batch.providers.records import RECORDS
from jupyter_batch.providers.via_azure import ViaAzure
from jupyter_batch.providers.via_mistral import ViaMistral
from jupyter_batch.providers.via_xai import ViaXai
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.host import Host
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.xai import Xai

NOW = 1_790_121_600.0 + 3600 * 15
"""In the afternoon of a day: xAI's dates lie hours before."""
_called: list[str] = []


def _note_connections(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _called.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _called.append(str(arguments[0]))


sys.addaudithook(_note_connections)


@pytest.fixture(autouse=True)
def _to_no_other_host(monkeypatch):
    for name in ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "XAI_API_KEY", "MISTRAL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    _called.clear()
    yield
    assert {host for host in _called if host not in ("127.0.0.1", "localhost", "::1", "None")} == set()


class Desk:
    """A ledger and a worker, whose clock only moves when it is told."""

    def __init__(self, home, fake, name):
        self.now = NOW
        self.home = home
        self.fake = fake
        self.name = name
        self.ledger = Ledger(home)
        self.worker = self.another_process()
        self.frame = pd.DataFrame({"t": ["a", "b", "c", "d"]})

    def provider(self, key=None, url=None):
        """The adapter, as `connect` makes it."""
        record = RECORDS[self.name]
        facts = Facts(name=record.name, dialect="openai", key=record.key[0], limits=record.limits(),
                      poll_first=1.0, poll_last=300.0, settle=15.0, one_file=record.files == 1)
        access = Access(api_base=url or self.fake.url, api_key=key or Host.key)
        if self.name == "azure":
            return ViaAzure(facts, access, api_version="2024-10-21")
        if self.name == "xai":
            return ViaXai(facts, access, clock=lambda: self.now)
        return ViaMistral(facts, access, model="the-model")

    def another_process(self, **access):
        """A worker of its own."""
        async def connect(_):
            return self.provider(**access)

        return Worker(self.ledger, connect, clock=lambda: self.now, dice=lambda: 0.5, everything=True)

    def plan(self, shard_size=4, **more):
        """A job of the frame's rows."""
        ask = Ask(prompt=prompt_of("{t}", ["t"], system=None, kind="braces"), params={}, model=f"{self.name}/the-model",
                  provider=self.name, dialect="openai", body_model="the-model", out="out",
                  endpoint=RECORDS[self.name].chat, limits=Limits(requests=shard_size, bytes=1 << 20), **more)
        return plan(self.ledger, ask, self.frame, now=self.now, reuse=True, accept=lambda _: None).id

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


FAKES = {"azure": Azure, "xai": Xai, "mistral": Mistral}


def make(name, tmp_path):
    """A desk and its fake; at the end the key must be nowhere on the disk."""
    desk = Desk.__new__(Desk)
    with FAKES[name](lambda: desk.now) as fake:
        desk.__init__(tmp_path / "home", fake, name)
        yield desk
        desk.ledger.close()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or Host.key.encode() not in path.read_bytes(), path


@pytest.fixture(params=list(FAKES))
def desk(request, tmp_path):
    """One for each provider."""
    yield from make(request.param, tmp_path)


