"""A process that is killed between any two steps of a row's way loses nothing, and pays for nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_batch.server.embedded import Embedded

from .kill_host import GROWN, POINTS, ROWS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def host():
    """The forking process; one for all cases."""
    process = subprocess.Popen([sys.executable, "-m", "tests.engine.kill_host"], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == "ready"

    def run(**order):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("point", list(POINTS))
def test_killed_there_and_gone_on(point, host, server, tmp_path):
    """Killed at the point and run again in a new process: every row is answered, each shard was created once."""
    order = {"home": str(tmp_path / "home"), "base_url": server.base_url, "token": server.token,
             "answers": str(tmp_path / "answers.json")}
    assert host(kill=point, **order) == -signal.SIGKILL, "the first process died there"
    assert not Path(order["answers"]).exists()
    assert host(**order) == 0
    told = json.loads(Path(order["answers"]).read_text())
    assert told["complete"]
    assert told["out"] == [f"row number {n}" for n in range(ROWS)]
    tags = [batch["metadata"]["jupyter_batch"] for batch in server.batches()]
    assert sorted(tags) == [f"{told['jobs']}/{n}" for n in range(3)], "each shard was created exactly once"
    assert server.stats()["batches_created"] == 3
    drafts = [path.name for path in (tmp_path / "home" / "jobs").iterdir() if path.name.startswith(".")]
    assert drafts == [], "what the dead process had drafted is gone"


@pytest.mark.parametrize("point", list(GROWN))
def test_a_grown_frame_killed_there_and_gone_on(point, host, tmp_path):
    """Killed while answers are taken from other jobs, and run again: every row is answered, each was asked once."""
    with Embedded(tmp_path / "server", pace=1.0) as server:
        order = {"home": str(tmp_path / "home"), "base_url": server.base_url, "token": server.token,
                 "answers": str(tmp_path / "answers.json"), "grown": True}
        assert host(kill=point, **order) == -signal.SIGKILL, "the first process died there"
        assert host(**order) == 0
        told = json.loads(Path(order["answers"]).read_text())
        assert told["complete"]
        assert told["out"] == [f"row number {n}" for n in range(ROWS)]
        assert sum(batch["request_counts"]["total"] for batch in server.batches()) == ROWS
    drafts = [path.name for path in (tmp_path / "home" / "jobs").iterdir() if path.name.startswith(".")]
    assert drafts == [], "what the dead process had drafted is gone"
