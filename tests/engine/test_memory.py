"""Memory does not grow with the rows: 200,000 of them through the embedded server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 200_000
MOST = 150 * 1024 * 1024

SCRIPT = """
import json, os, sys, threading, time
import pandas as pd, psutil
import jupyter_batch
from jupyter_batch.http.litellm import load_litellm

rows = int(sys.argv[1])
load_litellm()  # a cost of the process, whatever the rows
me = psutil.Process()
warm = pd.DataFrame({"text": ["warm"]})
options = dict(out="out", model="openai/echo", api_base=sys.argv[2], api_key=sys.argv[3])
warm.llm.batch("{text}", **options).wait(60)
df = pd.DataFrame({"text": [f"row number {n} with some words of a customer who wrote about it" for n in range(rows)]})
start, peak, over = me.memory_info().rss, [0], threading.Event()

def watch():
    while not over.wait(0.02):
        peak[0] = max(peak[0], me.memory_info().rss)

watcher = threading.Thread(target=watch)
watcher.start()
began = time.monotonic()
job = df.llm.batch("{text}", **options)
planned = time.monotonic() - began
job.wait(400)
over.set()
watcher.join()
print(json.dumps({"grown": peak[0] - start, "planned": planned, "took": time.monotonic() - began,
                  "complete": job.is_complete, "shards": len(job.batches),
                  "right": bool((df["out"] == df["text"]).all()),
                  "column": int(df["out"].memory_usage(index=False, deep=True))}), file=sys.stderr)
"""


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_200_000_rows_in_150_mb(server, tmp_path):
    """200,000 rows in 4 shards: each answer on its row, and less than 150 MB over the frame with its new column."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROWS), server.base_url, server.token],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "JUPYTER_BATCH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stderr.splitlines()[-1])
    print(data)
    assert data["complete"]
    assert data["right"]
    assert data["shards"] == 4
    assert data["grown"] - data["column"] < MOST, data
