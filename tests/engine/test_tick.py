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
from jupyter_batch.providers.anthropic.batches import UndecidedError
from jupyter_batch.providers.failures import normalise
from jupyter_batch.runner.worker import LEASE_SECONDS, Worker
from jupyter_batch.testing.scripted import FACTS, Scripted
from tests.desk import Desk
from tests.messages import messages


class ScriptedDesk(Desk):
    """A desk before a scripted provider, which may be changed for another."""

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
def desk(tmp_path):
    """One desk, its ledger closed at the end."""
    made = ScriptedDesk(tmp_path / "home")
    yield made
    made.ledger.close()


def play(coroutine):
    """In a loop of its own."""
    return asyncio.run(coroutine)


async def to_the_end(desk, job, steps=200, pause=30.0):
    """Step on until the job is complete."""
    for _ in range(steps):
        if desk.snapshot(job).is_complete:
            return
        await desk.step(pause)
    raise AssertionError(desk.ledger.shards(job))


def test_the_whole_way(desk):
    """Planned, sent, polled, collected: two shards, four answers, one call of each kind a shard."""
    job = desk.plan()
    assert desk.snapshot(job).state is State.PLANNED
    play(to_the_end(desk, job))
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.provider.asked == {"upload": 2, "create": 2, "poll": 2, "fetch": 2}
    assert desk.snapshot(job).state is State.COMPLETED
    assert desk.ledger.job(job).holder is None, "the lease is given back"


def test_a_create_whose_answer_was_lost_is_adopted(desk):
    """The batch exists, its answer was lost on the way: it is found by its tag, and never created again."""
    desk.provider.after["create"] = [ConnectionFailedError("reset")]
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.provider.asked["create"] == 1
    assert desk.provider.asked["find"] >= 1
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_an_empty_list_proves_nothing_at_once(desk):
    """C1: a create that timed out may still arrive: nothing is sent again, and in the end the user is asked."""
    desk.provider.faults["create"] = [ProviderTimeoutError("slow")]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        assert desk.shard(job).step is Step.SUBMITTING
        await desk.step(5)
        assert desk.shard(job).blocked_by is None, "too early to ask"
        for _ in range(5):
            await desk.step(FACTS.settle)

    play(way())
    assert desk.provider.asked["create"] == 1
    assert desk.shard(job).blocked_by is Block.UNKNOWN_CREATE


def test_a_create_answered_without_an_id_is_adopted(desk):
    """An answer that makes no sense may stand for a batch all the same: it is found by its tag."""

    class Mumbling(Scripted):
        async def submit(self, *args, **named):
            return msgspec.structs.replace(await super().submit(*args, **named), id="")

    desk.provider = Mumbling(lambda body: body["messages"][-1]["content"].upper())
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.provider.asked["create"] == 1
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("slow", ["upload", "create"])
def test_an_empty_list_proves_nothing_after_a_long_call(desk, slow):
    """An upload of minutes, or a create that was given up after one: the time to settle counts from its end."""

    class Slow(Scripted):
        def _begin(self, verb):
            if verb == slow:
                desk.now += LEASE_SECONDS - 1
            super()._begin(verb)

    desk.provider = Slow(lambda _: "x")
    desk.provider.faults["create"] = [ProviderTimeoutError("slow")]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        await desk.step(5)
        assert desk.provider.asked["find"] == 1
        assert desk.shard(job).blocked_by is None, "too early to ask"
        await desk.step(FACTS.settle)

    play(way())
    assert desk.provider.asked["create"] == 1
    assert desk.shard(job).blocked_by is Block.UNKNOWN_CREATE


