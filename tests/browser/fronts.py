"""Voila, marimo and Solara: a server of each in this Python, and a page that shows a notebook of cells of code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from axe import violations
from lab import REPO, LabError, notebook_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE = 60


def has(package: str) -> bool:
    """Whether this Python has it; it is looked for only."""
    return util.find_spec(package) is not None


class Front:
    """`with Voila(chrome, *cells) as page: ...`. env: of the kernel. dark: the front end's theme."""

    shadow: tuple[str, ...] = ()
    """The elements around a panel that have a shadow tree."""

    def __init__(
        self,
        chrome: Any,
        *cells: str,
        env: Mapping[str, str] | None = None,
        dark: bool = False,
        width: int = 1000,
    ) -> None:
        self._chrome, self._cells, self._env = chrome, cells, env or {}
        self._dark, self._width = dark, width
        self.page_errors: list[str] = []
        self._open = contextlib.ExitStack()

    def command(self, port: int) -> list[str]:
        """The server's module and its arguments, after writing the notebook into `self.folder`."""
        raise NotImplementedError

    def address(self, port: int) -> str:
        """The address that shows the notebook."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            kept = tempfile.TemporaryDirectory(prefix="front-", ignore_cleanup_errors=True)
            self.folder = Path(stack.enter_context(kept))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            stack.callback(self.stop)
            self._start(self.command(port), f"http://127.0.0.1:{port}/")
            self.page = self._chrome.new_page()
            stack.callback(self.page.close)
            self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
            self.page.set_viewport_size({"width": self._width, "height": 900})
            self.page.goto(
                self.address(port), wait_until="domcontentloaded", timeout=1000 * PATIENCE
            )
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, command: list[str], address: str) -> None:
        self._log = self.folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=30):
                    return
            except urllib.error.HTTPError:  # it answers
                return
            except OSError:
                time.sleep(0.1)
        raise LabError("the server did not start:\n" + self.log()[-3000:])

    def _environment(self) -> dict[str, str]:
        own = {
            f"JUPYTER_{name.upper()}_DIR": str(self.folder / name)
            for name in ("config", "data", "runtime")
        }
        return {
            **os.environ,
            **own,
            "HOME": str(self.folder),
            "MARIMO_SKIP_UPDATE_CHECK": "1",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_BATCH_HOME": str(self.folder / "ledger"),
            "PYTHONPATH": os.pathsep.join([str(REPO), str(Path(__file__).parent)]),
            **self._env,
        }

    def stop(self) -> None:
        """End the server and its kernels."""
        process = getattr(self, "_process", None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)

    def log(self) -> str:
        """The server's output so far."""
        return self._log.read_text("utf-8", "replace")

    # -- the page -----------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The visible text of the page, and of its panels."""
        panels = self.page.locator(".jb-live").all_inner_texts() if self.shadow else []
        return "\n".join([self.page.inner_text("body"), *panels])

    def visible(self, css: str) -> int:
        """The number of visible elements of this kind."""
        return int(self.page.locator(css).locator("visible=true").count())

    def rows(self) -> int:
        """The rows in the row view."""
        return int(self.page.frame_locator("iframe[title^=Rows]").locator("tbody tr").count())

    def click(self, label: str) -> None:
        """Click the last button with that name."""
        self.page.get_by_role("button", name=label, exact=True).last.click()

    def until(self, test: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Wait until the test is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if test():
                return
            self.page.wait_for_timeout(50)
        self.shot("failed.png")
        raise LabError(f"waited in vain for {what}; the page:\n{self.text()}\n{self.log()[-2000:]}")

    def violations(self) -> list[Any]:
        """All that axe-core finds in the panels."""
        return violations(self.page, *self.shadow)

    def is_wide(self) -> bool:
        """Whether something runs out of the page, or of its panel."""
        script = "e => e.scrollWidth > e.clientWidth + 1"
        places = [*self.page.locator(".jb-live").all(), self.page.locator("html")]
        return any(place.evaluate(script) for place in places)

    def shot(self, name: str) -> None:
        """A screenshot, where JUPYTER_BATCH_SHOTS names a folder."""
        if folder := os.environ.get("JUPYTER_BATCH_SHOTS"):
            self.page.screenshot(path=str(Path(folder) / name))


class Voila(Front):
    """A notebook that Voila has run, in a page without its code."""

    def command(self, port: int) -> list[str]:
        """`python -m voila`."""
        (self.folder / "notebook.ipynb").write_text(json.dumps(notebook_of(*self._cells)), "utf-8")
        theme = "dark" if self._dark else "light"
        return [
            *("voila", "notebook.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"),
            *(f"--port={port}", f"--theme={theme}"),
        ]

    def address(self, port: int) -> str:
        """The server has one page; it is asked for by the browser alone, since each request starts a kernel."""
        return f"http://127.0.0.1:{port}/"

    def _start(self, command: list[str], address: str) -> None:
        super()._start(command, f"{address}voila/api/shutdown/")


class Marimo(Front):
    """A notebook in marimo: `run`, an app without code in the server's process, or `edit`, with a kernel of its own."""

    shadow = ("marimo-anywidget",)
    mode = "run"

    def command(self, port: int) -> list[str]:
        """`python -m marimo`."""
        cells = [
            "\n".join(["@app.cell", "def _():", *indented(code), "    return"])
            for code in self._cells
        ]
        theme = f'[display]\ntheme = "{"dark" if self._dark else "light"}"\n'
        config = self.folder / "config" / "marimo" / "marimo.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f"{theme}[runtime]\nauto_instantiate = true\n", "utf-8")
        head = "import marimo\n\napp = marimo.App()\n"
        (self.folder / "app.py").write_text("\n\n".join([head, *cells]) + "\n", "utf-8")
        return [
            *("marimo", self.mode, "app.py", "--headless", "--no-token"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ]

    def address(self, port: int) -> str:
        """The server has one page."""
        return f"http://127.0.0.1:{port}/"


class MarimoEditor(Marimo):
    """The editor, whose kernel is a process of its own."""

    mode = "edit"


class Solara(Front):
    """Each cell is an expression of widgets; one component shows them all, and makes them once for each page."""

    def command(self, port: int) -> list[str]:
        """`python -m solara`."""
        shown = [
            f"    solara.display(solara.use_memo(lambda: ({code}), []))" for code in self._cells
        ]
        head = "import solara\n\n\n@solara.component\ndef Page():"
        (self.folder / "app.py").write_text("\n".join([head, *shown]) + "\n", "utf-8")
        return [
            *("solara", "run", "app.py", "--production", "--no-open"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--theme-variant", "dark" if self._dark else "light"),
        ]

    def address(self, port: int) -> str:
        """The server has one page."""
        return f"http://127.0.0.1:{port}/"


def indented(code: str) -> list[str]:
    """The lines of a cell in marimo's file."""
    return [f"    {line}" for line in code.splitlines()]
