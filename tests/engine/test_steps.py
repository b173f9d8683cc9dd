"""The rules that come from other people's lost money, one by one: a scripted provider, a manual clock, no sleep."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    KeyMissingError,
    NotFoundError,
    ProviderDownError,
    ProviderTimeoutError,
    RateLimitError,
)
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.providers.backoff import in_step
from jupyter_batch.providers.failures import normalise
from jupyter_batch.providers.protocol import UndecidedError
from jupyter_batch.runner.worker import LEASE_SECONDS, Worker
from jupyter_batch.testing.scripted import FACTS, Scripted
from tests.harness import Harness
from tests.messages import messages


class ScriptedHarness(Harness):
    """A harness before a scripted provider, which may be changed for another."""

    def __init__(self, home, provider=None):
        self.provider = provider or Scripted(lambda body: body["messages"][-1]["content"].upper())
        super().__init__(
            home, lambda: self.provider, model="scripted/x", limits=FACTS.limits, now=1_000_000.0
        )

    def plan(self, shard_size=2, **more):
        """A job of the frame's rows."""
        return super().plan(
            limits=msgspec.structs.replace(FACTS.limits, requests=shard_size), **more
        )


@pytest.fixture
def harness(tmp_path):
    """One harness, its ledger closed at the end."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


def play(coroutine):
    """In a loop of its own."""
    return asyncio.run(coroutine)


async def to_the_end(harness, job, steps=200, pause=30.0):
    """Step on until the job is complete."""
    for _ in range(steps):
        if harness.snapshot(job).is_complete:
            return
        await harness.step(pause)
    raise AssertionError(harness.ledger.shards(job))


def test_the_whole_way(harness):
    """Planned, sent, polled, collected: two shards, four answers, one call of each kind a shard."""
    job = harness.plan()
    assert harness.snapshot(job).state is State.PLANNED
    play(to_the_end(harness, job))
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked == {"upload": 2, "create": 2, "poll": 2, "fetch": 2}
    assert harness.snapshot(job).state is State.COMPLETED
    assert harness.ledger.job(job).holder is None, "the lease is given back"


def test_a_create_whose_answer_was_lost_is_adopted(harness):
    """The batch exists, its answer was lost on the way: it is found by its tag, and never created again."""
    harness.provider.after["create"] = [ConnectionFailedError("reset")]
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.provider.asked["create"] == 1
    assert harness.provider.asked["find"] >= 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_an_empty_list_proves_nothing_at_once(harness):
    """A create that timed out may still arrive: nothing is sent again, and in the end the user is asked."""
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        assert harness.shard(job).step is Step.SUBMITTING
        await harness.step(5)
        assert harness.shard(job).blocked_by is None, "too early to ask"
        assert "known yet whether the provider created the batch (slow)" in seen()
        for _ in range(5):
            await harness.step(FACTS.settle)

    def seen():
        return messages(harness.snapshot(job))

    play(way())
    assert harness.provider.asked["create"] == 1
    assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE
    assert "not known whether the provider created the batch (slow)" in seen()


def test_a_create_answered_without_an_id_is_adopted(harness):
    """An answer that makes no sense may stand for a batch all the same: it is found by its tag."""

    class Mumbling(Scripted):
        async def submit(self, *args, **named):
            return msgspec.structs.replace(await super().submit(*args, **named), id="")

    harness.provider = Mumbling(lambda body: body["messages"][-1]["content"].upper())
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.provider.asked["create"] == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("slow", ["upload", "create"])
def test_an_empty_list_proves_nothing_after_a_long_call(harness, slow):
    """An upload of minutes, or a create that was given up after one: the time to settle counts from its end."""

    class Slow(Scripted):
        def _begin(self, verb):
            if verb == slow:
                harness.now += LEASE_SECONDS - 1
            super()._begin(verb)

    harness.provider = Slow(lambda _: "x")
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        await harness.step(5)
        assert harness.provider.asked["find"] == 1
        assert harness.shard(job).blocked_by is None, "too early to ask"
        await harness.step(FACTS.settle)

    play(way())
    assert harness.provider.asked["create"] == 1
    assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE


@pytest.mark.parametrize(
    ("address", "blocked"), [(None, Block.UNKNOWN_CREATE), ("http://127.0.0.1:9/v1", None)]
)
def test_whose_a_batch_is_is_unknown_yet(harness, address, blocked):
    """A batch that may be ours is waited for, but for one that another job of this ledger has, at the same address."""
    first = harness.plan(shard_size=4, api_base=address)
    play(to_the_end(harness, first))
    known = harness.provider.batches[str(harness.shard(first).batch_id)]
    harness.provider = Scripted(lambda body: body["messages"][-1]["content"].upper())
    harness.provider.faults = {
        "create": [ProviderTimeoutError("slow")],
        "find": [UndecidedError("whose?", (known,))] * 99,
    }
    harness.worker = harness.another_process()
    harness.frame = harness.frame.assign(t=["e", "f", "g", "h"])
    second = harness.plan(shard_size=4)

    async def way():
        for _ in range(5):
            await harness.step(600)

    play(way())
    assert harness.provider.asked["create"] == 1
    assert harness.shard(second).blocked_by is blocked


def test_a_list_that_can_not_be_read_sends_nothing(harness):
    """The batch's existence is unknown: nothing is sent, and the user is informed."""
    harness.provider.faults = {
        "create": [ProviderTimeoutError("slow")],
        "find": [BadRequestError("no list here", status=400)] * 50,
    }
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(30):
            await harness.step(600)

    play(way())
    assert harness.provider.asked["create"] == 1
    assert "can't be read" in harness.shard(job).note
    assert harness.shard(job).step is Step.SUBMITTING
    assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE


