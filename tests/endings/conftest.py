"""A ledger of its own for each test, and a job whose time passes when the test says so."""

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest

from jupyter_batch.runner import collect
from jupyter_batch.runner import process as sessions
from tests.endings.table import GONE_TRIES
from tests.ledgers import forget

PATIENCE = 60.0
"""Seconds until a test gives up; none waits for them."""


class Harness:
    """This process's session on an empty ledger. Its worker's clock is ours: `skip` seconds ahead of the real one."""

    def __init__(self, home):
        self.home = home
        self.ahead = 0.0
        self.passes = 0
        self.here = sessions.session(home)
        self.worker = self.here.worker
        self.worker._clock = self.clock
        once = self.worker.once

        async def counted():
            self.passes += 1
            return await once()

        self.worker.once = counted

    def clock(self):
        """Seconds since the epoch."""
        return time.time() + self.ahead

    def frame(self):
        """Four rows."""
        return pd.DataFrame({"t": list("abcd")}, index=list("wxyz"))

    def until(self, test, skip=31.0):
        """Let time pass, `skip` seconds after each pass in which the worker had nothing under way, until it is so."""
        end, still, seen = time.monotonic() + PATIENCE, threading.Event(), -1
        while not test():
            assert time.monotonic() < end, [
                (s.step, s.note, s.provider_status, s.attempts)
                for job in self.here.ledger.jobs()
                for s in self.here.ledger.shards(job.id)
            ]
            if (
                not self.worker._tasks and self.passes != seen
            ):  # however slow the machine: one skip for a pass
                seen = self.passes
                self.ahead += skip
                self.worker.poke()
            still.wait(0.004)

    def rest(self, seconds=86400.0):
        """A day passes, and the worker looks at everything that it minds, twice."""
        self.ahead += seconds
        for _ in range(2):
            seen = self.passes
            self.until(lambda seen=seen: self.passes > seen, skip=0.0)


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """An empty ledger, and its worker, which is stopped at the end."""
    home = tmp_path / "home"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    for name in (
        "JUPYTER_BATCH_MODEL",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_API_BASE",
        "ANTHROPIC_API_KEY",
        "AZURE_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "XAI_API_KEY",
        "MISTRAL_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        collect, "GONE_TRIES", GONE_TRIES
    )  # of the 24 that take an hour; what comes after is the same
    yield Harness(home)
    forget(home)
