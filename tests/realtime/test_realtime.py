"""A shard in real time, over real HTTP and through litellm: each row once, each failure its own."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from realtime_desk import KEY, QUICK, begin, ended, modes, provider, requests, results, run, until
from realtime_endpoint import CUT, HANG, Endpoint

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    LedgerFullError,
    NotFoundError,
    OptionError,
    ProviderDownError,
    RateLimitError,
)
from jupyter_batch.core.result import Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.providers import answered
from jupyter_batch.providers.asking import CallFailedError, LitellmCall
from jupyter_batch.providers.protocol import TAG
from jupyter_batch.providers.realtime import Realtime, realtime_facts
from jupyter_batch.providers.table import OPENAI
from jupyter_batch.providers.via_litellm import load_litellm
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES


def texts(count: int) -> list[str]:
    """Rows that say who they are."""
    return [f"row {number}" for number in range(count)]


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "mistral/m"])
def test_a_shard_is_answered_row_by_row(tmp_path, model, capfd):
    """Each row is asked once and has its answer and its tokens; nothing is printed, and the files are ours alone."""
    with Endpoint() as endpoint:
        view, found = run(provider(tmp_path, endpoint.base, model=model), requests(tmp_path, texts(50)))
    assert (view.ending, view.total, view.completed, view.failed) == (State.COMPLETED, 50, 50, 0)
    assert {i: r.value for i, r in found.items()} == {f"jb-{n}": f"ROW {n}" for n in range(50)}
    assert {r.usage for r in found.values()} == {Usage(5, 2)}
    assert set(endpoint.asked.values()) == {1}
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert endpoint.peak <= 8
    assert modes(tmp_path) == {"0o600"}
    assert not any(KEY in path.read_text() for path in tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_person_s_own_litellm_calls_are_not_disturbed(tmp_path, capfd):
    """User code runs litellm on another loop and closes its clients, and so ours: no row fails, stderr stays empty."""
    litellm = load_litellm()

    async def theirs(base):
        asked = (litellm.acompletion(model="openai/m", api_base=base, api_key="k", max_retries=0,
                                     messages=[{"role": "user", "content": f"theirs {n}"}]) for n in range(60))
        answers = await asyncio.gather(*asked)
        await litellm.close_litellm_async_clients()
        return [answer.choices[0].message.content for answer in answers]

    with Endpoint() as endpoint, Endpoint() as other, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(asyncio.run, theirs(other.base))
        view, _ = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(60)))
        assert answers.result() == [f"THEIRS {n}" for n in range(60)]
    assert (view.completed, view.failed) == (60, 0)
    assert sum(endpoint.asked.values()) <= 60 + 8  # those that were in flight when theirs closed all clients
    assert capfd.readouterr().err == ""


def test_ending_ours_leaves_the_person_s_clients_open(tmp_path, capfd):
    """After aclose a client that user code holds on its own loop still answers."""
    litellm = load_litellm()

    async def cycle(endpoint):
        async def theirs():
            return await litellm.acompletion(model="openai/m", api_base=endpoint.base, api_key="k", max_retries=0,
                                             messages=[{"role": "user", "content": "theirs"}])

        await theirs()
        path = requests(tmp_path, texts(3))
        await asyncio.to_thread(run, provider(tmp_path, endpoint.base), path)
        answer = await theirs()
        await litellm.close_litellm_async_clients()
        return answer.choices[0].message.content

    with Endpoint() as endpoint:
        assert asyncio.run(cycle(endpoint)) == "THEIRS"
    assert capfd.readouterr().err == ""


def test_embeddings_have_their_own_call(tmp_path):
    """Lines for /v1/embeddings are answered with vectors, with their tokens."""
    with Endpoint() as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(3), EMBEDDINGS), EMBEDDINGS)
    assert (view.completed, view.failed) == (3, 0)
    assert found["jb-0"].value == [0.5, 5.0]
    assert found["jb-0"].usage == Usage(3, 0)


def test_an_endpoint_that_can_t_be_asked_is_refused(tmp_path):
    """A shard for /v1/responses is refused before anything is written."""
    real = provider(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(BadRequestError, match="/v1/responses"):
        asyncio.run(begin(real, requests(tmp_path, texts(3), RESPONSES), RESPONSES))
    assert [path.name for path in tmp_path.iterdir()] == ["requests-0.jsonl"]


def test_the_last_line_may_lack_its_newline_and_a_file_may_be_empty(tmp_path):
    """A request file is counted by its lines, however it ends."""
    with Endpoint() as endpoint:
        path = requests(tmp_path, texts(3))
        path.write_bytes(path.read_bytes().rstrip(b"\n"))
        view, found = run(provider(tmp_path, endpoint.base), path)
        assert (view.total, len(found)) == (3, 3)
        empty = tmp_path / "empty"
        empty.mkdir()
        view, found = run(provider(empty, endpoint.base), requests(empty, []))
        assert (view.ending, view.total, view.output_file_id, found) == (State.COMPLETED, 0, None, {})


def test_rows_that_fail_at_first_are_asked_again(tmp_path, capfd):
    """Each row is refused twice, in a way of its own, and answered in the end."""
    first = [500, 429, CUT, 503, 408, 529]
    with Endpoint(lambda text, before: first[int(text[4:]) % 6] if before < 2 else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(30)))
    assert (view.completed, view.failed) == (30, 0)
    assert {r.status for r in found.values()} == {Status.SUCCEEDED}
    assert set(endpoint.asked.values()) == {3}
    assert capfd.readouterr() == ("", "")


def test_a_bad_request_is_its_row_s_failure_alone(tmp_path):
    """A 400 is told once, in the provider's own words, and asked once; the others are answered."""
    with Endpoint(lambda text, before: 400 if text in ("row 3", "row 7") else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(10)))
    assert (view.ending, view.completed, view.failed) == (State.COMPLETED, 8, 2)
    assert found["jb-3"].status is Status.FAILED
    assert found["jb-3"].error == "c: told 400 about row 3"
    assert endpoint.asked["row 3"] == 1


