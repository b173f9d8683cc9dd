"""The embedded server, and one in front of it that answers to any model's name."""

from __future__ import annotations

import pytest

from jupyter_batch.server.embedded import Embedded
from tests.engine.conftest import call, server

__all__ = ["any_model", "call", "server"]


@pytest.fixture
def any_model(server, tmp_path):
    """The options that send a job for whichever model to a server that has it."""
    with Embedded(
        tmp_path / "front", upstream="openai/echo", api_base=server.base_url, api_key=server.token
    ) as front:
        yield {"api_base": front.base_url, "api_key": front.token}
