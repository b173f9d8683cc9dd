"""Real time against the loop that one would write: requests a second, both in one run, on the same endpoint.

`python benchmarks/realtime.py [REQUESTS] [CONCURRENCY]`: an endpoint in a process of its own answers after 50 ms. The
bare loop is a semaphore around `litellm.acompletion` that keeps answers in a list; ours also reads the request file,
paces, and puts each answer on disk. The two take turns; read the ratio: machines differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from jupyter_batch.core.request import Limits
from jupyter_batch.core.status import State
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.protocol import TAG, Facts
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.provider import Realtime, realtime_facts
from jupyter_batch.wire.openai import CHAT

REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
CONCURRENCY = int(sys.argv[2]) if len(sys.argv) > 2 else 200
TURNS = 3
WARM = 200
FACTS = realtime_facts(
    Facts(name="openai", dialect="openai", key="", limits=Limits(requests=50_000, bytes=2 * 10**8))
)

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


async def ours(base: str, requests: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "requests-0.jsonl"
        path.write_bytes(
            b"".join(
                orjson.dumps(
                    {"custom_id": f"jb-{n}", "method": "POST", "url": CHAT, "body": body(n)}
                )
                + b"\n"
                for n in range(requests)
            )
        )
        provider = Realtime(
            FACTS,
            folder=Path(place),
            concurrency=CONCURRENCY,
            call=call_to("openai/m", api_base=base, api_key="no-key"),
        )

        async def nothing(_: str) -> None:
            """No upload."""

        view = await provider.submit(
            path, {TAG: "jb/0"}, endpoint=CHAT, window="24h", uploaded=None, on_upload=nothing
        )
        while view.ending is None:
            await asyncio.sleep(0.05)
            view = await provider.poll(view.id)
        assert (view.ending, view.completed) == (State.COMPLETED, requests)
        await provider.aclose()


async def quiet() -> None:
    """Let litellm finish what it logs behind a loop's back, so that the next one does not pay for it."""
    with contextlib.suppress(ImportError, AttributeError):
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

        await GLOBAL_LOGGING_WORKER.flush()
    gc.collect()


async def main() -> None:
    load_litellm()
    loops = {"litellm.acompletion, bare loop": bare, "jupyter_batch, realtime": ours}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    with endpoint() as base:
        for turn in range(TURNS + 1):
            for name, loop in list(loops.items())[:: 1 if turn % 2 else -1]:
                wall, cpu = time.perf_counter(), time.process_time()
                await loop(base, REQUESTS if turn else WARM)
                if turn:
                    took[name].append((time.perf_counter() - wall, time.process_time() - cpu))
                await quiet()
        await load_litellm().close_litellm_async_clients()
    print(f"{REQUESTS:,} requests, {CONCURRENCY} at once, 50 ms endpoint, median of {TURNS} turns")
    for name, turns in took.items():
        wall, cpu = (statistics.median(one) for one in zip(*turns, strict=True))
        print(
            f"{name:32} {REQUESTS / wall:6.0f} requests/s   {cpu / REQUESTS * 1000:5.2f} ms of CPU each"
        )
    theirs, mine = took.values()
    for at, what in enumerate(("throughput", "requests per second of CPU")):
        ratios = [one[at] / other[at] for one, other in zip(theirs, mine, strict=True)]
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"ratio of {what}: {statistics.median(ratios):.2f} (turn by turn: {told})")
    print(
        f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB (both together)"
    )


if __name__ == "__main__":
    asyncio.run(main())
