"""No room at Azure, xAI, Mistral or Anthropic: the shard waits for quota, and is sent when there is room, once."""

from __future__ import annotations

import pytest

from jupyter_batch.core.status import State, Step
from tests.anthropic.fake import RefusalError
from tests.engine.test_every_provider import ANTHROPIC_KEY, anthropic, frame
from tests.messages import messages
from tests.providers.fakes.host import Fault

TOKENS = "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment 'the-model'."
BATCHES = "Too many active batch jobs: try again once some have finished"
RATE = "Too many requests"


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, TOKENS), (400, f"token_limit_exceeded: {TOKENS}"), (429, BATCHES), (429, RATE)],
    ids=["tokens", "tokens as 400", "batches", "rate"],
)
def test_a_create_that_is_refused_is_sent_again(harness, status, message):
    """The second of two shards is refused: it waits, says for what, and arrives; nothing is sent twice."""
    harness.fake.faults["create"] = [
        None,
        Fault(status=status, message=message, headers={"retry-after": "200"}),
    ]

    async def way():
        job = harness.plan(shard_size=2)
        await harness.step()
        waiting = [shard for shard in harness.ledger.shards(job) if shard.step is Step.WAITING]
        assert len(waiting) == 1
        assert messages(harness.snapshot(job)).startswith("waiting for quota: ")
        assert message in waiting[0].note
        assert waiting[0].held == ("rate" if message == RATE else "queue")
        created = harness.fake.asked["create"]
        await harness.step(100.0)
        assert harness.fake.asked["create"] == created, (
            "not before retry-after, while nothing has ended"
        )
        for batch in harness.fake.batches.values():
            batch.answers = {
                one: body["messages"][-1]["content"].upper() for one, body in batch.requests.items()
            }
            batch.ending = "completed"
        for _ in range(10):
            await harness.step(60.0)
            for batch in harness.fake.batches.values():
                if batch.ending is None:
                    batch.answers = {
                        one: body["messages"][-1]["content"].upper()
                        for one, body in batch.requests.items()
                    }
                    batch.ending = "completed"
        assert harness.snapshot(job).is_complete
        return job

    job = harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert len(harness.fake.batches) == 2
    assert harness.snapshot(job).state is State.COMPLETED


def test_anthropic_s_batch_queue_is_full(home):
    """Anthropic's 429 at the create: the same, with its words in the monitor."""
    with anthropic() as fake:
        fake.faults = [
            (
                "create",
                RefusalError(
                    429,
                    "This would exceed the limit on batch requests in processing queue",
                    {"retry-after": "3"},
                ),
            )
        ]
        df = frame()
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
        )
        while not (shown := messages(job.snapshot())):
            job.wait(0.02)
        assert shown.startswith("waiting for quota: ")
        assert "processing queue" in shown
        assert job.state is State.WAITING
        job.wait(60)
        assert job.counts.succeeded == 3
        assert len(fake.batches) == 1
