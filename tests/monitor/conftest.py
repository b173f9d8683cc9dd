"""Snapshots for the monitor's tests: one that runs, changed as a test needs it."""

import weakref

import msgspec
import pytest

from jupyter_batch.core.status import Counts, ShardView, Snapshot, State, Step
from jupyter_batch.monitor import live

START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC

RUNNING = Snapshot(
    id="jb3f9c2k7a1q",
    name=None,
    state=State.RUNNING,
    counts=Counts(succeeded=400, failed=2, reused=10, running=588),
    model="openai/gpt-4.1-mini",
    provider="openai",
    out="sentiment",
    created_at=START,
    now=START + 250,
    expires_at=START + 86_400,
    shards=(ShardView(number=0, step=Step.RUNNING, batch_id="batch_68a1f"),),
    reasons=(("rate limit reached", 2),),
    attach='job = jupyter_batch.open("jb3f9c2k7a1q")',
)


def make(**changes):
    """The running job, with these fields changed."""
    return msgspec.structs.replace(RUNNING, **changes)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No job of another test is on the page: jobs that are there together are drawn less often."""
    monkeypatch.setattr(live, "_open", weakref.WeakSet())


@pytest.fixture(scope="session")
def shot():
    """`shot(**changes)`: a running job's snapshot, 250 s after its start, with these fields changed."""
    return make


@pytest.fixture
def done(shot):
    """A job that is finished, with two rows that failed."""
    return shot(
        state=State.COMPLETED,
        counts=Counts(succeeded=998, failed=2),
        collected=True,
        finished_at=START + 250,
    )


@pytest.fixture(scope="session")
def shards():
    """`shards(n)`: so many running batches."""
    return lambda n: tuple(
        ShardView(number=k, step=Step.RUNNING, batch_id=f"batch_{k}", counts=Counts(running=50))
        for k in range(n)
    )
