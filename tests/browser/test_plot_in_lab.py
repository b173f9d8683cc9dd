"""`job.plot()` in a real JupyterLab: both drawings are shown, nothing is loaded, and hostile text does nothing."""

import pytest
from lab import notebook_of

CELLS = (
    "from tests.made_up import cases\nfrom jupyter_batch.monitor.plots.plot import drawn",
    "drawn(cases()['evil'], 'altair')",
    "drawn(cases()['evil'], 'matplotlib')",
)


def test_both_are_shown_without_a_network(open_lab):
    """JupyterLab draws the chart itself, and the picture of the other; no host but its own server is asked."""
    pytest.importorskip("altair")
    pytest.importorskip("matplotlib")
    asked = []
    with open_lab(notebook_of(*CELLS)) as lab:
        lab.page.on("request", lambda request: asked.append(request.url))
        lab.run_all()
        lab.until(
            lambda: (
                lab.page.locator(".vega-embed canvas.marks, .vega-embed svg.marks").count() == 1
            ),
            "the chart",
        )
        lab.until(lambda: lab.page.locator(".jp-RenderedImage img").count() == 1, "the picture")
        assert lab.page.locator(".jp-RenderedImage img").get_attribute("width") == "787", (
            "sharp on a fine screen"
        )
        lab.shot("plot-in-lab.png")
        assert not [line for line in lab.console if "WARN" in line], (
            "Vega has nothing to say about the spec"
        )
        assert lab.errors() == []
    outside = [
        url
        for url in asked
        if not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))
    ]
    assert outside == []
