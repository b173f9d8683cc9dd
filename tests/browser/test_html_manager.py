"""The panel in a page that draws widgets with the html-manager, as VS Code and Colab do."""

import os
import re
import signal

import pytest
from axe import violations
from conftest import house
from html_manager import ManagerPage, library

START = "from driver import Job\njob = Job()"


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """The html-manager's script, or None."""
    return library(tmp_path_factory.mktemp("html-manager"))


@pytest.fixture
def open_page(script):
    """`open_page()`: such a page, with a kernel of its own."""
    if script is None:
        pytest.skip("no html-manager here (npm, or the variable HTML_MANAGER)")
    house.open(server=True)
    return lambda **more: ManagerPage(house.chrome, house.served, script, **more)


def answered(page):
    """The rows that are done, as the page shows it."""
    found = re.search(r"([\d,]+) of 1,000 rows", page.text())
    return int(found[1].replace(",", "")) if found else -1


def moves(page):
    """Wait until the page shows three more rows than now."""
    now = answered(page)
    page.until(lambda: answered(page) >= now + 3, "the panel to move")


def test_a_job_is_drawn_once_and_live(open_page):
    """The panel alone, though its card lies above it and is updated; a click is answered, and Cancel asks."""
    with open_page() as page:
        page.run(START)
        page.until(lambda: page.visible(".jb-live .jb-pill") == 1, "the panel")
        moves(page)
        assert page.visible(".jb-pill") == 1
        page.click("Refresh")
        page.until(lambda: "Asked, 1." in page.text(), "the answer")
        page.click("Cancel")
        page.until(lambda: "Cancel this batch?" in page.text(), "the question")
        page.click("Yes, cancel")
        page.until(lambda: "cancelled" in page.text(), "the end")
        assert page.visible(".jb-pill") == 1
        assert page.errors() == []


def test_a_click_during_a_cell_is_received_or_answered(open_page):
    """No subshell: in a blocking cell the click is noted; in one that waits for the job it acts at once."""
    with open_page() as page:
        page.run(START)
        page.until(lambda: answered(page) > 0, "the panel")
        page.run("from pathlib import Path\nwhile not Path('over').exists(): pass")
        page.until(
            lambda: page.page.evaluate("() => document.querySelectorAll('section').length === 2"),
            "it",
        )
        moves(page)
        page.click("Refresh")
        page.until(
            lambda: "Click received: the kernel is busy with a cell" in page.text(), "the note"
        )
        moves(page)
        (page.room / "over").touch()
        page.until(lambda: "Asked, 1." in page.text(), "the answer")
        assert "Click received" not in page.text()
        page.run("print('waited', job.wait())")
        page.click("Cancel")
        page.until(lambda: "Cancel this batch?" in page.text(), "the question")
        page.click("Yes, cancel")
        page.until(lambda: "waited True" in page.text(), "the cell to end")
        assert page.errors() == []


def test_a_kernel_that_is_shut_down_is_noticed(open_page):
    """Such a page gets no message; the panel detects it, and has no button without effect."""
    with open_page() as page:
        page.run(START)
        page.until(lambda: answered(page) > 0, "the panel")
        page._served.end_kernels(page.room)
        page.until(lambda: page.visible(".jb-gone") == 1, "the panel to notice", 20)
        assert page.visible(".jb-live button:not(.jb-copy)") == 0
        assert "As its kernel left it" in page.text()
        assert page.visible(".jb-pill") == 1


def test_the_panel_of_a_killed_kernel_wakes_with_its_job(open_page):
    """The server starts another kernel, which opens the job again: both panels show it, and can be clicked."""
    with open_page() as page:
        page.run(f"{START}; import os; print('process', os.getpid(), 'ends here')")
        page.until(lambda: answered(page) > 0, "the panel")
        page.until(lambda: "ends here" in page.text(), "the kernel's process")
        os.kill(int(re.search(r"process (\d+)", page.text())[1]), signal.SIGKILL)
        page.until(lambda: page.visible(".jb-gone") == 1, "the panel to notice", 20)
        page.run(START)
        page.until(lambda: page.visible(".jb-live:not(.jb-gone)") == 2, "both to live")
        page.page.get_by_role("button", name="Refresh").first.click()
        page.until(lambda: page.text().count("Asked, 1.") == 2, "the answer")


def test_two_jobs_and_hostile_text(open_page):
    """Each is drawn once; markup in names, answers and messages is text. The rows of a job are shown, too."""
    with open_page() as page:
        for case in ("evil", "large"):
            page.run(f"from still_panels import still; still({case!r})")
        page.until(lambda: page.visible(".jb-live .jb-pill") == 2, "both panels")
        page.click("Show the 3 batches")
        page.until(lambda: page.visible(".jb-parts") == 1, "the list")
        assert page.visible(".jb-static") == 0
        panel = page.page.locator(".jb-live").first
        assert panel.locator("script, img, a").count() == 0
        assert "<script>" in panel.text_content()
        assert page.page.title() == "html-manager"
        page.run("__import__('written_jobs').rows()")
        rows = page.page.frame_locator("iframe[title^=Rows]").locator("tbody tr")
        page.until(lambda: rows.count() == 9, "the row view")
        assert page.errors() == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_reads_there_too(open_page, dark):
    """Without JupyterLab's colours, at 400 pixels and 900; axe finds nothing; with a system's own colours."""
    for width in (400, 900):
        with open_page(dark=dark, width=width) as page:
            for case in ("large", "failures"):
                page.run(f"from still_panels import still; still({case!r})")
            page.until(lambda page=page: page.visible(".jb-live .jb-pill") == 2, "both panels")
            wide = (
                "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
            assert page.page.evaluate(wide)
            assert violations(page.page) == []
            page.shot(f"html-manager-{'dark' if dark else 'light'}-{width}.png")
            page.page.emulate_media(forced_colors="active")
            page.shot(f"html-manager-{'dark' if dark else 'light'}-{width}-forced.png")