@pytest.mark.parametrize(
    ("address", "blocked"), [(None, Block.UNKNOWN_CREATE), ("http://127.0.0.1:9/v1", None)]
)
def test_whose_a_batch_is_can_not_be_told_yet(desk, address, blocked):
    """A batch that may be ours is waited for, but for one that another job of this ledger has, at the same address."""
    first = desk.plan(shard_size=4, api_base=address)
    play(to_the_end(desk, first))
    known = desk.provider.batches[str(desk.shard(first).batch_id)]
    desk.provider = Scripted(lambda body: body["messages"][-1]["content"].upper())
    desk.provider.faults = {
        "create": [ProviderTimeoutError("slow")],
        "find": [UndecidedError("whose?", (known,))] * 99,
    }
    desk.worker = desk.another_process()
    desk.frame = desk.frame.assign(t=["e", "f", "g", "h"])
    second = desk.plan(shard_size=4)

    async def way():
        for _ in range(5):
            await desk.step(600)

    play(way())
    assert desk.provider.asked["create"] == 1
    assert desk.shard(second).blocked_by is blocked


def test_a_list_that_can_not_be_read_sends_nothing(desk):
    """Whether the batch exists can't be told: nothing is sent, and the person is told."""
    desk.provider.faults = {
        "create": [ProviderTimeoutError("slow")],
        "find": [BadRequestError("no list here", status=400)] * 50,
    }
    job = desk.plan(shard_size=4)

    async def way():
        for _ in range(30):
            await desk.step(600)

    play(way())
    assert desk.provider.asked["create"] == 1
    assert "can't be read" in desk.shard(job).note
    assert desk.shard(job).step is Step.SUBMITTING
    assert desk.shard(job).blocked_by is Block.UNKNOWN_CREATE


@pytest.mark.parametrize(
    "error", [BadRequestError("no list here", status=405), NotFoundError("none", status=404)]
)
def test_a_person_gives_up_what_can_not_be_looked_for(desk, error):
    """A provider without a list: the person's cancel ends the job, and what it cost is not said to be nothing."""
    desk.provider.faults = {"create": [ProviderTimeoutError("slow")], "find": [error] * 50}
    job = desk.plan(shard_size=4)

    async def way():
        for _ in range(6):
            await desk.step(600)
        assert desk.shard(job).blocked_by is Block.UNKNOWN_CREATE
        desk.ledger.cancel(job, desk.now)
        await to_the_end(desk, job, pause=600)

    play(way())
    assert desk.provider.asked["create"] == 1
    snapshot = desk.snapshot(job)
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
def test_a_transient_error_is_no_ending(desk, error):
    """429, 5xx, timeouts, resets, and a 404 just after the create: polled again, and all rows arrive."""
    desk.provider.faults["poll"] = [error, error, error]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        await desk.step(10)
        shard = desk.shard(job)
        assert shard.step is Step.RUNNING
        assert shard.attempts == 1
        assert shard.note == str(error)
        if isinstance(error, RateLimitError):
            assert shard.due_at >= desk.now + 90, "never sooner than it asked"
        await to_the_end(desk, job, pause=120)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.shard(job).note == ""


def test_a_refused_key_pauses_the_job(desk):
    """401 on the create: nothing is lost, the note says what to set, and with a good key it goes on."""
    desk.provider.faults["upload"] = [AuthenticationError("bad key", status=401)]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        assert desk.snapshot(job).state is State.WAITING
        assert "key was refused" in messages(desk.snapshot(job))
        assert desk.ledger.job(job).holder is None, "a process with a better key may take it"
        await desk.step(30, worker=desk.another_process())
        assert desk.shard(job).step is Step.WAITING, "too early"
        desk.ledger.wake(job)
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_key_that_is_refused_while_it_runs_pauses_the_job_too(desk):
    """401 on a poll: the job waits for a key, whatever the batch does meanwhile, and goes on when it is woken."""
    desk.provider.faults["poll"] = [AuthenticationError("bad key", status=401)]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        assert desk.snapshot(job).state is State.RUNNING
        await desk.step(10)
        assert desk.snapshot(job).state is State.WAITING
        assert "key was refused" in messages(desk.snapshot(job))
        desk.ledger.wake(job)
        await to_the_end(desk, job)

    play(way())
    assert desk.provider.asked["create"] == 1
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_job_without_a_key_waits(desk):
    """A process that has no key for a job leaves it alone, and the job says what it waits for."""

    async def no_key(_):
        raise KeyMissingError("no API key: set OPENAI_API_KEY")

    job = desk.plan()
    lacking = Worker(desk.ledger, no_key, clock=lambda: desk.now, everything=True)

    async def way():
        await desk.step(worker=lacking)
        assert desk.snapshot(job).state is State.WAITING
        assert "OPENAI_API_KEY" in messages(desk.snapshot(job))
        await to_the_end(desk, job)

    play(way())
    assert messages(desk.snapshot(job)) == ""


