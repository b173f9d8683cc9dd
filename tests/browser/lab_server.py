"""A throw-away Jupyter server with its own configuration, settings, ledger, token and port. It knows no browser.

It serves this repository's JupyterLab part, and runs in this Python: what is tested is the JupyterLab and the ipykernel
next to it. With JUPYTER_BATCH_FRONT=notebook the pages are those of Notebook 7.
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
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 60
REPO = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
    # every cell stays in the DOM, so that text can be asserted without scrolling
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    # a kernel's completions are dropped where they take longer: by default a second
    "@jupyterlab/completer-extension:manager": {"providerTimeout": 30_000},
}


ENVIRONMENT = ".environment.json"
STARTUP = f"""import json as _json, os as _os, pathlib as _pathlib
if _pathlib.Path({ENVIRONMENT!r}).exists():
    _os.environ.update(_json.loads(_pathlib.Path({ENVIRONMENT!r}).read_text("utf-8")))
del _json, _os, _pathlib
"""


class Front(NamedTuple):
    """A front end: its module, its name in a configuration, where it shows a notebook, and errors of its own."""

    module: str
    app: str
    pages: str
    more: tuple[str, ...] = ()
    own_errors: tuple[str, ...] = ()


FRONTS = {
    "lab": Front(
        "jupyterlab", "LabApp", "lab/workspaces/{view}/tree/{name}", ("--LabApp.news_url=None",)
    ),
    # Notebook 7.6 raises this one in each page, with no extension there, too
    "notebook": Front(
        "notebook",
        "JupyterNotebookApp",
        "notebooks/{name}",
        own_errors=("Cannot read properties of undefined (reading 'schema')",),
    ),
}
FRONT = FRONTS[os.environ.get("JUPYTER_BATCH_FRONT", "lab")]


def release(package: str) -> tuple[int, int]:
    """The first two numbers of the version installed for this Python."""
    major, minor = version(package).split(".")[:2]
    return int(major), int(minor)


SUBSHELLS = release("ipykernel") >= (7, 0) and release("jupyterlab") >= (4, 4)
"""Whether clicks have a thread of their own: it is ipykernel's from 7 on, and JupyterLab's pages use it from 4.4 on."""


class NoServerError(AssertionError):
    """It did not start."""


class Served:
    """The server's process, and its files: `with Served() as served: ...`. `root` has the notebooks."""

    def __init__(
        self, *, env: Mapping[str, str] | None = None, config: tuple[str, ...] = ()
    ) -> None:
        self._env, self._config = env or {}, config
        self._token = secrets.token_hex(16)
        self._address = ""
        self._rooms = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="served-", ignore_cleanup_errors=True)
                )
            )
            self.root, self.ledger = self.folder / "root", self.folder / "ledger"
            self._write_files()
            stack.callback(self._stop)
            self._start()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def room(self) -> Path:
        """A folder of one's own below `root`."""
        self._rooms += 1
        room = self.root / f"room{self._rooms}"
        room.mkdir()
        return room

    def _start(self) -> None:
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    FRONT.module,
                    "--no-browser",
                    "--allow-root",
                    "--ServerApp.ip=127.0.0.1",
                    "--ServerApp.port=0",
                    f"--IdentityProvider.token={self._token}",
                    f"--ServerApp.root_dir={self.root}",
                    f"--{FRONT.app}.expose_app_in_browser=True",
                    "--KernelManager.shutdown_wait_time=1",
                    *FRONT.more,
                    *self._config,
                ],
                cwd=self.root,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        info = self.folder / "runtime" / f"jpserver-{self._process.pid}.json"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._address = str(json.loads(info.read_text("utf-8"))["url"])
                with urllib.request.urlopen(self.at("api/status"), timeout=5):
                    return
            time.sleep(0.05)
        raise NoServerError("the Jupyter server did not start:\n" + self.log()[-3000:])

    def _stop(self) -> None:
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

    def page(self, notebook: Path, view: str) -> str:
        """The address at which a notebook is shown; each view has its own workspace, where there are workspaces."""
        return (
            self.at(FRONT.pages.format(name=notebook.relative_to(self.root).as_posix(), view=view))
            + "&reset"
        )

    def extension(self, file: str) -> str:
        """The address of a file of this repository's JupyterLab part."""
        return f"{self._address}lab/extensions/jupyter_batch/{file}"

    def set(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Change a plugin's settings, for pages that are opened from here on."""
        package, name = plugin.split(":", 1)
        target = self.folder / "settings" / package / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({**SETTINGS.get(plugin, {}), **values}), "utf-8")

    def reset(self) -> None:
        """All settings as at the start: what a page changed (a theme) is forgotten."""
        shutil.rmtree(self.folder / "settings", ignore_errors=True)
        for plugin in SETTINGS:
            self.set(plugin, {})

    def environment(self, room: Path, values: Mapping[str, str]) -> None:
        """The environment of kernels in this folder, from their start on."""
        (room / ENVIRONMENT).write_text(json.dumps(dict(values)), "utf-8")

    def end_kernels(self, room: Path) -> None:
        """End what runs for notebooks in this folder."""
        within = room.relative_to(self.root).as_posix() + "/"
        for session in json.loads(self._ask("GET", "api/sessions")):
            if session["path"].startswith(within):
                self._ask("DELETE", f"api/sessions/{session['id']}")

    def _ask(self, method: str, place: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            f"{self._address}{place}",
            method=method,
            headers={"Authorization": f"token {self._token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            read: bytes = answer.read()
        return read

    def log(self) -> str:
        """Its output so far."""
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def _write_files(self) -> None:
        self.root.mkdir()
        part = self.folder / "share" / "labextensions" / "jupyter_batch"
        shutil.copytree(REPO / "jupyter_batch" / "labextension", part)
        shutil.copy2(REPO / "install.json", part)
        enabled = self.folder / "config" / "jupyter_server_config.d" / "jupyter_batch.json"
        enabled.parent.mkdir(parents=True)
        shutil.copy2(REPO / "jupyter_batch" / "lab" / "jupyter_server_config.json", enabled)
        start = self.folder / "ipython" / "profile_default" / "startup" / "environment.py"
        start.parent.mkdir(parents=True)
        start.write_text(STARTUP, "utf-8")
        self.reset()

    def _environment(self) -> dict[str, str]:
        own = {
            f"JUPYTER_{name.upper()}_DIR": str(self.folder / name)
            for name in ("config", "data", "runtime")
        }
        return {
            **os.environ,
            **own,
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTER_PATH": str(self.folder / "share"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_BATCH_HOME": str(self.ledger),
            "PYTHONPATH": os.pathsep.join([str(REPO), str(Path(__file__).parent)]),
            "JUPYTER_PLATFORM_DIRS": "1",
            **self._env,
        }
