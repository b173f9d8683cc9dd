"""Files and folders that several processes make first at one moment: none is locked out, and nothing is there twice."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from jupyter_batch.ledger.database import FILE
from jupyter_batch.ledger.migrations import MIGRATIONS
from jupyter_batch.ledger.recovery import manifest
from jupyter_batch.ledger.store import Ledger
from tests.test_ledger import planned

PROCESSES = 3
ROUNDS = 8
OPEN = """
import pathlib, sys
from jupyter_batch.ledger.store import Ledger
sys.stdin.readline()
for number in range({rounds}):
    ledger = Ledger(pathlib.Path(sys.argv[1]) / "deep" / "er" / str(number))
    ledger.say("no-job", "")
    print(len(ledger.jobs()))
    ledger.close()
"""
PLAN = """
import pathlib, sys
from jupyter_batch.ledger.store import Ledger
sys.stdin.readline()
for number in range({rounds}):
    ledger = Ledger(pathlib.Path(sys.argv[1]) / "deep" / "er" / str(number))
    with ledger.folders.drafted("jb" + sys.argv[2]) as draft:
        draft.write(draft.manifest, b"x")
        ledger.folders.keep(draft, "jb" + sys.argv[2])
    ledger.folders.sweep()
    ledger.close()
"""


def _together(script, tmp_path):
    """Run it in several processes, which all begin at one moment."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script.format(rounds=ROUNDS), str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    ended = [(*child.communicate(timeout=120), child.returncode) for child in children]
    assert [code for _, _, code in ended] == [0] * PROCESSES, ended
    return [out.split() for out, _, _ in ended]


def test_folders_that_are_made_together(tmp_path):
    """Processes that plan their first jobs in a home that is not there yet each have theirs."""
    _together(PLAN, tmp_path)
    for number in range(ROUNDS):
        made = tmp_path / "deep" / "er" / str(number) / "jobs"
        assert sorted(path.name for path in made.iterdir()) == ["jb0", "jb1", "jb2"]


@pytest.mark.parametrize("version", [0, 1, len(MIGRATIONS) - 1])
def test_a_ledger_that_is_brought_up_to_date_together(tmp_path, version):
    """Processes that open a ledger of an older version at one moment bring it up to date once."""
    for number in range(ROUNDS):
        home = tmp_path / "deep" / "er" / str(number)
        home.mkdir(parents=True)
        with sqlite3.connect(home / FILE) as db:
            for script in MIGRATIONS[:version]:
                db.executescript(script)
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
    assert _together(OPEN, tmp_path) == [["0"] * ROUNDS] * PROCESSES


def test_jobs_that_are_recovered_together(tmp_path):
    """Processes that find the database gone at one moment recover each job once."""
    for number in range(ROUNDS):
        home = tmp_path / "deep" / "er" / str(number)
        ledger = Ledger(home)
        planned(ledger)
        folder = ledger.folders.of("jbaaa")
        folder.path.mkdir(parents=True)
        folder.write(folder.manifest, manifest(ledger.job("jbaaa"), ledger.shards("jbaaa")))
        ledger.close()
        for path in home.glob(f"{FILE}*"):
            path.unlink()
    assert _together(OPEN, tmp_path) == [["1"] * ROUNDS] * PROCESSES
