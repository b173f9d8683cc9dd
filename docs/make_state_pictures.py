"""Make docs/states-THEME-WIDTH.png: each state of a job as its panel shows it, in a real JupyterLab, light and dark.

`python docs/make_state_pictures.py` needs the `test` extra and a Chromium. The jobs are made up (tests/browser/
still_panels.py), the panels are the real ones.
"""

import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "browser")]

from lab import Lab, notebook_of  # noqa: E402  # the harness is among the browser tests
from still_panels import CASES  # noqa: E402

WIDTHS = {1600: 2580, 400: 5080}
"""The page's width, and how high it has to be to show them all."""


def main() -> None:
    """Both themes, both widths."""
    cells = [f"from still_panels import still\nstill({case!r})" for case in CASES]
    with Lab(notebook_of(*cells), shots=REPO / "docs") as lab:
        lab.run_all()
        lab.until(lambda: lab.page.locator(".jb-live").count() == len(CASES), "all panels")
        lab.click("Show the 7 batches")
        lab.until(lambda: lab.has_button("Hide the 7 batches"), "the list of batches")
        for command in ("notebook:hide-all-cell-code", "application:toggle-left-area"):
            lab.command(command)
        for width, height in WIDTHS.items():
            lab.page.set_viewport_size({"width": width, "height": height})
            for theme in ("Light", "Dark"):
                lab.theme(f"JupyterLab {theme}")
                lab.page.evaluate(
                    "() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0; }"
                )
                lab.shot(f"states-{theme.lower()}-{width}.png")


if __name__ == "__main__":
    main()
