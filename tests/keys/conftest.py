"""Tests of keys wait for events: each pass of a worker is one."""

from __future__ import annotations

import pytest

from tests.keys.waiting import counted


@pytest.fixture(autouse=True)
def _passes_are_events():
    """See waiting.py."""
    with counted():
        yield
