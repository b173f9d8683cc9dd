"""A process that is killed in the middle loses at most what was in flight."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from realtime_endpoint import HANG, Endpoint
from realtime_harness import SECONDS, provider, requests, run

from tests.prepared import python

HERE = Path(__file__).parent
CONCURRENCY = 5
ROWS = 60


def killed(folder: Path, endpoint: Endpoint, answers: int) -> None:
    """Work in a process of its own, and kill it when so many rows are answered and the next ones are in flight."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    process = subprocess.Popen(
        [
            *python(),
            str(HERE / "realtime_process.py"),
            str(folder),
            endpoint.base,
            str(CONCURRENCY),
        ],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )
    end, never = time.monotonic() + SECONDS, threading.Event()
    while not (endpoint.answered == answers and endpoint.hanging == CONCURRENCY):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        never.wait(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert process.stderr.read() == b""
    process.stderr.close()
    while endpoint.busy:  # the endpoint sees the cut connections
        assert time.monotonic() < end
        never.wait(0.005)


def test_a_kill_loses_what_was_in_flight_and_no_more(tmp_path):
    """Killed twice, gone on with by a third: each row has one answer, and what was answered was asked once."""
    allowed = [20, 45]

    def decide(text: str, before: int) -> str | None:
        return HANG if allowed and endpoint.answered >= allowed[0] else None

    with Endpoint(decide, cancels=True) as endpoint:
        path = requests(tmp_path, [f"row {number}" for number in range(ROWS)])
        while allowed:
            killed(tmp_path, endpoint, allowed[0])
            lines = (tmp_path / "realtime-jb-0.output.jsonl").read_bytes().splitlines()
            assert len(lines) == allowed.pop(0)
        view, found = run(provider(tmp_path, endpoint.base, concurrency=CONCURRENCY), path)
    assert (view.total, view.completed, view.failed) == (ROWS, ROWS, 0)
    assert {i: r.value for i, r in found.items()} == {f"jb-{n}": f"ROW {n}" for n in range(ROWS)}
    assert sum(endpoint.asked.values()) == ROWS + 2 * CONCURRENCY
