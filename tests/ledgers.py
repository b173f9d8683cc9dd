"""Ledgers between two processes: open, forgotten, lost; and the texts that must be nowhere in one."""

from __future__ import annotations

import shutil
import sys


def forget(home):
    """A kernel restart: only the disk's part of the ledger is known, and nothing moves it."""
    sessions = sys.modules.get("jupyter_batch.runner.process")
    held = None if sessions is None else sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
    jobs = sys.modules.get("jupyter_batch.job")
    if jobs is not None:
        jobs._OPEN.clear()


def homes():
    """The ledgers that are open in this process."""
    sessions = sys.modules.get("jupyter_batch.runner.process")
    return set() if sessions is None else set(sessions._sessions)


def lose(home):
    """The ledger is forgotten, and deleted with all of its folder."""
    forget(home)
    shutil.rmtree(home)


def assert_nowhere(secret, root):
    """No file holds it."""
    for path in root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
