"""An adoption, and where its process may die: a host of forking.py, run by test_adopt_kill.py.

An order is {"home", "base_url", "token", "kill", "answers"}; with `kill` the child sends itself SIGKILL at that point.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from jupyter_batch import jobs
from jupyter_batch.adoption import adopt, recover_rows
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.openai.batches import ViaOpenAI
from tests.forking import after, after_async, before, die, serve


def half():
    """Die when the first file was put into the job's folder."""
    real = Path.replace

    def replace(self, target):
        made = real(self, target)
        if ".draft-" in str(self.parent) and ".draft-" not in str(target):
            die()
        return made

    Path.replace = replace


POINTS = {
    "listed": lambda: after_async(ViaOpenAI, "tagged"),
    "the first request file is here": lambda: after_async(adopt, "learn"),
    "in the middle of a request file": lambda: after(recover_rows, "sent_hash"),
    "before the ledger has it": lambda: before(Ledger, "take_up"),
    "the files are in the job's folder, and the ledger knows nothing": lambda: after(
        Folders, "adopt"
    ),
    "half of the files are": half,
    "the ledger has it": lambda: after(Ledger, "take_up"),
}


def way(order):
    """Adopt all, wait, and tell what there is."""
    os.environ["OPENAI_API_KEY"] = order["token"]
    if order.get("kill"):
        POINTS[order["kill"]]()
    jobs.adopt(model="openai/echo", api_base=order["base_url"])
    results = [(job.id, job.wait(60).results()["said"].tolist()) for job in jobs.list_jobs()]
    Path(order["answers"]).write_text(json.dumps(results))


if __name__ == "__main__":
    serve(way)
