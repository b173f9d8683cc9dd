"""Bespoke Labs' curator as a client of the embedded server: it uploads bytes without a file name."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from jupyter_batch.server.embedded import Embedded
from tests.third_party.conftest import command

ROWS = [f"text {number}" for number in range(20)]
CLIENT = """
import json, sys

from bespokelabs import curator

base_url, api_key, found = sys.argv[1:]
params = {"base_url": base_url, "api_key": api_key, "batch_check_interval": 1, "max_retries": 1}
llm = curator.LLM(model_name="echo", backend="openai", batch=True, backend_params=params)
answers = llm(json.load(sys.stdin))
rows = getattr(answers, "dataset", answers).to_pandas()["response"].tolist()
with open(found, "w") as file:
    json.dump(rows, file)
"""


@pytest.fixture
def python():
    """The interpreter that has curator; the test is skipped where there is none."""
    program = command("python")
    looked = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('bespokelabs'))"
    if subprocess.run([program, "-c", looked], check=False).returncode:
        pytest.skip("bespokelabs-curator is not installed there")
    return program


def test_the_whole_cycle(python, tmp_path):
    """Curator uploads, creates, polls and downloads a batch; each answer is on its own row."""
    found = tmp_path / "found.json"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {
        "HOME": str(tmp_path),
        "CURATOR_CACHE_DIR": str(tmp_path / "cache"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TELEMETRY_ENABLED": "false",
    }
    with Embedded(tmp_path / "state") as server:
        ran = subprocess.run(
            [python, "-c", CLIENT, server.base_url, server.token, str(found)],
            input=json.dumps(ROWS),
            env=environ,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        routes = server.stats()["routes"]
    assert json.loads(found.read_text()) == ROWS
    assert routes["POST /v1/batches"]["took_effect"] == 1
    assert routes["GET /v1/files/{file_id}/content"]["took_effect"] == 1
