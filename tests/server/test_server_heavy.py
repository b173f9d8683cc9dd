"""The server at the size of real batches: speed, memory, and how long it keeps others waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from server_asking import ENDED, jsonl, line, until

ROOT = Path(__file__).parents[2]
ROWS, SHARDS = 50_000, 4


class Watch(threading.Thread):
    """Asks a cheap question over and over, and looks at the process's memory."""

    def __init__(self, url: str, headers: dict[str, str], pid: int) -> None:
        super().__init__()
        self.url, self.headers, self.process = url, headers, psutil.Process(pid)
        self.stop = threading.Event()
        self.waits: list[float] = []
        self.most = 0

    def run(self) -> None:
        with httpx.Client(headers=self.headers) as http:
            while not self.stop.wait(0.02):
                began = time.perf_counter()
                http.get(self.url).raise_for_status()
                self.waits.append(time.perf_counter() - began)
                self.most = max(self.most, self.process.memory_info().rss)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used: what else runs here is no part of them."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


@pytest.mark.heavy
def test_four_full_batches_at_once_stay_small(tmp_path):
    """4 x 50,000 rows: each is answered, with less than 60 MB more memory, and others are answered soon."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyter_batch.server",
            "--state",
            str(tmp_path / "s"),
            "--token",
            "t",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    url, headers = child.stdout.readline().split()[1], {"Authorization": "Bearer t"}
    source = tmp_path / "rows.jsonl"
    prompt = "Classify the sentiment (positive/negative/neutral): " + "text " * 50
    source.write_bytes(jsonl(*(line(f"job-{i}", f"{prompt} {i}") for i in range(ROWS))))
    with httpx.Client(headers=headers, timeout=60) as http:
        http.get(f"{url}/models")
        before = psutil.Process(child.pid).memory_info().rss
        watch = Watch(f"{url}/models", headers, child.pid)
        watch.daemon = True  # a failure must not keep the run from its end
        watch.start()
        files = []
        for _ in range(SHARDS):
            with source.open("rb") as handle:
                files.append(
                    http.post(
                        f"{url}/files",
                        files={"file": ("rows.jsonl", handle)},
                        data={"purpose": "batch"},
                    ).json()["id"]
                )
        began = cpu(child.pid)
        ids = [
            http.post(
                f"{url}/batches",
                json={
                    "input_file_id": one,
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                },
            ).json()["id"]
            for one in files
        ]
        batches = [
            until(
                lambda one=one: (
                    (now := http.get(f"{url}/batches/{one}").json())["status"] in ENDED and now
                ),
                seconds=240,
            )
            for one in ids
        ]
        took = cpu(child.pid) - began
        for batch in batches:
            seen = set()
            with http.stream("GET", f"{url}/files/{batch['output_file_id']}/content") as answer:
                for text in answer.iter_lines():
                    seen.add(text[text.index("job-") :].split('"', 1)[0])
            assert len(seen) == ROWS
    watch.stop.set()
    watch.join()
    child.terminate()
    child.wait(20)
    child.stdout.close()
    waits = sorted(watch.waits)
    print(
        f"{SHARDS * ROWS / took:,.0f} rows/s, {(watch.most - before) / 1e6:.0f} MB over {before / 1e6:.0f} MB, "
        f"waits: median {waits[len(waits) // 2] * 1e3:.0f} ms, 99 % {waits[int(len(waits) * 0.99)] * 1e3:.0f} ms, "
        f"most {waits[-1] * 1e3:.0f} ms"
    )
    assert {one["status"] for one in batches} == {"completed"}
    assert watch.most - before < 60e6
    assert waits[int(len(waits) * 0.99)] < 2.0
