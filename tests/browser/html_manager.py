"""A page on a real kernel that draws widgets with the html-manager, as VS Code and Colab do (html_manager.js)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anywidget
from lab import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab_server import Served

HERE = Path(__file__).parent
PACKAGE = "@jupyter-widgets/html-manager@1.0.15"
MEMBER = "package/dist/embed-amd.js"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>html-manager</title>
<style>body{margin:12px;font:13px system-ui;background:%s;color:%s}</style><body>
<script src="html_manager.js"></script><script src="embed-amd.js"></script>
<script>window.defining = "anywidget"</script><script src="anywidget.js"></script>"""


def library(folder: Path) -> Path | None:
    """The html-manager's script: the file that HTML_MANAGER names, or fetched with npm into `folder`; else None."""
    if named := os.environ.get("HTML_MANAGER"):
        return Path(named)
    kept = folder / "embed-amd.js"
    npm = shutil.which("npm")
    if not kept.exists() and npm is not None:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(subprocess.SubprocessError):
            command = [npm, "pack", PACKAGE, "--pack-destination", str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        for archive in folder.glob("*.tgz"):
            with tarfile.open(archive) as files, kept.open("wb") as out:
                shutil.copyfileobj(files.extractfile(MEMBER), out)
    return kept if kept.exists() else None


class ManagerPage:
    """`with ManagerPage(chrome, served, script) as page: page.run(code)`."""

    def __init__(
        self, chrome: Any, served: Served, script: Path, *, dark: bool = False, width: int = 900
    ) -> None:
        self._served, self._chrome = served, chrome
        self._colours = ("#1e1e1e", "#ddd") if dark else ("#fff", "#222")
        self._width = width
        self._files = {
            "html_manager.js": HERE / "html_manager.js",
            "embed-amd.js": script,
            "anywidget.js": Path(anywidget.__file__).parent / "nbextension" / "index.js",
        }
        self.page_errors: list[str] = []

    def __enter__(self) -> Self:
        self.room = self._served.room()
        answer = self._served._ask(
            "POST",
            "api/sessions",
            {
                "path": f"{self.room.relative_to(self._served.root).as_posix()}/page.ipynb",
                "name": "page.ipynb",
                "type": "notebook",
                "kernel": {"name": "python3"},
            },
        )
        self.kernel = json.loads(answer)["kernel"]["id"]
        self.page = self._chrome.new_page()
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.set_viewport_size({"width": self._width, "height": 700})
        self.page.route("**/html-manager/*", self._answer)
        self.page.goto(self._served.at("html-manager/page.html"))
        socket = self._served.at(f"api/kernels/{self.kernel}/channels").replace("http", "ws", 1)
        self.page.evaluate("socket => page.start({ socket })", socket)
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()
        self._served.end_kernels(self.room)

    def _answer(self, route: Any) -> None:
        name = route.request.url.partition("?")[0].rpartition("/")[2]
        if name == "page.html":
            route.fulfill(body=PAGE % self._colours, content_type="text/html")
        else:
            route.fulfill(path=self._files[name], content_type="text/javascript")

    def run(self, code: str) -> None:
        """Run a cell; its outputs come at the end of the page."""
        self.page.evaluate("code => page.run(code)", code)

    def text(self) -> str:
        """The visible text."""
        return str(self.page.inner_text("body"))

    def visible(self, css: str) -> int:
        """The number of visible elements of this kind."""
        return int(self.page.locator(css).locator("visible=true").count())

    def click(self, label: str) -> None:
        """Click the button with that name."""
        self.page.get_by_role("button", name=label, exact=True).click()

    def until(self, test: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait until the test is true."""
        for _ in range(int(seconds * 20)):
            if test():
                return
            self.page.wait_for_timeout(50)
        raise LabError(f"waited in vain for {what}; the page has:\n{self.text()}")

    def shot(self, name: str) -> None:
        """A screenshot, where JUPYTER_BATCH_SHOTS names a folder."""
        if folder := os.environ.get("JUPYTER_BATCH_SHOTS"):
            self.page.screenshot(path=str(Path(folder) / name), full_page=True)

    def errors(self) -> list[str]:
        """Uncaught exceptions in the page, and errors of cells."""
        return [*self.page_errors, *self.page.evaluate("() => page.errors")]
