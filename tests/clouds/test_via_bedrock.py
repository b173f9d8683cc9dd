"""Bedrock's batches through the engine: every status, every ending, and what is lost on the way, paid once."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch.core.errors import NotFoundError
from jupyter_batch.core.request import Limits, Usage
from jupyter_batch.core.status import Block, State, Step
from tests.clouds.bedrock import BUCKET, ROLE, Bedrock
from tests.clouds.conftest import at_bedrock
from tests.harness import NOW
from tests.messages import messages
from tests.providers.fakes.host import Fault

TEXTS = [f"text {n}" for n in range(100)]
ALL = {text: text.upper() for text in TEXTS}
WRONG = {"errorCode": 400, "errorMessage": "bad request", "expired": False, "retryable": False}
LATE = {"errorCode": 408, "errorMessage": "The record expired", "expired": True, "retryable": True}


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """At this cloud alone."""
    with at_bedrock(tmp_path, monkeypatch) as made:
        yield made


def first(count):
    """The answers of so many rows."""
    return dict(list(ALL.items())[:count])


def test_the_whole_way(harness):
    """Upload, create under a name and a token, statuses as they come, results in reverse order: each row its answer."""
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.shard(job).provider_status == "submitted"
        for status in ("Validating", "Scheduled", "InProgress", "SomethingNew"):
            harness.fake.only_job.status = status
            await harness.step(400)
            assert harness.shard(job).step is Step.RUNNING, harness.shard(job)
            assert not harness.shard(job).note
        assert harness.shard(job).provider_status == "something_new"
        assert harness.shard(job).expires_at == NOW + 24 * 3600
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    answers, statuses, reasons, usage = harness.outcome(job)
    assert answers == list(ALL.values())
    assert (set(statuses), reasons, usage) == ({"succeeded"}, {}, Usage(300, 200))
    order = harness.fake.only_job.order
    assert order["jobName"] == order["clientRequestToken"] == f"jupyter-batch-{job}-0"
    assert (order["roleArn"], order["timeoutDurationInHours"]) == (ROLE, 24)
    assert (
        order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        == f"s3://{BUCKET}/jupyter_batch/{job}/0.jsonl"
    )
    assert "tags" not in order
    assert harness.fake.asked["create"] == harness.fake.asked["upload"] == 1


ENDINGS = {
    "completed": ("Completed", ALL, {}, State.COMPLETED, {"succeeded": 100}),
    "a row failed": (
        "Completed",
        first(99),
        {TEXTS[99]: WRONG},
        State.COMPLETED,
        {"succeeded": 99, "failed": 1},
    ),
    "all rows failed": (
        "Completed",
        {},
        dict.fromkeys(TEXTS, WRONG),
        State.COMPLETED,
        {"failed": 100},
    ),
    "partly, in time": (
        "PartiallyCompleted",
        first(60),
        {TEXTS[60]: WRONG, TEXTS[61]: LATE},
        State.EXPIRED,
        {"succeeded": 60, "failed": 1, "expired": 39},
    ),
    "never begun": ("Expired", {}, {}, State.EXPIRED, {"expired": 100}),
    "failed": ("Failed", {}, {}, State.FAILED, {"failed": 100}),
    "failed half-way": ("Failed", first(10), {}, State.FAILED, {"succeeded": 10, "failed": 90}),
    "stopped": ("Stopped", first(1), {}, State.CANCELLED, {"succeeded": 1, "cancelled": 99}),
}


@pytest.mark.parametrize("name", list(ENDINGS))
def test_every_ending(harness, name):
    """Finished rows are kept, the rest has its reason, and nothing is asked a second time."""
    status, answers, failed, ending, counts = ENDINGS[name]
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(
            status, answers, failed, message="the role may not read" if status == "Failed" else ""
        )
        await harness.to_the_end(job)

    harness.play(way())
    got, statuses, reasons, _ = harness.outcome(job)
    assert {one: statuses.count(one) for one in set(statuses)} == counts
    assert got == [answers.get(text) for text in TEXTS]
    assert harness.snapshot(job).state is ending
    assert all(
        reasons[at] == "400: bad request"
        for at, text in enumerate(TEXTS)
        if failed.get(text) is WRONG
    )
    assert (
        all("the role may not read" in reason for reason in reasons.values()) or status != "Failed"
    )
    assert harness.fake.asked["create"] == 1
    assert harness.fake.asked["fetch"] == (1 if answers or failed else 0)


def test_many_result_files_of_many_pages(harness):
    """Results in three files and a manifest, listed in pages of two: all of them are read, and nothing else."""
    harness.fake.page = 2
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=ALL, split=3)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(ALL.values())
    assert harness.fake.asked["fetch"] == 3


def test_a_create_that_is_sent_again_is_one_job(harness):
    """Even where the list shows nothing for long: the second create has the first one's token, and gets its job."""
    harness.fake.faults["create"] = [Fault(after=True)]
    job = harness.plan()
    document, harness.fake._document = harness.fake._document, None
    harness.fake._document = lambda one: {**document(one), "jobName": "a-name-of-another"}

    async def way():
        await harness.step()
        for _ in range(4):
            await harness.step(60)
        assert harness.fake.asked["create"] == 2
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    assert len(harness.fake.jobs) == 1
    assert harness.outcomes(job).answers == list(ALL.values())


