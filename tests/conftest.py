"""Each test has a ledger of its own: none writes to that of the person who runs them. None leaves this machine."""

from __future__ import annotations

import pytest

from tests.ledgers import forget
from tests.outside import no_certificates

no_certificates()


@pytest.fixture(autouse=True)
def _no_ledger_of_anyone(tmp_path, monkeypatch):
    """Where a test names no ledger, it has an empty one; its worker is stopped at the end."""
    home = tmp_path / "ledger-of-this-test"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    yield
    forget(home)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty ledger folder that this process's jobs go to; its worker is stopped at the end."""
    home = tmp_path / "home"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    for name in ("JUPYTER_BATCH_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    yield home
    forget(home)
