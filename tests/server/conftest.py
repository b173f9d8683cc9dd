"""Servers in this process, each with a state folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from messages_asking import anthropic, client_of
from server_asking import Asking

from jupyter_batch.server.embedded import Embedded


@pytest.fixture
def server(tmp_path) -> Iterator[Embedded]:
    """A server with the defaults, as fast as it goes."""
    with Embedded(tmp_path / "state") as running:
        yield running


@pytest.fixture
def ask(server) -> Iterator[Asking]:
    """Its client."""
    asking = Asking(server)
    yield asking
    asking.close()


@pytest.fixture
def client(server) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK, with the server's token as its key."""
    with client_of(server) as one:
        yield one


@pytest.fixture
def started(tmp_path) -> Iterator[Callable[..., Asking]]:
    """Start a server with options of one's own."""
    opened: list[Asking] = []

    def start(**options: Any) -> Asking:
        opened.append(Asking(Embedded(tmp_path / f"state{len(opened)}", **options).start()))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
        one.server.stop()
