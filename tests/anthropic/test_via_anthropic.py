"""The five calls to Anthropic, against its API on this machine: each ending, each refusal, each broken connection."""

import asyncio
import contextlib
import json
import logging
import socket
from datetime import timedelta

import pytest

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
)
from jupyter_batch.core.request import Status, Usage, custom_id
from jupyter_batch.core.status import State
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.anthropic import batches as via_anthropic
from jupyter_batch.providers.anthropic.batches import ViaAnthropic
from jupyter_batch.providers.cloud_file import Body
from jupyter_batch.providers.protocol import INLINE, TAG, Access, UndecidedError
from jupyter_batch.providers.table import facts_of
from jupyter_batch.wire.anthropic.results import Encoder, decode_lines
from jupyter_batch.wire.openai import CHAT, Hole
from tests.anthropic.fake import KEY, Fake, RefusalError

JOB = "jbabcdefghij"
OTHER = "jbzzzzzzzzzz"
LONG_AGO = 0.0
ANTHROPIC = facts_of("anthropic", None)


def lines_of(job, positions, text="hello"):
    """Request lines, written without our encoder."""
    return [
        {
            "custom_id": custom_id(job, n),
            "params": {
                "model": "m",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": f"{text} {n}"}],
            },
        }
        for n in positions
    ]


def written(path, requests):
    """A request file."""
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in requests))
    return path


class Scene:
    """A fake, a provider that calls it, and the request files of one job."""

    def __init__(self, folder):
        self.folder = folder
        self.fake = Fake()
        self.uploads = []
        self.provider = None

    def file(self, number):
        """The request file of a shard."""
        return self.folder / f"{number}.jsonl"

    async def on_upload(self, file_id):
        """The ledger's."""
        self.uploads.append(file_id)

    def shard(self, number=0, positions=range(3)):
        """A shard on disk."""
        return written(self.file(number), lines_of(JOB, positions))

    async def submit(self, number=0, uploaded=None):
        """Send a shard that is on disk."""
        return await self.provider.submit(
            self.file(number),
            {TAG: f"{JOB}/{number}"},
            endpoint=CHAT,
            window="24h",
            uploaded=uploaded,
            on_upload=self.on_upload,
        )

    async def find(self, number=0, since=LONG_AGO):
        """Look for a shard's batch."""
        return await self.provider.find({"team": "x", TAG: f"{JOB}/{number}"}, since=since)

    async def results(self, batch_id):
        """All results of a batch, by custom_id."""
        data = bytearray()
        await self.provider.fetch(batch_id, data.extend)
        return {result.custom_id: result for result in decode_lines(bytes(data))}


@pytest.fixture
def play(tmp_path):
    """Run a scene: `play(story)` with `async def story(scene)`."""

    def run(story, *, key=KEY, base="", headers=None):
        async def main():
            scene = Scene(tmp_path)
            async with scene.fake.serving():
                scene.provider = ViaAnthropic(
                    ANTHROPIC,
                    Access(api_base=base or scene.fake.base, api_key=key),
                    requests_of=scene.file,
                    headers=headers,
                )
                try:
                    return await story(scene)
                finally:
                    await scene.provider.aclose()

        return asyncio.run(main())

    return run


