"""A process that forks a fresh child for each line on its stdin, to adopt there: run by test_adopt_kill.py.

A line is JSON: {"home", "base_url", "token", "kill", "answers"}. With `kill` the child sends itself SIGKILL at that
point. The host answers with the child's exit code.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from jupyter_batch import jobs
from jupyter_batch.engine import adopt, lost
from jupyter_batch.ledger.folder import Folders
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.via_litellm import ViaLitellm, load_litellm
from tests.engine.kill_host import after, after_async, before


def half():
    """Die when the first file was put into the job's folder."""
    real = Path.replace

    def replace(self, target):
        made = real(self, target)
        if ".draft-" in str(self.parent) and ".draft-" not in str(target):
            os.kill(os.getpid(), 9)
        return made

    Path.replace = replace


POINTS = {
    "listed": lambda: after_async(ViaLitellm, "tagged"),
    "the first request file is here": lambda: after_async(adopt, "learn"),
    "in the middle of a request file": lambda: after(lost, "print_of"),
    "before the ledger is told": lambda: before(Ledger, "take_up"),
    "the files are in the job's folder, and the ledger knows nothing": lambda: after(Folders, "adopt"),
    "half of the files are": half,
    "the ledger was told": lambda: after(Ledger, "take_up"),
}


def way(order):
    """Adopt all, wait, and tell what there is."""
    os.environ |= {"JUPYTER_BATCH_HOME": order["home"], "OPENAI_API_KEY": order["token"]}
    if order.get("kill"):
        POINTS[order["kill"]]()
    jobs.adopt(model="openai/echo", api_base=order["base_url"])
    told = [(job.id, job.wait(60).results()["said"].tolist()) for job in jobs.list_jobs()]
    Path(order["answers"]).write_text(json.dumps(told))


def main():
    """Fork for each line."""
    load_litellm()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    way(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
