"""Provider x ending, through the real engine: which rows are filled, what the others say, what was asked."""

from __future__ import annotations

from collections import Counter

import pytest

from jupyter_batch.core.status import State, Step
from tests.messages import messages
from tests.providers.conftest import FAKES
from tests.providers.fakes.host import Fault


def test_the_whole_way(harness):
    """Uploaded, created, polled, collected: four answers, each on its row, and no call more than is needed."""
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.shard(job).step is Step.RUNNING
        await harness.step(10)
        assert harness.shard(job).step is Step.RUNNING, "not over yet"
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.snapshot(job).state is State.COMPLETED
    more = {
        "azure": {"file": 1},  # whether it is processed
        "gemini": {"start": 1},
        "xai": {"fetch": 2},
        "openrouter": {"fetch": 2, "upload": 0},
        "fireworks_ai": dict.fromkeys(("account", "dataset", "file", "urls", "errors"), 1),
    }
    least = {"upload": 1, "create": 1, "poll": 2, "fetch": 1}
    assert harness.fake.asked == Counter({**least, **more.get(harness.name, {})})
    assert harness.snapshot(job).input_tokens == 12


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("completed", "no result"),
        ("failed", "stopped by them"),
    ],
)
def test_what_finished_is_kept_in_each_ending(harness, ending, word):
    """Three rows were answered before the end: they are filled, and the fourth says why it is not."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end(ending, answered=3, reason=word if ending == "failed" else "")
        if harness.name == "xai" and ending == "expired":
            harness.now += 3 * 86400  # it has dates, and no state
        await harness.to_the_end(job)

    harness.play(way())
    outcomes = harness.outcomes(job)
    assert outcomes.answers == ["A", "B", "C", None]
    assert word in outcomes.reasons[3]
    assert harness.snapshot(job).state is State(ending)


def test_failed_rows_have_their_reasons(harness):
    """Two rows failed: the provider's reason is with each, the others are filled."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end(failed=2)
        await harness.to_the_end(job)

    harness.play(way())
    outcomes = harness.outcomes(job)
    assert outcomes.answers == ["A", "B", None, None]
    assert ["the model fell over" in outcomes.reasons[at] for at in (2, 3)] == [True, True]


def test_all_rows_failed(harness):
    """No row was answered, so there is no output file at all: the job ends, with each row's reason."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end(failed=4)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.snapshot(job).state is State.COMPLETED
    assert harness.snapshot(job).counts.failed == 4
    ((reason, rows),) = harness.snapshot(job).reasons
    assert ("the model fell over" in reason, rows) == (True, 4)


def test_a_batch_that_is_refused_as_a_whole_says_why(harness):
    """Validation failed, there is no file: the provider's own sentence is each row's reason."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end("failed", answered=0, reason="the model is not supported for batches")
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.snapshot(job).state is State.FAILED
    assert all(
        "not supported for batches" in reason for reason in harness.outcomes(job).reasons.values()
    )
    assert harness.fake.asked["fetch"] == 0


def test_a_job_that_is_cancelled_keeps_what_finished(harness):
    """The person cancels: the provider is asked once, and the rows that finished are filled."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.only.answers = {next(iter(harness.fake.only.requests)): "A"}
        harness.ledger.cancel(job, harness.now)
        await harness.step(5)
        harness.fake.only.ending = "cancelled"
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["cancel"] == ("cancel" not in harness.fake.lacks)
    assert harness.outcomes(job).answers == ["A", None, None, None]
    assert harness.snapshot(job).state is State.CANCELLED


def test_cancel_of_a_batch_that_is_over_is_its_ending(harness):
    """It ended just before: the refusal of the cancel is answered by how the batch stands."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end()
        harness.ledger.cancel(job, harness.now)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_create_whose_answer_was_lost_is_found_and_not_sent_again(harness):
    """The batch exists, the connection broke before the answer: found by its tag, among others, and paid once."""
    harness.fake.faults["create"] = [Fault(after=True)]
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.shard(job).step is Step.SUBMITTING
        if "upload" in harness.fake.lacks:  # without a tag, it is known by its results
            harness.fake.end()
        await harness.step(60)
        assert harness.shard(job).batch_id == harness.fake.only.id
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["create"] == 1
    assert len(harness.fake.batches) == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("harness", [name for name in FAKES if name != "openrouter"], indirect=True)
