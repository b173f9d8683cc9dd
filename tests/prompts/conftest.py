"""The same ledger, server and call as the engine's tests have, in a working directory of the test's own."""

from __future__ import annotations

import pytest

from tests.engine.conftest import call, server  # noqa: F401  fixtures


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, and the home directory too."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    return place