def test_what_another_process_lacked_is_not_said_any_more(desk):
    """A process without a key says so when it was first to look; who has one takes the job, and the words are gone."""

    async def no_key(_):
        raise KeyMissingError("no API key: set OPENAI_API_KEY")

    job = desk.plan()
    lacking = Worker(desk.ledger, no_key, clock=lambda: desk.now, everything=True)

    async def way():
        await desk.worker._provider(
            desk.ledger.job(job)
        )  # it has looked at the job once, and knows how to reach it
        await desk.step(worker=lacking)
        await desk.step()
        assert messages(desk.snapshot(job)) == ""
        assert desk.snapshot(job).state is State.RUNNING

    play(way())


def test_a_job_that_can_not_be_moved_keeps_none_from_its_end(desk, caplog):
    """A job that this version does not know how to reach: the others go on, and it is said once."""
    job = desk.plan()
    desk.frame = desk.frame.assign(t=["e", "f", "g", "h"])
    odd = desk.plan()

    async def connect(record):
        if record.id == odd:
            raise KeyError("a provider of a later version")
        return desk.provider

    desk.worker._connect = connect
    play(to_the_end(desk, job))
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert [record.message.count("later version") for record in caplog.records] == [1]


def test_cancel_does_not_wait_for_the_next_poll(desk):
    """A cancel that comes while a poll is under way, which then puts the next one minutes off, is acted on at once."""
    desk.provider = Scripted(lambda _: "x", polls=1000)
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        await desk.step(2000)
        assert desk.shard(job).due_at > desk.now + 60
        with desk.ledger._transaction() as db:  # as `cancel` does, but for waking the shards
            db.execute("UPDATE job SET cancel_at = ? WHERE id = ?", (desk.now, job))
        await desk.step(1)

    play(way())
    assert desk.provider.asked["cancel"] == 1


def test_a_bad_request_ends_with_its_reason(desk):
    """A create that the provider refuses for good: each row has the reason, and nothing is retried for ever."""
    desk.provider.faults["create"] = [BadRequestError("unknown model", status=400)]
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.snapshot(job).state is State.FAILED
    assert all("unknown model" in reason for reason in desk.told(job).reasons.values())
    assert desk.snapshot(job).counts.failed == 4


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (State.EXPIRED, "expired"),
        (State.CANCELLED, "cancelled"),
        (State.FAILED, "failed"),
        (State.COMPLETED, "no result"),
    ],
)
def test_what_finished_is_kept_in_each_ending(desk, ending, word):
    """In each of the four endings the rows that finished keep their answers; the others say why they have none."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        desk.provider.finish(str(desk.shard(job).batch_id), ending=ending, answered=3)
        await to_the_end(desk, job)

    play(way())
    told = desk.told(job)
    assert told.answers == ["A", "B", "C", None]
    assert word in told.reasons[3]
    assert desk.snapshot(job).state is ending


@pytest.mark.parametrize("completed", [4, 0])
def test_completed_without_its_file_is_asked_again(desk, completed):
    """Completed, with or without counts, and no output file id yet: it is polled until the file is there."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        batch = str(desk.shard(job).batch_id)
        whole = desk.provider.finish(batch)
        desk.provider.batches[batch] = msgspec.structs.replace(
            whole, output_file_id=None, completed=completed
        )
        for _ in range(5):
            await desk.step(60)
        assert desk.shard(job).step is Step.RUNNING
        assert "not there yet" in desk.shard(job).note
        desk.provider.batches[batch] = whole
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def fetched_at_first(desk, job, instead, **changes):
    """Play a job whose output file is at first what `instead` makes of it; the note of its shard then."""
    notes = []

    async def way():
        await desk.step()
        batch = str(desk.shard(job).batch_id)
        view = desk.provider.finish(batch)
        desk.provider.batches[batch] = msgspec.structs.replace(view, **changes)
        whole = desk.provider.files[str(view.output_file_id)]
        desk.provider.files[str(view.output_file_id)] = instead(whole)
        await desk.step(10)
        notes.append(desk.shard(job).note)
        desk.provider.files[str(view.output_file_id)] = whole
        await to_the_end(desk, job)

    play(way())
    return notes[0]