def test_a_job_goes_the_whole_way(play):
    """Encoded with litellm, sent, polled, fetched, and each answer is found by its own id."""

    async def story(scene):
        encoder = Encoder(
            CHAT,
            {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": Hole("t")}]},
            litellm=load_litellm(),
        )
        texts = ["one", 'zwölf "x"\n%s', "\u2028,]}"]
        scene.file(0).write_bytes(
            b"".join(encoder.encode([custom_id(JOB, n) for n in range(3)], {"t": texts}))
        )
        view = await scene.submit()
        assert (view.status, view.ending, view.total) == ("in_progress", None, 3)
        assert view.expires_at - view.created_at == 86400
        assert scene.uploads == [INLINE]
        assert (await scene.provider.poll(view.id)).ending is None
        scene.fake.end(view.id)
        ended = await scene.provider.poll(view.id)
        assert (ended.ending, ended.completed, ended.failed) == (State.COMPLETED, 3, 0)
        found = await scene.results(ended.output_file_id)
        assert [found[custom_id(JOB, n)].value for n in range(3)] == [
            text.upper() for text in texts
        ]
        assert found[custom_id(JOB, 0)].usage == Usage(12, 3, 2)

    play(story)


@pytest.mark.parametrize(
    ("outcomes", "cancel", "ending"),
    [
        (["succeeded"] * 3, False, State.COMPLETED),
        (["errored"] * 3, False, State.COMPLETED),
        (["succeeded", "errored", "expired"], False, State.COMPLETED),
        (["expired"] * 3, False, State.EXPIRED),
        (["succeeded", "canceled", "errored"], True, State.CANCELLED),
        (["canceled"] * 3, True, State.CANCELLED),
        (["succeeded"] * 3, True, State.COMPLETED),
    ],
)
def test_each_ending_keeps_what_was_answered(play, outcomes, cancel, ending):
    """Every row has its result, whatever became of the batch."""
    statuses = {
        "succeeded": Status.SUCCEEDED,
        "errored": Status.FAILED,
        "canceled": Status.CANCELLED,
        "expired": Status.EXPIRED,
    }

    async def story(scene):
        scene.shard()
        view = await scene.submit()
        if cancel:
            assert (await scene.provider.cancel(view.id)).status == "canceling"
        scene.fake.end(view.id, lambda n: outcomes[n])
        view = await scene.provider.poll(view.id)
        assert view.ending is ending
        assert (view.total, view.completed, view.failed) == (
            3,
            outcomes.count("succeeded"),
            outcomes.count("errored"),
        )
        found = await scene.results(view.output_file_id)
        assert [found[custom_id(JOB, n)].status for n in range(3)] == [
            statuses[kind] for kind in outcomes
        ]

    play(story)


@pytest.mark.parametrize("status", [400, 409])
def test_a_cancel_that_comes_too_late_tells_how_it_stands(play, status):
    """It is no error."""

    async def story(scene):
        scene.shard()
        view = await scene.submit()
        scene.fake.end(view.id)
        scene.fake.faults = [("cancel", RefusalError(status, "ended"))]
        assert (await scene.provider.cancel(view.id)).ending is State.COMPLETED

    play(story)


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (400, BadRequestError, False),
        (401, AuthenticationError, False),
        (402, RateLimitError, True),
        (403, AuthenticationError, False),
        (404, NotFoundError, False),
        (413, BadRequestError, False),
        (429, RateLimitError, True),
        (500, ProviderDownError, True),
        (504, ProviderDownError, True),
        (529, ProviderDownError, True),
    ],
)
@pytest.mark.parametrize("verb", ["create", "list", "retrieve", "cancel", "results"])
def test_a_refusal_is_reported_in_our_words(play, verb, status, kind, transient):
    """With its status, its reason and how long to wait, whichever call it was."""

    async def story(scene):
        scene.shard()
        batch = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.end(batch)
        scene.fake.faults = [(verb, RefusalError(status, "the reason", {"retry-after": "7"}))] * 2
        call = {
            "create": scene.submit,
            "list": scene.find,
            "retrieve": lambda: scene.provider.poll(batch),
            "cancel": lambda: scene.provider.cancel(batch),
            "results": lambda: scene.results(batch),
        }[verb]
        if (verb, status) in (("cancel", 400), ("cancel", 413)):
            return  # answered by a poll
        with pytest.raises(kind, match="the reason") as refused:
            await call()
        assert type(refused.value) is kind
        assert refused.value.status == status
        assert refused.value.retry_after == 7
        assert refused.value.transient is transient
        assert "req_011" in str(refused.value)
        assert len(scene.fake.calls) == 1, "no call is made twice by itself"

    play(story)


def test_a_spending_limit_is_waited_for(play):
    """Anthropic says 400; the person may raise it, and nothing was sent."""

    async def story(scene):
        scene.shard()
        scene.fake.faults = [
            ("create", RefusalError(400, "You have reached your specified API usage limits."))
        ]
        with pytest.raises(RateLimitError):
            await scene.submit()

    play(story)


