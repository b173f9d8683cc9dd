"""Each test has a ledger of its own: none writes to that of the person who runs them."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _no_ledger_of_anyone(tmp_path, monkeypatch):
    """Where a test names no ledger, it has an empty one; its worker is stopped at the end."""
    home = tmp_path / "ledger-of-this-test"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    yield
    sessions = sys.modules.get("jupyter_batch.engine.session")
    held = None if sessions is None else sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
