"""The embedded server, and jobs against it."""

from tests.engine.conftest import call, server

__all__ = ["call", "server"]