def test_a_file_that_is_too_large_is_refused_while_it_is_sent(play):
    """The refusal is reported, not the broken pipe."""

    async def story(scene):
        written(scene.file(0), lines_of(JOB, range(2000), "x" * 2000))
        scene.fake.largest = 1000
        with pytest.raises(BadRequestError, match="maximum size"):
            await scene.submit()

    play(story)


@pytest.mark.parametrize("verb", ["create", "list", "retrieve", "cancel", "results"])
def test_a_broken_connection_is_one(play, verb):
    """And it passes: the next call, on the same client, is answered."""

    async def story(scene):
        scene.shard()
        batch = scene.fake.add(lines_of(OTHER, range(3)))
        call = {
            "create": scene.submit,
            "list": scene.find,
            "retrieve": lambda: scene.provider.poll(batch),
            "cancel": lambda: scene.provider.cancel(batch),
            "results": lambda: scene.results(batch),
        }[verb]
        if verb != "cancel":
            scene.fake.end(batch)
        scene.fake.faults = [(verb, "reset")]
        with pytest.raises(ConnectionFailedError):
            await call()
        await call()

    play(story)


def test_an_answer_that_is_no_json_is_a_server_that_is_down(play):
    """A proxy's page, say: it is asked again."""

    async def story(scene):
        scene.shard()
        batch = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.faults = [("retrieve", "junk")]
        with pytest.raises(ProviderDownError, match=r"a web page, .*: welcome"):
            await scene.provider.poll(batch)
        scene.fake.faults = [("create", "junk")]
        with pytest.raises(ProviderDownError) as lost:
            await scene.submit()
        assert lost.value.status is None, "so it is looked for before it is sent again"

    play(story)


def test_results_that_break_off_are_not_taken_as_whole(play):
    """The bytes that had come are written, and the break is reported."""

    async def story(scene):
        batch = scene.fake.add(lines_of(JOB, range(400)))
        scene.fake.end(batch)
        scene.fake.faults = [("results", "cut")]
        data = bytearray()
        with pytest.raises(ConnectionFailedError):
            await scene.provider.fetch(batch, data.extend)
        assert len(await scene.results(batch)) == 400

    play(story)


def test_a_disk_that_is_full_is_no_failure_of_the_network(play):
    """An error raised by `write` passes through unchanged, and so does the ledger's at an upload."""

    class FullError(Exception):
        pass

    def full(data):
        raise FullError

    async def refuse(file_id):
        raise FullError

    async def story(scene):
        batch = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.end(batch)
        with pytest.raises(FullError):
            await scene.provider.fetch(batch, full)
        scene.shard()
        scene.on_upload = refuse
        with pytest.raises(FullError):
            await scene.submit()
        assert len(scene.fake.batches) == 1, "the body was never whole, so there is no batch"
        assert (await scene.provider.poll(batch)).id == batch

    play(story)


def test_nobody_answers(play, monkeypatch):
    """In time, or at all."""
    monkeypatch.setattr(via_anthropic, "CALL_SECONDS", 0.2)

    async def story(scene):
        with pytest.raises(ProviderTimeoutError):
            await scene.provider.poll("x")

    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        play(story, base=f"http://127.0.0.1:{mute.getsockname()[1]}")
        nowhere = f"http://127.0.0.1:{mute.getsockname()[1]}"

    async def refused(scene):
        scene.shard()
        with pytest.raises(ConnectionFailedError):
            await scene.submit()
        assert scene.uploads == [], "surely nothing was made, and the ledger knows it"

    play(refused, base=nowhere)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/messages", "/v1/messages/batches"])
def test_the_address_may_be_given_as_litellm_takes_it(play, tail):
    """With or without the path."""

    async def story(scene):
        scene.provider = ViaAnthropic(
            ANTHROPIC, Access(api_base=scene.fake.base + tail, api_key=KEY), requests_of=scene.file
        )
        assert (await scene.provider.poll(scene.fake.add(lines_of(JOB, [0])))).total == 1
        await scene.provider.aclose()

    play(story)


def test_the_headers_of_the_job_go_with_the_batch(play):
    """Betas among them; and no other host is asked for the results, whatever the batch object says."""

    async def story(scene):
        scene.shard()
        view = await scene.submit()
        scene.fake.end(view.id)
        assert len(await scene.results(view.id)) == 3
        sent = {name.lower(): value for name, value in scene.fake.headers[0].items()}
        assert sent["anthropic-beta"] == "a-1,b-2"
        assert sent["content-type"] == "application/json"
        assert int(sent["content-length"]) > 0

    play(story, headers={"anthropic-beta": "a-1,b-2"})


