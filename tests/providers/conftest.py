"""A ledger, a provider's adapter, the fake it talks to, a clock of our own; and what holds in every test here."""

from __future__ import annotations

import pytest

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.protocol import Access, Facts
from jupyter_batch.providers.record import RECORDS, Connection, load
from jupyter_batch.providers.xai.batches import ViaXai
from tests.harness import NOW as MIDNIGHT
from tests.harness import Harness
from tests.ledgers import assert_nowhere
from tests.loopback_only import nobody_else_called
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.fireworks_ai import Fireworks
from tests.providers.fakes.gemini import Gemini
from tests.providers.fakes.host import Host
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.openrouter import OpenRouter
from tests.providers.fakes.xai import Xai

NOW = MIDNIGHT + 3600 * 15
"""In the afternoon of a day: xAI's dates lie hours before."""


@pytest.fixture(autouse=True)
def _to_no_other_host(monkeypatch):
    for name in (
        "AZURE_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "XAI_API_KEY",
        "MISTRAL_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "OPENAI_API_KEY",
        "FIREWORKS_API_KEY",
        "FIREWORKS_ACCOUNT_ID",
        "OPENROUTER_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    with nobody_else_called():
        yield


class ProviderDesk(Harness):
    """A ledger and a worker with a manual clock, at the provider of this name."""

    def __init__(self, home, fake, name):
        self.name = name
        super().__init__(
            home,
            self.provider,
            fake=fake,
            model=f"{name}/the-model",
            limits=None,
            dialect=RECORDS[name].dialect,
            now=NOW,
        )

    def provider(self, key=None, url=None):
        """The adapter, as `connect` makes it."""
        record = RECORDS[self.name]
        facts = Facts(
            name=record.name,
            dialect=record.dialect,
            key=record.key[0],
            limits=record.limits(),
            poll_first=1.0,
            poll_last=300.0,
            settle=15.0,
            one_file=record.files == 1,
            checks_file=record.checks_file,
            idempotent=record.idempotent,
            cancels=record.cancel is not False,
        )
        access = Access(api_base=url or self.fake.url, api_key=key or Host.key)
        if self.name == "xai":
            return ViaXai(facts, access, clock=lambda: self.now)
        return load(record.connect)(
            Connection(
                facts=facts,
                access=access,
                model="the-model",
                headers={},
                requests_of=lambda number: self.ledger.folders.of(self.planned).requests(number),
                api_version="2024-10-21",
            )
        )

    def plan(self, shard_size=4, **more):
        """A job of the frame's rows."""
        self.planned = super().plan(
            endpoint=RECORDS[self.name].chat,
            limits=Limits(requests=shard_size, bytes=1 << 20),
            **more,
        )
        return self.planned


FAKES = {
    "azure": Azure,
    "xai": Xai,
    "mistral": Mistral,
    "gemini": Gemini,
    "fireworks_ai": Fireworks,
    "openrouter": OpenRouter,
}


def make(name, tmp_path):
    """A harness and its fake; at the end the key must be nowhere on the disk."""
    with FAKES[name](lambda: harness.now) as fake:
        harness = ProviderDesk(tmp_path / "home", fake, name)
        yield harness
        harness.ledger.close()
    assert_nowhere(Host.key, tmp_path)


@pytest.fixture(params=list(FAKES))
def harness(request, tmp_path):
    """One for each provider."""
    yield from make(request.param, tmp_path)
