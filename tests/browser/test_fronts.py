"""The live panel in Voila, marimo, Solara: live, clicked, dead with its kernel, reloaded, twice, hostile, readable."""

import os
import re
import signal

import pytest
from conftest import house
from fronts import Marimo, MarimoEditor, Solara, Voila, has

from jupyter_batch.server.embedded import Embedded

START = "from driver import Job\njob = Job()"
ROWS = "__import__('written_jobs').rows()"
PID = "import os; print('process', os.getpid(), 'ends here')"
BUSY = "from pathlib import Path\nwhile not Path('over').exists(): pass"
FRONTS = {"voila": Voila, "marimo": Marimo, "marimo editor": MarimoEditor}
pytestmark = pytest.mark.fronts


@pytest.fixture
def open_front():
    """`open_front(name, *cells)`: the notebook in that front end, for a `with` statement."""

    def open_one(name, *cells, **more):
        if not has(name.partition(" ")[0]):
            pytest.skip(f"{name} is not installed here")
        house.open(server=False)
        return FRONTS[name](house.chrome, *cells, **more)

    return open_one


def answered(page):
    """The rows that are done, as the page shows it."""
    found = re.search(r"([\d,]+) of 1,000 rows", page.text())
    return int(found[1].replace(",", "")) if found else -1


def moves(page):
    """Wait until the page shows three more rows than now."""
    now = answered(page)
    page.until(lambda: answered(page) >= now + 3, "the panel to move")


def process(page):
    """The kernel's, as a cell printed it."""
    found = re.search(r"process (\d+) ends here", page.text())
    return int(found[1]) if found else 0


@pytest.mark.matrix
@pytest.mark.parametrize("name", FRONTS)
def test_a_job_is_drawn_once_live_and_answers_clicks(open_front, name):
    """It moves, Refresh is answered, Cancel asks; a reload of the page shows a live panel again.

    Another cell shows the rows of a job.
    """
    with open_front(name, START, ROWS) as page:
        page.until(lambda: page.visible(".jb-live .jb-pill") == 1, "the panel")
        moves(page)
        page.until(lambda: page.rows() == 9, "the row view")
        assert page.visible(".jb-pill") == 1
        page.click("Refresh")
        page.until(lambda: "Asked, 1." in page.text(), "the answer")
        page.shot(f"{name.replace(' ', '-')}.png")
        page.page.reload()
        page.until(lambda: page.visible(".jb-live .jb-pill") == 1, "the panel again")
        moves(page)
        page.click("Cancel")
        page.until(lambda: "Cancel this batch?" in page.text(), "the question")
        page.click("Yes, cancel")
        page.until(lambda: "cancelled" in page.text(), "the end")
        assert page.visible(".jb-pill") == 1
        assert page.page_errors == []


@pytest.mark.parametrize("name", FRONTS)
def test_a_kernel_that_is_gone_is_noticed(open_front, name):
    """The figures stay, without a button that would do nothing."""
    with open_front(name, START, PID) as page:
        page.until(lambda: answered(page) > 0, "the panel")
        if name == "marimo":  # its kernel is a thread of the server
            page.stop()
        else:
            page.until(lambda: process(page), "the kernel's process")
            os.kill(process(page), signal.SIGKILL)
        page.until(lambda: page.visible(".jb-gone") == 1, "the panel to notice", 20)
        assert page.visible(".jb-live button:not(.jb-copy)") == 0
        assert "As its kernel left it" in page.text()


def test_a_click_during_a_cell_of_marimo_is_received_and_then_answered(open_front):
    """No message is read while a cell runs: the panel goes on moving, says so, and answers after it."""
    with open_front("marimo editor", START, f"job\n{BUSY}") as page:
        page.until(lambda: answered(page) > 0, "the panel")
        page.click("Refresh")
        page.until(lambda: "Click received: the kernel is busy" in page.text(), "the note")
        moves(page)
        (page.folder / "over").touch()
        page.until(lambda: "Asked, 1." in page.text(), "the answer")
        assert "Click received" not in page.text()


