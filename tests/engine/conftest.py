"""A ledger of its own for each test, the embedded server in this process, and jobs that run against it."""

from __future__ import annotations

import pandas as pd
import pytest

from jupyter_batch.providers import table
from jupyter_batch.server.embedded import Embedded


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The embedded server, without any pause, with the facts that `local/` has of it.

    Addressed as a stranger's server, it would be given a minute after each lost create, and then the user be asked.
    """
    monkeypatch.setattr(table, "_NEAR", table._OURS)
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def call(server):
    """The options that send a job to `server`."""
    return {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}


def numbered(rows: int) -> pd.DataFrame:
    """A frame whose rows say who they are."""
    return pd.DataFrame(
        {"text": [f"row number {n}" for n in range(rows)]}, index=[f"k{n}" for n in range(rows)]
    )
