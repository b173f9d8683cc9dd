"""Provider x ending, through the real engine: which rows are filled, what the others say, what was asked."""

from __future__ import annotations

import pytest

from jupyter_batch.core.status import State, Step
from tests.messages import messages
from tests.providers.fakes.host import Fault


def test_the_whole_way(desk):
    """Uploaded, created, polled, collected: four answers, each on its row, and no call more than is needed."""
    job = desk.plan()

    async def way():
        await desk.step()
        assert desk.shard(job).step is Step.RUNNING
        await desk.step(10)
        assert desk.shard(job).step is Step.RUNNING, "not over yet"
        desk.fake.end()
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.snapshot(job).state is State.COMPLETED
    pages = 2 if desk.name == "xai" else 1
    more = {"azure": {"file": 1}, "gemini": {"start": 1}}.get(
        desk.name, {}
    )  # whether it is processed
    assert desk.fake.asked == {"upload": 1, "create": 1, "poll": 2, "fetch": pages, **more}
    assert desk.snapshot(job).input_tokens == 12


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("completed", "no result"),
        ("failed", "stopped by them"),
    ],
)
def test_what_finished_is_kept_in_each_ending(desk, ending, word):
    """Three rows were answered before the end: they are filled, and the fourth says why it is not."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end(ending, answered=3, reason=word if ending == "failed" else "")
        if desk.name == "xai" and ending == "expired":
            desk.now += 3 * 86400  # it has dates, and no state
        await desk.to_the_end(job)

    desk.play(way())
    told = desk.told(job)
    assert told.answers == ["A", "B", "C", None]
    assert word in told.reasons[3]
    assert desk.snapshot(job).state is State(ending)


def test_failed_rows_have_their_reasons(desk):
    """Two rows failed: the provider's reason stands beside each, the others are filled."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end(failed=2)
        await desk.to_the_end(job)

    desk.play(way())
    told = desk.told(job)
    assert told.answers == ["A", "B", None, None]
    assert ["the model fell over" in told.reasons[at] for at in (2, 3)] == [True, True]


def test_all_rows_failed(desk):
    """No row was answered, so there is no output file at all: the job ends, with each row's reason."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end(failed=4)
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.snapshot(job).state is State.COMPLETED
    assert desk.snapshot(job).counts.failed == 4
    ((reason, rows),) = desk.snapshot(job).reasons
    assert ("the model fell over" in reason, rows) == (True, 4)


def test_a_batch_that_is_refused_as_a_whole_says_why(desk):
    """Validation failed, there is no file: the provider's own sentence is each row's reason."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end("failed", answered=0, reason="the model is not supported for batches")
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.snapshot(job).state is State.FAILED
    assert all("not supported for batches" in reason for reason in desk.told(job).reasons.values())
    assert desk.fake.asked["fetch"] == 0


def test_a_job_that_is_cancelled_keeps_what_finished(desk):
    """The person cancels: the provider is asked once, and the rows that finished are filled."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.only.answers = {next(iter(desk.fake.only.requests)): "A"}
        desk.ledger.cancel(job, desk.now)
        await desk.step(5)
        desk.fake.only.ending = "cancelled"
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.fake.asked["cancel"] == 1
    assert desk.told(job).answers == ["A", None, None, None]
    assert desk.snapshot(job).state is State.CANCELLED


def test_cancel_of_a_batch_that_is_over_is_its_ending(desk):
    """It ended just before: the refusal of the cancel is answered by how the batch stands."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end()
        desk.ledger.cancel(job, desk.now)
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_create_whose_answer_was_lost_is_found_and_not_sent_again(desk):
    """The batch exists, the connection broke before the answer: found by its tag, among others, and paid once."""
    desk.fake.faults["create"] = [Fault(after=True)]
    job = desk.plan()

    async def way():
        await desk.step()
        assert desk.shard(job).step is Step.SUBMITTING
        await desk.step(60)
        assert desk.shard(job).batch_id == desk.fake.only.id
        desk.fake.end()
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.fake.asked["create"] == 1
    assert len(desk.fake.batches) == 1
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_tag_is_found_on_any_page(desk):
    """Seven batches are there: each shard's own is found among them, and a tag that none has is not."""
    desk.plan(shard_size=1)

    async def way():
        for _ in range(3):
            await desk.step(30)
        provider = desk.provider()
        for batch in desk.fake.batches.values():
            tag = (
                batch.named
                if isinstance(batch.named, dict)
                else {"jupyter_batch": batch.named.split()[1]}
            )
            found = await provider.find(tag, since=desk.now - 7200)
            assert [view.id for view in found] == [batch.id]
        assert await provider.find({"jupyter_batch": "another/0"}, since=desk.now - 7200) == []

    desk.play(way())
    assert len(desk.fake.batches) == 4


