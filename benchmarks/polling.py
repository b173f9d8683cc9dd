"""What jobs cost while they run: a poll, a submission among earlier jobs, a batch of one row.

`python benchmarks/polling.py [polls|submission|batches] [JOBS] [SECONDS]`, in CPU time of this process, against the
embedded server in another one, with OpenAI's pauses between polls. polls: JOBS jobs of one batch for SECONDS, from the
first one on. submission: 20 rows, with 1 and with JOBS jobs in the ledger. batches: a job of JOBS batches of one row.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

import jupyter_batch  # noqa: F401 - df.llm
from jupyter_batch.core.status import Step
from jupyter_batch.providers.table import facts_of
from jupyter_batch.runner import connect as connecting
from jupyter_batch.runner import process as processes

TIMES = 5
LONG = 600
"""Seconds that a batch of the server takes where none is to end."""


@contextlib.contextmanager
def server(folder: Path, pace: float) -> Iterator[dict[str, Any]]:
    """The arguments of a call to a server in a process of its own."""
    announced = folder / "announced"
    command = [sys.executable, "-m", "jupyter_batch", "serve", "--token", "a-token"]
    more = ["--pace", str(pace), "--state", str(folder / "state"), "--announce", str(announced)]
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (announced.exists() and announced.read_text()):
            time.sleep(0.05)
        base = json.loads(announced.read_text())["base_url"]
        yield {"model": "openai/echo", "api_base": base, "api_key": "a-token", "wait": False}
    finally:
        process.kill()
        process.wait()


def counted_polls() -> list[int]:
    """The number of polls from now on, at the pauses of a remote provider."""
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
    frame = pd.DataFrame({"text": [f"{name} {row}" for row in range(rows)]})
    return frame.llm.batch("{text}", out="answer", **call, **more)


def polls(call: dict[str, Any], jobs: int, seconds: int) -> None:
    """Jobs that are polled."""
    count = counted_polls()
    here = [submit(call, number, 1) for number in range(jobs)]
    ledger = processes.session(Path(os.environ["JUPYTER_BATCH_HOME"])).ledger
    while any(shard.step is not Step.RUNNING for job in here for shard in ledger.shards(job.id)):
        time.sleep(0.2)
    count[0], began = 0, time.process_time()
    time.sleep(seconds)
    took = time.process_time() - began
    print(
        f"{jobs:,} jobs in their first {seconds} s: {count[0]:,} polls, {took / count[0] * 1000:.2f} ms each, "
        f"{took / seconds:.1%} of a core"
    )


def submission(call: dict[str, Any], jobs: int, _: int) -> None:
    """A submission among earlier jobs, none of which is sent."""
    processes.session(Path(os.environ["JUPYTER_BATCH_HOME"])).worker.start = lambda: None
    for number in range(jobs):
        submit(call, number, 1)
        if number in {0, jobs - 1}:
            took = []
            for turn in range(TIMES):
                began = time.process_time()
                submit(call, f"{number}-{turn}", 20)
                took.append(time.process_time() - began)
            print(f"20 rows, {number + 1:,} jobs: {statistics.median(took) * 1000:.1f} ms")


def batches(call: dict[str, Any], jobs: int, _: int) -> None:
    """A job of many batches, from its plan to the last answer."""
    submit(call, "first", 1).wait(60)  # what is imported once is left out
    began = time.process_time()
    job = submit(call, "row", jobs, shard_size=1)
    planned = time.process_time()
    while not job.is_complete:
        time.sleep(0.5)
    took = time.process_time() - planned
    assert job.counts.succeeded == jobs
    print(
        f"{jobs:,} batches of one row: {(planned - began) / jobs * 1000:.2f} ms each to plan, "
        f"{took / jobs * 1000:.1f} ms to send, poll and fetch"
    )


CASES = {
    "polls": (polls, 50, LONG),
    "submission": (submission, 1_000, LONG),
    "batches": (batches, 300, 0),
}


def main(names: list[str], jobs: int = 0, seconds: int = 60) -> None:
    """Measure, and print a line each."""
    for name in names:
        run, usual, pace = CASES[name]
        with tempfile.TemporaryDirectory() as place:
            os.environ["JUPYTER_BATCH_HOME"] = str(Path(place) / "home")
            with server(Path(place), pace) as call:
                run(call, jobs or usual, seconds)
            processes.session(Path(place) / "home").worker.stop()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main(sys.argv[1:2] or list(CASES), *map(int, sys.argv[2:4]))
