"""The end of a process that ran a job: nothing is printed, nothing raised."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import jupyter_batch.runner.worker as worker_module
from jupyter_batch.runner.process import Session
from tests.ledgers import forget

SCRIPT = """
import pandas as pd, jupyter_batch
df = pd.DataFrame({"text": ["a", "b", "c"]})
print(df.llm.batch("{text}", out="o", model="local/echo").wait(60).state)
"""


def test_a_script_ends_quietly(tmp_path):
    """A plain script that ran a job prints nothing at its exit (Python 3.12 did, 15 lines)."""
    home = tmp_path / "home"
    try:
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        forget(home)
    assert (run.returncode, run.stdout.splitlines()[-1:], run.stderr) == (0, ["completed"], "")


def test_a_loop_that_can_start_no_thread_any_more_is_left_quietly(home, monkeypatch):
    """Python 3.12.1's error for an executor closed at the interpreter's end is no traceback."""
    raised = []

    class Runner(asyncio.Runner):
        def close(self):
            super().close()
            raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(worker_module.asyncio, "Runner", Runner)
    monkeypatch.setattr(threading, "excepthook", raised.append)
    session = Session(home)
    session.worker.start()
    session.close()
    assert not raised
