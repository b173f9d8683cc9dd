"""The whole thing in a real JupyterLab: a frame, a batch over HTTP, the panel, the column, and the saved notebook."""

import re

import pytest
from cells import FRAME, LOST, SUBMIT
from lab import REPO, notebook_of

from jupyter_batch.server import launch
from jupyter_batch.server.embedded import Embedded

KEY = "sk-on-no-screen-0123456789"


@pytest.fixture
def open_at(open_lab, tmp_path):
    """A lab, `open_at(pace, *cells)`, whose kernel finds OpenAI's API on this machine: a batch takes `pace` seconds."""
    opened = []

    def open_one(pace, *cells):
        server = Embedded(tmp_path / "server", token=KEY, pace=pace).start()
        opened.append(server)
        return open_lab(
            notebook_of(*cells),
            env={"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token},
        )

    yield open_one
    for server in opened:
        server.stop()


def test_the_panel_moves_while_other_cells_run_and_the_column_comes_between_cells(open_at):
    """A busy cell sees no change of its frame; the panel moves; the next cell has the column."""
    busy = "while not job.is_complete:\n    sum(range(20_000))\nprint('inside', 'sentiment' in df)"
    after = "print('after', df['sentiment'].notna().sum(), job.is_successful)"
    with open_at(12, FRAME, SUBMIT, busy, after, "job.results().head()") as lab:
        lab.run_all()
        seen = set()

        def note():
            found = re.search(r"(\d+) of 200 rows", lab.output(1))
            if found and "*" in lab.cells()[2]["prompt"]:
                seen.add(int(found[1]))
            return "after" in lab.output(3)

        lab.until(note, "the last cell")
        assert "inside False" in lab.output(2)
        assert "after 200 True" in lab.output(3)
        assert len(seen) >= 3, f"the panel moved while a cell ran: {sorted(seen)}"
        lab.wait_text("completed", 1)
        assert lab.visible(".jb-pill") == 1
        lab.shot("job-completed.png")
        lab.wait_text("succeeded", 4)
        lab.wait_idle()
        lab.save()
        assert KEY not in lab.path.read_text("utf-8")
        assert lab.errors() == []


@pytest.mark.matrix
def test_cancel_works_during_wait_and_the_saved_card_says_so(open_at):
    """Cancel in the panel during job.wait() ends job and cell; reopened without a kernel, the card stands there."""
    with open_at(600, FRAME, SUBMIT, "print('waited', job.wait().state)") as lab:
        lab.run_all()
        lab.wait_text("running", 1)
        lab.until(
            lambda: "*" in lab.cells()[2]["prompt"] and lab.has_button("Cancel"),
            "the last cell to wait",
        )
        lab.click("Cancel")
        lab.shot("job-cancel-asks.png", 1)
        lab.click("Yes, cancel")
        lab.wait_text("waited cancelled", 2)
        lab.wait_text("cancelled", 1)
        assert lab.errors() == []
        lab.save()
        lab.shutdown()
        lab.open(kernel=False)
        lab.until(lambda: lab.visible(".jb-static .jb-pill") == 2, "the cards of both cells")
        lab.until(
            lambda: LOST in (lab.page.text_content(".jp-Notebook") or ""),
            "the widget to be given up",
        )
        text = lab.output(1)
        assert LOST not in text
        assert "cancelled" in text
        assert re.search(r'jupyter_batch\.open\("jb[a-z0-9]+"\)', text)
        lab.shot("job-reopened.png", 1)


def test_the_quickstart_runs_from_top_to_bottom(open_lab):
    """notebooks/quickstart.ipynb on the embedded server: no key, no error, panels completed."""
    with open_lab(
        REPO / "notebooks" / "quickstart.ipynb", env={"OPENAI_API_KEY": ""}, timeout=180
    ) as lab:
        try:
            lab.run_all()
            lab.wait_idle()
            assert lab.errors() == []
            text = lab.output()
            assert "completed" in text
            assert LOST not in text
            lab.shot("quickstart.png")
        finally:
            launch.stop(lab.home)
