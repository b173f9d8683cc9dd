"""A throw-away Jupyter server with its own configuration, settings, ledger, token and port. It knows no browser.

It serves this repository's JupyterLab part, and runs in this Python: what is tested is the JupyterLab and the ipykernel
beside it. With JUPYTER_BATCH_FRONT=notebook the pages are those of Notebook 7.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

REPO = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
    # every cell stays in the DOM, so that text can be asserted without scrolling
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


class Front(NamedTuple):
    """A front end: its module, its name in a configuration, and where it shows a notebook."""

    module: str
    app: str
    pages: str
    more: tuple[str, ...] = ()


FRONTS = {
    "lab": Front("jupyterlab", "LabApp", "lab/workspaces/{view}/tree/{name}", ("--LabApp.news_url=None",)),
    "notebook": Front("notebook", "JupyterNotebookApp", "notebooks/{name}"),
}
FRONT = FRONTS[os.environ.get("JUPYTER_BATCH_FRONT", "lab")]


def release(package: str) -> tuple[int, int]:
    """The first two numbers of what is installed beside this Python."""
    major, minor = version(package).split(".")[:2]
    return int(major), int(minor)


SUBSHELLS = release("ipykernel") >= (7, 0) and release("jupyterlab") >= (4, 4)
"""Whether clicks have a thread of their own: it is ipykernel's from 7 on, and JupyterLab's pages use it from 4.4 on."""


class NoServerError(AssertionError):
    """It did not start."""


class Served:
    """The server's process and its files, below `folder`; `root` has the notebooks. start() and stop()."""

    def __init__(self, folder: Path, *, env: Mapping[str, str], config: tuple[str, ...], patience: float) -> None:
        self.folder, self.root = folder, folder / "root"
        self._env, self._config, self._patience = env, config, patience
        self._token = secrets.token_hex(16)
        self._address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Write its files, start it, and wait until it answers."""
        self._write_files()
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", FRONT.module, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
                 "--ServerApp.port=0", f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}",
                 f"--{FRONT.app}.expose_app_in_browser=True", *FRONT.more, *self._config],
                cwd=self.root, env=self._environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        info = self.folder / "runtime" / f"jpserver-{self._process.pid}.json"
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._address = str(json.loads(info.read_text("utf-8"))["url"])
                with urllib.request.urlopen(self.at("api/status"), timeout=5):
                    return
            time.sleep(0.05)
        self.stop()
        raise NoServerError("the Jupyter server did not start:\n" + self.log()[-3000:])

    def stop(self) -> None:
        """End it, and with it its kernels."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def at(self, place: str) -> str:
        """The address of a place on it, with the token."""
        return f"{self._address}{place}?token={self._token}"

    def page(self, name: str, view: str = "main") -> str:
        """The address at which a notebook is shown; each view has its own workspace, where there are workspaces."""
        return self.at(FRONT.pages.format(name=name, view=view)) + "&reset"

    def extension(self, file: str) -> str:
        """The address of a file of this repository's JupyterLab part."""
        return f"{self._address}lab/extensions/jupyter_batch/{file}"

    def set(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Change a plugin's settings, for pages that are opened from here on."""
        package, name = plugin.split(":", 1)
        target = self.folder / "settings" / package / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({**SETTINGS.get(plugin, {}), **values}), "utf-8")

    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def _write_files(self) -> None:
        self.root.mkdir()
        part = self.folder / "share" / "labextensions" / "jupyter_batch"
        shutil.copytree(REPO / "jupyter_batch" / "labextension", part)
        shutil.copy2(REPO / "install.json", part)
        enabled = self.folder / "config" / "jupyter_server_config.d" / "jupyter_batch.json"
        enabled.parent.mkdir(parents=True)
        shutil.copy2(REPO / "jupyter_batch" / "lab" / "jupyter_server_config.json", enabled)
        for plugin in SETTINGS:
            self.set(plugin, {})

    def _environment(self) -> dict[str, str]:
        own = {f"JUPYTER_{name.upper()}_DIR": str(self.folder / name) for name in ("config", "data", "runtime")}
        return {
            **os.environ, **own,
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"), "JUPYTER_PATH": str(self.folder / "share"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"), "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_BATCH_HOME": str(self.folder / "ledger"),
            "PYTHONPATH": os.pathsep.join([str(REPO), str(Path(__file__).parent)]),
            "JUPYTER_PLATFORM_DIRS": "1",
            **self._env,
        }
