"""Drives a real JupyterLab with a real headless Chromium: open a notebook, run it, click, look. It knows no product.

A throw-away server with its own configuration, settings, workspace, token and free loopback port serves copies of the
notebook and of this repository's JupyterLab part. Nothing is downloaded: the Chromium is the machine's, or the one that
the variable CHROMIUM names.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

REPO = Path(__file__).resolve().parents[2]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
    # every cell stays in the DOM, so that text can be asserted without scrolling
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
STATE = """() => {
  const app = window.jupyterapp, w = app && app.shell.currentWidget;
  if (!w || !w.context || !w.content || !w.content.widgets) return null;
  const session = w.context.sessionContext.session, k = session && session.kernel;
  return {
    kernel: k ? k.status : null, ready: w.context.isReady,
    cells: w.content.widgets.map(c => ({
      prompt: c.model.type === 'code' && c.promptNode ? c.promptNode.textContent : '',
      outputs: c.model.type === 'code' ? c.model.outputs.toJSON() : [],
      text: c.node.querySelector('.jp-Cell-outputArea') ? c.node.querySelector('.jp-Cell-outputArea').innerText : '',
    })),
  };
}"""
NOTEBOOK = "window.jupyterapp.shell.currentWidget"


def chromium() -> str | None:
    """The Chromium to drive, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)


def notebook_of(*cells: str) -> dict[str, Any]:
    """A notebook with these code cells."""
    return {
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [{"cell_type": "code", "id": f"cell{n}", "metadata": {}, "outputs": [], "execution_count": None,
                   "source": source} for n, source in enumerate(cells)],
    }


class LabError(AssertionError):
    """What was waited for did not come."""


