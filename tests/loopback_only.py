"""Nothing that a test does goes to another host than this one; so nothing is encrypted, either."""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys

HERE = ("127.0.0.1", "localhost", "::1", "None")
_called: list[str] = []


def no_certificates():
    """From here on this process reads no authorities' certificates: every TLS connection is refused.

    litellm makes a client for each call, and each client reads them: two fifths of the CPU of a job's test.
    """
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None


@contextlib.contextmanager
def nobody_else_called():
    """From here to the end no name is looked up and no address called, but this machine's own."""
    _watch()
    _called.clear()
    yield
    assert {host for host in _called if host not in HERE} == set()


@functools.cache
def _watch():
    sys.addaudithook(_note)  # for good: a hook can't be taken back


def _note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _called.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _called.append(str(arguments[0]))
