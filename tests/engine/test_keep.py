"""Results are fetched as soon as the end is seen; until then, and after, one sees how long the provider has them."""

from __future__ import annotations

from datetime import UTC

import msgspec
import pytest

from jupyter_batch.core.errors import ConnectionFailedError
from jupyter_batch.core.status import State, Step
from jupyter_batch.monitor.html import body
from jupyter_batch.monitor.text import line
from jupyter_batch.monitor.view import view
from jupyter_batch.providers.protocol import Facts
from jupyter_batch.providers.table import facts_of
from jupyter_batch.wire.anthropic import results as anthropic
from jupyter_batch.wire.openai_batches import read_batch

from .test_steps import ScriptedHarness, play

DAY = 86400.0


@pytest.fixture
def harness(tmp_path):
    """One harness whose provider keeps results for thirty days from their batch's end."""
    made = ScriptedHarness(tmp_path / "home")
    made.provider.facts = msgspec.structs.replace(made.provider.facts, keeps=30 * DAY)
    yield made
    made.ledger.close()


def test_results_are_fetched_when_the_end_is_seen(harness):
    """The poll that sees the end is followed by the download in the same pass: no pause, no second poll."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        for _ in range(200):
            polls = harness.provider.asked["poll"]
            await harness.step(5.0)
            if harness.provider.asked["fetch"]:
                break
        assert harness.provider.asked["poll"] == polls + 1
        assert harness.shard(job).step is Step.COLLECTED
        assert harness.shard(job).ended_at == harness.now

    play(way())


def test_the_monitor_tells_until_when(harness):
    """Ended and not collected: until when results are kept; collected: when the provider's copy goes; then nothing."""
    harness.provider.faults["fetch"] = [ConnectionFailedError("reset")]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        for _ in range(200):
            if harness.shard(job).step is Step.ENDED:
                break
            await harness.step(5.0)
        ended = harness.shard(job).ended_at
        seen = view(harness.snapshot(job), UTC)
        assert harness.snapshot(job).keeps_until == ended + 30 * DAY
        assert "the provider keeps results until 11 Feb 13:46" in ", ".join(seen.times)
        for _ in range(20):
            await harness.step(30.0)
        assert harness.snapshot(job).state is State.COMPLETED
        return harness.snapshot(job)

    shot = play(way())
    phrase = "the provider deletes its copy on 11 Feb 13:46"
    assert phrase in view(shot, UTC).times
    assert phrase in str(body(view(shot, UTC)))
    assert phrase in line(view(shot, UTC))
    late = msgspec.structs.replace(shot, now=shot.now + 31 * DAY)
    assert not any("copy" in phrase for phrase in view(late, UTC).times)


def test_what_is_not_known_is_not_reported(harness):
    """A provider with unknown retention of results: no word of it."""
    harness.provider.facts = msgspec.structs.replace(harness.provider.facts, keeps=None)
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        for _ in range(40):
            await harness.step(30.0)
        return harness.snapshot(job)

    shot = play(way())
    assert shot.is_complete
    assert shot.keeps_until is None
    assert not any("provider" in phrase for phrase in view(shot).times)


def test_who_keeps_for_how_long():
    """OpenAI from the end, Anthropic from the creation; another server of OpenAI's shape, and Azure: not known."""

    def until(provider: str, base: str | None = None) -> float | None:
        facts: Facts = facts_of(provider, base)
        return facts.keeps_until(1000.0, 5000.0)

    assert until("openai") == until("openai", "https://api.openai.com/v1") == 5000 + 30 * DAY
    assert until("anthropic") == 1000 + 29 * DAY
    for provider, base in (
        ("openai", "http://127.0.0.1:8000/v1"),
        ("azure", None),
        ("local", None),
        ("xai", None),
    ):
        assert until(provider, base) is None, provider


def test_the_end_is_the_provider_s_own():
    """The batch object says when it ended: a laptop that was closed for a week does not count from its waking."""
    batch = read_batch(
        {"id": "b", "status": "completed", "created_at": 10, "completed_at": 20, "expires_at": 99}
    )
    assert (batch.created_at, batch.ended_at) == (10, 20)
    assert read_batch({"id": "b", "status": "cancelled", "cancelled_at": 30}).ended_at == 30
    assert read_batch({"id": "b", "status": "in_progress", "created_at": 10}).ended_at is None
    batch = anthropic.read_batch(
        {
            "id": "b",
            "processing_status": "ended",
            "created_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:10:00Z",
        }
    )
    assert batch.ended_at - batch.created_at == 600
