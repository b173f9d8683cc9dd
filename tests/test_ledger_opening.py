"""The ledger opened for the first time by several processes at one moment."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import sys, pathlib
from jupyter_batch.ledger.store import Ledger
sys.stdin.readline()
for number in range(15):
    Ledger(pathlib.Path(sys.argv[1]) / str(number)).say("no-job", "")
"""


def test_processes_that_open_a_new_ledger_at_one_moment(tmp_path):
    """Four processes open fifteen new ledgers together, and none is locked out."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    ended = [(child.communicate(timeout=120)[1], child.returncode) for child in children]
    assert [code for _, code in ended] == [0] * 4, ended