def test_the_key_is_nowhere(play, caplog):
    """In no message, repr or log, though the server repeats it."""
    caplog.set_level(logging.DEBUG)
    secret = "sk-ant-secret-42"

    async def story(scene):
        scene.shard()
        for call in (
            scene.submit,
            scene.find,
            lambda: scene.provider.poll("x"),
            lambda: scene.results("x"),
        ):
            with pytest.raises(AuthenticationError) as refused:
                await call()
            chain = refused.value
            while chain is not None:
                assert secret not in f"{chain!r} {chain} {chain.args}"
                chain = chain.__cause__ or (
                    None if chain.__suppress_context__ else chain.__context__
                )
            assert "***" in str(refused.value)
        assert secret not in repr(scene.provider)

    play(story, key=secret)
    assert secret not in caplog.text


# --- looking for a batch whose answer was lost ----------------------------------------------------------------------


def test_a_batch_whose_answer_was_lost_is_found_by_what_is_in_it(play):
    """Once it has ended; until then it is unknown, and it is not sent again."""

    async def story(scene):
        scene.shard(0, range(3))
        scene.shard(1, range(3, 6))
        scene.fake.faults = [("create", "lost")]
        with pytest.raises(ConnectionFailedError):
            await scene.submit(1)
        assert scene.uploads == [INLINE], "the body was whole, so a batch may be there"
        (lost,) = scene.fake.batches
        with pytest.raises(UndecidedError, match=lost) as undecided:
            await scene.find(1)
        assert undecided.value.transient
        assert [view.id for view in undecided.value.candidates] == [lost]
        scene.fake.end(lost)
        (view,) = await scene.find(1)
        assert (view.id, view.tag[TAG], view.ending) == (lost, f"{JOB}/1", State.COMPLETED)
        assert await scene.find(0) == [], "the other shard has as many requests, but not these"
        assert scene.fake.calls.count("results") == 1, "what has ended is looked into once"

    play(story)


def test_no_foreign_batch_is_taken_for_ours(play):
    """Others of the same size and time, of another size, of another day, of another job of ours."""

    async def story(scene):
        scene.shard()
        for requests in (
            lines_of(OTHER, range(3)),
            lines_of("someone-else", range(3)),
            lines_of(JOB, range(3, 6)),
            [{**line, "custom_id": f"{n}"} for n, line in enumerate(lines_of(JOB, range(3)))],
        ):
            scene.fake.end(scene.fake.add(requests))
        assert await scene.find() == []
        scene.fake.add(lines_of(JOB, range(4)))
        assert await scene.find() == [], "one under way with another number of requests is not ours"
        scene.fake.add(lines_of(OTHER, range(3)))
        with pytest.raises(UndecidedError):
            await scene.find()
        assert await scene.find(since=scene.fake.now.timestamp() + 1) == [], (
            "it is older than the job"
        )

    play(story)


def test_what_is_surely_ours_decides(play):
    """Independent of other batches in progress; of two, the newest comes first, as from any provider."""

    async def story(scene):
        scene.shard()
        first = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.now += timedelta(minutes=1)
        second = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.add(lines_of(OTHER, range(3)))
        scene.fake.end(first, lambda n: "expired")
        scene.fake.end(second, lambda n: "canceled")
        assert [view.id for view in await scene.find()] == [second, first]

    play(story)


def test_the_list_is_read_page_by_page(play):
    """Until it is older than the job."""

    async def story(scene):
        scene.shard()
        ours = scene.fake.add(lines_of(JOB, range(3)))
        scene.fake.end(ours)
        for n in range(250):
            scene.fake.end(scene.fake.add(lines_of(OTHER, range(n % 2 + 1))))
        assert [view.id for view in await scene.find()] == [ours]
        assert scene.fake.calls == ["list"] * 3 + ["results"]
        scene.fake.calls.clear()
        scene.fake.now += timedelta(days=1)
        scene.fake.add(lines_of(OTHER, range(9)))
        assert await scene.find(since=scene.fake.now.timestamp() - 60) == []
        assert scene.fake.calls == ["list"]

    play(story)


