"""Make docs/front-NAME-THEME.png, two jobs in a front end, and docs/rows.png, the row view of the demo's reviews.

`python docs/make_front_pictures.py [fronts] [html-manager] [lab] [rows]` needs the `test` extra and a Chromium.
`fronts` are Voila and marimo, where they are installed. `html-manager` draws as VS Code and Colab do, and needs npm, or
the variable HTML_MANAGER. `lab` is this Python's JupyterLab or, with JUPYTER_BATCH_FRONT=notebook, its Notebook 7. The
jobs are made up (tests/browser/still_panels.py), panels and front ends are the real ones.
"""

import csv
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "browser")]

from chrome import browser  # noqa: E402  # the harness is among the browser tests
from fronts import Marimo, Voila, has  # noqa: E402
from html_manager import ManagerPage, library  # noqa: E402
from lab import Lab, notebook_of  # noqa: E402
from lab_server import Served  # noqa: E402

from jupyter_batch.viewer.server import Viewer  # noqa: E402
from tests.viewer.finished_jobs import (  # noqa: E402
    PROMPT,
    WORDS,
    answer,
    failure,
    request,
    written,
)

DOCS = REPO / "docs"
CELLS = [f"__import__('still_panels').still({case!r})" for case in ("large", "failures")]


def main() -> None:
    """All that is here, or those that are named."""
    os.environ["JUPYTER_BATCH_SHOTS"] = str(DOCS)
    with browser() as chrome:
        for name, make in MADE.items():
            if not sys.argv[1:] or name in sys.argv[1:]:
                make(chrome)


def fronts(chrome: Any) -> None:
    """Voila and marimo, in both themes."""
    for front in (Voila, Marimo):
        for dark in (False, True) if has(front.__name__.lower()) else ():
            with front(chrome, *CELLS, dark=dark, width=900) as page:
                draw(page, front.__name__.lower(), dark)


def manager(chrome: Any) -> None:
    """The html-manager, in both themes."""
    with Served() as served, tempfile.TemporaryDirectory() as folder:
        script = library(Path(folder))
        for dark in (False, True) if script else ():
            with ManagerPage(chrome, served, script, dark=dark) as page:
                for cell in CELLS:
                    page.run(cell)
                draw(page, "html-manager", dark)


def lab(chrome: Any) -> None:
    """The front end of this Python: JupyterLab with its version, or Notebook 7."""
    name = os.environ.get("JUPYTER_BATCH_FRONT", "lab").removesuffix("42")
    version = "-".join(metadata.version(f"jupyter{name}" if name == "lab" else name).split(".")[:2])
    with Lab(notebook_of(*CELLS), shots=DOCS, size=(1000, 960), chrome=chrome) as page:
        page.run_all()
        page.until(lambda: page.visible(".jb-live .jb-pill") == len(CELLS), "the panels")
        if name == "lab":
            page.command("application:toggle-left-area")
        page.shot(f"front-{name}-{version}.png")


def rows(chrome: Any) -> None:
    """The page of a job with failed, cut off and long rows; one is open."""
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        texts = csv.DictReader(
            (REPO / "jupyter_batch" / "data" / "reviews.csv").open(encoding="utf-8")
        )
        for row, review in enumerate(texts):
            rated = float(review["human_rating"])
            ask = request(
                "jbreviews", row, PROMPT + review["feedback"], system="Answer with one word."
            )
            if row % 29 == 0:
                lines.append((ask, failure("jbreviews", row, "the content was refused"), True))
                continue
            finish = "length" if row % 41 == 0 else "stop"
            said = answer(
                "jbreviews", row, WORDS[2 if abs(rated) < 1 else int(rated < 0)], finish=finish
            )
            lines.append((ask, said, False))
        viewer = Viewer(written(Path(folder), "jbreviews", lines)).start()
        page = chrome.new_page()
        page.set_viewport_size({"width": 1400, "height": 760})
        page.goto(f"{viewer.address('jbreviews')}#row=4")
        page.wait_for_selector("#detail h2")
        page.wait_for_timeout(1500)
        page.screenshot(path=str(DOCS / "rows.png"))
        page.close()
        viewer.stop()


def draw(page: Voila | Marimo | ManagerPage, name: str, dark: bool) -> None:
    """One picture, once both panels are there."""
    page.until(lambda: page.visible(".jb-live .jb-pill") == len(CELLS), "the panels")
    page.page.set_viewport_size({"width": 900, "height": 960})
    page.page.wait_for_timeout(500)
    page.shot(f"front-{name}-{'dark' if dark else 'light'}.png")


MADE = {"fronts": fronts, "html-manager": manager, "lab": lab, "rows": rows}


if __name__ == "__main__":
    main()
