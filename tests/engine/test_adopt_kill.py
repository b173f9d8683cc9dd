"""An adoption that is killed between any two of its steps, and done again, takes up each job once and whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .adopt_host import POINTS
from .conftest import numbered
from .test_adopt import lose

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def host():
    """The forking process; one for all cases."""
    process = subprocess.Popen([sys.executable, "-m", "tests.engine.adopt_host"], cwd=ROOT, text=True,
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
def test_killed_there_and_adopted_again(point, host, server, call, home, tmp_path):
    """Killed at the point and run again in a new process: one job, whole, with the answers of both batches."""
    job = numbered(30).llm.batch("{text}", out="said", shard_size=20, **call).wait(60).id
    lose(home)
    order = {"home": str(tmp_path / "new"), "base_url": server.base_url, "token": server.token,
             "answers": str(tmp_path / "answers.json")}
    assert host(kill=point, **order) == -signal.SIGKILL, "the first process died there"
    assert not Path(order["answers"]).exists()
    assert host(**order) == 0
    assert json.loads(Path(order["answers"]).read_text()) == [[job, [f"row number {n}" for n in range(30)]]]
    assert [path.name for path in (tmp_path / "new" / "jobs").iterdir()] == [job], "no draft is left"
    assert server.stats()["batches_created"] == 2
