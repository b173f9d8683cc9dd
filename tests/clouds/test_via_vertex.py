"""Vertex AI's batches through the engine: every state, every ending, and what is lost on the way, paid once."""

from __future__ import annotations

import asyncio
import json

import pytest

from jupyter_batch.core.errors import NotFoundError
from jupyter_batch.core.request import Limits, Usage
from jupyter_batch.core.status import State, Step
from tests.clouds.conftest import at_vertex
from tests.clouds.vertex import BUCKET, Vertex, response
from tests.harness import NOW
from tests.messages import messages
from tests.providers.fakes.host import Fault

TEXTS = [f"text {n}" for n in range(4)]
ALL = {text: text.upper() for text in TEXTS}
REASON = 'Bad Request: {"error": {"code": 400, "message": "the image is too large", "status": "INVALID_ARGUMENT"}}'


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """At this cloud alone."""
    with at_vertex(tmp_path, monkeypatch) as made:
        yield made


def test_the_whole_way(harness):
    """Upload, create with its labels, states as they come, results in reverse order: each row has its answer."""
    job = harness.plan(metadata={"team": "red"})

    async def way():
        await harness.step()
        assert harness.shard(job).provider_status == "pending"
        for state in ("QUEUED", "RUNNING", "PAUSED", "UPDATING", "SOMETHING_NEW"):
            harness.fake.only_job.state = f"JOB_STATE_{state}"
            await harness.step(400)
            assert harness.shard(job).step is Step.RUNNING
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    answers, statuses, reasons, usage = harness.outcome(job)
    assert answers == [text.upper() for text in TEXTS]
    assert (set(statuses), reasons, usage) == ({"succeeded"}, {}, Usage(12, 8))
    order = harness.fake.only_job.order
    assert order["labels"]["jupyter_batch"] == f"{job}-0"
    assert order["labels"]["team"] == "red"
    assert order["inputConfig"]["gcsSource"]["uris"] == [
        f"gs://{BUCKET}/jupyter_batch/{job}/0.jsonl"
    ]
    assert harness.fake.asked["create"] == harness.fake.asked["upload"] == 1


ENDINGS = {
    "succeeded": ("JOB_STATE_SUCCEEDED", ALL, {}, State.COMPLETED, ["succeeded"] * 4),
    "a row failed": (
        "JOB_STATE_SUCCEEDED",
        dict(list(ALL.items())[:3]),
        {TEXTS[3]: REASON},
        State.COMPLETED,
        ["succeeded"] * 3 + ["failed"],
    ),
    "all rows failed": (
        "JOB_STATE_FAILED",
        {},
        dict.fromkeys(TEXTS, REASON),
        State.FAILED,
        ["failed"] * 4,
    ),
    "partly": (
        "JOB_STATE_PARTIALLY_SUCCEEDED",
        dict(list(ALL.items())[:2]),
        {TEXTS[2]: REASON},
        State.COMPLETED,
        ["succeeded", "succeeded", "failed", "failed"],
    ),
    "failed as a whole": ("JOB_STATE_FAILED", {}, {}, State.FAILED, ["failed"] * 4),
    "expired": (
        "JOB_STATE_EXPIRED",
        dict(list(ALL.items())[:1]),
        {},
        State.EXPIRED,
        ["succeeded"] + ["expired"] * 3,
    ),
    "cancelled there": (
        "JOB_STATE_CANCELLED",
        dict(list(ALL.items())[:1]),
        {},
        State.CANCELLED,
        ["succeeded"] + ["cancelled"] * 3,
    ),
}


@pytest.mark.parametrize("name", list(ENDINGS))
def test_every_ending(harness, name):
    """Finished rows are kept, the rest has its reason, and nothing is asked a second time."""
    state, answers, failed, ending, statuses = ENDINGS[name]
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(state, answers, failed)
        if state == "JOB_STATE_FAILED":
            harness.fake.only_job.error = {"code": 13, "message": "the model fell over"}
        await harness.to_the_end(job)

    harness.play(way())
    got, outcomes, reasons, _ = harness.outcome(job)
    assert outcomes == statuses
    assert got == [answers.get(text) for text in TEXTS]
    assert harness.snapshot(job).state is ending
    for at, text in enumerate(TEXTS):
        if text in failed:
            assert reasons[at] == "INVALID_ARGUMENT: the image is too large"
    if name == "failed as a whole":
        assert all("the model fell over" in reason for reason in reasons.values())
    assert harness.fake.asked["create"] == 1
    assert harness.fake.asked["fetch"] == (1 if answers or failed else 0)


def test_many_result_files_of_many_pages(harness):
    """Results in three files without a last line's end, listed in pages of two: all are read, and no other file."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=ALL, shards=3)
        harness.fake.objects.update(
            {name: data.rstrip(b"\n") for name, data in harness.fake.objects.items()}
        )
        harness.fake.objects[
            harness.fake.only_job.output.removeprefix(f"gs://{BUCKET}/") + "/notes.txt"
        ] = b"not ours"
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == [text.upper() for text in TEXTS]
    assert harness.fake.asked["fetch"] == 3


def test_a_folder_that_is_not_named_is_looked_for(harness):
    """No `outputInfo` (as for a job that was ended early): the results are found below the folder that we gave."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish("JOB_STATE_CANCELLED", {TEXTS[0]: "A"}, named=False)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", None, None, None]


