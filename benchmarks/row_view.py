"""The row view of a job of a million rows: time until a page, and the memory of the server's process.

`python benchmarks/row_view.py [ROWS]`: writes a finished job to a temporary ledger, serves it in a process of its own,
as the Jupyter server does, and asks over HTTP. Needs psutil. Each wall time has the server's CPU
time next to it, which a busy machine changes little.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from jupyter_batch.lab.rows import RowsServer
from tests.viewer.finished_jobs import million

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
JOB = "jbmillion"
QUERIES: dict[str, dict[str, Any]] = {
    "a page in the middle": {"offset": ROWS // 2},
    "the last page": {"offset": ROWS - 100},
    "failed rows": {"chip": "failed"},
    "cut off": {"chip": "cut off"},
    "sorted by tokens": {"sort": "tokens", "descending": 1},
    "sorted by size": {"sort": "size"},
    "search: zebra": {"text": "zebra"},
    "search: in every row": {"text": "the zip"},
    "search in failed rows": {"text": "on day 13", "chip": "failed"},
}


def asked(address: str, **query: Any) -> tuple[float, dict[str, Any]]:
    """(seconds, the page) of one request."""
    start = time.perf_counter()
    with urllib.request.urlopen(f"{address}/page?{urllib.parse.urlencode(query)}") as answer:
        page: dict[str, Any] = json.load(answer)
    return time.perf_counter() - start, page


def complete(address: str, **query: Any) -> tuple[float, dict[str, Any]]:
    """(seconds, the page) until nothing more comes to the selection, asking again as the page does."""
    start = time.perf_counter()
    while True:
        _, page = asked(address, **query)
        if page["ready"] and page["complete"]:
            return time.perf_counter() - start, page
        time.sleep(0.4)


def memory(server: psutil.Process) -> float:
    """MB that only this process has."""
    return float(server.memory_full_info().uss) / 1e6


class Timed:
    """What an action took: milliseconds, and the server's CPU time."""

    def __init__(self, server: psutil.Process) -> None:
        self._process = server
        self._began, self._cpu = time.perf_counter(), self._used()

    def _used(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def __str__(self) -> str:
        took, cpu = time.perf_counter() - self._began, self._used() - self._cpu
        return f"{took * 1000:8.0f} ms {cpu * 1000:8.0f} ms CPU"


def measure(home: Path) -> None:
    """Serve the job, ask, and print."""
    rows = RowsServer(home)
    try:
        address = f"{rows.address()}/{JOB}"
        server = psutil.Process(rows.pid)
        with urllib.request.urlopen(f"{address}/state") as state:
            state.read()
        before = memory(server)
        timed = Timed(server)
        _, page = asked(address)
        print(f"{'first page':<25}{timed}, {len(page['rows'])} rows", flush=True)
        timed = Timed(server)
        complete(address, sort="cost")
        print(f"{'index of all rows, once':<25}{timed}", flush=True)
        timed = Timed(server)
        asked(address, text="zip")
        print(f"{'search: its first page':<25}{timed}", flush=True)
        for name, query in QUERIES.items():
            timed = Timed(server)
            _, page = complete(address, **query)
            print(f"{name:<25}{timed}, {page['found']:,} rows", flush=True)
        print(f"memory: {memory(server) - before:.0f} MB more than before the job was opened")
    finally:
        rows.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        million(Path(folder), rows=ROWS)
        print(f"{ROWS:,} rows, load {os.getloadavg()[0]:.1f}")
        measure(Path(folder))