def test_a_row_that_always_breaks_the_server_fails_alone(tmp_path):
    """A row that meets 500 at each try while others are answered has failed after its tries, with the reason."""
    with Endpoint(lambda text, before: 500 if text == "row 0" else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base, concurrency=1), requests(tmp_path, texts(40)))
    assert (view.completed, view.failed) == (39, 1)
    assert "told 500 about row 0" in found["jb-0"].error
    assert endpoint.asked["row 0"] == 4


def test_a_request_that_can_t_be_read_fails_alone(tmp_path):
    """A line that is no JSON is a failed line in the errors file."""
    with Endpoint() as endpoint:
        path = requests(tmp_path, texts(3))
        path.write_bytes(path.read_bytes() + b"{broken\n")
        real = provider(tmp_path, endpoint.base)

        async def cycle():
            await begin(real, path)
            view = await ended(real)
            data = bytearray()
            await real.fetch(view.error_file_id, data.extend)
            await real.aclose()
            return view, bytes(data)

        view, lines = asyncio.run(cycle())
    assert (view.completed, view.failed) == (3, 1)
    assert b"can't be read" in lines


def test_a_storm_of_429_is_waited_out(tmp_path):
    """A server that takes four at once and refuses the rest answers all 100 rows, since the limit adapts."""
    with Endpoint(headers={"retry-after": "0"}) as endpoint:
        endpoint.decide = lambda text, before: 429 if endpoint.busy > 4 else None
        view, _ = run(provider(tmp_path, endpoint.base, concurrency=32), requests(tmp_path, texts(100)))
    assert (view.completed, view.failed) == (100, 0)
    assert sum(endpoint.asked.values()) < 1000


def test_a_timeout_is_asked_again(tmp_path):
    """An answer that does not come in time is asked for once more."""
    with Endpoint(lambda text, before: HANG if text == "row 1" and not before else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base, seconds=0.3), requests(tmp_path, texts(4)))
    assert (view.completed, view.failed) == (4, 0)
    assert endpoint.asked["row 1"] == 2
    assert found["jb-1"].value == "ROW 1"


