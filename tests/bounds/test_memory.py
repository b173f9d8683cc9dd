"""An answer without a bound costs its row, not the process: memory stays below 400 MB."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.bounds.hostile import hostile
from tests.prepared import python

pytestmark = pytest.mark.heavy
MOST_MB = 400


def run(tmp_path, model: str, base: str, mode: str) -> dict:
    """The report of a client process."""
    environ = {**os.environ, "JUPYTER_BATCH_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [*python(), "-m", "tests.bounds.child", model, base, mode],
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[0].removeprefix("REPORT "))


@pytest.mark.parametrize("kind", ["gzip bomb in a line", "nested line"])
def test_a_line_of_a_result_file(tmp_path, kind):
    """450 MiB in one line of a compressed result file, or 100,000 levels of nesting: that row has a reason."""
    with hostile(kind) as (_, base):
        report = run(tmp_path, "openai/m", base, "batch")
    assert report["status"] == ["failed", "succeeded"], report
    assert report["error"][0] not in ("", "None")
    assert report["peak"] < MOST_MB


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
@pytest.mark.parametrize("kind", ["gzip", "endless", "endless error", "nested"])
def test_an_answer_in_real_time(tmp_path, kind, model):
    """An answer that never ends, unpacks to 450 MiB or nests a million levels: that row has a reason, once asked."""
    with hostile(kind) as (host, base):
        report = run(tmp_path, model, base, "realtime")
        asked = next(host.asked)
    assert report["status"] == ["failed", "succeeded"], report
    assert report["peak"] < MOST_MB
    assert asked <= 3, "a large answer is billed, and is not asked for again and again"
