"""A server that answers for a model of any name, and jobs that run against it."""

from __future__ import annotations

import pytest

from jupyter_batch.providers import table
from jupyter_batch.server.echo import model as echo
from jupyter_batch.server.embedded import Embedded


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The embedded server, whose built-in model answers to every name."""
    monkeypatch.setattr(table, "_NEAR", table._OURS)
    monkeypatch.setattr(echo, "is_echo", lambda _: True)
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def mapped(server):
    """The options of a job at `server` whose parameters litellm maps."""
    return {"model": "openai/gpt-5-mini", "api_base": server.base_url, "api_key": server.token}