@pytest.mark.parametrize(
    "error", [BadRequestError("no list here", status=405), NotFoundError("none", status=404)]
)
def test_a_person_gives_up_what_can_not_be_looked_for(harness, error):
    """A provider without a list: the user's cancel ends the job, and its cost is not shown as nothing."""
    harness.provider.faults = {"create": [ProviderTimeoutError("slow")], "find": [error] * 50}
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(6):
            await harness.step(600)
        assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE
        harness.ledger.cancel(job, harness.now)
        await to_the_end(harness, job, pause=600)

    play(way())
    assert harness.provider.asked["create"] == 1
    snapshot = harness.snapshot(job)
    assert (snapshot.state, snapshot.counts.cancelled) == (State.CANCELLED, 4)
    assert "look there before it is sent again" in snapshot.reasons[0][0]
    assert snapshot.cost is None


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", status=429, retry_after=90.0),
        ProviderDownError("oops", status=503),
        ConnectionFailedError("reset"),
        ProviderTimeoutError("slow"),
        NotFoundError("just created", status=404),
    ],
)
def test_a_transient_error_is_no_ending(harness, error):
    """429, 5xx, timeouts, resets, and a 404 just after the create: polled again, and all rows arrive."""
    harness.provider.faults["poll"] = [error, error, error]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        await harness.step(10)
        shard = harness.shard(job)
        assert shard.step is Step.RUNNING
        assert shard.attempts == 1
        assert shard.note == str(error)
        if isinstance(error, RateLimitError):
            assert shard.due_at >= harness.now + 90, "never sooner than it asked"
        await to_the_end(harness, job, pause=120)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.shard(job).note == ""


