"""Message Batches of a server that is killed: no batch lost, no row missing, doubled or counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from messages_asking import anthropic
from server_asking import until

from jupyter_batch.server.storage.objects import Batch, Record
from jupyter_batch.server.storage.output import (
    CANCELLED,
    EXPIRED,
    answered_line,
    take_up,
    unanswered_line,
)

ROOT = Path(__file__).parents[2]
TOKEN = "secret"


class Killed:
    """A server in a process of its own, and the SDK's client of it."""

    def __init__(self, state: Path, *options: str) -> None:
        arguments = ["-m", "jupyter_batch.server", "--state", str(state), "--token", TOKEN]
        self.child = subprocess.Popen(
            [sys.executable, *arguments, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        base = self.child.stdout.readline().split()[1].removesuffix("/v1")
        self.sdk = anthropic.Anthropic(base_url=base, api_key=TOKEN, max_retries=0)
        self.batches = self.sdk.messages.batches

    def kill(self) -> None:
        self.sdk.close()
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(60)
        self.child.stdout.close()

    def ended(self, batch_id: str):
        def look():
            found = self.batches.retrieve(batch_id)
            return found.processing_status == "ended" and found

        return until(look)


def requests(count: int) -> list[dict]:
    """So many requests."""
    return [
        {
            "custom_id": f"r-{i}",
            "params": {
                "model": "echo",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": f"text {i}"}],
            },
        }
        for i in range(count)
    ]


def lines(folder: Path) -> int:
    """Result lines on disk."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("msg[oe]*"))


@pytest.mark.parametrize("cancel", [False, True])
def test_a_killed_server_goes_on_where_it_was(tmp_path, cancel):
    """After SIGKILL in the middle each row has one result, and the counts say what the results say."""
    state, count = tmp_path / "state", 1000
    server = Killed(state, "--pace", "4")
    batch_id = server.batches.create(requests=requests(count)).id
    for wanted in (100, 400):
        until(lambda: lines(state / "files") >= wanted)  # noqa: B023 - called at once
        server.kill()
        server = Killed(state, "--pace", "4")
        assert server.batches.retrieve(batch_id).request_counts.processing == count
    if cancel:
        server.batches.cancel(batch_id)
        server.kill()
        server = Killed(state)
    done = server.ended(batch_id)
    found = [(line.custom_id, line.result.type) for line in server.batches.results(batch_id)]
    assert sorted(name for name, _ in found) == sorted(f"r-{i}" for i in range(count))
    kinds = [kind for _, kind in found]
    assert done.request_counts.succeeded == kinds.count("succeeded")
    assert done.request_counts.canceled == kinds.count("canceled")
    assert (done.request_counts.canceled > 0) is cancel
    assert done.request_counts.errored == 0
    server.kill()


def test_rows_that_were_left_over_are_counted_again(tmp_path):
    """Lines of a canceled or expired row that an earlier process wrote count as `left`, failures and answers do not."""
    batch = Batch(id="msgbatch_1", endpoint="/v1/messages", input_file_id="i", created_at=0)
    record = Record(batch=batch, output_id="o", error_id="e")
    output, error = tmp_path / "o", tmp_path / "e"
    output.write_bytes(answered_line("k", "a", 200, {"usage": {"input_tokens": 3}}))
    error.write_bytes(
        answered_line("k", "b", 400, {"error": {}})
        + unanswered_line("k", "c", "request_timeout", "late")
        + unanswered_line("k", "d", *CANCELLED)
        + unanswered_line("k", "e", *EXPIRED)
    )
    assert len(list(take_up(output, error, record))) == 5
    assert record.left == 2
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 4)
    assert batch.usage.input_tokens == 3
