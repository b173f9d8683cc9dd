"""A shard in real time, over real HTTP and through litellm: each row once, nothing printed, no other call disturbed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from realtime_endpoint import HANG, Endpoint
from realtime_harness import KEY, begin, ended, modes, provider, requests, run, texts, until

from jupyter_batch.core.errors import (
    BadRequestError,
    OptionError,
)
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import State
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.realtime.litellm_call import LitellmCall
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "mistral/m"])
def test_a_shard_is_answered_row_by_row(tmp_path, model, capfd):
    """Each row is asked once and has its answer and its tokens; nothing is printed, and the files are ours alone."""
    with Endpoint() as endpoint:
        view, found = run(
            provider(tmp_path, endpoint.base, model=model), requests(tmp_path, texts(50))
        )
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
        asked = (
            litellm.acompletion(
                model="openai/m",
                api_base=base,
                api_key="k",
                max_retries=0,
                messages=[{"role": "user", "content": f"theirs {n}"}],
            )
            for n in range(60)
        )
        answers = await asyncio.gather(*asked)
        closed = False
        while not closed:
            try:
                await litellm.close_litellm_async_clients()
                closed = True
            except (
                RuntimeError
            ):  # litellm walks over its cache while the other loop puts a client there
                await asyncio.sleep(0)
        return [answer.choices[0].message.content for answer in answers]

    with Endpoint() as endpoint, Endpoint() as other, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(asyncio.run, theirs(other.base))
        view, _ = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(60)))
        assert answers.result() == [f"THEIRS {n}" for n in range(60)]
    assert (view.completed, view.failed) == (60, 0)
    assert (
        sum(endpoint.asked.values()) <= 60 + 8
    )  # those that were in flight when theirs closed all clients
    assert capfd.readouterr().err == ""


def test_ending_ours_leaves_the_person_s_clients_open(tmp_path, capfd):
    """After aclose a client that user code holds on its own loop still answers."""
    litellm = load_litellm()

    async def cycle(endpoint):
        async def theirs():
            return await litellm.acompletion(
                model="openai/m",
                api_base=endpoint.base,
                api_key="k",
                max_retries=0,
                messages=[{"role": "user", "content": "theirs"}],
            )

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
        view, found = run(
            provider(tmp_path, endpoint.base), requests(tmp_path, texts(3), EMBEDDINGS), EMBEDDINGS
        )
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
        assert (view.ending, view.total, view.output_file_id, found) == (
            State.COMPLETED,
            0,
            None,
            {},
        )


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
        path.write_bytes(
            orjson.dumps(
                {
                    "custom_id": "jb-0",
                    "body": {
                        "model": "m",
                        "messages": [{"role": "user", "content": "x"}],
                        "api_base": stranger.base,
                        "base_url": stranger.base,
                        "api_key": "other",
                        "stream": True,
                    },
                }
            )
            + b"\n"
        )
        view, _ = run(provider(tmp_path, endpoint.base), path)
    assert view.completed == 1
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert not stranger.asked