def test_a_create_that_never_arrived_is_asked_about(desk):
    """C1: the connection broke and the list never shows it: the user is asked, and then it is sent again."""
    desk.fake.faults["create"] = [Fault()]
    job = desk.plan()

    async def way():
        await desk.step()
        assert len(desk.fake.batches) == 0
        for _ in range(4):
            await desk.step(60)
        assert desk.snapshot(job).blocked == "unknown create"
        assert len(desk.fake.batches) == 0
        desk.ledger.resume(job, send_again=True)
        await desk.step(60)
        desk.fake.end()
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.fake.asked["upload"] == 1, "the file is there already"
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("verb", ["poll", "fetch", "create", "upload"])
@pytest.mark.parametrize(
    "fault",
    [Fault(429, headers={"retry-after": "90"}), Fault(500), Fault(503), Fault(404), Fault()],
    ids=["429", "500", "503", "404", "cut"],
)
def test_what_passes_is_waited_out(desk, verb, fault):
    """429, 5xx, 404 just after, connections that break, at each verb: all rows arrive, and one batch is paid."""
    desk.fake.faults[verb] = [fault]
    job = desk.plan()

    async def way():
        for _ in range(4):
            await desk.step(400)
        if desk.snapshot(
            job
        ).blocked:  # a create that broke may have arrived; a 404 is no batch API
            assert (verb, fault.status) in {("create", 0), ("upload", 404)}
            desk.ledger.resume(job, send_again=True)
            await desk.step(400)
        desk.fake.end()
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert len(desk.fake.batches) == 1
    assert desk.shard(job).note == ""


def test_a_refused_key_pauses_and_is_not_repeated(desk):
    """401: the note says what to set, without the key that the provider repeats; with a good key it goes on."""
    job = desk.plan()
    wrong = desk.another_process(key="sk-another-secret")

    async def way():
        await desk.step(worker=wrong)
        note = messages(desk.snapshot(job))
        assert "key was refused" in note
        assert "sk-another" not in note
        assert desk.provider().facts.key in note
        desk.ledger.wake(job)
        await desk.step(400)
        desk.fake.end()
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_bad_request_ends_with_the_providers_reason(desk):
    """400 on the create, for good: each row has the provider's words, and it was asked once."""
    desk.fake.faults["create"] = [Fault(400)]
    job = desk.plan()
    desk.play(desk.to_the_end(job))
    assert desk.snapshot(job).state is State.FAILED
    assert all("as the test wanted" in reason for reason in desk.told(job).reasons.values())
    assert desk.fake.asked["create"] == 1


@pytest.mark.parametrize("desk", ["azure", "mistral"], indirect=True)  # xAI's results are no file
def test_a_file_that_is_late_is_waited_for(desk):
    """Completed, its counts say four, no file is named yet: polled until it is there."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end(output_named=False)
        await desk.step(60)
        await desk.step(60)
        assert desk.shard(job).step is Step.RUNNING
        desk.fake.only.output_named = True
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "desk", ["azure", "mistral"], indirect=True
)  # xAI's errors stand among its results
def test_an_error_file_that_never_comes_is_done_without(desk):
    """A row failed, no error file is ever named: the job ends, and the row says that there was nothing."""
    job = desk.plan()

    async def way():
        await desk.step()
        desk.fake.end(failed=1, errors_named=False)
        await desk.to_the_end(job)

    desk.play(way())
    assert desk.told(job).answers == ["A", "B", "C", None]
    assert "no result" in desk.told(job).reasons[3]