def test_results_that_are_gone_are_nobodys(play):
    """A batch whose results were deleted, or too old, is no batch to be had."""

    async def story(scene):
        scene.shard()
        scene.fake.end(scene.fake.add(lines_of(JOB, range(3))))
        scene.fake.faults = [("results", RefusalError(404, "archived"))]
        assert await scene.find() == []
        scene.fake.faults = [("results", "reset")]
        with pytest.raises(ConnectionFailedError):
            await scene.find()
        assert len(await scene.find()) == 1

    play(story)


def test_without_a_tag_nothing_is_found(play):
    """A shard that was never planned by us has no batch."""

    async def story(scene):
        assert await scene.provider.find({}, since=0.0) == []
        scene.file(0).write_bytes(b"")
        with pytest.raises(ProviderError, match="empty"):
            await scene.find()
        written(scene.file(0), lines_of(OTHER, range(3)))
        with pytest.raises(ProviderError, match="not this job's"):
            await scene.find()

    play(story)


# --- the body -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 4000])
def test_the_body_is_the_file_as_json(tmp_path, rows):
    """Its length is sent first, and the caller is notified just before its last part goes out."""
    requests = lines_of(JOB, range(rows), "ä\n\u2028" * 40)
    events = []

    async def on_upload(file_id):
        events.append(file_id)

    async def read():
        with path.open("rb") as file:
            async for chunk in Body(file, on_upload).chunks():
                events.append(chunk)

    path = written(tmp_path / "0.jsonl", requests)
    asyncio.run(read())
    assert events[-2] == INLINE
    events.remove(INLINE)
    data = b"".join(events)
    assert json.loads(data) == {"requests": requests}
    with path.open("rb") as file:
        assert Body(file, None).length == len(data)

    with contextlib.suppress(json.JSONDecodeError):
        json.loads(b"".join(events[:-1]))
        pytest.fail("what goes out before is no whole body")


def test_the_fullest_request_file_is_not_too_large_as_a_body(tmp_path):
    """A file as large as shards are made is within Anthropic's 256 MB also with what is put around its lines."""
    path = tmp_path / "requests.jsonl"
    with path.open("wb") as file:
        file.truncate(ANTHROPIC.limits.bytes)  # a hole: it takes no room on the disk
    with path.open("rb") as file:
        assert Body(file, None).length <= 256_000_000


@pytest.mark.heavy
def test_sending_100_000_rows_holds_none_of_them(tmp_path):
    """200 MB go out of a file in less memory than a tenth of it."""
    import psutil
    from aiohttp import web

    received = 0

    async def swallow(request):
        nonlocal received
        async for chunk in request.content.iter_any():
            received += len(chunk)
        return web.json_response({"id": "msgbatch_1", "processing_status": "in_progress"})

    async def on_upload(file_id):
        pass

    async def main():
        app = web.Application()
        app.router.add_post("/v1/messages/batches", swallow)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        provider = ViaAnthropic(
            ANTHROPIC,
            Access(api_base=f"http://127.0.0.1:{runner.addresses[0][1]}", api_key=KEY),
            requests_of=lambda number: path,
        )
        small = written(tmp_path / "small.jsonl", lines_of(JOB, range(10)))
        call = {"endpoint": CHAT, "window": "24h", "uploaded": None, "on_upload": on_upload}
        await provider.submit(small, {}, **call)
        before = psutil.Process().memory_info().rss
        most = 0
        done = asyncio.ensure_future(provider.submit(path, {}, **call))
        while not done.done():
            await asyncio.wait([done], timeout=0.05)
            most = max(most, psutil.Process().memory_info().rss - before)
        await done
        await provider.aclose()
        await runner.cleanup()
        return most

    path = tmp_path / "0.jsonl"
    with path.open("wb") as file:
        for n in range(100_000):
            file.write(json.dumps(lines_of(JOB, [n], "x" * 1900)[0]).encode() + b"\n")
    size = path.stat().st_size
    assert size > 200_000_000
    most = asyncio.run(main())
    assert received > size
    assert most < size / 10
