"""`jupyter batch demo`: a job on real reviews from start to end, its worker killed in the middle."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from importlib import resources, util
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import InputError, JupyterBatchError, OptionError
from jupyter_batch.core.status import Snapshot
from jupyter_batch.http.network import opener

if TYPE_CHECKING:
    import pandas as pd

PROMPT = "Classify the sentiment (positive/negative/neutral): {feedback}"
MODEL = "local/echo"
SHARDS = 12
PATIENCE = 120.0
"""Seconds that a step of the demo may take."""
SHOWN = 10
WIDTH = 76
"""Characters of a review in the printed table."""
NOTEBOOK = "quickstart.ipynb"


def reviews() -> pd.DataFrame:
    """295 sentences of customers' reviews: snippet (its id), human_rating (-4 to 4, a mean), feedback (the text).

    Source and licence: jupyter_batch/data/SOURCE.md.
    """
    import pandas as pd

    with resources.as_file(_data() / "reviews.csv") as path:
        return pd.read_csv(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument("--rows", type=int, metavar="N", help="only the first N reviews")
    parser.add_argument(
        "--lab", action="store_true", help="open the quickstart notebook in JupyterLab instead"
    )


def run(asked: argparse.Namespace) -> int:
    """Run the demo; 0 if every row has its answer and nothing was sent twice."""
    if asked.lab:
        return _open_lab()
    if asked.rows is not None and asked.rows < 1:
        raise OptionError(f"--rows takes a whole number above 0, not {asked.rows}")
    frame = reviews().head(asked.rows)
    with tempfile.TemporaryDirectory(prefix="jupyter_batch_demo_") as folder:
        os.environ["JUPYTER_BATCH_HOME"] = folder
        from jupyter_batch.server import launch

        try:
            return _show(frame, Path(folder))
        finally:
            launch.stop(Path(folder))


# -- the way -----------------------------------------------------------------------------------------------------------


def submit(rows: int) -> None:
    """Submit the first rows and wait, as a notebook would; run in the demo's worker process."""
    _batch(reviews().head(rows)).wait()


def _batch(frame: pd.DataFrame) -> Any:
    from jupyter_batch import jobs

    return jobs.submit(
        frame,
        PROMPT,
        door="demo",
        frame_name="frame",
        out="sentiment",
        model=MODEL,
        shard_size=-(-len(frame) // SHARDS),
    )


def _show(frame: pd.DataFrame, home: Path) -> int:
    from jupyter_batch.server import launch

    endpoint = launch.ensure(home)
    print(
        f"{len(frame)} sentences of customers' reviews (vaderSentiment, MIT licence), one request for each:\n"
        f"    {PROMPT}\n"
        f"The batch server is this package's own, at {endpoint.base_url}; its model {MODEL} follows simple rules\n"
        "and is no language model. The ledger is a temporary folder. Nothing leaves this machine.\n"
    )
    worker = _start(len(frame))
    at = _follow(worker, _is_in_the_middle)
    worker.kill()
    worker.wait()
    print(
        f"\nKilled the worker, process {worker.pid}, with SIGKILL: {_sent(at)} of {len(at.shards)} batches were "
        f"sent, {at.counts.done} of {at.counts.total} answers were here. A new process runs the same call:\n"
    )
    worker = _start(len(frame))
    _follow(worker, lambda seen: seen.is_complete)
    worker.wait(PATIENCE)
    print("\nAll is answered. A third process runs the same call, and has its column at once:\n")
    job = _batch(frame)
    job.wait(PATIENCE)
    return _judge(frame, job, endpoint)


def _is_in_the_middle(snapshot: Snapshot) -> bool:
    """Whether half of the batches were sent and not all answers are here."""
    return not snapshot.is_complete and _sent(snapshot) >= (len(snapshot.shards) + 1) // 2


def _sent(snapshot: Snapshot) -> int:
    return sum(shard.batch_id is not None for shard in snapshot.shards)


def _start(rows: int) -> subprocess.Popen[str]:
    """Start a process that runs the job, in place of a notebook's kernel."""
    code = f"from jupyter_batch import demo; demo.submit({rows})"
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _follow(worker: subprocess.Popen[str], reached: Callable[[Snapshot], bool]) -> Snapshot:
    """Draw the job from the ledger until a state is reached; this process moves nothing."""
    from jupyter_batch import jobs
    from jupyter_batch.monitor.text import Progress

    until = time.monotonic() + PATIENCE
    with Progress(sys.stdout) as screen:
        while time.monotonic() < until:
            for seen in jobs.list_jobs().snapshots():
                screen.update(seen)
                if reached(seen):
                    return seen
            if worker.poll() not in (None, 0):
                output = worker.stderr.read().strip() if worker.stderr is not None else ""
                raise JupyterBatchError(
                    f"the worker process ended with {worker.returncode}: {output[-500:]}"
                )
            time.sleep(0.02)
    raise JupyterBatchError(f"the demo's job did not get on within {PATIENCE:g} seconds")


def _judge(frame: pd.DataFrame, job: Any, endpoint: Any) -> int:
    """Print the filled column and the server's counts; 0 if they are right."""
    shown = frame[["feedback", "sentiment", "human_rating"]].head(SHOWN).copy()
    shown["feedback"] = [
        text if len(text) <= WIDTH else text[: WIDTH - 1] + "…" for text in shown["feedback"]
    ]
    print(f"\n{shown.to_string(index=False)}\n")
    means = frame.groupby("sentiment")["human_rating"].agg(["count", "mean"]).round(2).reset_index()
    print(
        f"{MODEL}'s label and the mean of people's ratings (-4 to 4):\n\n{means.to_string(index=False)}\n"
    )
    seen = job.snapshot()
    batches = _ask(endpoint, "/batches?limit=100")["data"]
    requests = sum(batch["request_counts"]["total"] for batch in batches)
    filled = int(frame["sentiment"].notna().sum())
    print(
        f"Rows: {len(frame)}, filled: {filled}, failed: {seen.counts.failed}.\n"
        f"The server counted {len(batches)} batches with {requests} requests in all.",
        end=" ",
    )
    if len(batches) == len(seen.shards) and requests == filled == len(frame):
        print("Each was sent once, and the kill lost nothing.")
        return 0
    print(
        f"That is not right: there were {len(seen.shards)} batches with {len(frame)} requests to send."
    )
    return 1


def _ask(endpoint: Any, path: str) -> Any:
    request = urllib.request.Request(  # noqa: S310
        endpoint.base_url + path,
        headers={"Authorization": f"Bearer {endpoint.token}"},
    )
    with opener(endpoint.base_url).open(request, timeout=10) as answer:
        return json.load(answer)


# -- the notebook ------------------------------------------------------------------------------------------------------


def _data() -> Traversable:
    return resources.files("jupyter_batch") / "data"


def quickstart() -> Traversable:
    """The quickstart notebook: in the wheel's data, or in the checkout's folder."""
    packed = _data() / NOTEBOOK
    return packed if packed.is_file() else Path(__file__).parent.parent / "notebooks" / NOTEBOOK


def _open_lab() -> int:
    if util.find_spec("jupyterlab") is None:
        raise InputError("JupyterLab is not in this environment: pip install 'jupyter_batch[lab]'")
    path = Path.cwd() / f"jupyter_batch_{NOTEBOOK}"
    if not path.exists():  # the user's changes are kept
        with resources.as_file(quickstart()) as source:
            shutil.copyfile(source, path)
    print(f"Opening {path}")
    as_root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []  # in a container
    return subprocess.call([sys.executable, "-m", "jupyterlab", *as_root, str(path)])  # noqa: S603  our own command