def test_a_file_shorter_than_its_counts_is_fetched_again(desk):
    """A download that lost its tail at a line's end is seen by the counts, and fetched again."""
    job = desk.plan(shard_size=4)
    assert "fetched again" in fetched_at_first(
        desk, job, lambda whole: whole[: whole.index(b"\n") + 1]
    )
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_file_of_nothing_is_fetched_again_where_nothing_was_counted(desk):
    """A login page in the place of the answers, of a batch that has no counts."""
    job = desk.plan(shard_size=4)
    note = fetched_at_first(desk, job, lambda _: b"<html>Log in</html>\n", completed=0)
    assert "'<html>Log in</html>'; it is fetched again" in note
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_other_troubles_do_not_use_up_the_tries_of_a_short_file(desk):
    """Downloads that fail are no downloads: after many of them a page in the file's place is still not taken for it."""
    desk.provider.faults["fetch"] = [ProviderDownError("oops", status=503)] * 10
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        view = desk.provider.finish(str(desk.shard(job).batch_id))
        whole = desk.provider.files[str(view.output_file_id)]
        desk.provider.files[str(view.output_file_id)] = b"<html>Log in</html>\n"
        while "html" not in desk.shard(job).note:
            await desk.step(400)
        for _ in range(5):
            await desk.step(400)
        desk.provider.files[str(view.output_file_id)] = whole
        await to_the_end(desk, job, pause=400)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "page", [b"<html>Log in</html>\n", b'{"error": {"message": "try later"}}', b""]
)
def test_a_page_that_stays_is_never_the_end(desk, page):
    """C3: what is no result file is never taken for one, however long it stays; the user may give the job up."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        view = desk.provider.finish(str(desk.shard(job).batch_id))
        desk.provider.files[str(view.output_file_id)] = page
        for _ in range(100):
            await desk.step(900)
        assert desk.shard(job).step is Step.ENDED
        assert "nothing is sent again meanwhile" in messages(desk.snapshot(job))
        assert page.decode().strip() in messages(desk.snapshot(job))
        desk.ledger.rush(job, desk.now)
        await desk.step(900)
        assert desk.shard(job).step is Step.ENDED, "finish() does not pay for what is there"
        with desk.ledger._transaction() as db:
            db.execute("UPDATE job SET rush_at = 0 WHERE id = ?", (job,))
        await to_the_end(desk, job, pause=400)

    play(way())
    assert desk.snapshot(job).counts.failed == 4
    assert "no result" in desk.snapshot(job).reasons[0][0]


def test_what_was_fetched_is_kept_while_it_is_fetched_again(desk):
    """The provider counts more than it sent, and then its file is gone: what came the first time is not thrown away."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        view = desk.provider.finish(str(desk.shard(job).batch_id))
        whole = desk.provider.files[str(view.output_file_id)]
        desk.provider.files[str(view.output_file_id)] = whole[: whole.index(b"\n") + 1]
        await desk.step(10)
        del desk.provider.files[str(view.output_file_id)]
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == [None, None, None, "D"]
    assert desk.now >= 1_000_000 + 600, "the provider had minutes to complete it"
    assert (
        desk.shard(job).note == "the provider's result file lacks 3 of the 4 rows that it counted"
    )


