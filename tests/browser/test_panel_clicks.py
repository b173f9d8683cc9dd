"""The panel's buttons on a real job in a real JupyterLab, and the panel of a job after its kernel was restarted."""

import re

import pytest
from cells import FRAME, SUBMIT
from lab import NOTEBOOK, notebook_of

from jupyter_batch.server.embedded import Embedded

FILLED = "print('filled', df['sentiment'].notna().sum())"
SET = f"([index, source]) => {NOTEBOOK}.content.widgets[index].model.sharedModel.setSource(source)"
BEFORE = (
    "() => getComputedStyle(document.querySelector('.jb-live').parentElement, '::before').content"
)


@pytest.fixture
def open_at(open_lab, tmp_path):
    """`open_at(pace, faults, *cells)`: a lab, and the server that its kernel's batches go to."""
    opened = []

    def open_one(pace, faults, *cells):
        server = Embedded(tmp_path / "server", pace=pace, faults=faults).start()
        opened.append(server)
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token}
        return open_lab(notebook_of(*cells), env=env), server

    yield open_one
    for server in opened:
        server.stop()


def done(lab, cell):
    """The rows that are done, as the page shows it."""
    found = re.search(r"(\d+) of 200 rows", lab.output(cell))
    return int(found[1]) if found else -1


def test_retry_failed_sends_the_missed_rows_and_shows_how_it_goes(open_at):
    """The click is answered at once, the line says what became of it, and the column is whole in the end."""
    lab_, server = open_at(0, "row_errors=0.2,seed=5", FRAME, SUBMIT, "job.wait()", FILLED)
    with lab_ as lab:
        lab.run_all()
        lab.wait_text("filled", 3)
        assert "filled 200" not in lab.output(3)
        lab.wait_text("row ", 1)  # first answers, next to their rows, and an example of the failure
        assert "Sentiment (positive/negative)?" not in lab.output(1), (
            "the prompt's own words are not repeated"
        )
        lab.shot("panel-failures.png", 1)
        server.set_faults("")
        lab.click("Retry failed")
        lab.until(
            lambda: re.search(r"sent again as job jb\w+: completed", lab.output(1)),
            "the rows to be answered",
        )
        lab.shot("panel-retried.png", 1)
        lab.until(lambda: not lab.has_button("Retry failed"), "the button to go")
        lab.run_cell(3)
        lab.wait_text("filled 200", 3)
        assert lab.errors() == []


def test_finish_now_asks_the_rest_in_real_time(open_at):
    """It asks once more, works while a cell waits, and the waiting cell ends with every row answered."""
    lab_, _ = open_at(600, "", FRAME, SUBMIT, "print('waited', job.wait().is_successful)")
    with lab_ as lab:
        lab.run_all()
        lab.until(
            lambda: "*" in lab.cells()[2]["prompt"] and lab.has_button("Finish now"),
            "the last cell to wait",
        )
        lab.click("Refresh")
        lab.wait_text("Asked at ", 1)
        lab.click("Finish now")
        lab.wait_text("at its full price?", 1)
        lab.shot("panel-finish-asks.png", 1)
        lab.click("Yes, finish now")
        lab.wait_text("waited True", 2)
        lab.wait_text("completed", 1)
        assert lab.errors() == []


def test_after_a_restart_the_panel_comes_back(open_at):
    """After a kernel restart `%llm_batch show ID`, and the cell run again, bring the live panel of the same job.

    With its history: the curve is there with the first look, though this process has seen nothing of it. Until then
    the old panel says that its kernel is gone, and has no button that would do nothing.
    """
    lab_, _ = open_at(90, "", FRAME, SUBMIT, "job.id")
    with lab_ as lab:
        lab.run_all()
        lab.until(
            lambda: lab.page.locator(".jb-live .jb-curve").count() == 1, "some rows, by and by"
        )
        found = re.search(r"jb[a-z0-9]{10,}", lab.output(2))
        assert found
        lab.page.evaluate(f"() => {NOTEBOOK}.context.sessionContext.session.kernel.restart()")
        lab.wait_idle()
        lab.until(
            lambda: lab.visible(".jb-live.jb-gone") == 1,
            "the page to know",
        )
        assert lab.visible(".jb-live button:not(.jb-copy)") == 0
        assert "its kernel left it" in lab.output(1)
        assert f'jupyter_batch.open("{found[0]}")' in lab.output(1)
        assert lab.page.evaluate(BEFORE) == "none", "no broken link over it"
        lab.shot("panel-without-its-kernel.png")
        lab.page.evaluate(SET, [2, f"%load_ext jupyter_batch\n%llm_batch show {found[0]}"])
        lab.run_cell(2)
        lab.until(lambda: done(lab, 2) > 0, "the panel")
        before = done(lab, 2)
        assert (
            lab.page.locator(".jp-Notebook .jp-Cell").nth(2).locator(".jb-live .jb-curve").count()
            == 1
        )
        lab.until(lambda: done(lab, 2) > before, "it to move")
        for cell in (0, 1):
            lab.run_cell(cell)
            lab.wait_idle()
        lab.until(lambda: done(lab, 1) > before, "the cell's own panel")
        same = lab.page.locator(f".jb-live:not(.jb-gone) [data-copy={found[0]}]")
        assert same.count() == 2, "it is the same job: nothing was sent again"
        for cell in (1, 2):
            assert (
                lab.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jb-live").count() == 1
            )
        assert lab.errors() == []