def test_each_shard_is_found_as_itself(harness):
    """Jobs 1 and 11 of twelve, whose names begin alike, in pages of five: each is found as itself."""
    harness.fake.page, harness.fake.least = 5, 1
    harness.frame = harness.frame.iloc[:12]
    job = harness.plan(limits=Limits(requests=1, bytes=1 << 20), out="Größe & co")

    async def way():
        await harness.step()
        await harness.step(1)
        provider = harness.make()
        for number in (1, 11):
            found = await provider.find({"jupyter_batch": f"{job}/{number}"}, since=NOW - 7200)
            assert [view.tag["jupyter_batch"] for view in found] == [f"{job}/{number}"]
        assert await provider.find({"jupyter_batch": f"{job}/1"}, since=harness.now + 1) == []
        everything = await provider.tagged(since=NOW - 7200)
        assert {view.tag["jupyter_batch"] for view in everything} == {
            f"{job}/{n}" for n in range(12)
        }
        assert {view.tag["jupyter_batch_out"] for view in everything} == {"Größe & co"}
        got = bytearray()
        await provider.requests(
            next(v for v in everything if v.tag["jupyter_batch"] == f"{job}/3"), got.extend
        )
        assert bytes(got) == harness.ledger.folders.of(job).requests(3).read_bytes()
        await provider.aclose()

    harness.play(way())
    assert len(harness.fake.jobs) == 12


def test_tags_of_the_persons(harness):
    """`metadata` becomes the job's tags; what is ours is not among them."""
    job = harness.plan(metadata={"team": "red & co".replace("&", "+")})
    harness.play(harness.step())
    assert harness.fake.only_job.order["tags"] == [{"key": "team", "value": "red + co"}]
    assert harness.shard(job).step is Step.RUNNING


def test_cancel(harness):
    """Asked for once, watched until it is so; what is finished is kept."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        await harness.step(1)
        assert harness.shard(job).provider_status == "stopping"
        harness.fake.finish("Stopped", first(5))
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcome(job)[1] == ["succeeded"] * 5 + ["cancelled"] * 95
    assert harness.fake.asked["stop"] == 1


def test_boto3_does_not_repeat_by_itself(harness):
    """One call is one request: what is tried again, and when, is the engine's to say."""
    harness.fake.faults["upload"] = [Fault(500)]
    harness.plan()
    harness.play(harness.step())
    assert harness.fake.asked["upload"] == 1


def test_a_quota_is_waited_for(harness):
    """ServiceQuotaExceededException, which comes as a 400, is no fault of the rows."""
    create = harness.fake.no

    def no(status, message, headers=None):
        answer = create(status, message, headers)
        if harness.fake._verb == "create":
            answer.headers["x-amzn-ErrorType"] = "ServiceQuotaExceededException"
        return answer

    harness.fake.no = no
    harness.fake.faults["create"] = [Fault(400)]
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.shard(job).step is Step.WAITING
        for _ in range(3):
            await harness.step(400)
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(ALL.values())


def test_a_refusal_ends_with_aws_words(harness):
    """ValidationException on the create: each row has the reason, it was asked once. A bucket that is gone, too."""
    harness.fake.faults["create"] = [Fault(400)]
    job = harness.plan()
    harness.play(harness.to_the_end(job))
    assert all(
        "ValidationException: as the test wanted" in reason
        for reason in harness.outcomes(job).reasons.values()
    )
    assert harness.fake.asked["create"] == 1
    make = harness.make
    harness.make = lambda: _elsewhere(make())
    other = harness.plan(out="other", params={"temperature": 0.5})
    harness.play(harness.to_the_end(other))
    assert harness.snapshot(other).state is State.FAILED
    assert all("NoSuchBucket" in reason for reason in harness.outcomes(other).reasons.values())


def _elsewhere(provider):
    provider._bucket = "another-bucket"
    return provider


def test_keys_that_are_refused_pause(harness):
    """403 with AWS's words for a key that is not known: the job waits and says what to set; nothing is paid."""
    harness.fake.faults["upload"] = [Fault(401)]
    job = harness.plan()

    async def way():
        await harness.step()
        assert harness.snapshot(job).blocked is Block.KEY
        assert "AWS_ACCESS_KEY_ID" in messages(harness.snapshot(job))
        harness.ledger.wake(job)
        await harness.step(400)
        harness.fake.finish(answers=ALL)
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == list(ALL.values())


def test_results_that_are_gone(harness):
    """The bucket was emptied: in our tree of errors."""
    with pytest.raises(NotFoundError, match="no results"):
        harness.play(_fetch(harness.make(), f"s3://{BUCKET}/nothing/here/"))


async def _fetch(provider, file_id):
    try:
        await provider.fetch(file_id, lambda _: None)
    finally:
        await provider.aclose()


def test_lines_that_nobody_can_read_lose_no_other_row(harness):
    """Half a line, an empty one, one of another job: the other rows are there."""
    job = harness.plan()

    async def way():
        await harness.step()
        harness.fake.finish(answers=ALL)
        (name,) = (name for name in harness.fake.objects if name.endswith(".jsonl.out"))
        lines = harness.fake.objects[name][0].splitlines(keepends=True)
        foreign = b'{"recordId":"jbotherZ1","modelOutput":{"output":{"message":{"content":[{"text":"x"}]}}}}\n'
        harness.fake.objects[name] = (
            b"".join([*lines[:98], b"\n", foreign, lines[98], lines[99][:-30]]),
            {},
        )
        harness.fake.only_job.counts["successRecordCount"] = 99
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.outcomes(job).answers == [None, *list(ALL.values())[1:]]
    assert "without a row of this batch" in harness.shard(job).note


def test_no_call_blocks_the_loop(harness):
    """While S3 is slow, the loop goes on: boto3 runs in a thread."""
    harness.fake.faults["upload"] = [Fault(hang=True)]
    beats = []

    async def beat():
        while True:
            await asyncio.sleep(0.02)
            beats.append(1)

    async def way():
        harness.plan()
        beating = asyncio.create_task(beat())
        await harness.step()
        beating.cancel()

    harness.play(way())
    assert len(beats) > 20
    assert Bedrock.secret not in repr(harness.make())