def test_a_refused_key_pauses_and_another_key_goes_on(tmp_path):
    """401: poll says so, few calls were made, no row has failed; with a good key all rows are answered, once."""
    with Endpoint(lambda text, before: 401) as endpoint:
        path = requests(tmp_path, texts(50))

        async def refused():
            real = provider(tmp_path, endpoint.base)
            await begin(real, path)
            with pytest.raises(AuthenticationError, match="401") as told:
                await ended(real)
            asked = sum(endpoint.asked.values())
            with pytest.raises(AuthenticationError):
                await ended(real)
            probed = sum(endpoint.asked.values()) - asked
            await real.aclose()
            return str(told.value), asked, probed

        told, asked, probed = asyncio.run(refused())
        assert KEY not in told
        assert asked <= 8
        assert probed == 1
        endpoint.decide = lambda text, before: None
        endpoint.asked.clear()
        view, found = run(provider(tmp_path, endpoint.base), path)
    assert (view.completed, view.failed, len(found)) == (50, 0, 50)
    assert set(endpoint.asked.values()) == {1}


def test_a_403_for_one_row_does_not_stop_the_others(tmp_path):
    """Where the key was taken for other rows, a 403 is about the row (moderation)."""
    with Endpoint(lambda text, before: 403 if text == "row 20" else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(30)))
    assert (view.completed, view.failed) == (29, 1)
    assert "told 403" in found["jb-20"].error


def test_a_provider_that_is_down_loses_no_row(tmp_path):
    """500 for everything: poll raises it with a pause, no row is failed; when it is up again, all rows are answered."""
    with Endpoint(lambda text, before: 500) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base)
            view = await begin(real, requests(tmp_path, texts(20)))
            pauses = []
            for _ in range(2):
                with pytest.raises(ProviderDownError) as told:
                    await ended(real)
                pauses.append(told.value.retry_after)
            endpoint.decide = lambda text, before: None
            view = await ended(real)
            await real.aclose()
            return view, pauses

        view, pauses = asyncio.run(cycle())
    assert (view.completed, view.failed) == (20, 0)
    assert pauses == [5, 10]


def test_errors_for_every_row_end_at_last(tmp_path):
    """A server that never does anything but 500 is believed after some stops: each row has its reason."""
    with Endpoint(lambda text, before: 500) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(5)))
            stops = 0
            while True:
                try:
                    view = await ended(real)
                except ProviderDownError:
                    stops += 1
                else:
                    await real.aclose()
                    return view, stops

        view, stops = asyncio.run(cycle())
    assert (view.completed, view.failed, stops) == (0, 5, 6)


def test_without_a_connection_no_row_is_ever_given_up(tmp_path):
    """Nobody listens (a laptop without network): poll says so each time, however often, and no row has failed."""
    with Endpoint() as endpoint:
        nobody = endpoint.base
    async def cycle():
        real = provider(tmp_path, nobody)
        await begin(real, requests(tmp_path, texts(3)))
        for _ in range(9):
            with pytest.raises(ConnectionFailedError, match="no connection to"):
                await ended(real)
        view = await real.cancel("realtime-jb-0")
        await real.aclose()
        return view

    view = asyncio.run(cycle())
    assert (view.ending, view.completed, view.failed) == (State.CANCELLED, 0, 0)


class Wire:
    """A call without a network: `left` answers, then there is no connection; for row 0 there is none from the first."""

    def __init__(self, left):
        self.left = left
        self.asked = Counter()

    async def ready(self):
        pass

    async def aclose(self):
        pass

    async def __call__(self, endpoint, body):
        text = body["messages"][0]["content"]
        self.asked[text] += 1
        if self.left <= 0 or (text == "row 0" and self.left < 100):
            raise CallFailedError(ConnectionFailedError("no connection"), unreachable=True)
        self.left -= 1
        await asyncio.sleep(0)
        return {"choices": [{"index": 0, "message": {"content": text.upper()}, "finish_reason": "stop"}]}


def test_a_network_that_goes_away_in_the_middle_fails_no_row(tmp_path):
    """Rows that were under way while others were still answered wait for the network like all others."""
    async def cycle():
        wire = Wire(left=13)
        real = Realtime(realtime_facts(OPENAI), folder=tmp_path, call=wire, concurrency=8, tries=QUICK, dice=lambda: 1.0)
        await begin(real, requests(tmp_path, texts(40)))
        for _ in range(3):
            with pytest.raises(ConnectionFailedError):
                await ended(real)
        wire.left = 1000
        view = await ended(real)
        await real.aclose()
        return view

    view = asyncio.run(cycle())
    assert (view.ending, view.completed, view.failed) == (State.COMPLETED, 40, 0)


