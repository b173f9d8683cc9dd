"""The same ledger, server and call as the engine's tests have."""

from tests.engine.conftest import call, server  # noqa: F401  fixtures
