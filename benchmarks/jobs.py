"""The cost of jobs while they run: a poll, a submission among earlier jobs, a batch of one row.

Cases of the table, in CPU time of this process, against the embedded server in another one, with OpenAI's pauses
between polls. `python benchmarks/jobs.py polls [JOBS] [SECONDS] [--profile]` runs the first one alone.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

Figures = dict[str, float]
JOBS, SECONDS, EARLIER, FEW, MANY = 50, 60, 1_000, 300, 1_500
TIMES = 5
LONG = 600
"""Seconds that a batch of the server takes where none is to end."""


@contextlib.contextmanager
def served(home: Path, pace: float) -> Iterator[dict[str, Any]]:
    """The arguments of a call to a server in a process of its own; litellm and the rest are imported."""
    os.environ["JUPYTER_BATCH_HOME"] = str(home / "ledger")
    import jupyter_batch  # noqa: F401 - df.llm
    from jupyter_batch.http.litellm import load_litellm

    load_litellm()  # else a thread imports it while the first job runs
    announced = home / "announced"
    command = [sys.executable, "-m", "jupyter_batch", "serve", "--token", "a-token"]
    more = ["--pace", str(pace), "--state", str(home / "state"), "--announce", str(announced)]
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (announced.exists() and announced.read_text()):
            time.sleep(0.05)
        base = json.loads(announced.read_text())["base_url"]
        call = {"model": "openai/echo", "api_base": base, "api_key": "a-token", "wait": False}
        with contextlib.redirect_stdout(io.StringIO()):  # jobs print where no notebook shows them
            yield call
        session().worker.stop()
    finally:
        process.kill()
        process.wait()


def session() -> Any:
    """This process's session on the ledger."""
    from jupyter_batch.runner import process as processes

    return processes.session(Path(os.environ["JUPYTER_BATCH_HOME"]))


def counted_polls() -> list[int]:
    """The number of polls from now on, at the pauses of a remote provider."""
    from jupyter_batch.providers.table import facts_of
    from jupyter_batch.runner import connect as connecting
    from jupyter_batch.runner import process as processes

    polls, real = [0], connecting.connect

    async def connect(*args: Any, **more: Any) -> Any:
        provider = await real(*args, **more)
        provider.facts = facts_of("openai", None)
        poll = provider.poll

        async def counted(batch: str) -> Any:
            polls[0] += 1
            return await poll(batch)

        provider.poll = counted
        return provider

    processes.connect = connect
    return polls


def submit(call: dict[str, Any], name: object, rows: int, **more: Any) -> Any:
    """A job of texts that no other one has."""
    import pandas as pd

    frame = pd.DataFrame({"text": [f"{name} {row}" for row in range(rows)]})
    return frame.llm.batch("{text}", out="answer", **call, **more)


def polls(
    home: Path, jobs: int = JOBS, seconds: int = SECONDS, profile: cProfile.Profile | None = None
) -> Figures:
    """Jobs of one batch that are polled, from their submission on: a poll, and the share of a core."""
    from jupyter_batch.core.status import Step

    with served(home, LONG) as call:
        count = counted_polls()
        here = [submit(call, number, 1) for number in range(jobs)]
        ledger = session().ledger
        while any(
            shard.step is not Step.RUNNING for job in here for shard in ledger.shards(job.id)
        ):
            time.sleep(0.2)
        if profile is not None:
            session().worker._loop.call_soon_threadsafe(profile.enable)  # noqa: SLF001
        count[0], began = 0, time.process_time()
        time.sleep(seconds)
        took = time.process_time() - began
        if profile is not None:
            session().worker._loop.call_soon_threadsafe(profile.disable)  # noqa: SLF001
            time.sleep(0.5)
        return {"ms": took / count[0] * 1e3, "share": took / seconds * 100, "polls": count[0]}


def bare_polls(home: Path) -> Figures:
    """The floor of a poll: the same GET with aiohttp, on a kept connection."""
    import asyncio

    import aiohttp

    async def asked(base: str, job: Any) -> float:
        batch = session().ledger.shards(job.id)[0].batch_id
        headers = {"authorization": "Bearer a-token"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for turn in range(2 * LONG):
                if turn == LONG:  # the connection is open, and all is imported
                    began = time.process_time()
                async with http.get(f"{base}/batches/{batch}") as answer:
                    await answer.json()
            return (time.process_time() - began) / LONG * 1e3

    with served(home, LONG) as call:
        job = submit(call, "one", 1)
        while session().ledger.shards(job.id)[0].batch_id is None:
            time.sleep(0.2)
        session().worker.stop()
        return {"ms": asyncio.run(asked(call["api_base"], job))}


def submission(home: Path, earlier: int) -> Figures:
    """The submission of 20 rows among earlier jobs, none of which is sent."""
    with served(home, LONG) as call:
        session().worker.start = lambda: None
        for number in range(earlier):
            submit(call, number, 1)
        took = []
        for turn in range(TIMES):
            began = time.process_time()
            submit(call, f"new {turn}", 20)
            took.append(time.process_time() - began)
        return {"ms": statistics.median(took) * 1e3}


def batches(home: Path, shards: int) -> Figures:
    """A job of many batches of one row, from the call to the last answer: a shard."""
    with served(home, 0) as call:
        submit(call, "first", 1).wait(60)  # what is imported once is left out
        began, wall = time.process_time(), time.perf_counter()
        job = submit(call, "row", shards, shard_size=1)
        while not job.is_complete:
            time.sleep(0.5)
        took, wall = time.process_time() - began, time.perf_counter() - wall
        assert job.counts.succeeded == shards
        return {"ms": took / shards * 1e3, "wall": wall}


def parts(profile: cProfile.Profile, calls: int, lines: int = 14) -> str:
    """A profile of the worker's loop by library and by package of ours: us a call."""
    took: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        took[_part(path, name)] += own
    return "\n".join(
        f"{own / calls * 1e6:7.0f} us  {part}" for part, own in took.most_common(lines)
    )


def _part(path: str, name: str) -> str:
    if "site-packages/" in path:
        return path.partition("site-packages/")[2].partition("/")[0]
    if "jupyter_batch/" in path:
        return "jupyter_batch." + path.rpartition("jupyter_batch/")[2].partition("/")[0]
    if path == "~":
        return name.removeprefix("<").partition(" object")[0]
    return "asyncio" if "asyncio/" in path else "Python's library"


CASES = {
    f"a poll, {JOBS} jobs in their first minute": lambda _, home: polls(home),
    "floor: a poll with aiohttp": lambda _, home: bare_polls(home),
    "20 rows with 1 earlier job": lambda _, home: submission(home, 1),
    f"20 rows with {EARLIER:,} earlier jobs": lambda _, home: submission(home, EARLIER),
    f"a shard of {FEW:,} of one row": lambda _, home: batches(home, FEW),
    f"a shard of {MANY:,} of one row": lambda _, home: batches(home, MANY),
}


def profiled(jobs: int = JOBS, seconds: int = 20) -> str:
    """A profile of polls."""
    profile = cProfile.Profile(time.thread_time)
    with tempfile.TemporaryDirectory() as home:
        found = polls(Path(home), jobs, seconds, profile)
    return parts(profile, int(found["polls"]))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:4] if word.isdigit()]
    if "--profile" in sys.argv:
        print(profiled(*numbers))
    else:
        with tempfile.TemporaryDirectory() as place:
            print(polls(Path(place), *numbers))
