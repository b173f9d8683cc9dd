"""The server of a ledger home: one, found again, started when it is not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from server_asking import until

from jupyter_batch.core.errors import ConnectionFailedError, LedgerError
from jupyter_batch.server import launch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    """A ledger home whose server is ended afterwards."""
    yield tmp_path / "home"
    launch.stop(tmp_path / "home")


def pid(home) -> int:
    """The server's process."""
    return json.loads((home / "server" / "endpoint.json").read_text())["pid"]


def gone(number: int) -> bool:
    """Whether there is no such process any more."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_server_is_started_once_found_again_and_stopped(home):
    """`ensure` starts it, then finds it; `stop` ends it; files are private; the token is in one of them alone."""
    endpoint = launch.ensure(home)
    assert httpx.get(
        endpoint.base_url + "/models", headers={"Authorization": f"Bearer {endpoint.token}"}
    ).is_success
    assert launch.ensure(home) == endpoint
    assert endpoint.token not in repr(endpoint)
    for path in (home / "server", *(home / "server").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
        if path.is_file() and path.name != "endpoint.json":
            assert endpoint.token.encode() not in path.read_bytes()
    assert endpoint.token.encode() not in Path(f"/proc/{pid(home)}/cmdline").read_bytes()
    assert launch.stop(home)
    assert not launch.stop(home)
    assert launch.find(home) is None


def test_a_killed_server_comes_back_with_its_token_and_port(home):
    """After SIGKILL `ensure` starts another, at the same address."""
    endpoint = launch.ensure(home)
    number = pid(home)
    os.kill(number, signal.SIGKILL)
    until(lambda: gone(number))
    assert launch.ensure(home) == endpoint
    assert pid(home) != number


def test_a_server_belongs_to_its_folder(home, tmp_path):
    """The announcement in a copied home is not the copy's server; a server whose folder is moved ends."""
    launch.ensure(home)
    number = pid(home)
    shutil.copytree(home, tmp_path / "copy")
    assert launch.find(tmp_path / "copy") is None
    home.rename(tmp_path / "moved")
    until(lambda: gone(number))


def test_many_processes_at_once_start_one_server(home):
    """Six processes that ask at the same moment get the same server."""
    code = (
        "import sys; from pathlib import Path; from jupyter_batch.server.launch import ensure;"
        "e = ensure(Path(sys.argv[1]), timeout=60); print(e.base_url, e.token)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    output = {child.communicate(timeout=90)[0] for child in children}
    assert len(output) == 1
    assert all(child.returncode == 0 for child in children)


def test_what_keeps_it_from_starting_is_reported(home):
    """An unusable state is reported with the end of the server's log."""
    (home / "server").mkdir(parents=True)
    (home / "server" / "state.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConnectionFailedError, match=r"did not start[\s\S]*not a database"):
        launch.ensure(home)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    """Where locks are refused (ENOLCK, as on NFS), no process waits for another: the error says what to do."""
    fcntl = pytest.importorskip("fcntl")

    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(LedgerError, match="supports no locks: set JUPYTER_BATCH_HOME"):
        launch.ensure(tmp_path / "home", timeout=5)
