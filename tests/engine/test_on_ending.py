"""`on_ending` decides what follows each ending; another policy is one function, given from outside the package."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.refusals.stated_limit import StatedLimit, Unit
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.runner.endings import Ending, await_files, close, on_ending
from jupyter_batch.runner.refusals import blocking, cutting, quota, same_file
from jupyter_batch.runner.refusals.same_file import ABSENT_SECONDS, UPLOADS
from jupyter_batch.runner.worker import Worker
from jupyter_batch.testing.scripted import FACTS

from .test_steps import ScriptedHarness, to_the_end

NOW = 1_000_000.0
SMALL = StatedLimit(Unit.REQUESTS, 2)
FILE = {"output_file_id": "file-1"}
LATER = ABSENT_SECONDS + 1


def decision(view, job=None, shard=None):
    """The action for a shard of four requests whose batch ended so."""
    record = JobRecord(
        id="jb1",
        fingerprint="f",
        created_at=NOW,
        model="scripted/x",
        provider="scripted",
        dialect="openai",
        endpoint="/v1/chat/completions",
        body_model="x",
        out="out",
        columns=["t"],
        rows=4,
        **(job or {}),
    )
    fields = {"uploaded_at": NOW, "uploads": 1, **(shard or {})}
    one = ShardRecord(
        job="jb1", number=0, requests=4, bytes=400, first=0, last=3, step=Step.RUNNING, **fields
    )
    seen = BatchView(id="batch-1", **{"status": str(view["ending"]), **view})
    return on_ending(one, Ending(view=seen, job=record, facts=FACTS, now=NOW))


@pytest.mark.parametrize("ending", [State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED])
def test_results_that_are_there_are_collected_in_each_ending(ending):
    """All four endings take the same path where the files are named."""
    assert decision({"ending": ending, "completed": 4, **FILE}) is close


@pytest.mark.parametrize(
    ("view", "action"),
    [
        ({"quota": True}, quota.refused_later),
        ({"quota": True, "spent": True}, blocking.spent),
        ({"input_file": InputFile.ABSENT}, same_file.send_again),
        ({"limit": SMALL}, cutting.refused_batch),
        ({"limit": SMALL, "completed": 1, **FILE}, close),
        ({"input_file": InputFile.ABSENT, "completed": 1, **FILE}, close),
        ({"completed": 1}, await_files),
        ({}, close),
    ],
)
def test_a_failed_batch_is_sent_again_only_where_no_row_was_answered(view, action):
    """A refusal for quota, file or size is sent again, later or smaller; else its rows have failed."""
    assert decision({"ending": State.FAILED, **view}) is action


def test_uploads_of_a_file_that_is_not_found_end():
    """After its time the file is uploaded again, and after some uploads the rows have failed."""
    view = {"ending": State.FAILED, "input_file": InputFile.ABSENT}
    late = {"uploaded_at": NOW - LATER}
    assert decision(view, shard=late) is same_file.upload_again
    assert decision(view, shard={**late, "uploads": UPLOADS}) is close


@pytest.mark.parametrize("stopped", [{"cancel_at": NOW}, {"adopted": True}])
@pytest.mark.parametrize(
    "view", [{"quota": True}, {"input_file": InputFile.ABSENT}, {"limit": SMALL}]
)
def test_nothing_is_sent_again_after_a_cancel_or_for_another_ledger(view, stopped):
    """A cancelled job, and an adopted one, take what there is."""
    assert decision({"ending": State.FAILED, **view}, job=stopped) is close


@pytest.mark.parametrize("ending", [State.COMPLETED, State.EXPIRED, State.CANCELLED])
def test_files_that_the_counts_imply_are_awaited_for_a_time(ending):
    """Counted answers without a file: it is polled again, and given up in the end."""
    view = {"ending": ending, "completed": 3}
    assert decision(view) is await_files
    assert decision(view, shard={"ended_at": NOW - 86_400}) is close


def resend_once(context, shard, view):
    """A toy action: send an expired batch whole once more."""
    return context.put(
        shard,
        Step.WAITING,
        batch_id=None,
        provider_status=view.status,
        refused=(*shard.refused, view.id),
        completed=0,
        failed=0,
        due_at=0.0,
        note="",
    )


def patient(shard, ending):
    """A toy policy: an expired batch without an answer gets a second chance."""
    view = ending.view
    if view.ending is State.EXPIRED and not (view.completed or shard.refused):
        return resend_once
    return on_ending(shard, ending)


@pytest.mark.parametrize(
    ("policy", "state", "answers", "creates"),
    [
        (on_ending, State.EXPIRED, [None] * 4, 1),
        (patient, State.COMPLETED, ["A", "B", "C", "D"], 2),
    ],
)
def test_a_new_action_on_expiry_touches_one_function(tmp_path, policy, state, answers, creates):
    """With a policy from outside an expired batch is sent again; nothing in the package knows of it."""
    harness = ScriptedHarness(tmp_path / "home")
    job = harness.plan(shard_size=4)

    async def connect(_):
        return harness.provider

    harness.worker = Worker(
        harness.ledger, connect, clock=lambda: harness.now, everything=True, on_ending=policy
    )

    async def way():
        await harness.step()
        harness.provider.finish(harness.shard(job).batch_id, ending=State.EXPIRED, answered=0)
        await to_the_end(harness, job)
        await harness.worker._close()

    asyncio.run(way())
    assert harness.snapshot(job).state is state
    assert harness.outcomes(job).answers == answers
    assert harness.provider.asked["create"] == creates
    harness.ledger.close()
