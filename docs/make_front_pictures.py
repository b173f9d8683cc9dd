"""Make docs/front-NAME-THEME.png: two jobs in Voila, in marimo, and as VS Code and Colab draw widgets.

`python docs/make_front_pictures.py` needs the `test` extra, a Chromium, Voila and marimo; for the last one npm, or the
variable HTML_MANAGER. The jobs are made up (tests/browser/still_panels.py), panels and front ends are the real ones.
"""

import os
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "browser")]

from chrome import browser  # noqa: E402  # the harness is among the browser tests
from fronts import Marimo, Voila  # noqa: E402
from html_manager import ManagerPage, library  # noqa: E402
from lab_server import Served  # noqa: E402

CELLS = [f"__import__('still_panels').still({case!r})" for case in ("large", "failures")]


def main() -> None:
    """Each, in both themes."""
    os.environ["JUPYTER_BATCH_SHOTS"] = str(REPO / "docs")
    with browser() as chrome:
        for dark in (False, True):
            for front in (Voila, Marimo):
                with front(chrome, *CELLS, dark=dark, width=900) as page:
                    draw(page, front.__name__.lower(), dark)
        with Served() as served, tempfile.TemporaryDirectory() as folder:
            script = library(Path(folder))
            for dark in (False, True) if script else ():
                with ManagerPage(chrome, served, script, dark=dark) as page:
                    for cell in CELLS:
                        page.run(cell)
                    draw(page, "html-manager", dark)


def draw(page: Voila | Marimo | ManagerPage, name: str, dark: bool) -> None:
    """One picture, once both panels are there."""
    page.until(lambda: page.visible(".jb-live .jb-pill") == len(CELLS), "the panels")
    page.page.set_viewport_size({"width": 900, "height": 960})
    page.page.wait_for_timeout(500)
    page.shot(f"front-{name}-{'dark' if dark else 'light'}.png")


if __name__ == "__main__":
    main()