def test_a_quota_that_is_used_up_pauses(tmp_path):
    """429 with insufficient_quota is about the account: the run stops, and no row is failed for it."""
    class Empty(LitellmCall):
        def _failure(self, error):
            failure = super()._failure(error)
            failure.told["code"] = "insufficient_quota"
            return failure

    with Endpoint(lambda text, before: 429) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base)
            real._call = Empty("openai/m", api_base=endpoint.base, api_key=KEY)
            await begin(real, requests(tmp_path, texts(50)))
            with pytest.raises(RateLimitError) as told:
                await ended(real)
            await real.aclose()
            return told.value.retry_after

        assert asyncio.run(cycle()) == 5
        assert sum(endpoint.asked.values()) <= 8


def test_cancel_keeps_what_is_under_way_and_starts_nothing(tmp_path):
    """Answers that are being made are waited for and kept; the rest was never asked."""
    with Endpoint(lambda text, before: HANG) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(50)))
            await until(lambda: endpoint.busy == 8)
            view = await real.cancel("realtime-jb-0")
            assert (view.status, view.ending) == ("cancelling", None)
            assert (await real.poll(view.id)).ending is None
            endpoint.release()
            view = await ended(real)
            again = await real.cancel(view.id)
            found = await results(real, view)
            await real.aclose()
            return view, again, found

        view, again, found = asyncio.run(cycle())
    assert (view.ending, view.total, view.completed, view.failed) == (State.CANCELLED, 50, 8, 0)
    assert again == view
    assert len(found) == 8
    assert sum(endpoint.asked.values()) == 8


def test_a_process_that_ends_in_order_is_gone_on_with(tmp_path, capfd):
    """What hangs is dropped at aclose; a later object, told only the id, asks what was not answered."""
    with Endpoint(lambda text, before: HANG if int(text[4:]) >= 10 and not before else None) as endpoint:
        async def first():
            real = provider(tmp_path, endpoint.base, concurrency=4)
            await begin(real, requests(tmp_path, texts(30)))
            await until(lambda: endpoint.answered == 10 and endpoint.busy == 4)
            await real.aclose()

        async def second():
            real = provider(tmp_path, endpoint.base, concurrency=4)
            view, = await real.find({TAG: "jb/0"}, since=0.0)
            assert view.ending is None
            assert view.tag == {"team": "a", TAG: "jb/0"}
            endpoint.release()
            view = await ended(real, view.id)
            found = await results(real, view)
            assert await real.find({TAG: "jb/1"}, since=0.0) == []
            assert await real.find({TAG: "jb/0", "team": "b"}, since=0.0) == []
            await real.aclose()
            return view, found

        asyncio.run(first())
        view, found = asyncio.run(second())
    assert (view.completed, view.failed, len(found)) == (30, 0, 30)
    assert [endpoint.asked[f"row {n}"] for n in range(10)] == [1] * 10
    assert sum(endpoint.asked.values()) <= 34
    assert capfd.readouterr().err == ""


def test_a_torn_line_is_dropped_and_its_row_asked_again(tmp_path):
    """What a kill left of a line is cut off; the lines before it stand as they are."""
    with Endpoint() as endpoint:
        path = requests(tmp_path, texts(10))
        run(provider(tmp_path, endpoint.base), path)
        output = tmp_path / "realtime-jb-0.output.jsonl"
        whole = output.read_bytes()
        lines = whole.splitlines(keepends=True)
        torn = lines[-1]
        for rest in (torn[:1], torn[:-1], torn[:-1] + b"\0" * 100_000):
            output.write_bytes(b"".join(lines[:-1]) + rest)
            endpoint.asked.clear()
            _, found = run(provider(tmp_path, endpoint.base), path)
            assert len(found) == 10
            assert sum(endpoint.asked.values()) == 1
            assert output.read_bytes().startswith(b"".join(lines[:-1]))


def test_two_at_the_same_run_ask_each_row_once(tmp_path):
    """Another object (another process whose lease came too early) only looks on, and takes over when the first ends."""
    with Endpoint(lambda text, before: HANG) as endpoint:
        async def cycle():
            one, two = provider(tmp_path, endpoint.base), provider(tmp_path, endpoint.base)
            path = requests(tmp_path, texts(20))
            await begin(one, path)
            await until(lambda: endpoint.busy == 8)
            await begin(two, path)
            await until(lambda: not two._runs["realtime-jb-0"].busy)
            endpoint.release()
            views = await ended(two), await ended(one)
            await asyncio.gather(one.aclose(), two.aclose())
            return views

        views = asyncio.run(cycle())
    assert views[0] == views[1]
    assert views[0].completed == 20
    assert set(endpoint.asked.values()) == {1}


