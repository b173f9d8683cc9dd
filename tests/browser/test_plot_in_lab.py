"""`job.plot()` in a real JupyterLab: the figure is shown, nothing is loaded, and hostile text does nothing."""

import pytest
from lab import notebook_of

CELLS = (
    "from tests.example_snapshots import cases\nfrom jupyter_batch.monitor.plot import figure",
    "figure(cases()['evil'])",
)


def test_the_figure_is_shown_without_a_network(open_lab):
    """JupyterLab shows the picture; no host but its own server is asked."""
    pytest.importorskip("matplotlib")
    asked = []
    with open_lab(notebook_of(*CELLS)) as lab:
        lab.page.on("request", lambda request: asked.append(request.url))
        lab.run_all()
        lab.until(lambda: lab.page.locator(".jp-RenderedImage img").count() == 1, "the picture")
        assert lab.page.locator(".jp-RenderedImage img").get_attribute("width") == "787", (
            "sharp on a fine screen"
        )
        lab.shot("plot-in-lab.png")
        assert lab.errors() == []
    outside = [
        url
        for url in asked
        if not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))
    ]
    assert outside == []
