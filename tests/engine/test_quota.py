"""No room at the provider, in each wording: the shard waits, and is sent once there is room."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_batch.core.errors import ConnectionFailedError, ProviderTimeoutError, RateLimitError
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.monitor.view import view
from jupyter_batch.runner.refusals.quota import QUOTA_SECONDS
from jupyter_batch.server.embedded import Embedded
from tests.messages import messages

from .conftest import numbered
from .test_steps import ScriptedHarness, play, to_the_end

ROWS, SHARDS = 350, 7


def full(*, queue=True, **more):
    """A refusal at the create."""
    error = RateLimitError("the queue is full (HTTP 429)", status=429, **more)
    error.queue = queue
    return error


@pytest.fixture
def harness(tmp_path):
    """One harness, its ledger closed at the end."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("tokens, after the create", "enqueued_tokens=5000"),
        ("tokens, at the create", "enqueued_tokens=5000,fail_fast"),
        ("number of batches", "open_batches=2"),
        ("rate", "creates=3,retry_after=1.5"),
    ],
)
def test_all_shards_arrive_in_waves(name, faults, tmp_path, home):
    """Room for some of seven shards: the others wait for quota, say so, and each is answered exactly once."""
    with Embedded(tmp_path / "server", pace=0.4, faults=faults) as server:
        frame = numbered(ROWS)
        job = frame.llm.batch(
            "{text}",
            out="out",
            shard_size=50,
            model="openai/echo",
            api_base=server.base_url,
            api_key=server.token,
        )
        text, states = set(), set()
        while not job.wait(0.05).is_complete:
            text |= {
                line for line in view(job.snapshot()).lines if line.startswith("waiting for quota")
            }
            states |= {shard.step for shard in job.snapshot().shards}
        job.wait()  # the answers land
        assert job.is_successful, (name, job.errors)
        assert (frame["out"] == frame["text"]).all()
        assert text, "the monitor said what it waited for"
        assert Step.WAITING in states
        ended = [batch["status"] for batch in server.batches()]
        assert ended.count("completed") == SHARDS, "each shard was answered exactly once"
        if "after" not in name:
            assert len(ended) == SHARDS, "what was refused at the create is no batch"


def test_a_job_that_was_refused_waits(harness):
    """A 429 at the create: the state is `waiting`, the reason is shown, nothing has failed, and it is sent later."""
    harness.provider.faults["create"] = [full(), full()]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        seen = harness.snapshot(job)
        assert seen.state is State.WAITING
        assert messages(seen) == "waiting for quota: the queue is full (HTTP 429)"
        assert "waiting for quota" in view(seen).lines[0]
        await to_the_end(harness, job)

    play(way())
    assert harness.provider.asked["create"] == 3
    assert harness.provider.asked["upload"] == 1, "the file is there already"
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.shard(job).held == ""


def test_a_probe_of_unknown_outcome_delays_no_other(harness):
    """A shard refused for quota, then sent with an unknown outcome: the others go on, and the job is blocked."""
    harness.provider.faults["create"] = [full(), ProviderTimeoutError("slow")]
    job = harness.plan(shard_size=2)

    async def way():
        for _ in range(12):
            await harness.step(600)

    play(way())
    assert {shard.step for shard in harness.ledger.shards(job)} == {Step.SUBMITTING, Step.COLLECTED}
    assert harness.provider.asked["create"] == 3
    assert harness.snapshot(job).blocked is Block.UNKNOWN_CREATE


def test_retry_after_is_kept(harness):
    """A shard refused for its rate is not sent before the provider's time, even if other batches end."""
    harness.provider.faults["create"] = [None, full(queue=False, retry_after=900.0)]
    job = harness.plan(shard_size=2)

    async def way():
        await harness.step()
        for _ in range(8):
            await harness.step(100.0)
            if harness.now < 1_000_000 + 900:
                assert harness.provider.asked["create"] == 2, "too early"
        assert harness.shard(job, 0).step is Step.COLLECTED
        await to_the_end(harness, job)

    play(way())
    assert harness.provider.asked["create"] == 3
    assert harness.snapshot(job).state is State.COMPLETED


