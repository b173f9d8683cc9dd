"""While a cell sleeps, awaits or blocks: the panel moves, a click is answered or kept, and a reloaded page goes on."""

import pytest
from cells import START, moves
from lab import notebook_of
from lab_server import SUBSHELLS, release

from jupyter_batch.server.embedded import Embedded

PAUSES = {
    "pass": SUBSHELLS,
    "time.sleep(0.2)": SUBSHELLS,
    "await asyncio.sleep(0.2)": SUBSHELLS or release("ipykernel") >= (7, 4),
}
"""A click during a cell: answered at once where there is a thread, and by 7.4 in a cell that awaits."""
UNTIL = """import asyncio, time
from pathlib import Path
while not Path({pause!r}).exists():
    {pause}
print("over", job.asked)"""


def runs(lab, cell):
    """Whether that cell is running."""
    return "*" in lab.cells()[cell]["prompt"]


@pytest.mark.matrix
def test_the_panel_moves_while_idle_and_while_a_cell_computes_sleeps_or_awaits(open_lab):
    """The counts move. A click is answered at once where it has a thread; else the page acknowledges it.

    Then it is answered after the cell: none is lost.
    """
    with open_lab(notebook_of(START, *(UNTIL.format(pause=pause) for pause in PAUSES))) as lab:
        lab.run_cell(0)
        lab.wait_text("of 1,000 rows", 0)
        lab.wait_idle()
        moves(lab)
        for cell, (pause, at_once) in enumerate(PAUSES.items(), 1):
            lab.run_cell(cell)
            lab.until(lambda cell=cell: runs(lab, cell), "the cell to run")
            moves(lab)
            lab.click("Refresh")
            lab.wait_text(
                f"Asked, {cell}." if at_once else "Click received: the kernel is busy with a cell",
                0,
            )
            lab.shot(f"while-{cell}.png")
            moves(lab)
            assert runs(lab, cell)
            (lab.path.parent / pause).touch()
            lab.wait_text(f"over {cell - (not at_once)}", cell)
            lab.wait_text(f"Asked, {cell}.", 0)
            lab.until(lambda: "Click received" not in lab.output(0), "that word to go")
        assert lab.visible(".jb-pill") == 1, "card and panel are not both on the page"
        assert lab.errors() == []


@pytest.mark.matrix
@pytest.mark.parametrize("wait", ["job.wait()", "await job"])
def test_a_page_reloaded_while_a_cell_waits_has_the_panel_with_its_buttons(open_lab, wait):
    """In mid-job and mid-wait: after the reload the panel moves, Cancel works, and the waiting cell ends."""
    with open_lab(
        notebook_of(START, f"print('waited', {wait})", "print('then', job.state)")
    ) as lab:
        lab.run_cell(0)
        lab.wait_text("of 1,000 rows", 0)
        lab.wait_idle()
        lab.run_cell(1)
        lab.until(lambda: runs(lab, 1), "the second cell to wait")
        lab.save()
        lab.open()
        lab.until(lambda: lab.has_button("Cancel"), "the panel")
        lab.until(lambda: lab.visible(".jb-pill") == 1, "the card to be hidden again")
        moves(lab)
        lab.shot("reloaded.png")
        lab.click("Cancel")
        lab.wait_text("Cancel this batch?", 0)
        lab.click("Yes, cancel")
        lab.wait_text("cancelled", 0)
        lab.run_cell(2)
        lab.wait_text("then cancelled", 2)
        assert lab.errors() == []


def test_cancel_works_while_a_cell_awaits_its_job(open_lab, tmp_path):
    """A real job: Cancel in its panel during `await job` ends job and cell; the cell goes on with its column there."""
    frame = (
        "%load_ext jupyter_batch\nimport pandas as pd\n"
        'df = pd.DataFrame({"feedback": [f"row {n} is great" for n in range(200)]})\n'
        'job = df.llm.batch("Sentiment? {feedback}", out="sentiment", model="openai/local/echo")\njob'
    )
    with Embedded(tmp_path / "server", pace=600) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token}
        after = "print('awaited', (await job).state, 'sentiment' in df)"
        with open_lab(notebook_of(frame, after), env=env) as lab:
            lab.run_all()
            lab.wait_text("running", 0)
            lab.until(lambda: runs(lab, 1) and lab.has_button("Cancel"), "the second cell to wait")
            lab.click("Cancel")
            lab.wait_text("Cancel this batch?", 0)
            assert runs(lab, 1), "asking is not acting"
            lab.click("Yes, cancel")
            lab.wait_text("awaited cancelled True", 1)
            lab.wait_text("cancelled", 0)
            assert lab.errors() == []
