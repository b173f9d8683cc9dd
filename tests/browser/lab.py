"""Drives a real JupyterLab, or Notebook 7, with a real headless Chromium: open a notebook, run it, click, look.

It knows no product.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chrome import browser
from lab_server import FRONT, PATIENCE, REPO, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["NOTEBOOK", "REPO", "Lab", "LabError", "notebook_of"]

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
RUN = f"""([command, cells]) => {{
  const notebook = {NOTEBOOK}.content;
  notebook.deselectAll();
  for (const cell of cells) {{
    notebook.activeCellIndex = cell;
    notebook.widgets[cell].model.executionCount = null;
  }}
  window.jupyterapp.commands.execute(command);
}}"""


def notebook_of(*cells: str) -> dict[str, Any]:
    """A notebook with these code cells."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell{n}",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": source,
            }
            for n, source in enumerate(cells)
        ],
    }


class LabError(AssertionError):
    """An expected element did not appear."""


def _named(label: str) -> re.Pattern[str]:
    """The accessible name of a button: its label, with or without the price of its action."""
    return re.compile(rf"^{re.escape(label)}( [\d,]+ rows?, .*)?$")


class Lab:
    """A page that shows one notebook. `with Lab(notebook) as lab: ...`.

    chrome: the browser, where there is one already. served: the server, where there is one: the notebook then lies in a
    folder of its own, and its kernel has the environment `env` and a ledger of its own, `home`. Without, one is started
    with `env` and `config`, and has the same ledger as the kernel.
    """

    def __init__(
        self,
        notebook: dict[str, Any] | Path,
        *,
        env: dict[str, str] | None = None,
        shots: Path | None = None,
        timeout: float = PATIENCE,
        size: tuple[int, int] = (1280, 900),
        config: tuple[str, ...] = (),
        chrome: Any = None,
        served: Served | None = None,
    ) -> None:
        self.notebook, self.env, self.shots, self.timeout, self.size = (
            notebook,
            env or {},
            shots,
            timeout,
            size,
        )
        self._config, self._chrome, self._served = config, chrome, served
        self.console: list[str] = []
        self.page_errors: list[str] = []
        self.page: Any = None
        self.others: list[Lab] = []
        self._open = contextlib.ExitStack()

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._chrome = self._chrome or stack.enter_context(browser())
            self.served = self._served or stack.enter_context(
                Served(env=self.env, config=self._config)
            )
            self.home, self._room, self.view = self.served.ledger, self.served.root, "main"
            if self._served is not None:
                self._move_in(stack)
            self.path = self._put(self.notebook, "notebook.ipynb")
            self._look(stack)
            self.open()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self.diagnose()
        self._open.close()

    def _move_in(self, stack: contextlib.ExitStack) -> None:
        self._room = room = self.served.room()
        self.view, self.home = room.name, room / ".ledger"
        self.served.reset()
        self.served.environment(room, {"JUPYTER_BATCH_HOME": str(self.home), **self.env})
        stack.callback(self.served.end_kernels, room)

    def _put(self, notebook: dict[str, Any] | Path, name: str) -> Path:
        if isinstance(notebook, Path):
            return Path(shutil.copy2(notebook, self._room))
        path = self._room / name
        path.write_text(json.dumps(notebook), "utf-8")
        return path

    def _look(self, stack: contextlib.ExitStack) -> None:
        self.page = page = self._chrome.new_page()
        stack.callback(page.close)
        page.set_default_timeout(self.timeout * 1000)
        page.set_viewport_size({"width": self.size[0], "height": self.size[1]})
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))

    def second_notebook(self, notebook: dict[str, Any], name: str = "other.ipynb") -> Lab:
        """Another notebook of this server, in a page of its own; it is closed with the first."""
        other = copy.copy(self)
        other.path, other.view = self._put(notebook, name), f"{self.view}-{Path(name).stem}"
        other._look(self._open)
        other.others = []
        self.others.append(other)
        other.open()
        return other

    # -- the page -----------------------------------------------------------------------------------------------------

    def open(self, *, kernel: bool = True) -> None:
        """(Re)load the notebook; without a kernel it is only shown. Unsaved changes are lost."""
        self.served.set(
            "@jupyterlab/docmanager-extension:plugin", {"autoStartDefaultKernel": kernel}
        )
        self.page.goto(self.served.page(self.path, self.view))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.until(lambda: (self.state() or {}).get("ready"), "the notebook to be ready")
        if (
            kernel
        ):  # after a reload the status of a kernel that runs a blocking cell stays "unknown"
            self.until(lambda: (self.state() or {}).get("kernel"), "a kernel")
            with contextlib.suppress(LabError):
                self.until(
                    lambda: (self.state() or {}).get("kernel") in {"idle", "busy"},
                    "an answer of it",
                    15,
                )

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
        """The visible text below a cell (widgets included), or below all of them."""
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
            return state["kernel"] == "idle" and not any(
                "*" in cell["prompt"] for cell in state["cells"]
            )

        self.until(idle, "the kernel to be idle")

    def command(self, name: str, **args: Any) -> None:
        """Execute a JupyterLab command."""
        script = "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)"
        self.page.evaluate(script, [name, args])

    def run_all(self) -> None:
        """Start all cells and return at once."""
        self._run("notebook:run-all-cells", range(len(self.cells())))

    def run_cell(self, index: int) -> None:
        """Start a cell (from 0) and return at once."""
        self._run("notebook:run-cell", [index])

    def _run(self, command: str, cells: Sequence[int]) -> None:
        def started() -> bool:
            return all(self.cells()[cell]["prompt"] != "[ ]:" for cell in cells)

        for _ in range(3):  # a page that is just being restored takes no command, and says nothing
            self.page.evaluate(RUN, [command, list(cells)])
            with contextlib.suppress(LabError):
                self.until(started, "the cell to start", 5)
                return
        raise LabError(f"{command} does nothing")

    def click(self, label: str) -> None:
        """Click the last enabled button in the outputs with that name, which a price may follow."""
        outputs = self.page.locator(".jp-Cell-outputArea")
        outputs.get_by_role("button", name=_named(label), disabled=False).last.click()

    def has_button(self, label: str) -> bool:
        """True where the outputs show a button of that name."""
        outputs = self.page.locator(".jp-Cell-outputArea")
        return bool(outputs.get_by_role("button", name=_named(label)).count())

    def visible(self, css: str) -> int:
        """The number of visible elements of this kind."""
        return int(self.page.locator(css).locator("visible=true").count())

    def trusted(self) -> bool:
        """Whether the person trusts all that is in the notebook."""
        return bool(
            self.page.evaluate(
                f"() => [...{NOTEBOOK}.content.model.cells].every(cell => cell.trusted)"
            )
        )

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
        found = [f"browser: {error}" for error in self.page_errors if error not in FRONT.own_errors]
        for number, cell in enumerate(self.cells()):
            found += [
                f"cell {number}: {output.get('ename')}: {output.get('evalue')}"
                for output in cell["outputs"]
                if output.get("output_type") == "error"
            ]
        return found

    def diagnose(self) -> None:
        """After a failure: what the page shows, and the last lines of both logs."""
        for lab in (self, *self.others):
            with contextlib.suppress(
                Exception
            ):  # the page may be gone; the first error is the one to tell
                lab.shot(f"failed-{lab.view}.png")
                state = lab.state() or {"kernel": None, "cells": []}
                print(
                    lab.path.name,
                    "kernel",
                    state["kernel"],
                    "prompts",
                    [c["prompt"] for c in state["cells"]],
                )
                print(lab.output()[-1500:])
        for line in [*self.console[-8:], *self.served.log().splitlines()[-8:]]:
            print("  ", line[:300])
