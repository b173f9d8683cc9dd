"""axe-core in a page: names, roles, lists, tables and contrast."""

from importlib import util
from pathlib import Path
from typing import Any

import pytest

# A front end's landmarks are its own.
AXE = """where => axe.run(where, {resultTypes: ['violations'], rules: {region: {enabled: false}}}).then(found =>
  found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200) + ' ' + node.failureSummary)]))"""


def violations(page: Any, *shadow: str, css: str = ".jb-live") -> list[Any]:
    """axe-core's findings in the matching elements. shadow: the elements around them that have a shadow tree."""
    found = util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not here (pip install axe-playwright-python)")
    page.evaluate((Path(found.origin).parent / "axe.min.js").read_text("utf-8"))
    where = {"fromShadowDom": [*shadow, css]} if shadow else {"include": css.split(", ")}
    violated: list[Any] = page.evaluate(AXE, where)
    return violated