def test_answers_without_a_text_are_not_fetched_again(desk):
    """Rows that the provider answered, and that hold nothing for us, are no lost tail: one download is enough."""
    desk.provider = Scripted(lambda _: None)
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.provider.asked["fetch"] == 1
    assert desk.snapshot(job).counts.failed == 4


def test_a_passing_trouble_is_forgotten_at_the_end(desk):
    """A failed fetch is told while it lasts; the end, and the rows' reasons, speak of the batch's own ending alone."""
    desk.provider.faults["fetch"] = [ProviderDownError("oops", status=503)]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        batch = str(desk.shard(job).batch_id)
        view = desk.provider.finish(batch, ending=State.FAILED, answered=2)
        desk.provider.batches[batch] = msgspec.structs.replace(view, errors="bad line 3")
        await desk.step(10)
        assert desk.shard(job).note == "oops"
        await to_the_end(desk, job)

    play(way())
    assert messages(desk.snapshot(job)) == "the batch failed: bad line 3"
    assert desk.told(job).reasons == dict.fromkeys((2, 3), "the batch failed: bad line 3")


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("proxy authentication required", status=407),
        NotFoundError("log in to the hotel's network", status=404),
    ],
)
@pytest.mark.parametrize("verb", ["poll", "fetch"])
def test_what_a_proxy_says_is_no_ending(desk, verb, error):
    """A batch that was paid for outlives half an hour of refusals, also on the first day after a long weekend."""
    desk.provider.faults[verb] = [error] * 12
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        if verb == "poll":
            desk.now += 4 * 86_400
        await to_the_end(desk, job, pause=120)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "error", [BadRequestError("gone", status=410), NotFoundError("no such file", status=404)]
)
@pytest.mark.parametrize("verb", ["poll", "fetch"])
def test_what_is_gone_for_days_is_done_without(desk, verb, error):
    """A batch or a file that the provider refuses for days: the job ends, and each row says that it has no answer."""
    desk.provider.faults[verb] = [error] * 1000
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job, pause=1800))
    assert desk.now < 1_000_000 + 3 * 86_400
    assert desk.snapshot(job).counts.failed == 4
    assert len(desk.told(job).reasons) == 4


@pytest.mark.parametrize("tokens", [10**12, 10**30, -5])
def test_tokens_that_can_not_be_are_not_counted(desk, tokens):
    """A line that tells of more tokens than there can be: its answer is kept, its tokens are unknown."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        file = str(desk.provider.finish(str(desk.shard(job).batch_id)).output_file_id)
        desk.provider.files[file] = desk.provider.files[file].replace(
            b'"prompt_tokens":1,', b'"prompt_tokens":%d,' % tokens, 1
        )
        await to_the_end(desk, job)

    play(way())
    told = desk.told(job)
    assert told.answers == ["A", "B", "C", "D"]
    assert sorted(told.input_tokens) == [-1, 1, 1, 1]
    assert desk.snapshot(job).input_tokens == 3


def test_all_rows_failed(desk):
    """A batch that is completed with every row failed has no output file at all: it ends, with each row's reason."""

    def answer(_):
        raise ValueError("the model fell over")

    desk.provider = Scripted(answer)
    job = desk.plan(shard_size=4)
    play(to_the_end(desk, job))
    assert desk.snapshot(job).state is State.COMPLETED
    assert desk.snapshot(job).counts.failed == 4
    ((reason, rows),) = desk.snapshot(job).reasons
    assert ("fell over" in reason, rows) == (True, 4)


def test_a_cancel_of_an_old_batch_is_followed_closely(desk):
    """A batch of hours that is cancelled is asked for every few seconds at first, as a new one is."""

    class Slow(Scripted):
        async def cancel(self, batch_id):
            self._begin("cancel")
            return self.batches[batch_id]

    desk.provider = Slow(lambda _: "x", polls=1000)
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        desk.now += 7200
        desk.ledger.cancel(job, desk.now)
        await desk.step()
        asked = desk.provider.asked["poll"]
        for _ in range(6):
            await desk.step(5)
        assert desk.shard(job).step is Step.CANCELLING
        assert desk.provider.asked["poll"] >= asked + 5

    play(way())


