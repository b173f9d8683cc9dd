"""Real time against the loop that one would write: requests a second, both in one run, on the same endpoint.

`python benchmarks/realtime.py [REQUESTS] [CONCURRENCY]`: an endpoint in a process of its own answers after 50 ms. The
bare loops are a semaphore around `litellm.acompletion`, or around raw aiohttp with orjson, that keep answers in a list;
lm-deluge is measured where it is installed. Ours is the public path, `jupyter_batch.batch(mode="realtime")` to the
answers: it also plans, writes the request file and the ledger, paces, and puts each answer on disk; "its HTTP alone"
is the raw loop over our own POSTs. All take turns; read the ratios: machines differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

import jupyter_batch
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.realtime.prepared_post import PreparedPost

REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
CONCURRENCY = int(sys.argv[2]) if len(sys.argv) > 2 else 200
TURNS = 3
WARM = 200
SLOW = 5
"""The share of the requests that litellm's loop makes: a fifth."""

ENDPOINT = """
import asyncio
from aiohttp import web
ANSWER = (b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
          b'{"role":"assistant","content":"positive"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,'
          b'"completion_tokens":1,"total_tokens":21}}')
async def chat(request):
    await request.read()
    await asyncio.sleep(0.05)
    return web.Response(body=ANSWER, content_type="application/json")
async def main():
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def endpoint() -> Iterator[str]:
    """The endpoint's address."""
    process = subprocess.Popen([sys.executable, "-c", ENDPOINT], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def body(number: int) -> dict:
    return {
        "model": "m",
        "temperature": 0,
        "messages": [
            {
                "role": "user",
                "content": f"Is this positive or negative? The parcel {number} came late.",
            }
        ],
    }


async def bare(base: str, requests: int) -> None:
    litellm = load_litellm()
    seats = asyncio.Semaphore(CONCURRENCY)
    answers = []

    async def one(number: int) -> None:
        async with seats:
            answers.append(
                await litellm.acompletion(
                    **body(number) | {"model": "openai/m"},
                    api_base=base,
                    api_key="no-key",
                    max_retries=0,
                )
            )

    await asyncio.gather(*(one(number) for number in range(requests)))
    assert len(answers) == requests


async def raw(base: str, requests: int) -> None:
    seats, answers = asyncio.Semaphore(CONCURRENCY), []
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(number: int) -> None:
            data = orjson.dumps(body(number))
            async with (
                seats,
                session.post(
                    f"{base}/chat/completions",
                    data=data,
                    headers={"content-type": "application/json"},
                ) as answer,
            ):
                answers.append(orjson.loads(await answer.read()))

        await asyncio.gather(*(one(number) for number in range(requests)))
    assert len(answers) == requests


async def http_alone(base: str, requests: int) -> None:
    seats, answers = asyncio.Semaphore(CONCURRENCY), []
    headers = {"content-type": "application/json"}
    async with aiohttp.TCPConnector(limit=CONCURRENCY) as connector:
        post = PreparedPost(connector, f"{base}/chat/completions", headers, None)

        async def one(number: int) -> None:
            data = orjson.dumps(body(number))
            async with seats:
                answers.append(orjson.loads((await post(data)).body))

        await asyncio.gather(*(one(number) for number in range(requests)))
    assert len(answers) == requests


async def ours(base: str, requests: int) -> None:
    prompts = [body(number)["messages"] for number in range(requests)]
    with tempfile.TemporaryDirectory() as place:
        os.environ["JUPYTER_BATCH_HOME"] = place

        def work() -> None:
            job = jupyter_batch.batch(
                prompts,
                model="openai/m",
                api_base=base,
                api_key="no-key",
                mode="realtime",
                concurrency=CONCURRENCY,
                temperature=0,
            ).wait()
            assert job.counts.succeeded == requests
            job._here.close()  # noqa: SLF001 - the next turn has a ledger of its own

        await asyncio.to_thread(work)


async def deluge(base: str, requests: int) -> None:
    from lm_deluge import LLMClient
    from lm_deluge.models import register_model

    os.environ["BENCHMARK_KEY"] = "no-key"
    register_model(id="m", name="m", api_base=base, api_key_env_var="BENCHMARK_KEY")
    client = LLMClient(
        "m",
        max_requests_per_minute=10**7,
        max_tokens_per_minute=10**10,
        max_concurrent_requests=CONCURRENCY,
        progress="manual",
    )
    prompts = [body(number)["messages"][0]["content"] for number in range(requests)]
    answers = await client.process_prompts_async(prompts, show_progress=False)
    assert [answer.completion for answer in answers] == ["positive"] * requests


async def quiet() -> None:
    """Let litellm finish what it logs behind a loop's back, so that the next one does not pay for it."""
    with contextlib.suppress(ImportError, AttributeError):
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

        await GLOBAL_LOGGING_WORKER.flush()
    gc.collect()


async def main() -> None:
    load_litellm()
    loops = {
        "raw aiohttp": raw,
        "jupyter_batch, public path": ours,
        "its HTTP alone": http_alone,
        "litellm.acompletion, loop": bare,
    }
    if importlib.util.find_spec("lm_deluge") is not None:
        loops["lm-deluge"] = deluge
    requests = {
        name: REQUESTS // SLOW if loop is bare else REQUESTS for name, loop in loops.items()
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    with endpoint() as base:
        for turn in range(TURNS + 1):
            for name, loop in list(loops.items())[:: 1 if turn % 2 else -1]:
                wall, cpu = time.perf_counter(), time.process_time()
                await loop(base, requests[name] if turn else WARM)
                if turn:
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                    took[name].append((wall / requests[name], cpu / requests[name]))
                await quiet()
        await load_litellm().close_litellm_async_clients()
    print(f"{REQUESTS:,} requests, {CONCURRENCY} at once, 50 ms endpoint, medians of {TURNS} turns")
    base_wall = statistics.median(wall for wall, _ in took["raw aiohttp"])
    for name, turns in took.items():
        wall, cpu = (statistics.median(one) for one in zip(*turns, strict=True))
        each = f"{cpu * 1000:5.2f} ms of CPU each, {base_wall / wall:4.0%} of raw aiohttp"
        print(f"{name:28} {1 / wall:6.0f} requests/s   {each}")


if __name__ == "__main__":
    asyncio.run(main())