def test_a_refused_key_pauses_the_job(harness):
    """401 on the create: nothing is lost, the note says what to set, and with a good key it goes on."""
    harness.provider.faults["upload"] = [AuthenticationError("bad key", status=401)]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        assert harness.snapshot(job).state is State.WAITING
        assert "key was refused" in messages(harness.snapshot(job))
        assert harness.ledger.job(job).holder is None, "a process with a better key may take it"
        await harness.step(30, worker=harness.another_process())
        assert harness.shard(job).step is Step.WAITING, "too early"
        harness.ledger.wake(job)
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_key_that_is_refused_while_it_runs_pauses_the_job_too(harness):
    """401 on a poll: the job waits for a key, whatever the state of the batch, and goes on when it is woken."""
    harness.provider.faults["poll"] = [AuthenticationError("bad key", status=401)]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        assert harness.snapshot(job).state is State.RUNNING
        await harness.step(10)
        assert harness.snapshot(job).state is State.WAITING
        assert "key was refused" in messages(harness.snapshot(job))
        harness.ledger.wake(job)
        await to_the_end(harness, job)

    play(way())
    assert harness.provider.asked["create"] == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_job_without_a_key_waits(harness):
    """A process that has no key for a job leaves it alone, and the job says what it waits for."""

    async def no_key(_):
        raise KeyMissingError("no API key: set OPENAI_API_KEY")

    job = harness.plan()
    lacking = Worker(harness.ledger, no_key, clock=lambda: harness.now, everything=True)

    async def way():
        await harness.step(worker=lacking)
        assert harness.snapshot(job).state is State.WAITING
        assert "OPENAI_API_KEY" in messages(harness.snapshot(job))
        await to_the_end(harness, job)

    play(way())
    assert messages(harness.snapshot(job)) == ""


def test_what_another_process_lacked_is_not_reported_any_more(harness):
    """A process without a key says so when it was first to look; who has one takes the job, and the words are gone."""

    async def no_key(_):
        raise KeyMissingError("no API key: set OPENAI_API_KEY")

    job = harness.plan()
    lacking = Worker(harness.ledger, no_key, clock=lambda: harness.now, everything=True)

    async def way():
        await harness.worker._provider(
            harness.ledger.job(job)
        )  # it has looked at the job once, and knows how to reach it
        await harness.step(worker=lacking)
        await harness.step()
        assert messages(harness.snapshot(job)) == ""
        assert harness.snapshot(job).state is State.RUNNING

    play(way())


def test_a_job_that_can_not_be_moved_keeps_none_from_its_end(harness, caplog):
    """A job of an unknown provider: the others go on, and it is reported once."""
    job = harness.plan()
    harness.frame = harness.frame.assign(t=["e", "f", "g", "h"])
    odd = harness.plan()

    async def connect(record):
        if record.id == odd:
            raise KeyError("a provider of a later version")
        return harness.provider

    harness.worker._connect = connect
    play(to_the_end(harness, job))
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert [record.message.count("later version") for record in caplog.records] == [1]


def test_cancel_does_not_wait_for_the_next_poll(harness):
    """A cancel that comes while a poll is under way, which then puts the next one minutes off, is acted on at once."""
    harness.provider = Scripted(lambda _: "x", polls=1000)
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        await harness.step(2000)
        assert harness.shard(job).due_at > harness.now + 60
        with harness.ledger._transaction() as db:  # as `cancel` does, but for waking the shards
            db.execute("UPDATE job SET cancel_at = ? WHERE id = ?", (harness.now, job))
        await harness.step(1)

    play(way())
    assert harness.provider.asked["cancel"] == 1


def test_a_bad_request_ends_with_its_reason(harness):
    """A create that the provider refuses for good: each row has the reason, and nothing is retried for ever."""
    harness.provider.faults["create"] = [BadRequestError("unknown model", status=400)]
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.snapshot(job).state is State.FAILED
    assert all("unknown model" in reason for reason in harness.outcomes(job).reasons.values())
    assert harness.snapshot(job).counts.failed == 4


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (State.EXPIRED, "expired"),
        (State.CANCELLED, "cancelled"),
        (State.FAILED, "failed"),
        (State.COMPLETED, "no result"),
    ],
)
def test_what_finished_is_kept_in_each_ending(harness, ending, word):
    """In each of the four endings the rows that finished keep their answers; the others say why they have none."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.provider.finish(str(harness.shard(job).batch_id), ending=ending, answered=3)
        await to_the_end(harness, job)

    play(way())
    outcomes = harness.outcomes(job)
    assert outcomes.answers == ["A", "B", "C", None]
    assert word in outcomes.reasons[3]
    assert harness.snapshot(job).state is ending


@pytest.mark.parametrize("completed", [4, 0])
def test_completed_without_its_file_is_asked_again(harness, completed):
    """Completed, with or without counts, and no output file id yet: it is polled until the file is there."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        batch = str(harness.shard(job).batch_id)
        whole = harness.provider.finish(batch)
        harness.provider.batches[batch] = msgspec.structs.replace(
            whole, output_file_id=None, completed=completed
        )
        for _ in range(5):
            await harness.step(60)
        assert harness.shard(job).step is Step.RUNNING
        assert "not there yet" in harness.shard(job).note
        harness.provider.batches[batch] = whole
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def fetched_at_first(harness, job, instead, **changes):
    """Play a job whose output file is at first what `instead` makes of it; the note of its shard then."""
    notes = []

    async def way():
        await harness.step()
        batch = str(harness.shard(job).batch_id)
        view = harness.provider.finish(batch)
        harness.provider.batches[batch] = msgspec.structs.replace(view, **changes)
        whole = harness.provider.files[str(view.output_file_id)]
        harness.provider.files[str(view.output_file_id)] = instead(whole)
        await harness.step(10)
        notes.append(harness.shard(job).note)
        harness.provider.files[str(view.output_file_id)] = whole
        await to_the_end(harness, job)

    play(way())
    return notes[0]


