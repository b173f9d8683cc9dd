"""The embedded server, a ledger of its own for each test, and prices that are easy to reckon with."""

from __future__ import annotations

import pytest

from tests.engine.conftest import call, numbered, server

__all__ = ["call", "numbered", "priced", "server"]

PRICES = {"openai/echo": {"input": 2.0, "output": 8.0, "realtime": {"input": 4.0, "output": 16.0}}}
"""US dollars per million tokens, in a batch and in real time."""


@pytest.fixture
def priced(call):
    """The options that send a job to the embedded server, at a price."""
    return {**call, "prices": PRICES}
