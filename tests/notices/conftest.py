"""A job that runs against the embedded server."""

from __future__ import annotations

import pandas as pd
import pytest

from jupyter_batch.server.embedded import Embedded


@pytest.fixture
def server(tmp_path):
    """The embedded server, without any pause."""
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def submit(server, home):
    """`submit(rows, **options)`: a job for a frame of so many rows."""

    def submitted(rows=3, **options):
        df = pd.DataFrame({"text": [f"row {n}" for n in range(rows)]})
        given = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        return df.llm.batch("{text}", out="out", **{**given, **options})

    return submitted