def test_a_file_shorter_than_its_counts_is_fetched_again(harness):
    """A download that lost its tail at a line's end is seen by the counts, and fetched again."""
    job = harness.plan(shard_size=4)
    assert "fetched again" in fetched_at_first(
        harness, job, lambda whole: whole[: whole.index(b"\n") + 1]
    )
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_file_of_nothing_is_fetched_again_where_nothing_was_counted(harness):
    """A login page in the place of the answers, of a batch that has no counts."""
    job = harness.plan(shard_size=4)
    note = fetched_at_first(harness, job, lambda _: b"<html>Log in</html>\n", completed=0)
    assert "'<html>Log in</html>'; it is fetched again" in note
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_other_troubles_do_not_use_up_the_tries_of_a_short_file(harness):
    """Downloads that fail are no downloads: after many of them a page in the file's place is still not taken for it."""
    harness.provider.faults["fetch"] = [ProviderDownError("oops", status=503)] * 10
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        whole = harness.provider.files[str(view.output_file_id)]
        harness.provider.files[str(view.output_file_id)] = b"<html>Log in</html>\n"
        while "html" not in harness.shard(job).note:
            await harness.step(400)
        for _ in range(5):
            await harness.step(400)
        harness.provider.files[str(view.output_file_id)] = whole
        await to_the_end(harness, job, pause=400)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "page", [b"<html>Log in</html>\n", b'{"error": {"message": "try later"}}', b""]
)
def test_a_page_that_stays_is_never_the_end(harness, page):
    """A file that is no result file is never used as one, however long it stays; the user may give the job up."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        harness.provider.files[str(view.output_file_id)] = page
        for _ in range(100):
            await harness.step(900)
        assert harness.shard(job).step is Step.ENDED
        assert "until then nothing is sent again" in messages(harness.snapshot(job))
        assert page.decode().strip() in messages(harness.snapshot(job))
        harness.ledger.rush(job, harness.now)
        await harness.step(900)
        assert harness.shard(job).step is Step.ENDED, "finish() does not pay for what is there"
        with harness.ledger._transaction() as db:
            db.execute("UPDATE job SET rush_at = 0 WHERE id = ?", (job,))
        await to_the_end(harness, job, pause=400)

    play(way())
    assert harness.snapshot(job).counts.failed == 4
    assert "no result" in harness.snapshot(job).reasons[0][0]


def test_what_was_fetched_is_kept_while_it_is_fetched_again(harness):
    """The provider counts more than it sent, and then its file is gone: what came the first time is not thrown away."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        whole = harness.provider.files[str(view.output_file_id)]
        harness.provider.files[str(view.output_file_id)] = whole[: whole.index(b"\n") + 1]
        await harness.step(10)
        del harness.provider.files[str(view.output_file_id)]
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == [None, None, None, "D"]
    assert harness.now >= 1_000_000 + 600, "the provider had minutes to complete it"
    assert (
        harness.shard(job).note
        == "the provider's result file lacks 3 of the 4 rows that it counted"
    )


