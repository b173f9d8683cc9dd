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
        content = (
            json.dumps({EVIL: [EVIL, {"deep": EVIL}], "n": 1.5}) if row == 2 else f"{row} {EVIL}"
        )
        finish = "length" if row % 50 == 9 else "stop"
        lines.append(
            (ask, answer("jbevil", row, content, finish=finish, reasoning_content=EVIL), False)
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
    """The focused element."""
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    )


def test_the_row_view(address):
    """All of it, in one page of one browser."""
    with browser() as chrome:
        page = chrome.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
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
    page.get_by_role("button", name="Row", exact=True).press("Enter")
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
    page.locator("#columns summary").press("Enter")
    expect(page.locator("#columns li")).to_contain_text("job.view() in the notebook shows them")
    page.keyboard.press("Escape")
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


@pytest.fixture
def models(home):
    """The comparison of two models over 130 rows of hostile text; they differ in every tenth row."""
    ledger = None
    for job in ("jbone", "jbtwo"):
        lines = []
        for row in range(130):
            content = "negative" if row % 10 == 0 and job == "jbtwo" else f"positive {EVIL}"
            ask = request(job, row, f"{PROMPT}row {row} {EVIL}")
            lines.append((ask, answer(job, row, content), False))
        ledger = written(home, job, lines, name=EVIL, model=f"openai/{job}")
    ledger.keep_group("jgboth", ["jbone", "jbtwo"], 1.0)
    viewer = Viewer(ledger).start()
    yield viewer.address("jbone")
    viewer.stop()


def checked_page(chrome, address):
    """A page, and what went wrong in it: errors, and requests to other places."""
    page, wrong = chrome.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("request", lambda sent: sent.url.startswith(address) or wrong.append(sent.url))
    page.set_viewport_size({"width": 1400, "height": 800})
    return page, wrong


def test_labels_and_actions(address):
    """A label is stored with the keyboard, its agreement shown; Retry asks once more, with its price."""
    with browser() as chrome:
        page, wrong = checked_page(chrome, address)
        page.goto(f"{address}#row=0")
        field = page.get_by_label("_human")
        field.fill("other <b>label</b>")
        field.press("Enter")
        expect(page.locator("#labels summary")).to_have_text("1 labelled, 0 % agree")
        expect(page.locator("tbody .label").first).to_have_text("other <b>label</b>")
        page.locator("#labels summary").press("Enter")
        expect(page.get_by_role("cell", name="other <b>label</b>", exact=True)).to_be_visible()
        check_with_axe(page)
        shot(page, "labels")
        page.locator("#labels summary").press("Enter")
        retry = page.get_by_role("button", name="Retry: 5 rows, about $")
        retry.press("Enter")
        expect(page.get_by_role("button", name="Yes, retry: 5 rows, about $")).to_be_focused()
        check_with_axe(page)
        shot(page, "retry")
        page.get_by_role("button", name="No", exact=True).press("Enter")
        expect(retry).to_be_visible()
        assert page.evaluate("document.querySelectorAll('b.x, img[src=x]').length") == 0
        assert wrong == []


def test_the_models_side_by_side(models):
    """Disagreements first, agreement and cost above, one filter, pages, keyboard alone; texts stay texts."""
    with browser() as chrome:
        page, wrong = checked_page(chrome, models)
        page.goto(models)
        page.get_by_role("link", name="Compare the models").press("Enter")
        rows = page.locator("#scroll tbody tr")
        expect(rows).to_have_count(100)
        assert page.locator("#scroll tbody tr.differs").count() == 13
        expect(rows.nth(12)).to_have_class("differs")
        expect(page.locator("#sums tbody tr").first).to_contain_text("90 %")
        check_with_axe(page)
        shot(page, "models")
        page.get_by_role("button", name="Disagreeing 13").press("Enter")
        expect(rows).to_have_count(13)
        assert focused(page) == "Disagreeing 13"
        page.set_viewport_size({"width": 420, "height": 700})
        check_with_axe(page)
        shot(page, "models-narrow")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 1000, "height": 700})
        check_with_axe(page)
        shot(page, "models-dark")
        assert page.locator("#scroll img, #scroll script").count() == 0
        assert wrong == []