def test_each_shard_is_found_as_itself(harness):
    """Jobs 1 and 11 of twelve, among pages of two: each is found under its own label, and no other."""
    harness.frame = harness.frame.loc[[0] * 12].reset_index(drop=True)
    harness.frame["t"] = [f"text {n}" for n in range(12)]
    job = harness.plan(limits=Limits(requests=1, bytes=1 << 20))

    async def way():
        await harness.step()
        await harness.step(1)
        provider = harness.make()
        for number in (1, 11):
            found = await provider.find({"jupyter_batch": f"{job}/{number}"}, since=NOW - 7200)
            assert [view.tag["jupyter_batch"] for view in found] == [f"{job}/{number}"]
        assert await provider.find({"jupyter_batch": "another/0"}, since=0.0) == []
        assert await provider.find({"jupyter_batch": f"{job}/1"}, since=harness.now + 1) == []
        everything = await provider.tagged(since=NOW - 7200)
        assert {view.tag["jupyter_batch"] for view in everything} == {
            f"{job}/{n}" for n in range(12)
        }
        await provider.aclose()

    harness.play(way())
    assert len(harness.fake.jobs) == 12


def test_a_batch_tells_what_it_is_part_of(harness):
    """Without its ledger: column and model in letters that no label may hold, and the request file as planned."""
    job = harness.plan(out="Größe & co")

    async def way():
        await harness.step()
        provider = harness.make()
        (batch,) = await provider.tagged(since=0.0)
        assert batch.tag["jupyter_batch_out"] == "Größe & co"
        assert batch.tag["jupyter_batch_model"] == "vertex_ai/gemini-2.5-flash"
        got = bytearray()
        await provider.requests(batch, got.extend)
        assert bytes(got) == harness.ledger.folders.of(job).requests(0).read_bytes()

    harness.play(way())


def test_cancel(harness):
    """Asked for once, watched until it is so; what is finished is kept."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        await harness.step(1)
        assert harness.shard(job).provider_status == "cancelling"
        harness.fake.finish("JOB_STATE_CANCELLED", {TEXTS[1]: "B"})
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcome(job)[1] == ["cancelled", "succeeded", "cancelled", "cancelled"]
    assert harness.fake.asked["cancel"] == 1


def test_too_much_at_once_goes_back_to_the_queue(harness):
    """A job that fails with RESOURCE_EXHAUSTED before any row is no failure of the rows: it is sent again."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish("JOB_STATE_FAILED")
        harness.fake.only_job.error = {"code": 8, "message": "Quota exceeded for batch requests"}
        refused = harness.fake.only_job.number
        await harness.step(400)
        assert "quota" in harness.shard(job).note.lower()
        for _ in range(3):
            await harness.step(400)
        second = next(one for one in harness.fake.jobs.values() if one.number != refused)
        harness.fake.finish(answers=ALL, job=second)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == [text.upper() for text in TEXTS]


def test_a_refusal_ends_with_googles_words(harness):
    """400 on the create: each row has the reason, and it was asked once. A bucket that is not there, too."""
    harness.fake.faults["create"] = [Fault(400)]
    job = harness.plan()
    harness.play(harness.to_the_end(job))
    assert all("as the test wanted" in reason for reason in harness.outcomes(job).reasons.values())
    assert Vertex.key not in str(harness.outcomes(job).reasons)
    assert harness.fake.asked["create"] == 1
    harness.fake.faults["upload"] = [Fault(404)]
    other = harness.plan(out="other", params={"temperature": 0.5})
    harness.play(harness.to_the_end(other))
    assert harness.snapshot(other).state is State.FAILED
    assert all(BUCKET in reason for reason in harness.outcomes(other).reasons.values())


def test_a_refused_token_pauses(harness):
    """401: the job waits and says what to set; nothing is paid."""
    harness.fake.faults["create"] = [Fault(401)]
    job = harness.plan()

    async def way():
        await harness.step()
        assert "GOOGLE_APPLICATION_CREDENTIALS" in messages(harness.snapshot(job))
        harness.ledger.wake(job)
        await harness.step(400)
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == [text.upper() for text in TEXTS]


def test_results_that_are_gone(harness):
    """The bucket was emptied: a 404, in our tree of errors."""
    with pytest.raises(NotFoundError, match="no results"):
        asyncio.run(harness.make().fetch(f"gs://{BUCKET}/nothing/here", lambda _: None))


def test_odd_answers_do_not_end_a_job(harness):
    """A job without a state, without a name, without anything: asked again."""
    job = harness.plan()
    document = harness.fake._document

    async def way():
        await harness.step()
        for odd in (
            {"state": None},
            {"completionStats": "none", "outputInfo": None, "state": 7},
            {"name": ""},
        ):
            harness.fake._document = lambda one, odd=odd: {**document(one), **odd}
            await harness.step(400)
            assert harness.shard(job).step is Step.RUNNING
        harness.fake._document = document
        harness.fake.finish(
            answers={**ALL, TEXTS[0]: response("thought", thoughtsTokenCount=7, totalTokenCount=12)}
        )
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers[0] == "thought"
    assert harness.outcomes(job).usage == Usage(12, 15, reasoning_tokens=7)


def test_lines_that_nobody_can_read_lose_no_other_row(harness):
    """Half a line, an empty one, one without a label, one of another job: the other rows are there."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=ALL)
        (name,) = (name for name in harness.fake.objects if name.endswith("predictions.jsonl"))
        lines = harness.fake.objects[name].splitlines(keepends=True)
        foreign = json.dumps(
            {"request": {"labels": {"jupyter_batch_row": "jbother-1"}}, "response": response("x")}
        )
        harness.fake.objects[name] = (
            lines[0]
            + b"\n"
            + b'{"request":{}}\n'
            + lines[1]
            + foreign.encode()
            + b"\n"
            + lines[2][:-40]
        )
        harness.fake.only_job.stats["successfulCount"] = "2"
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == [None, None, "TEXT 2", "TEXT 3"]
    assert "without a row of this batch" in harness.shard(job).note
