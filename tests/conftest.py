"""Each test has a ledger of its own: none writes to that of the person who runs them. None leaves this machine."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import pytest

from jupyter_batch.core import secrets
from tests.key_search import close_shown, found, logged, shown, since
from tests.ledgers import forget, homes
from tests.loopback_only import no_certificates

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)

no_certificates()

LONG = (
    "test_terminal",
    "test_kill",
    "test_notebooks",
    "test_cli",
    "test_faults",
    "test_server_restart",
    "test_lab_server",
    "test_reuse",
    "test_readme",
    "test_cutting",
    "test_table",
    "test_tools_kill",
    "test_jobs",
    "test_plot",
    "test_run_tools",
    "test_damaged_files",
    "test_server_cycle",
    "test_user_messages",
    "test_rows",
    "test_hosts",
    "test_samples",
    "test_closed_home",
    "test_adopt_kill",
    "test_quota",
    "test_kernel_loop",
    "test_realtime_kill",
    "test_messages_restart",
    "test_warnings",
    "test_graph",
    "test_monitor_day",
)
"""Files of few, long tests, the longest first. Several processes begin with these: else one is left with them alone."""


def pytest_configure(config):
    """Not in the order of xdist, which begins with the files that have the most tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """In each of several processes, the same order."""
    if hasattr(config, "workerinput"):
        place = {name: at for at, name in enumerate(LONG)}
        items.sort(key=lambda item: place.get(Path(item.path).stem, len(LONG)))


def pytest_collection_finish():
    """Thousands of collected tests live as long as the process: no later collection of garbage goes through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_ledger_of_anyone(tmp_path, monkeypatch):
    """Where a test names no ledger, it has an empty one; each worker that it started is stopped at the end.

    A worker that outlives its test continues with its jobs, and each later test searches them for keys.
    """
    home = tmp_path / "ledger-of-this-test"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    before = homes()
    yield
    for left in homes() - before:
        forget(left)


_SHOWN = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """At the end of a test's body, and before its fixtures end: note all that a user may see of its jobs."""
    try:
        return (yield)
    finally:
        item.stash[_SHOWN] = shown() if secrets.known({}) else []


@pytest.fixture(autouse=True)
def _no_key_anywhere(request, tmp_path, monkeypatch):
    """After each test, whether it passed or not: no form of a key that it used is on disk, on a screen, in a repr."""
    monkeypatch.setattr(secrets, "_known", {})  # a key that an earlier test used, too
    with logged() as texts:
        yield
    keys = since(())
    if keys:
        outputs = [text for _, _, text in request.node._report_sections]
        shown_then = request.node.stash.get(_SHOWN, [])
        assert found(keys, tmp_path, *texts, *outputs, *shown_then) == []
    close_shown()


@pytest.fixture(autouse=True)
def _no_shell_of_an_earlier_test():
    """Each test starts without an IPython shell: work between cells would wait for a loop that does not run."""
    yield
    made = sys.modules.get("IPython.core.interactiveshell")
    if made is not None and made.InteractiveShell.initialized():
        made.InteractiveShell.clear_instance()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty ledger folder that this process's jobs go to; its worker is stopped at the end."""
    home = tmp_path / "home"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    for name in ("JUPYTER_BATCH_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    yield home
    forget(home)
