"""Filtered rows in a real Chromium, with the keyboard alone: their price, their retry, the source's columns."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect

import jupyter_batch
from jupyter_batch.notebook import kernel
from jupyter_batch.viewer import opened
from tests.viewer.conftest import EVIL
from tests.viewer.test_viewer_in_browser import check_with_axe, checked_page, shot

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from chrome import browser, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here (set the variable CHROMIUM)"),
]


@pytest.fixture
def page_address(server, call, home, monkeypatch):
    """The page of `job.view()`: half of 40 rows failed; the frame has hostile cells and column names."""
    server.set_faults("row_errors=0.5,seed=3")
    rows = range(40)
    df = pd.DataFrame(
        {
            "text": [f"The zip of jacket {n} broke" for n in rows],
            "shop": [EVIL if n == 1 else f"Shop {n % 5}" for n in rows],
            EVIL: [n * 1.5 for n in rows],
        }
    )
    prices = {call["model"]: {"input": 1.0, "output": 2.0}}
    job = df.llm.batch("{text}", out="said", max_tokens=9, prices=prices, **call).wait(60)
    server.set_faults("")
    monkeypatch.setattr(kernel, "has_frontend", lambda: True)
    yield job, job.view().url
    opened.close_all()


def test_filtered_rows_are_priced_and_retried(page_address):
    """Two presses from the filter to the retry; the price is asked once more; its rows are a link away."""
    job, address = page_address
    with browser() as chrome:
        page, wrong = checked_page(chrome, address.removesuffix(f"{job.id}/"))
        page.goto(address)
        expect(page.locator("#retry button")).to_have_count(0)
        page.get_by_role("button", name="Failed").press("Enter")
        retry = page.get_by_role("button", name=f"Retry these: {job.counts.failed} rows, about $")
        expect(retry).to_be_visible()
        page.locator("#search").fill("jacket 1")
        expect(page.locator("#shown")).not_to_contain_text(f"of {job.counts.failed} rows")
        expect(page.get_by_role("button", name="Retry these: ")).to_be_visible()
        check_with_axe(page)
        shot(page, "filtered")
        page.get_by_role("button", name="Retry these: ").press("Enter")
        yes = page.get_by_role("button", name="Yes, retry: ")
        expect(yes).to_be_focused()
        check_with_axe(page)
        shot(page, "filtered-asked")
        page.keyboard.press("Enter")
        link = page.get_by_role("link", name="Its rows")
        expect(link).to_be_visible()
        again = jupyter_batch.open(link.get_attribute("href").strip("./")).wait(60)
        assert 0 < again.counts.succeeded < job.counts.failed
        link.press("Enter")
        expect(page.locator("#title")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(40)
        expect(page.locator("tbody td.prompt").first).to_contain_text("jacket")
        expect(page.locator("thead th.source")).to_have_count(2)
        expect(page.get_by_role("button", name="Retry: ")).to_contain_text("rows, about $")
        shot(page, "retried")
        assert wrong == []


def test_the_sources_columns_in_the_page(page_address):
    """Two are shown at first; the menu has all; a row has them whole; texts stay texts."""
    job, address = page_address
    with browser() as chrome:
        page, wrong = checked_page(chrome, address.removesuffix(f"{job.id}/"))
        page.goto(address)
        expect(page.locator("thead th.source")).to_have_text(["shop", EVIL])
        expect(page.locator("tbody td.source").first).to_have_text("Shop 0")
        shot(page, "columns")
        check_with_axe(page)
        page.locator("#columns summary").press("Enter")
        page.get_by_label("text", exact=True).press("Space")
        expect(page.locator("thead th.source")).to_have_text(["text", "shop", EVIL])
        shot(page, "columns-menu")
        check_with_axe(page)
        page.keyboard.press("Escape")
        expect(page.locator("#columns summary")).to_be_focused()
        page.locator("tbody button").nth(1).press("Enter")
        expect(page.locator("#detail dl").first).to_contain_text("shop")
        expect(page.get_by_role("button", name="Copy: Custom id")).to_be_visible()
        shot(page, "columns-row")
        check_with_axe(page)
        assert page.locator("main img, main script").count() == 0
        assert wrong == []
