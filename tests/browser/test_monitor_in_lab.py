"""The monitor in a real JupyterLab: clicks while a cell blocks, what stays in the file."""

import pytest
from cells import LOST, START, answered, moves
from lab import notebook_of


def test_cancel_works_while_a_cell_waits(open_lab):
    """Cancel asks, acts during a blocking wait(), and the waiting cell ends: in a page without subshells.

    With them: test_job_in_lab.py.
    """
    with open_lab(notebook_of(START, "print('waited', job.wait())")) as lab:
        lab.served.set(
            "@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": "disabled"}
        )
        lab.open()
        lab.run_all()
        lab.until(
            lambda: "*" in lab.cells()[1]["prompt"] and lab.has_button("Cancel"),
            "the second cell to wait",
        )
        lab.click("Cancel")
        lab.wait_text("Cancel this batch?", 0)
        assert "*" in lab.cells()[1]["prompt"], "asking is not acting"
        lab.click("Yes, cancel")
        lab.wait_text("waited True", 1)
        lab.wait_text("cancelled", 0)
        lab.until(lambda: not lab.has_button("Cancel"), "the button to go")
        assert lab.errors() == []


@pytest.mark.matrix
def test_an_interrupt_stops_the_waiting_not_the_batch(open_lab):
    """After an interrupt one line stands there, the panel moves on, and Cancel still works."""
    with open_lab(notebook_of(START, "print('waited', job.wait())")) as lab:
        lab.run_all()
        lab.until(
            lambda: "*" in lab.cells()[1]["prompt"] and answered(lab) > 0, "the second cell to wait"
        )
        lab.interrupt()
        lab.wait_text("Stopped waiting. The batch goes on.\nwaited False", 1)
        moves(lab)
        lab.click("Cancel")
        lab.click("Yes, cancel")
        lab.wait_text("cancelled", 0)
        assert lab.errors() == []


def test_a_saved_notebook_shows_the_card_without_a_kernel(open_lab):
    """Live: the panel alone. Reloaded: live again. Reopened without a kernel, or with a new one: the card alone."""
    with open_lab(notebook_of(START, "job.finish()")) as lab:
        lab.run_cell(0)
        lab.wait_text("of 1,000 rows", 0)
        lab.wait_idle()
        lab.save()
        lab.open()
        lab.until(lambda: lab.visible(".jb-live .jb-pill") == 1, "the panel after a reload")
        moves(lab)
        lab.run_cell(1)
        lab.wait_text("completed", 0)
        saved = lab.save()
        assert "widgets" not in saved["metadata"]
        lab.shutdown()
        for kernel in (False, True):
            lab.open(kernel=kernel)
            lab.until(lambda: lab.visible(".jb-static .jb-pill") == 1, "the card")
            lab.until(
                lambda: LOST in (lab.page.text_content(".jp-Notebook") or ""),
                "the widget to be given up",
            )
            text = lab.output(0)
            assert LOST not in text
            assert "Loading widget" not in text
            assert 'jupyter_batch.open("jb3f9c2k7a1q")' in text
            assert lab.visible(".jb-pill") == 1
        lab.shot("reopened.png", 0)


THIRTY = ["import driver\ndriver.TICK, jobs = 3600, []"]
THIRTY += [f'jobs.append(driver.Job(id="jb{number}"))' for number in range(30)]
DRAW = """
from jupyter_batch.monitor.view import view
for _ in range(10):
    for job in jobs:
        job.answered += 1
        job.monitor._panel.draw(view(job.snapshot()))
"""


def test_thirty_panels_leave_the_pages_heap_flat(open_lab):
    """Nine hundred further drawings of thirty panels take less than 1 MB of the page's heap."""

    def heap():
        page.send("HeapProfiler.collectGarbage")
        return page.send("Runtime.getHeapUsage")["usedSize"]

    def draw(rows):
        lab.run_cell(31)
        lab.wait_idle()
        lab.until(lambda: lab.output().count(f"{rows} of 1,000 rows") == 30, "all to be drawn")

    with open_lab(notebook_of(*THIRTY, DRAW)) as lab:
        page = lab.page.context.new_cdp_session(lab.page)
        lab.run_all()
        lab.until(lambda: lab.visible(".jb-live .jb-pill") == 30, "thirty panels", 180)
        draw(20)
        before = heap()
        for rows in (30, 40, 50):
            draw(rows)
        print("heap", before, heap())
        assert heap() - before < 1_000_000
        assert lab.errors() == []


PROMPT = '%%llm_batch df --out x\nRate **{Customer Feedback}** at {price:.2f}, as {"label": 1} or {{text}}, {größe}'


@pytest.mark.matrix
def test_a_prompt_is_shown_as_one(open_lab):
    """`%%llm_batch` cells have their columns marked; JSON, doubled braces and Python cells have not."""

    def marked():
        return lab.page.locator(".jb-column").all_inner_texts()

    with open_lab(notebook_of(PROMPT, "x = f'{y}'")) as lab:
        lab.until(
            lambda: marked() == ["{Customer Feedback}", "{price:.2f}", "{größe}"], "the marks"
        )
        lab.shot("prompt.png")
        source = "s => window.jupyterapp.shell.currentWidget.content.widgets[0].model.sharedModel.setSource(s)"
        lab.page.evaluate(source, "y = 1\nx = f'{y}'")
        lab.until(lambda: not marked(), "no marks in Python")
        lab.page.evaluate(source, "%%llm_batch df --template jinja\n{{ row.a }} {b} {% if c %}")
        lab.until(lambda: marked() == ["{{ row.a }}", "{% if c %}"], "Jinja's tags")
        assert lab.errors() == []
