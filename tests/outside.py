"""Nothing that a test does goes to another host than this one."""

from __future__ import annotations

import contextlib
import sys

HERE = ("127.0.0.1", "localhost", "::1", "None")
_called: list[str] = []


def _note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _called.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _called.append(str(arguments[0]))


sys.addaudithook(_note)


@contextlib.contextmanager
def nobody_else_called():
    """From here to the end no name is looked up and no address called, but this machine's own."""
    _called.clear()
    yield
    assert {host for host in _called if host not in HERE} == set()