def test_a_tag_is_found_on_any_page(harness):
    """Seven batches are there: each shard's own is found among them, and a tag that none has is not."""
    harness.plan(shard_size=1)

    async def way():
        for _ in range(3):
            await harness.step(30)
        provider = harness.provider()
        for batch in harness.fake.batches.values():
            tag = (
                batch.named
                if isinstance(batch.named, dict)
                else {"jupyter_batch": batch.named.split()[1]}
            )
            found = await provider.find(tag, since=harness.now - 7200)
            assert [view.id for view in found] == [batch.id]
        assert await provider.find({"jupyter_batch": "another/0"}, since=harness.now - 7200) == []

    harness.play(way())
    assert len(harness.fake.batches) == 4


def test_a_create_that_never_arrived_is_asked_about(harness):
    """The connection broke and the list never shows it: the user is asked, and then it is sent again."""
    harness.fake.faults["create"] = [Fault()]
    job = harness.plan()

    async def way():
        await harness.step()
        assert len(harness.fake.batches) == 0
        for _ in range(4):
            await harness.step(60)
        if not harness.provider().facts.idempotent:
            assert harness.snapshot(job).blocked == "unknown create"
            assert len(harness.fake.batches) == 0
            harness.ledger.resume(job, send_again=True)
            await harness.step(60)
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert len(harness.fake.batches) == 1
    assert harness.fake.asked["upload"] <= 1, "the file is there already"
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("verb", ["poll", "fetch", "create", "upload"])
@pytest.mark.parametrize(
    "fault",
    [Fault(429, headers={"retry-after": "90"}), Fault(500), Fault(503), Fault(404), Fault()],
    ids=["429", "500", "503", "404", "cut"],
)
def test_what_passes_is_waited_out(harness, verb, fault):
    """429, 5xx, 404 just after, connections that break, at each verb: all rows arrive, and one batch is paid."""
    if verb in harness.fake.lacks:
        pytest.skip("it has no such call")
    harness.fake.faults[verb] = [fault]
    job = harness.plan()

    async def way():
        for _ in range(4):
            await harness.step(400)
        if harness.snapshot(
            job
        ).blocked:  # a create that broke may have arrived; a 404 is no batch API
            assert (verb, fault.status) in {("create", 0), ("upload", 404)}
            harness.ledger.resume(job, send_again=True)
            await harness.step(400)
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert len(harness.fake.batches) == 1
    assert harness.shard(job).note == ""


def test_a_refused_key_pauses_and_is_not_repeated(harness):
    """401: the note says what to set, without the key that the provider repeats; with a good key it goes on."""
    job = harness.plan()
    wrong = harness.another_process(key="sk-another-secret")

    async def way():
        await harness.step(worker=wrong)
        note = messages(harness.snapshot(job))
        assert "key was refused" in note
        assert "sk-another" not in note
        assert harness.provider().facts.key in note
        harness.ledger.wake(job)
        await harness.step(400)
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_bad_request_ends_with_the_providers_reason(harness):
    """400 on the create, for good: each row has the provider's words, and it was asked once."""
    harness.fake.faults["create"] = [Fault(400)]
    job = harness.plan()
    harness.play(harness.to_the_end(job))
    assert harness.snapshot(job).state is State.FAILED
    assert all("as the test wanted" in reason for reason in harness.outcomes(job).reasons.values())
    assert harness.fake.asked["create"] == 1


@pytest.mark.parametrize(
    "harness", ["azure", "mistral"], indirect=True
)  # xAI's results are no file
def test_a_file_that_is_late_is_waited_for(harness):
    """Completed, its counts say four, no file is named yet: polled until it is there."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end(output_named=False)
        await harness.step(60)
        await harness.step(60)
        assert harness.shard(job).step is Step.RUNNING
        harness.fake.only.output_named = True
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "harness", ["azure", "mistral"], indirect=True
)  # xAI's errors stand among its results
def test_an_error_file_that_never_comes_is_done_without(harness):
    """A row failed, no error file is ever named: the job ends, and the row says that there was nothing."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.end(failed=1, errors_named=False)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", None]
    assert "no result" in harness.outcomes(job).reasons[3]
