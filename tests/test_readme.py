"""The README's cells, run one after another in a fresh shell as a person would, with the model that needs no key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from jupyter_batch.providers.record import RECORDS
from jupyter_batch.server import launch

ROOT = Path(__file__).parent.parent
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODELS = {
    "openai/gpt-4.1-mini": "local/echo",
    "anthropic/claude-haiku-4-5": "local/local/echo",
    "openai/text-embedding-3-small": "local/echo",
}
NAMES = """
import pandas as pd
from PIL import Image

import jupyter_batch

warehouse = {"lamp": 3, "chair": 0}
df = pd.DataFrame({"feedback": ["good", "bad", "so so"], "note": ["a", "b", "c"], "order": ["lamp", "chair", "lamp"]})
df["photo"] = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
df["messages"] = [[{"role": "user", "content": text}] for text in df["feedback"]]
labelled = pd.DataFrame({"feedback": ["fine", "awful"] * 5, "tone": ["warm", "cold"] * 5})
"""
"""The names that the README's cells use."""
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from jupyter_batch.core.errors import InputError
shell = InteractiveShell.instance()
for cell in json.load(sys.stdin):
    ran = shell.run_cell(cell)
    error = ran.error_before_exec or ran.error_in_exec
    if isinstance(error, InputError) and "no row is left" in str(error):  # job.retry() of a job that missed nothing
        error = None
    if error is not None:
        sys.exit(f"{cell}: {type(error).__name__}: {error}")
    job = shell.user_ns.get("job")
    if job is not None and not job.wait(60).is_successful:
        sys.exit(f"{cell}: {job.errors}")
print(*shell.user_ns["df"].columns)
"""


def cells():
    """Each cell magic as it is; of the other blocks each statement is a cell, as where it is tried line by line."""
    found = [NAMES]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for model, ours in MODELS.items():
        readme = readme.replace(model, ours)
    for language, text in FENCED.findall(readme):
        if language == "bash":
            continue
        found += [text] if text.startswith("%%") else re.split(r"\n+(?=[^\s)\]}])", text.strip())
    return found


def test_the_readme_runs(tmp_path):
    """Every cell of the README runs after those above it, its jobs are answered whole, and their columns are there."""
    home = tmp_path / "home"
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "ANTHROPIC_"))
    }
    env |= {
        "JUPYTER_BATCH_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
        "IPYTHONDIR": str(tmp_path),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            input=json.dumps(cells()),
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
        )
    finally:
        launch.stop(home)
    assert done.returncode == 0, done.stderr[-2000:]
    columns = set(done.stdout.splitlines()[-1].split())
    assert {"sentiment", "response", "label", "score", "summary", "topics", "urgent"} <= columns
    assert {"fault", "tone", "reply", "shipping", "vector", "german"} <= columns


def test_the_readme_has_what_was_tested_of_each_provider():
    """The table of tests in the README is that of the providers' records."""
    names: dict[tuple[str, ...], list[str]] = {}
    for record in RECORDS.values():
        if record.proven:
            names.setdefault(tuple(record.proven), []).append(f"`{record.name}`")
    rows = {f"| {', '.join(names[proof])} | {' | '.join(proof)} |" for proof in names}
    assert rows <= set((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