def test_an_end_lets_the_next_one_in_at_once(harness):
    """A shard that waits for a place in the queue is sent when a batch ends, not when its pause is over."""
    harness.provider.faults["create"] = [None, full(retry_after=3000.0)]
    job = harness.plan(shard_size=2)

    async def way():
        await harness.step()
        assert harness.shard(job, 1).step is Step.WAITING
        assert harness.shard(job, 1).due_at >= harness.now + 3000
        for _ in range(20):
            await harness.step(30.0)
            if harness.shard(job, 0).step is Step.COLLECTED:
                break
        assert harness.shard(job, 1).step in (Step.RUNNING, Step.ENDED, Step.COLLECTED)
        await to_the_end(harness, job)

    play(way())
    assert harness.snapshot(job).is_complete


def test_another_job_s_end_lets_it_in_too(harness):
    """The queue is the account's: a batch of one job that ends makes way for another job's."""
    first = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.frame = harness.frame.assign(t=["e", "f", "g", "h"])
        harness.provider.faults["create"] = [full(retry_after=3000.0)]
        second = harness.plan(shard_size=4)
        await harness.step()
        assert harness.shard(second).step is Step.WAITING
        await to_the_end(harness, first, pause=5.0)
        await harness.step(1.0)
        assert harness.now < 1_000_000 + 3000
        assert harness.shard(second).step in (Step.RUNNING, Step.ENDED, Step.COLLECTED)
        await to_the_end(harness, second)

    play(way())


def test_one_knocks_for_all(harness):
    """While one shard waits for quota, the others of its job are not refused one by one: one is tried at a time."""
    job = harness.plan(shard_size=1)

    async def way():
        harness.provider.faults["create"] = [full(), full(), full(), full()]
        await harness.step()
        assert {shard.step for shard in harness.ledger.shards(job)} == {Step.WAITING}
        before = harness.provider.asked["create"]
        harness.provider.faults["create"] = [full()] * 100
        for _ in range(40):
            await harness.step(2.0)
        assert harness.provider.asked["create"] - before < 20
        tried = [shard.attempts for shard in harness.ledger.shards(job)]
        assert max(tried) - min(tried) <= 1, "each has its turn"
        harness.provider.faults["create"] = []
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_batch_that_never_fits_fails_after_a_day(harness):
    """Refused again and again with nothing of ours in its way: advice at first, after a day it is believed."""
    harness.provider.faults["create"] = [full()] * 10_000
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(30):
            await harness.step(400.0)
        assert harness.snapshot(job).state is State.WAITING
        assert "smaller shard_size" in messages(harness.snapshot(job))
        assert "It gives up" in view(harness.snapshot(job)).lines[0]
        await harness.step(QUOTA_SECONDS)
        await harness.step(400.0)

    play(way())
    assert harness.snapshot(job).state is State.FAILED
    assert "the queue is full" in str(harness.outcomes(job).reasons)


def test_a_waiting_job_can_be_cancelled(harness):
    """Cancel ends what waits for quota, without asking the provider."""
    harness.provider.faults["create"] = [full()]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        await harness.step(400.0)

    play(way())
    assert harness.snapshot(job).state is State.CANCELLED
    assert harness.provider.asked["create"] == 1


def test_a_lost_answer_while_knocking_is_looked_for(harness):
    """A create after a refusal whose answer is lost is adopted, not sent again."""
    harness.provider.faults["create"] = [full()]
    harness.provider.after["create"] = [ConnectionFailedError("reset")]
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.provider.asked["create"] == 2
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_many_that_wait_are_one_line(harness):
    """A job of many shards that all wait, each refused in its own words, says so once, with how many."""
    job = harness.plan(shard_size=1)
    harness.provider.faults["create"] = [full()]
    play(harness.step())
    seen = harness.snapshot(job)
    assert view(seen).lines == ("waiting for quota: the queue is full (HTTP 429)",)
    shards = tuple(
        msgspec.structs.replace(one, note=f"request {one.number}") for one in seen.shards
    )
    seen = msgspec.structs.replace(seen, shards=shards)
    assert view(seen).lines == ("waiting for quota (4 batches): request 0",)