def test_answers_without_a_text_are_not_fetched_again(harness):
    """Rows that the provider answered, and that hold nothing for us, are no lost tail: one download is enough."""
    harness.provider = Scripted(lambda _: None)
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.provider.asked["fetch"] == 1
    assert harness.snapshot(job).counts.failed == 4


def test_a_passing_trouble_is_forgotten_at_the_end(harness):
    """A failed fetch is reported while it lasts; the end, and the rows' reasons, name the batch's own ending alone."""
    harness.provider.faults["fetch"] = [ProviderDownError("oops", status=503)]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        batch = str(harness.shard(job).batch_id)
        view = harness.provider.finish(batch, ending=State.FAILED, answered=2)
        harness.provider.batches[batch] = msgspec.structs.replace(view, errors="bad line 3")
        await harness.step(10)
        assert harness.shard(job).note == "oops"
        await to_the_end(harness, job)

    play(way())
    assert messages(harness.snapshot(job)) == "the batch failed: bad line 3"
    assert harness.outcomes(job).reasons == dict.fromkeys((2, 3), "the batch failed: bad line 3")


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("proxy authentication required", status=407),
        NotFoundError("log in to the hotel's network", status=404),
    ],
)
@pytest.mark.parametrize("verb", ["poll", "fetch"])
def test_what_a_proxy_says_is_no_ending(harness, verb, error):
    """A batch that was paid for outlives half an hour of refusals, also on the first day after a long weekend."""
    harness.provider.faults[verb] = [error] * 12
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        if verb == "poll":
            harness.now += 4 * 86_400
        await to_the_end(harness, job, pause=120)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "error", [BadRequestError("gone", status=410), NotFoundError("no such file", status=404)]
)
@pytest.mark.parametrize("verb", ["poll", "fetch"])
def test_what_is_gone_for_days_is_done_without(harness, verb, error):
    """A batch or a file that the provider refuses for days: the job ends, and each row says that it has no answer."""
    harness.provider.faults[verb] = [error] * 1000
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job, pause=1800))
    assert harness.now < 1_000_000 + 3 * 86_400
    assert harness.snapshot(job).counts.failed == 4
    assert len(harness.outcomes(job).reasons) == 4


@pytest.mark.parametrize("tokens", [10**12, 10**30, -5])
def test_tokens_that_can_not_be_are_not_counted(harness, tokens):
    """A line with more tokens than there can be: its answer is kept, its tokens are unknown."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        file = str(harness.provider.finish(str(harness.shard(job).batch_id)).output_file_id)
        harness.provider.files[file] = harness.provider.files[file].replace(
            b'"prompt_tokens":1,', b'"prompt_tokens":%d,' % tokens, 1
        )
        await to_the_end(harness, job)

    play(way())
    outcomes = harness.outcomes(job)
    assert outcomes.answers == ["A", "B", "C", "D"]
    assert sorted(outcomes.input_tokens) == [-1, 1, 1, 1]
    assert harness.snapshot(job).input_tokens == 3


def test_all_rows_failed(harness):
    """A batch that is completed with every row failed has no output file at all: it ends, with each row's reason."""

    def answer(_):
        raise ValueError("the model fell over")

    harness.provider = Scripted(answer)
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert harness.snapshot(job).state is State.COMPLETED
    assert harness.snapshot(job).counts.failed == 4
    ((reason, rows),) = harness.snapshot(job).reasons
    assert ("fell over" in reason, rows) == (True, 4)


def test_a_cancel_of_an_old_batch_is_followed_closely(harness):
    """A batch of hours that is cancelled is asked for every few seconds at first, as a new one is."""

    class Slow(Scripted):
        async def cancel(self, batch_id):
            self._begin("cancel")
            return self.batches[batch_id]

    harness.provider = Slow(lambda _: "x", polls=1000)
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.now += 7200
        harness.ledger.cancel(job, harness.now)
        await harness.step()
        asked = harness.provider.asked["poll"]
        for _ in range(6):
            await harness.step(5)
        assert harness.shard(job).step is Step.CANCELLING
        assert harness.provider.asked["poll"] >= asked + 5

    play(way())