@pytest.mark.parametrize("name", ["voila", "marimo"])
@pytest.mark.parametrize("dark", [False, True])
def test_two_jobs_and_hostile_text_read_well(open_front, name, dark):
    """Markup is text, nothing runs; axe finds nothing; nothing is cut off at 400 to 1,600 pixels; light and dark."""
    cells = [f"__import__('still_panels').still({case!r})" for case in ("evil", "large")]
    with open_front(
        name, *cells, dark=dark
    ) as page:  # no import: in marimo a name belongs to one cell
        page.until(lambda: page.visible(".jb-live .jb-pill") == 2, "both panels")
        page.until(lambda: page.page.get_by_text("Show the 3 batches").count() == 1, "the button")
        page.click("Show the 3 batches")
        page.until(lambda: page.visible(".jb-parts [role=listitem]") == 3, "the list")
        panel = page.page.locator(".jb-live").first
        assert panel.locator("script, img, a").count() == 0
        assert "<script>" in panel.text_content()
        assert page.page.title() != "owned"
        for width in (400, 1000, 1600):
            page.page.set_viewport_size({"width": width, "height": 1300})
            page.page.wait_for_timeout(100)
            page.shot(f"{name}-{'dark' if dark else 'light'}-{width}.png")
            assert not page.is_wide(), width
        assert page.violations() == []
        assert page.page_errors == []


def test_a_job_that_ends_a_cell_of_marimo_is_shown_live(open_front, tmp_path):
    """In each cell that has it; a cell that waits for it gets the answers, and its own output."""
    submit = (
        "import pandas as pd\nimport jupyter_batch\ndf = pd.DataFrame({'t': ['one', 'two']})\n"
        "job = df.llm.batch('{t}', out='said')\njob"
    )
    wait = "import marimo as mo\nmo.md('filled: ' + ' '.join(job.wait().frame()['said']))"
    with Embedded(tmp_path / "server", pace=0.5) as server:
        env = {
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": server.token,
            "JUPYTER_BATCH_MODEL": "openai/local/echo",
        }
        with open_front("marimo", submit, "job", wait, env=env) as page:
            page.until(lambda: "filled: one two" in page.text(), "the answers")
            page.until(lambda: page.text().count("2 of 2 rows (100%)") == 2, "both panels' end")
            assert page.visible(".jb-live") == 2
            assert page.page_errors == []


@pytest.mark.matrix
def test_a_job_in_solara(tmp_path):
    """A component submits it; it moves, answers clicks, is there after a reload, and is grey without its server."""
    if not has("solara"):
        pytest.skip("solara is not installed here")
    house.open(server=False)
    submit = "__import__('jupyter_batch').batch([f'{n}' for n in range(300)]).widget"
    with Embedded(tmp_path / "server", pace=60) as server:
        env = {
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": server.token,
            "JUPYTER_BATCH_MODEL": "openai/local/echo",
        }
        with Solara(house.chrome, submit, env=env) as page:

            def done():
                found = re.search(r"(\d+) of 300 rows", page.text())
                return int(found[1]) if found else -1

            page.until(lambda: done() > 0, "the panel to move")
            page.click("Refresh")
            page.until(lambda: "Asked at" in page.text(), "the answer")
            page.page.reload()
            page.until(lambda: page.visible(".jb-live .jb-pill") == 1, "the panel again")
            page.until(lambda: page.violations() == [], "axe-core, once the page has faded in")
            page.shot("front-solara-light.png")
            page.click("Cancel")
            page.click("Yes, cancel")
            page.until(lambda: "cancelled" in page.text(), "the end")
            assert page.page_errors == []
            page.stop()
            page.until(lambda: page.visible(".jb-gone") == 1, "the panel to notice", 20)