class Lab:
    """A JupyterLab server and a Chromium page that shows one notebook. `with Lab(notebook) as lab: ...`."""

    def __init__(self, notebook: dict[str, Any] | Path, *, env: dict[str, str] | None = None,
                 shots: Path | None = None, timeout: float = 60, size: tuple[int, int] = (1280, 900),
                 config: tuple[str, ...] = ()) -> None:
        self.notebook, self.extra_env, self.shots, self.timeout, self.size = notebook, env or {}, shots, timeout, size
        self.config = config
        self.console: list[str] = []
        self.page_errors: list[str] = []
        self.page: Any = None
        self._open = contextlib.ExitStack()

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.tmp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True)))
            self._write_files()
            self.url = self._start_server(stack)
            self._start_browser(stack)
            self.open()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self.diagnose()
        self._open.close()

    def _write_files(self) -> None:
        root = self.tmp / "root"
        root.mkdir()
        if isinstance(self.notebook, Path):
            self.path = Path(shutil.copy2(self.notebook, root))
        else:
            self.path = root / "notebook.ipynb"
            self.path.write_text(json.dumps(self.notebook), "utf-8")
        part = self.tmp / "share" / "labextensions" / "jupyter_batch"
        shutil.copytree(REPO / "jupyter_batch" / "labextension", part)
        shutil.copy2(REPO / "install.json", part)
        enabled = self.tmp / "config" / "jupyter_server_config.d" / "jupyter_batch.json"
        enabled.parent.mkdir(parents=True)
        shutil.copy2(REPO / "jupyter_batch" / "lab" / "jupyter_server_config.json", enabled)
        for plugin, values in SETTINGS.items():
            self._set(plugin, values)

    def _set(self, plugin: str, values: dict[str, Any]) -> None:
        package, name = plugin.split(":", 1)
        target = self.tmp / "settings" / package / f"{name}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(values), "utf-8")

    def _start_server(self, stack: contextlib.ExitStack) -> str:
        self.token = secrets.token_hex(16)
        env = {
            **os.environ,
            **{f"JUPYTER_{name.upper()}_DIR": str(self.tmp / name) for name in ("config", "runtime")},
            "JUPYTERLAB_SETTINGS_DIR": str(self.tmp / "settings"), "JUPYTER_PATH": str(self.tmp / "share"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.tmp / "workspaces"), "IPYTHONDIR": str(self.tmp / "ipython"),
            "JUPYTER_BATCH_HOME": str(self.tmp / "ledger"),
            "PYTHONPATH": os.pathsep.join([str(REPO), str(Path(__file__).parent)]),
            "JUPYTER_PLATFORM_DIRS": "1",
            **self.extra_env,
        }
        log = stack.enter_context((self.tmp / "server.log").open("wb"))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
             "--ServerApp.port=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.path.parent}",
             "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None", *self.config],
            cwd=self.path.parent, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        stack.callback(self._stop_server)
        info = self.tmp / "runtime" / f"jpserver-{self._server.pid}.json"
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline and self._server.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                url = json.loads(info.read_text("utf-8"))["url"]
                with urllib.request.urlopen(f"{url}api/status?token={self.token}", timeout=5):
                    return str(url)
            time.sleep(0.1)
        raise LabError("the Jupyter server did not start:\n" + self.server_log()[-3000:])

    def _stop_server(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait(5)

    def _start_browser(self, stack: contextlib.ExitStack) -> None:
        from playwright.sync_api import sync_playwright

        play = stack.enter_context(sync_playwright())
        context = play.chromium.launch_persistent_context(
            str(self.tmp / "profile"), executable_path=chromium(), headless=False, args=CHROMIUM_ARGS,
            viewport={"width": self.size[0], "height": self.size[1]})
        stack.callback(context.close)
        self.page = context.pages[0] if context.pages else context.new_page()
        self.page.set_default_timeout(self.timeout * 1000)
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))

    def server_log(self) -> str:
        """What the server wrote so far."""
        return (self.tmp / "server.log").read_text("utf-8", "replace")

    # -- the page -----------------------------------------------------------------------------------------------------

    def open(self, *, kernel: bool = True) -> None:
        """(Re)load the notebook; without a kernel it is only shown. Unsaved changes are lost."""
        name = "@jupyterlab/docmanager-extension:plugin"
        self._set(name, {**SETTINGS[name], "autoStartDefaultKernel": kernel})
        self.page.goto(f"{self.url}lab/tree/{self.path.name}?token={self.token}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.until(lambda: (self.state() or {}).get("ready"), "the notebook to be ready")
        if kernel:  # after a reload the status of a kernel that runs a blocking cell stays "unknown"
            self.until(lambda: (self.state() or {}).get("kernel"), "a kernel")
            with contextlib.suppress(LabError):
                self.until(lambda: (self.state() or {}).get("kernel") in {"idle", "busy"}, "an answer of it", 15)

    def state(self) -> dict[str, Any] | None:
        """The kernel's status and each cell's prompt, outputs and visible text."""
        found: dict[str, Any] | None = self.page.evaluate(STATE)
        return found

    def cells(self) -> list[dict[str, Any]]:
        """The cells of state()."""
        state = self.state()
        if state is None:
            raise LabError("no notebook is in front")
        cells: list[dict[str, Any]] = state["cells"]
        return cells

    def output(self, cell: int | None = None) -> str:
        """What a reader sees below a cell (widgets included), or below all of them."""
        cells = self.cells()
        return "\n".join(c["text"] for c in (cells if cell is None else [cells[cell]]))

    def until(self, test: Callable[[], object], what: str, timeout: float | None = None) -> None:
        """Wait until the test is true."""
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while not test():
            if time.monotonic() > deadline:
                raise LabError(f"waited {limit:g} s in vain for {what}")
            self.page.wait_for_timeout(50)

    def wait_text(self, text: str, cell: int | None = None) -> None:
        """Wait until the text is in the output."""
        try:
            self.until(lambda: text in self.output(cell), f"{text!r} in the output")
        except LabError as error:
            raise LabError(f"{error}; the output is:\n{self.output(cell)}") from None

    def wait_idle(self) -> None:
        """Wait until no cell runs and the kernel is idle."""
        def idle() -> bool:
            state = self.state() or {"kernel": None}
            return state["kernel"] == "idle" and not any("*" in cell["prompt"] for cell in state["cells"])

        self.until(idle, "the kernel to be idle")

    def command(self, name: str, **args: Any) -> None:
        """Execute a JupyterLab command."""
        script = "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)"
        self.page.evaluate(script, [name, args])

    def run_all(self) -> None:
        """Start all cells and return at once."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.page.wait_for_timeout(200)

    def run_cell(self, index: int) -> None:
        """Start a cell (from 0) and return at once."""
        self.page.evaluate(f"i => {{ const nb = {NOTEBOOK}.content; nb.deselectAll(); nb.activeCellIndex = i;"
                           " window.jupyterapp.commands.execute('notebook:run-cell'); }", index)
        self.page.wait_for_timeout(200)

    def click(self, label: str) -> None:
        """Click the last enabled button in the outputs with exactly that name."""
        outputs = self.page.locator(".jp-Cell-outputArea")
        outputs.get_by_role("button", name=label, disabled=False, exact=True).last.click()

    def has_button(self, label: str) -> bool:
        """True where the outputs show a button of that name."""
        buttons = self.page.locator(".jp-Cell-outputArea").get_by_role("button", name=label, exact=True)
        return bool(buttons.count())

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.page.evaluate(f"() => {NOTEBOOK}.context.sessionContext.session.kernel.interrupt()")

    def shutdown(self) -> None:
        """Shut the kernel down."""
        self.page.evaluate(f"() => {NOTEBOOK}.context.sessionContext.shutdown()")

    def save(self) -> dict[str, Any]:
        """Save, and give what is in the file."""
        self.page.evaluate(f"() => {NOTEBOOK}.context.save()")
        saved: dict[str, Any] = json.loads(self.path.read_text("utf-8"))
        return saved

    def theme(self, name: str) -> None:
        """`JupyterLab Light` or `JupyterLab Dark`."""
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        self.page.wait_for_timeout(300)

    def shot(self, name: str, cell: int | None = None) -> None:
        """A screenshot of the page or of a cell, where a folder for them was given."""
        if self.shots is None:
            return
        self.shots.mkdir(parents=True, exist_ok=True)
        place = self.page if cell is None else self.page.locator(".jp-Notebook .jp-Cell").nth(cell)
        place.screenshot(path=str(self.shots / name))

    def errors(self) -> list[str]:
        """Uncaught exceptions in the page, and outputs of type error."""
        found = [f"browser: {error}" for error in self.page_errors]
        for number, cell in enumerate(self.cells()):
            found += [f"cell {number}: {output.get('ename')}: {output.get('evalue')}" for output in cell["outputs"]
                      if output.get("output_type") == "error"]
        return found

    def diagnose(self) -> None:
        """After a failure: what the page shows, and the last lines of both logs."""
        with contextlib.suppress(Exception):  # the page may be gone; the first error is the one to tell
            self.shot("failed.png")
            state = self.state()
            print("kernel", state and state["kernel"], "prompts", state and [c["prompt"] for c in state["cells"]])
        for line in [*self.console[-8:], *self.server_log().splitlines()[-8:]]:
            print("  ", line[:300])
