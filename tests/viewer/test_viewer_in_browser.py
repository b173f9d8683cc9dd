"""The row view in a real Chromium: keyboard alone, hostile text, axe, widths and themes. One browser for all of it."""

from __future__ import annotations

import json
import os
import sys
from importlib import util
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jupyter_batch.viewer.server import Viewer
from tests.viewer.conftest import EVIL
from tests.viewer.finished_jobs import PROMPT, answer, failure, request, written

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from chrome import browser, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here (set the variable CHROMIUM)"),
]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
AXE = """() => axe.run({resultTypes: ['violations']}).then(found => found.violations.map(one =>
    `${one.id}: ${one.help}: ${one.nodes.map(node => node.html.slice(0, 200)).join(' ; ')}`))"""


@pytest.fixture
def address(home):
    """The page of a job of 250 rows with hostile text wherever text can be."""
    lines = []
    for row in range(250):
        text = f"{PROMPT}{'needle' if row == 240 else 'hay'} {row} {EVIL}"
        given = text
        if row == 1:
            given = [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "image_url", "image_url": {"url": "https://example.invalid/x.png"}},
                {"type": "image_url", "image_url": {"url": "javascript:document.title='owned'"}},
            ]
        ask = request("jbevil", row, given, system=EVIL)
        if row % 50 == 7:
            lines.append((ask, failure("jbevil", row, EVIL), True))
            continue
        said = json.dumps({EVIL: [EVIL, {"deep": EVIL}], "n": 1.5}) if row == 2 else f"{row} {EVIL}"
        finish = "length" if row % 50 == 9 else "stop"
        lines.append(
            (ask, answer("jbevil", row, said, finish=finish, reasoning_content=EVIL), False)
        )
    labels = pd_index(EVIL, len(lines))
    ledger = written(home, "jbevil", lines, index=labels, name=EVIL, out=EVIL, shards=2)
    viewer = Viewer(ledger).start()
    yield viewer.address("jbevil")
    viewer.stop()


def pd_index(text, rows):
    """Labels that are hostile too."""
    import pandas as pd

    return pd.Index([f"{row} {text}" for row in range(rows)])


def check_with_axe(page):
    """axe-core finds nothing; it is put in past the page's policy."""
    found = util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not here (pip install axe-playwright-python)")
    page.evaluate((Path(found.origin).parent / "axe.min.js").read_text("utf-8"))
    assert page.evaluate(AXE) == []


def shot(page, name):
    """A screenshot where JUPYTER_BATCH_SHOTS names a folder."""
    if folder := os.environ.get("JUPYTER_BATCH_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"rows-{name}.png"))


def focused(page):
    """What has the focus."""
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    )


def test_the_row_view(address):
    """All of it, in one page of one browser."""
    with browser() as chrome:
        page = chrome.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("request", lambda sent: sent.url.startswith(address) or wrong.append(sent.url))
        page.set_viewport_size({"width": 1400, "height": 800})
        page.goto(address)
        page.wait_for_selector("tbody tr")
        by_keyboard(page)
        hostile_text(page)
        looks(page)
        assert wrong == []
        assert page.evaluate("document.title").startswith("<script>document.title="), "a text"
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        page.close()


def by_keyboard(page):
    """Filter, search, order, pages, open, next, close, export: no mouse."""
    rows = page.locator("tbody tr")
    assert rows.count() == 100
    page.get_by_role("button", name="Failed 5").focus()
    page.keyboard.press("Enter")
    expect(rows).to_have_count(5)
    assert focused(page) == "Failed 5", "the focus stays"
    page.get_by_role("button", name="All 250").press("Enter")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Last page").press("Enter")
    expect(page.locator("#shown")).to_have_text("201–250 of 250 rows")
    page.get_by_role("button", name="Size").press("Enter")
    page.wait_for_selector("th[aria-sort=descending]")
    page.get_by_role("button", name="Row").press("Enter")
    expect(page.locator("tbody button").first).to_have_attribute("data-row", "0")
    page.locator("#search").fill("needle")
    expect(page.locator("#shown")).to_have_text("1–1 of 1 row")
    assert page.locator("mark").inner_text() == "needle"
    page.locator("#search").fill("")
    expect(rows).to_have_count(100)
    page.locator("tbody button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail h2")
    assert focused(page).startswith("Row 1 ")
    page.get_by_role("button", name="Next row").press("Enter")
    expect(page.locator("#detail h2")).to_contain_text("Row 2 ")
    assert focused(page) == "Next row"
    page.keyboard.press("Escape")
    assert page.locator("#detail").is_hidden()
    assert focused(page).startswith("2 "), "back where it came from"
    page.locator("#export summary").press("Enter")
    with page.expect_download() as download:
        page.get_by_role("link", name="250 rows as JSONL").press("Enter")
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert len(lines) == 250
    page.keyboard.press("Escape")
    assert not page.evaluate("document.querySelector('#export').open")


def hostile_text(page):
    """Rows with markup in prompt, answer, keys of JSON, labels, reasons, names: shown as it is; nothing is fetched."""
    for row in (1, 2, 7):
        page.evaluate(f"location.hash = 'row={row}'")
        expect(page.locator("#detail h2")).to_contain_text(f"Row {row} ")
        page.evaluate(
            "for (const one of document.querySelectorAll('#detail details')) one.open = true"
        )
        assert EVIL in page.locator("#detail").inner_text()
        assert page.locator("#detail script").count() == 0
        if row == 1:
            assert page.locator("#detail img").count() == 1, "the one that is in the prompt itself"
            assert "https://example.invalid/x.png" in page.locator("#detail").inner_text()
        if row == 2:
            assert page.locator("#detail .tree .key").first.inner_text() == EVIL


def looks(page):
    """Light and dark, 400 to 1600 px: axe finds nothing, nothing is wider than the page; forced colours are drawn."""
    for row, width, scheme in (
        ("", 1600, "light"),
        ("", 400, "dark"),
        ("#row=1", 1600, "dark"),
        ("#row=7", 400, "light"),
    ):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(f"location.hash = '{row}'")
        expect(page.locator("#detail h2")).to_have_count(1 if row else 0)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_with_axe(page)
        shot(page, f"{width}-{scheme}{'-row' if row else ''}")
    page.emulate_media(color_scheme="dark", forced_colors="active")
    check_with_axe(page)