def test_a_clock_that_is_put_back_stops_nothing(desk):
    """The clock jumps half a day back while a batch runs, and while one waits to be looked for: both go on at once."""
    desk.provider.after["create"] = [None, ConnectionFailedError("reset")]
    job = desk.plan()

    async def way():
        await desk.step()
        assert {desk.shard(job, 0).step, desk.shard(job, 1).step} == {Step.RUNNING, Step.SUBMITTING}
        desk.now -= 43_200
        for _ in range(10):
            await desk.step(5)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.provider.asked["create"] == 2


def test_cancel_before_it_was_sent(desk):
    """A job that is cancelled while it is planned is never sent."""
    job = desk.plan()
    desk.ledger.cancel(job, desk.now)
    play(to_the_end(desk, job))
    assert desk.provider.asked["create"] == 0
    assert desk.snapshot(job).state is State.CANCELLED
    assert desk.snapshot(job).counts.cancelled == 4


def test_cancel_while_it_runs(desk):
    """Cancel goes to the provider at the next pass, whenever the next poll would have been."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        desk.ledger.cancel(job, desk.now)
        await desk.step()

    play(way())
    assert desk.provider.asked["cancel"] == 1
    play(to_the_end(desk, job))
    assert desk.snapshot(job).state is State.CANCELLED


@pytest.mark.parametrize(
    "error", [NotFoundError("no such route", status=404), ProviderDownError("no", status=501)]
)
def test_a_provider_that_can_not_cancel(desk, error):
    """The batch goes on there, whatever was asked: its end is seen, and what it answered is kept."""
    desk.provider = Scripted(lambda body: body["messages"][-1]["content"].upper(), polls=1_000)
    desk.provider.faults["cancel"] = [error] * 1_000
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        desk.ledger.cancel(job, desk.now)
        for _ in range(30):
            await desk.step(86400 / 4)
        assert desk.snapshot(job).state is State.CANCELLING
        assert "not cancelled yet" in desk.shard(job).note
        assert desk.provider.asked["cancel"] > 24
        desk.provider.finish(str(desk.shard(job).batch_id))
        await to_the_end(desk, job, pause=600)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_a_cancelled_batch_whose_promised_file_never_comes(desk):
    """It is waited for shortly, then looked for in the background; what is missing is reported, and can be retried."""
    desk.provider.facts = msgspec.structs.replace(FACTS, late_cancelled=300.0)
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        batch = str(desk.shard(job).batch_id)
        desk.ledger.cancel(job, desk.now)
        desk.provider.batches[batch] = msgspec.structs.replace(
            desk.provider.batches[batch], status="cancelled", ending=State.CANCELLED, completed=3
        )
        await desk.step()
        await desk.step(4)
        assert desk.shard(job).step is not Step.COLLECTED
        assert "not there yet" in desk.shard(job).note
        await desk.step(2)
        await desk.step()
        assert desk.shard(job).step is Step.COLLECTED
        asked = desk.provider.asked["poll"]
        for _ in range(60):
            await desk.step(120)
        looks = desk.provider.asked["poll"] - asked
        assert 5 < looks < 40
        assert desk.worker._late.pause() == float("inf"), "an hour is enough"

    play(way())
    assert "counted 3 answers, and named no file" in messages(desk.snapshot(job))
    assert (desk.snapshot(job).state, desk.snapshot(job).counts.cancelled) == (State.CANCELLED, 4)


def test_a_batch_refused_for_quota_waits_and_is_sent_again(desk):
    """A batch that the provider takes and then refuses for its quota is not adopted again: a new one is made later."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        batch = str(desk.shard(job).batch_id)
        desk.provider.batches[batch] = msgspec.structs.replace(
            desk.provider.batches[batch],
            status="failed",
            ending=State.FAILED,
            quota=True,
            errors="enqueued limit",
        )
        await desk.step(10)
        assert desk.snapshot(job).state is State.WAITING
        assert "quota" in messages(desk.snapshot(job))
        await to_the_end(desk, job)

    play(way())
    assert desk.provider.asked["create"] == 2
    assert desk.told(job).answers == ["A", "B", "C", "D"]


