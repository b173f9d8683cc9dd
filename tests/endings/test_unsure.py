"""Batches that were given up before their end was seen: the same rows are not sent again without the user's word."""

from __future__ import annotations

import pandas as pd
import pytest

from jupyter_batch.core.errors import AuthenticationError, NotFoundError, ProviderTimeoutError
from jupyter_batch.core.status import State
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.planning.retry import plan_again
from tests.engine.test_tick import ScriptedDesk, play, to_the_end


@pytest.fixture
def desk(tmp_path):
    """A scripted provider, and a clock that moves when it is told."""
    made = ScriptedDesk(tmp_path / "home")
    yield made
    made.ledger.close()


def unknown_create(desk):
    """The create's answer was lost, and the list does not show the batch; the user cancels."""
    desk.provider.faults["create"] = [ProviderTimeoutError("slow")]
    desk.provider.faults["find"] = [AuthenticationError("bad key", status=401)] * 9
    job = desk.plan(shard_size=4)
    play(desk.step())
    desk.ledger.cancel(job, desk.now)
    return job


def unseen_batch(desk):
    """The batch is not found under the key of now; the user cancels."""
    job = desk.plan(shard_size=4)
    play(desk.step())
    desk.provider.faults["poll"] = [NotFoundError("no such batch", status=404)] * 99
    desk.provider.faults["cancel"] = [NotFoundError("no such batch", status=404)] * 99
    desk.ledger.cancel(job, desk.now)
    return job


def endless_cancel(desk):
    """The provider stays in `cancelling`."""
    desk.provider._polls = 10**6
    job = desk.plan(shard_size=4)
    play(desk.step())

    async def cancel(batch_id):
        return await desk.provider.poll(batch_id)

    desk.provider.cancel = cancel
    desk.ledger.cancel(job, desk.now)
    return job


cases = pytest.mark.parametrize("case", [unknown_create, unseen_batch, endless_cancel])


@cases
def test_the_same_cell_does_not_send_it_again(desk, case):
    """C1, E4: the same cell attaches to the cancelled job, however often it is run."""
    job = case(desk)
    play(to_the_end(desk, job, pause=120))
    assert desk.snapshot(job).state is State.CANCELLED
    assert desk.snapshot(job).cost is None
    before = desk.provider.asked["create"]
    for _ in range(3):
        assert desk.plan(shard_size=4) == job
        play(desk.step(3600))
    assert desk.provider.asked["create"] == before


@cases
def test_a_grown_frame_sends_the_new_rows_alone(desk, case):
    """C1, E4: rows that may be paid for are failures that name the job; `retry` is the user's word to send them."""
    job = case(desk)
    play(to_the_end(desk, job, pause=120))
    desk.provider.faults.clear()
    desk.provider._polls = 1
    desk.frame = pd.DataFrame({"t": list("abcde")})
    grown = desk.plan(shard_size=4)
    play(to_the_end(desk, grown))
    told = desk.told(grown)
    assert told.answers == [None, None, None, None, "E"]
    assert all(job in told.reasons[row] for row in range(4))
    again = plan_again(desk.ledger, desk.ledger.job(grown), desk.ledger.shards(grown), now=desk.now)
    play(to_the_end(desk, again.id))
    assert desk.told(again.id).answers == list("ABCDE")


@pytest.mark.parametrize("case", [unseen_batch, endless_cancel])
def test_resume_fetches_what_it_has_answered(desk, case):
    """E4: once the batch can be seen, and has ended, its answers are fetched, as the note says."""
    job = case(desk)
    play(to_the_end(desk, job, pause=120))
    desk.provider.faults.clear()
    desk.provider.finish(str(desk.shard(job).batch_id))
    assert reopen(
        desk.ledger, desk.ledger.job(job), desk.ledger.shards(job), now=desk.now, forced=True
    )
    play(to_the_end(desk, job))
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert not desk.shard(job).unsure
    assert desk.provider.asked["create"] == 1