def test_a_clock_that_is_put_back_stops_nothing(harness):
    """The clock jumps half a day back while a batch runs, and while one waits to be looked for: both go on at once."""
    harness.provider.after["create"] = [None, ConnectionFailedError("reset")]
    job = harness.plan()

    async def way():
        await harness.step()
        assert {harness.shard(job, 0).step, harness.shard(job, 1).step} == {
            Step.RUNNING,
            Step.SUBMITTING,
        }
        harness.now -= 43_200
        for _ in range(10):
            await harness.step(5)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 2


def test_cancel_before_it_was_sent(harness):
    """A job that is cancelled while it is planned is never sent."""
    job = harness.plan()
    harness.ledger.cancel(job, harness.now)
    play(to_the_end(harness, job))
    assert harness.provider.asked["create"] == 0
    assert harness.snapshot(job).state is State.CANCELLED
    assert harness.snapshot(job).counts.cancelled == 4


def test_cancel_while_it_runs(harness):
    """Cancel goes to the provider at the next pass, whenever the next poll would have been."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        await harness.step()

    play(way())
    assert harness.provider.asked["cancel"] == 1
    play(to_the_end(harness, job))
    assert harness.snapshot(job).state is State.CANCELLED


@pytest.mark.parametrize(
    "error", [NotFoundError("no such route", status=404), ProviderDownError("no", status=501)]
)
def test_a_provider_that_can_not_cancel(harness, error):
    """The batch goes on there, whatever was asked: its end is seen, and what it answered is kept."""
    harness.provider = Scripted(lambda body: body["messages"][-1]["content"].upper(), polls=1_000)
    harness.provider.faults["cancel"] = [error] * 1_000
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        for _ in range(30):
            await harness.step(86400 / 4)
        assert harness.snapshot(job).state is State.CANCELLING
        assert "not cancelled yet" in harness.shard(job).note
        assert harness.provider.asked["cancel"] > 24
        harness.provider.finish(str(harness.shard(job).batch_id))
        await to_the_end(harness, job, pause=600)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_cancelled_batch_whose_promised_file_never_comes(harness):
    """It is waited for shortly, then looked for in the background; what is missing is reported, and can be retried."""
    harness.provider.facts = msgspec.structs.replace(FACTS, late_cancelled=300.0)
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        batch = str(harness.shard(job).batch_id)
        harness.ledger.cancel(job, harness.now)
        harness.provider.batches[batch] = msgspec.structs.replace(
            harness.provider.batches[batch], status="cancelled", ending=State.CANCELLED, completed=3
        )
        await harness.step()
        await harness.step(4)
        assert harness.shard(job).step is not Step.COLLECTED
        assert "not there yet" in harness.shard(job).note
        await harness.step(2)
        await harness.step()
        assert harness.shard(job).step is Step.COLLECTED
        asked = harness.provider.asked["poll"]
        for _ in range(60):
            await harness.step(120)
        looks = harness.provider.asked["poll"] - asked
        assert 5 < looks < 40
        assert harness.worker._late.pause() == float("inf"), "an hour is enough"

    play(way())
    assert "counted 3 answers, and named no file" in messages(harness.snapshot(job))
    assert (harness.snapshot(job).state, harness.snapshot(job).counts.cancelled) == (
        State.CANCELLED,
        4,
    )


def test_a_batch_refused_for_quota_waits_and_is_sent_again(harness):
    """A batch that the provider takes and then refuses for its quota is not adopted again: a new one is made later."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        batch = str(harness.shard(job).batch_id)
        harness.provider.batches[batch] = msgspec.structs.replace(
            harness.provider.batches[batch],
            status="failed",
            ending=State.FAILED,
            quota=True,
            errors="enqueued limit",
        )
        await harness.step(10)
        assert harness.snapshot(job).state is State.WAITING
        assert "quota" in messages(harness.snapshot(job))
        await to_the_end(harness, job)

    play(way())
    assert harness.provider.asked["create"] == 2
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_two_processes_on_one_ledger(harness):
    """Two workers on one ledger: one has the lease, the other sends nothing; each shard is created once."""
    job = harness.plan()
    other = harness.another_process()

    async def way():
        await asyncio.gather(harness.worker.once(), other.once())
        await harness.worker.settled()
        await other.settled()
        for _ in range(20):
            await harness.step(30)
            await harness.step(0, worker=other)

    play(way())
    assert harness.provider.asked["create"] == 2
    assert harness.snapshot(job).is_complete


