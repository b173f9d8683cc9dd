"""AIBrix's batches: states of its own, ids that are UUIDs, a window renamed, answers that are no completions."""

from __future__ import annotations

from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from jupyter_batch.runner import process as sessions
from tests.messages import messages
from tests.third_party.conftest import numbered

SAID = {
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "said"}}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def test_the_whole_cycle(aibrix, home):
    """Sent, taken at once though its state is unknown, polled, fetched: what comes back is in the column."""
    df = numbered(20)
    seen = []
    job = df.llm.batch(
        "{text}", out="out", model="openai/echo", api_base=aibrix, api_key="none", extra_body=SAID
    )
    job._here.worker.take(job.id, seen.append)
    job.wait(90)
    assert job.is_successful, job
    assert df["out"].tolist() == ["said"] * 20
    assert (job.usage.input_tokens, job.usage.output_tokens) == (60, 20)
    assert not any("can't be read" in messages(snapshot) for snapshot in seen), (
        "a state of its own is no error"
    )
    assert {shard.provider_status for snapshot in seen for shard in snapshot.shards} >= {
        "completed"
    }
    assert len(home_batches(home)) == 1


def home_batches(home):
    """The batches that the ledger knows."""
    ledger = sessions.session(home).ledger
    return [shard.batch_id for job in ledger.jobs() for shard in ledger.shards(job.id)]


def test_what_is_no_answer_says_so_and_is_retried(aibrix, home):
    """Its dry run gives the request's own body back: each row has that as its reason, and `retry` is a batch more."""
    df = numbered(3)
    call = {"model": "openai/echo", "api_base": aibrix, "api_key": "none"}
    job = df.llm.batch("{text}", out="out", **call).wait(90)
    assert job.is_complete
    assert job.errors["_error"].str.contains("neither an answer nor an error").sum() == 3
    again = job.retry().wait(90)
    assert again.is_complete
    assert len(set(home_batches(home))) == 2


async def found(aibrix, job, number):
    """The batches that the server lists for a shard."""
    provider = ViaOpenAI(facts_of("openai", aibrix), Access(api_base=aibrix, api_key="none"))
    return await provider.find({"jupyter_batch": f"{job.id}/{number}"}, since=0.0)


def test_its_batches_are_found_by_our_tag(aibrix, home):
    """Each shard's batch is in the server's list under its tag, alone: what a lost answer is made good by."""
    import asyncio

    job = numbered(9).llm.batch(
        "{text}", out="out", model="openai/echo", api_base=aibrix, api_key="none", shard_size=3
    )
    job.wait(90)
    ids = [view.id for number in range(3) for view in asyncio.run(found(aibrix, job, number))]
    assert ids == list(job.batches)
    assert len(set(ids)) == 3
