"""The way in, on its public path: the provider's files -> the column, next to a `json.loads` loop.

`python -m benchmarks in [ROWS]`, CPU microseconds a row, medians of interleaved runs in processes of
their own. The worker fetches (from memory: the network is left out), counts, decodes and stores; the
main thread merges. "held" is the longest time for which the main thread could not run anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

KEY = "sk-proj-" + "0123456789abcdefghijklmnopqrstuvwxyz" * 4 + "0123456789AB"
"""As long as OpenAI's: each result file is searched for it, as it is in use."""

RUNS = 3
WAYS = ("ours", "naive")


def result_line(job: str, position: int, padding: int) -> bytes:
    """A result line of OpenAI's with an answer of `padding` characters more; each 50th is an error."""
    import orjson

    body: dict[str, Any] = {
        "id": f"chatcmpl-{position}",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4.1-mini",
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": f"“positive” {position} " + "x" * padding,
                    "refusal": None,
                    "annotations": [],
                },
            }
        ],
        "usage": {
            "prompt_tokens": 90,
            "completion_tokens": 12,
            "total_tokens": 102,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
    code = 200 if position % 50 else 400
    if code != 200:
        body = {"error": {"message": "bad", "type": "invalid_request_error", "code": None}}
    return orjson.dumps(
        {
            "id": f"batch_req_{position}",
            "custom_id": f"{job}-{position}",
            "response": {"status_code": code, "request_id": f"req_{position}", "body": body},
            "error": None,
        }
    )


def lines(job: str, first: int, last: int) -> list[bytes]:
    """Result lines of about 900 bytes, shuffled; two in a hundred are errors."""
    import numpy as np

    positions = np.random.default_rng(first).permutation(last - first + 1) + first
    return [result_line(job, position, 150) for position in positions.tolist()]


def source(rows: int) -> Any:
    """A frame of three columns, about 340 characters a row."""
    import numpy as np
    import pandas as pd

    words = ["très", "good", "“quoted”", "漢字", "слово", "emoji😀", "tab\tnew", "plain", "words"]
    picks = np.random.default_rng(0).integers(0, len(words), (rows, 50))
    texts = [f"{at} " + " ".join(words[word] for word in row) for at, row in enumerate(picks)]
    return pd.DataFrame({"text": texts, "number": range(rows), "kind": ["a", "b"] * (rows // 2)})


def prompts(frame: Any) -> list[str]:
    """The prompts of such a frame's rows."""
    columns = (frame[name].tolist() for name in ("text", "number", "kind"))
    return [
        f"Is it good? {text} {number} {kind}" for text, number, kind in zip(*columns, strict=True)
    ]


class Peak:
    """The most memory, in MB over the start, and the main thread's longest stall, in ms."""

    def __init__(self) -> None:
        self.memory = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        give_back()
        self._start = resident()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.memory = max(self.memory, resident() - self._start)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.memory = max(self.memory, resident() - self._start)


def give_back() -> None:
    """Return freed memory to the system: what is allocated next would else not be seen."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()


def resident() -> float:
    """Anonymous memory of this process in MB: mapped files can be dropped at any time."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def naive(folder: Path, job: str, frame: Any) -> None:
    """What one would write."""
    found = {}
    for path in sorted(folder.glob("output-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                body = record["response"]["body"]
                found[record["custom_id"]] = (
                    body["choices"][0]["message"]["content"] if "choices" in body else None
                )
    frame["out"] = [found.get(f"{job}-{position}") for position in range(len(frame))]


class Provider:
    """A provider whose result files are on this disk before the worker is let go."""

    def __init__(self, home: Path) -> None:
        from jupyter_batch.providers.table import facts_of

        self.facts = facts_of("openai", None)
        self.home = home
        self.batches: dict[str, Any] = {}
        self._numbers = itertools.count()
        self.over = False

    async def submit(  # noqa: D102 - as in providers/protocol.py
        self, requests: Path, tag: Any, *, on_upload: Any, **_: Any
    ) -> Any:
        from jupyter_batch.core.batch import BatchView

        number = f"b{next(self._numbers)}"
        await on_upload(f"file-{number}")
        total, completed = await asyncio.to_thread(self._answer, requests, number)
        self.batches[number] = view = BatchView(
            id=number,
            status="in_progress",
            input_file_id=f"file-{number}",
            total=total,
            tag=dict(tag),
            completed=completed,
            failed=total - completed,
        )
        return view

    def _answer(self, requests: Path, number: str) -> tuple[int, int]:
        """Write the result files of a request file; return the number of requests, and of answers."""
        with requests.open("rb") as file:
            ids = [json.loads(line)["custom_id"] for line in file]
        job, _, first = ids[0].rpartition("-")
        made = lines(job, int(first), int(ids[-1].rpartition("-")[2]))
        good = [line for line in made if b'"status_code":200' in line]
        bad = [line for line in made if b'"status_code":200' not in line]
        for name, held in (("good", good), ("bad", bad)):
            (self.home / f"{name}-{number}").write_bytes(b"\n".join(held) + b"\n")
        return len(ids), len(good)

    async def poll(self, batch_id: str) -> Any:  # noqa: D102
        import msgspec

        from jupyter_batch.core.status import State

        view = self.batches[batch_id]
        if not self.over:
            return view
        return msgspec.structs.replace(
            view,
            status="completed",
            ending=State.COMPLETED,
            output_file_id=f"good-{batch_id}",
            error_file_id=f"bad-{batch_id}",
        )

    async def fetch(self, file_id: str, write: Any) -> None:  # noqa: D102
        with (self.home / file_id).open("rb") as file:
            while chunk := file.read(1 << 16):
                write(chunk)
                await asyncio.sleep(0)

    async def find(self, *_: Any, **__: Any) -> list[Any]:  # noqa: D102
        return []

    async def aclose(self) -> None:
        """Nothing is open."""


class Notebook:
    """A cell that was run, and the thread of its kernel."""

    def __init__(self, home: Path, frame: Any) -> None:
        import jupyter_batch  # noqa: F401 - the accessor
        from jupyter_batch.runner import process

        os.environ["JUPYTER_BATCH_HOME"] = str(home / "ledger")
        self.provider = provider = Provider(home)

        async def connect(*_: Any, **__: Any) -> Provider:
            return provider

        process.connect = connect  # type: ignore[assignment]
        self.frame = frame
        self.held = 0.0
        self.run()
        while any(shard.step != "running" for shard in self.job._shards()):  # noqa: SLF001
            time.sleep(0.05)

    def run(self) -> None:
        """The cell."""
        self.job = self.frame.llm.batch(
            "Is it good? {text} {number} {kind}",
            model="openai/gpt-4.1-mini",
            out="out",
            api_key=KEY,
        )

    def answered(self) -> None:
        """The batches end; the kernel's thread does nothing but look at the clock, then merges."""
        self.provider.over = True
        self.job.refresh()
        last = time.perf_counter()
        while not self.job._over.is_set():  # noqa: SLF001
            time.sleep(0.005)
            now = time.perf_counter()
            self.held, last = max(self.held, now - last), now
        self.job._merge_frames()  # noqa: SLF001
        self.held = max(self.held, time.perf_counter() - last)


def measured(way: str, rows: int, home: Path) -> dict[str, float]:
    """One run in this process: CPU, wall, memory, and how long the main thread was held."""
    book = Notebook(home, source(rows))
    folder = home / "ledger" / "jobs" / book.job.id
    if way == "naive":
        book.answered()
        book.held = 0.0
        del book.frame["out"]
    with Peak() as peak:
        cpu, wall = time.process_time(), time.perf_counter()
        if way == "naive":
            naive(folder, book.job.id, book.frame)
        else:
            book.answered()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert int(book.frame["out"].notna().sum()) == rows - (rows + 49) // 50
    return {"cpu": cpu / rows * 1e6, "wall": wall, "memory": peak.memory, "held": book.held * 1e3}


def main(rows: int) -> None:
    """Measure each way in a process of its own, in turns, and print the medians."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(RUNS):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as home:
                command = [sys.executable, "-m", "benchmarks", "in", str(rows), way, home]
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=os.environ
                )
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    base = statistics.median(run["cpu"] for run in found["naive"])
    print(f"{rows:,} rows: result files -> column, medians of {RUNS} runs")
    for way, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"  {way:<6} {middle['cpu']:6.2f} us a row ({base / middle['cpu']:4.1f}x json.loads), "
            f"{middle['wall']:6.2f} s, {middle['memory']:5.0f} MB, "
            f"main thread held {middle['held']:6.0f} ms"
        )