def test_a_holder_that_slept_can_not_write(harness):
    """A process that wakes after its lease ran out, and was taken over, writes nothing more."""
    job = harness.plan(shard_size=4)
    other = harness.another_process()

    async def way():
        await harness.step()
        stale = harness.shard(job)
        harness.now += LEASE_SECONDS + 1
        await other.once()
        await other.settled()
        assert harness.ledger.job(job).holder == other.holder
        assert (
            harness.ledger.move(stale, Step.CANCELLING, harness.worker.holder, harness.now) is None
        )

    play(way())


def test_polls_grow_apart(harness):
    """A batch of a day is asked often at first, then every few minutes: far fewer than 1,000 polls a day."""
    harness.provider = Scripted(lambda _: "x", polls=10_000)
    job = harness.plan(shard_size=4)
    times = []

    async def way():
        start = harness.now
        while harness.now < start + 86_400:
            before = harness.provider.asked["poll"]
            await harness.step()
            if harness.provider.asked["poll"] > before:
                times.append(harness.now - start)
            harness.now = max(harness.shard(job).due_at, harness.now + 1)

    play(way())
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert pauses[0] <= 5
    assert max(pauses) <= FACTS.poll_last * 1.25
    assert len(times) < 500


def test_two_cells_at_once_get_one_job(harness):
    """Two kernels that run the same cell at the same moment: the second finds the first one's job."""
    assert harness.plan() == harness.plan()
    assert len(harness.ledger.jobs()) == 1
    drafts = [
        path for path in (harness.ledger.home / "jobs").iterdir() if path.name.startswith(".")
    ]
    assert drafts == []


@pytest.mark.parametrize("step", ["upload", "poll"])
@pytest.mark.parametrize(
    "raised", [RuntimeError, lambda text: normalise(RuntimeError(text), "http://127.0.0.1:9/v1")]
)
@pytest.mark.parametrize("when", ["interpreter shutdown", "shutdown"])
def test_a_process_that_ends_is_no_trouble_of_its_shards(harness, step, raised, when):
    """At its end no thread can be started: that is not shown, and the next process goes on at once."""
    harness.provider.faults[step] = [raised(f"cannot schedule new futures after {when}")]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        if harness.provider.faults[step]:
            await harness.step(harness.shard(job).due_at - harness.now)
        assert not harness.provider.faults[step]
        assert harness.shard(job).note == ""
        assert harness.shard(job).due_at <= harness.now + 1.0
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("reported_ago", "over_ago"),
    [(5 * 3600.0, 5 * 3600.0), (30.0, None), (None, None), (1e6, None)],
)
def test_a_batch_that_ended_while_nobody_looked_has_the_providers_time(
    harness, reported_ago, over_ago
):
    """A closed laptop makes no batch slower; what was seen at once, or can't be, has this machine's time alone."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        batch = harness.shard(job).batch_id
        harness.now += 9 * 3600.0
        harness.provider.finish(batch)
        shown = None if reported_ago is None else harness.now - reported_ago
        harness.provider.batches[batch] = msgspec.structs.replace(
            harness.provider.batches[batch], ended_at=shown
        )
        await harness.step()

    play(way())
    shard = harness.shard(job)
    assert shard.ended_at == harness.now
    assert shard.over_at == (0.0 if over_ago is None else harness.now - over_ago)


def test_polls_that_are_due_together_share_a_time():
    """A pause of seconds ends with the next half second, at most that much later; a short one as it is."""
    assert in_step(100.3, 3.0) == in_step(100.5, 40.0) == 100.5
    assert in_step(100.6, 3.0) == 101.0
    assert in_step(100.3, 1.0) == 100.3
