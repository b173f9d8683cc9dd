"""Jobs that ran on the embedded server, of which each test damages a copy."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.engine.conftest import call, server

__all__ = ["call", "server"]


def frame(rows: int = 6) -> pd.DataFrame:
    """Rows of which one has a missing value, and one asks what another asks."""
    texts: list[str | None] = [f"row {number}" for number in range(rows)]
    texts[2], texts[4] = None, texts[3]
    return pd.DataFrame({"text": texts}, index=[f"k{number}" for number in range(rows)])


def sent(folder) -> int:
    """The number of requests that reached the server that keeps its files there."""
    return sum(
        path.read_bytes().count(b"\n")
        for path in folder.rglob("*")
        if path.is_file() and b'"method":"POST"' in path.read_bytes()[:300]
    )


@pytest.fixture
def requests_sent(tmp_path):
    """The number of requests that reached the server so far."""
    return lambda: sent(tmp_path / "server")
