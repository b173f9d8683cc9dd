"""Batches that were given up before their end was seen: the same rows are not sent again without the user's word."""

from __future__ import annotations

import pandas as pd
import pytest

from jupyter_batch.core.errors import AuthenticationError, NotFoundError, ProviderTimeoutError
from jupyter_batch.core.status import State
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.planning.retry import plan_again
from tests.engine.test_steps import ScriptedHarness, play, to_the_end


@pytest.fixture
def harness(tmp_path):
    """A scripted provider, and a manual clock."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


def unknown_create(harness):
    """The create's answer was lost, and the list does not show the batch; the user cancels."""
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    harness.provider.faults["find"] = [AuthenticationError("bad key", status=401)] * 9
    job = harness.plan(shard_size=4)
    play(harness.step())
    harness.ledger.cancel(job, harness.now)
    return job


def unseen_batch(harness):
    """The batch is not found under the key of now; the user cancels."""
    job = harness.plan(shard_size=4)
    play(harness.step())
    harness.provider.faults["poll"] = [NotFoundError("no such batch", status=404)] * 99
    harness.provider.faults["cancel"] = [NotFoundError("no such batch", status=404)] * 99
    harness.ledger.cancel(job, harness.now)
    return job


def endless_cancel(harness):
    """The provider stays in `cancelling`."""
    harness.provider._polls = 10**6
    job = harness.plan(shard_size=4)
    play(harness.step())

    async def cancel(batch_id):
        return await harness.provider.poll(batch_id)

    harness.provider.cancel = cancel
    harness.ledger.cancel(job, harness.now)
    return job


cases = pytest.mark.parametrize("case", [unknown_create, unseen_batch, endless_cancel])


@cases
def test_the_same_cell_does_not_send_it_again(harness, case):
    """The same cell attaches to the cancelled job, however often it is run."""
    job = case(harness)
    play(to_the_end(harness, job, pause=120))
    assert harness.snapshot(job).state is State.CANCELLED
    assert harness.snapshot(job).cost is None
    before = harness.provider.asked["create"]
    for _ in range(3):
        assert harness.plan(shard_size=4) == job
        play(harness.step(3600))
    assert harness.provider.asked["create"] == before


@cases
def test_a_grown_frame_sends_the_new_rows_alone(harness, case):
    """Rows that may be paid for are failures that name the job; `retry` is the user's word to send them."""
    job = case(harness)
    play(to_the_end(harness, job, pause=120))
    harness.provider.faults.clear()
    harness.provider._polls = 1
    harness.frame = pd.DataFrame({"t": list("abcde")})
    grown = harness.plan(shard_size=4)
    play(to_the_end(harness, grown))
    outcomes = harness.outcomes(grown)
    assert outcomes.answers == [None, None, None, None, "E"]
    assert all(job in outcomes.reasons[row] for row in range(4))
    again = plan_again(
        harness.ledger, harness.ledger.job(grown), harness.ledger.shards(grown), now=harness.now
    )
    play(to_the_end(harness, again.id))
    assert harness.outcomes(again.id).answers == list("ABCDE")


@pytest.mark.parametrize("case", [unseen_batch, endless_cancel])
def test_resume_fetches_what_it_has_answered(harness, case):
    """Once the batch can be seen, and has ended, its answers are fetched, as the note says."""
    job = case(harness)
    play(to_the_end(harness, job, pause=120))
    harness.provider.faults.clear()
    harness.provider.finish(str(harness.shard(job).batch_id))
    assert reopen(
        harness.ledger,
        harness.ledger.job(job),
        harness.ledger.shards(job),
        now=harness.now,
        forced=True,
    )
    play(to_the_end(harness, job))
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert not harness.shard(job).unsure
    assert harness.provider.asked["create"] == 1
