"""Browser tests need JupyterLab, playwright and a Chromium; without them they are skipped, and say why."""

import contextlib
import os
from pathlib import Path

import pytest
from chrome import browser, chromium
from lab import Lab
from lab_server import Served

HERE = Path(__file__).parent


class House:
    """One browser and one server for all tests: what takes long to start."""

    def __init__(self):
        self.chrome = self.served = None
        self._open = contextlib.ExitStack()

    def open(self, *, server):
        """Start what is not there."""
        if self.chrome is None:
            self.chrome = self._open.enter_context(browser())
        if self.served is None and server:
            self.served = self._open.enter_context(Served())

    def close(self):
        """End what was started."""
        self.chrome = self.served = None
        self._open.close()


house = House()


def pytest_configure(config):
    """`-m matrix`: what .ci/run tries with other front ends and kernels, too."""
    config.addinivalue_line(
        "markers", "matrix: runs with each front end and each kernel that .ci/run tries"
    )


def pytest_collection_modifyitems(items):
    """All tests in this folder drive a browser; they run where there is one."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if chromium() is None:
                item.add_marker(
                    pytest.mark.skip(reason="no Chromium here (set the variable CHROMIUM)")
                )


def pytest_runtest_teardown(nextitem):
    """The house is closed behind the last test here: playwright's loop would be in the way of others."""
    if nextitem is None or HERE not in nextitem.path.parents:
        house.close()


@pytest.fixture
def open_lab():
    """A JupyterLab that shows the notebook it is called with, for a `with` statement.

    One server serves all tests, with a kernel and a ledger for each. With `alone=True`, or a `config`, a test has a
    server for itself, with the same ledger. The variable JUPYTER_BATCH_SHOTS names a folder for screenshots; without it
    none are kept.
    """
    folder = os.environ.get("JUPYTER_BATCH_SHOTS")

    def open_one(notebook, *, alone=False, config=(), **more):
        alone = alone or bool(config)
        house.open(server=not alone)
        return Lab(
            notebook,
            shots=Path(folder) if folder else None,
            config=config,
            chrome=house.chrome,
            served=None if alone else house.served,
            **more,
        )

    return open_one