def test_a_full_disk_loses_no_answer(tmp_path, monkeypatch):
    """When the disk is full the run stops and says so; what was answered meanwhile is written when there is space."""
    real_write, full = os.write, []

    def write(fd, data):
        if full:
            raise OSError(28, "No space left on device")
        return real_write(fd, data)

    monkeypatch.setattr(answered.os, "write", write)
    with Endpoint(lambda text, before: HANG) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(30)))
            await until(lambda: endpoint.busy == 8)
            full.append(True)
            endpoint.release()
            for _ in range(2):
                with pytest.raises(LedgerFullError, match="free some space"):
                    await ended(real)
            full.clear()
            view = await ended(real)
            found = await results(real, view)
            await real.aclose()
            return view, found

        view, found = asyncio.run(cycle())
    assert (view.completed, len(found)) == (30, 30)
    assert set(endpoint.asked.values()) == {1}


def test_requests_per_minute_are_kept(tmp_path):
    """With 600 a minute, ten of eleven rows wait for their tenth of a second: the second's worth goes at once."""
    with Endpoint() as endpoint:
        loop_seconds = []

        async def cycle():
            real = provider(tmp_path, endpoint.base, requests_per_minute=600, concurrency=64)
            await real._call.ready()
            began = asyncio.get_running_loop().time()
            await begin(real, requests(tmp_path, texts(18)))
            await ended(real)
            loop_seconds.append(asyncio.get_running_loop().time() - began)
            await real.aclose()

        asyncio.run(cycle())
    assert loop_seconds[0] >= 0.75


def test_memory_holds_a_window_of_the_rows(tmp_path):
    """However many rows there are, no more than twice the concurrency are held."""
    with Endpoint(lambda text, before: HANG) as endpoint:
        async def cycle():
            real = provider(tmp_path, endpoint.base, concurrency=4)
            await begin(real, requests(tmp_path, texts(100)))
            await until(lambda: endpoint.busy == 4)
            held = len(real._runs["realtime-jb-0"]._rows)
            endpoint.decide = lambda text, before: None
            endpoint.release()
            await ended(real)
            await real.aclose()
            return held

        assert asyncio.run(cycle()) <= 8


def test_an_unknown_run_or_file_is_not_found(tmp_path):
    """An id that this folder does not hold, or that tries to leave it, is NotFound."""
    async def cycle():
        real = provider(tmp_path, "http://127.0.0.1:9/v1")
        for name in ("realtime-nothing", "../../etc/passwd", "realtime-../x"):
            with pytest.raises(NotFoundError):
                await real.poll(name)
            with pytest.raises(NotFoundError):
                await real.fetch(f"{name}-output", print)
        await real.aclose()

    asyncio.run(cycle())


@pytest.mark.parametrize("model", ["hosted_vllm/m", "litellm_proxy/m"])
def test_a_model_of_one_s_own_server_needs_its_address(model):
    """Without api_base litellm would send the rows to OpenAI: it is refused before anything is asked."""
    with pytest.raises(OptionError, match="api_base"):
        LitellmCall(model, api_key=KEY)


def test_the_key_is_in_no_repr():
    """Neither the call nor a provider shows it."""
    assert KEY not in repr(LitellmCall("openai/m", api_base="http://h/v1", api_key=KEY))


def test_a_body_can_t_send_a_request_elsewhere(tmp_path):
    """A line that names another address, key or form of answer goes to the configured place all the same."""
    import orjson

    with Endpoint() as endpoint, Endpoint() as stranger:
        path = tmp_path / "requests-0.jsonl"
        path.write_bytes(orjson.dumps({"custom_id": "jb-0", "body": {
            "model": "m", "messages": [{"role": "user", "content": "x"}], "api_base": stranger.base,
            "base_url": stranger.base, "api_key": "other", "stream": True}}) + b"\n")
        view, _ = run(provider(tmp_path, endpoint.base), path)
    assert view.completed == 1
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert not stranger.asked