def test_two_processes_on_one_ledger(desk):
    """Two workers on one ledger: one has the lease, the other sends nothing; each shard is created once."""
    job = desk.plan()
    other = desk.another_process()

    async def way():
        await asyncio.gather(desk.worker.once(), other.once())
        await desk.worker.settled()
        await other.settled()
        for _ in range(20):
            await desk.step(30)
            await desk.step(0, worker=other)

    play(way())
    assert desk.provider.asked["create"] == 2
    assert desk.snapshot(job).is_complete


def test_a_holder_that_slept_can_not_write(desk):
    """A process that wakes after its lease ran out, and was taken over, writes nothing more."""
    job = desk.plan(shard_size=4)
    other = desk.another_process()

    async def way():
        await desk.step()
        stale = desk.shard(job)
        desk.now += LEASE_SECONDS + 1
        await other.once()
        await other.settled()
        assert desk.ledger.job(job).holder == other.holder
        assert desk.ledger.move(stale, Step.CANCELLING, desk.worker.holder, desk.now) is None

    play(way())


def test_polls_grow_apart(desk):
    """A batch of a day is asked often at first, then every few minutes: far fewer than 1,000 polls a day."""
    desk.provider = Scripted(lambda _: "x", polls=10_000)
    job = desk.plan(shard_size=4)
    times = []

    async def way():
        start = desk.now
        while desk.now < start + 86_400:
            before = desk.provider.asked["poll"]
            await desk.step()
            if desk.provider.asked["poll"] > before:
                times.append(desk.now - start)
            desk.now = max(desk.shard(job).due_at, desk.now + 1)

    play(way())
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert pauses[0] <= 5
    assert max(pauses) <= FACTS.poll_last * 1.25
    assert len(times) < 500


def test_two_cells_at_once_get_one_job(desk):
    """Two kernels that run the same cell at the same moment: the second finds the first one's job."""
    assert desk.plan() == desk.plan()
    assert len(desk.ledger.jobs()) == 1
    drafts = [path for path in (desk.ledger.home / "jobs").iterdir() if path.name.startswith(".")]
    assert drafts == []


@pytest.mark.parametrize("step", ["upload", "poll"])
@pytest.mark.parametrize(
    "told", [RuntimeError, lambda said: normalise(RuntimeError(said), "http://127.0.0.1:9/v1")]
)
@pytest.mark.parametrize("when", ["interpreter shutdown", "shutdown"])
def test_a_process_that_ends_is_no_trouble_of_its_shards(desk, step, told, when):
    """At its end no thread can be started: that is not told to anybody, and the next process goes on at once."""
    desk.provider.faults[step] = [told(f"cannot schedule new futures after {when}")]
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        if desk.provider.faults[step]:
            await desk.step(desk.shard(job).due_at - desk.now)
        assert not desk.provider.faults[step]
        assert desk.shard(job).note == ""
        assert desk.shard(job).due_at <= desk.now + 1.0
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("told_ago", "over_ago"), [(5 * 3600.0, 5 * 3600.0), (30.0, None), (None, None), (1e6, None)]
)
def test_a_batch_that_ended_while_nobody_looked_has_the_providers_time(desk, told_ago, over_ago):
    """A closed laptop makes no batch slower; what was seen at once, or can't be, has this machine's time alone."""
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        batch = desk.shard(job).batch_id
        desk.now += 9 * 3600.0
        desk.provider.finish(batch)
        told = None if told_ago is None else desk.now - told_ago
        desk.provider.batches[batch] = msgspec.structs.replace(
            desk.provider.batches[batch], ended_at=told
        )
        await desk.step()

    play(way())
    shard = desk.shard(job)
    assert shard.ended_at == desk.now
    assert shard.over_at == (0.0 if over_ago is None else desk.now - over_ago)
