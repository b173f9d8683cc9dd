"""Browser tests need JupyterLab, playwright and a Chromium; without them they are skipped, and say why."""

import os
from functools import partial
from pathlib import Path

import pytest
from lab import Lab, chromium

HERE = Path(__file__).parent


def pytest_configure(config):
    """`-m matrix`: what .ci/run tries with other front ends and kernels, too."""
    config.addinivalue_line("markers", "matrix: runs with each front end and each kernel that .ci/run tries")


def pytest_collection_modifyitems(items):
    """All tests in this folder drive a browser; they run where there is one."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium here (set the variable CHROMIUM)"))


@pytest.fixture
def open_lab():
    """A JupyterLab that shows the notebook it is called with, for a `with` statement.

    The variable JUPYTER_BATCH_SHOTS names a folder for screenshots; without it none are kept.
    """
    folder = os.environ.get("JUPYTER_BATCH_SHOTS")
    return partial(Lab, shots=Path(folder) if folder else None)
