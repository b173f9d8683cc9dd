"""Notebooks without a reader: run by nbclient, turned into HTML by nbconvert.

These are imported where they are used: they cost seconds, of the process that comes here alone.
"""

import textwrap

import pytest

from jupyter_batch.monitor import html
from jupyter_batch.monitor.view import view
from tests.kernels import apart

DRIVER = """
import threading, msgspec
from jupyter_batch.notebook import kernel, waiting
from jupyter_batch.core.status import Counts, Snapshot, State
from jupyter_batch.monitor.live import open_monitor
shot = Snapshot(id="jb1", name=None, state=State.SUBMITTING, counts=Counts(running=10), model="local/echo",
                provider="local", out="x", created_at=1.0, now=2.0)
monitor = open_monitor(shot, actions={}, frontend=kernel.has_frontend(),
                       context=kernel.widget_context())
monitor.show(kernel.current_cell())
"""
WORK = """
over, begun, polled = threading.Event(), threading.Event(), threading.Event()
def work():
    for n in range(10):
        counts = Counts(succeeded=n, running=10 - n)
        monitor.update(msgspec.structs.replace(shot, state=State.RUNNING, counts=counts, now=3.0 + n))
    begun.set()
    polled.wait()
    monitor.update(msgspec.structs.replace(shot, state=State.COMPLETED, collected=True, finished_at=20.0, now=20.0,
                                           counts=Counts(succeeded=10)))
    over.set()
def look():
    ready = begun.is_set()
    monitor.flush()
    if ready:
        polled.set()
with monitor.attended():
    threading.Thread(target=work).start()
    print(waiting.wait_blocking(over, on_slice=look))
"""


def test_nbclient_gets_lines_in_the_cell_that_waits():
    """One line at the submission, one for each new state, none for a poll; and no widget anywhere."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source)) for source in (DRIVER, WORK)]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=60, kernel_name="python3", config=apart()).execute()
    assert {output.output_type for cell in book.cells for output in cell.outputs} == {"stream"}
    submitted, waited = ("".join(output.text for output in cell.outputs) for cell in book.cells)
    assert submitted.startswith("x: submitting, 0 of 10 rows (0%)")
    states = [line.split(",")[0] for line in waited.splitlines()]
    assert sorted(states) == ["True", "x: completed", "x: running"]
    assert "widgets" not in book.metadata


OTHER = """
print("before")
over = threading.Event()
def end():
    for state in (State.RUNNING, State.COMPLETED):
        monitor.update(msgspec.structs.replace(shot, state=state, collected=True, finished_at=20.0, now=20.0,
                                               counts=Counts(succeeded=10)))
    over.set()
threading.Thread(target=end).start()
over.wait()
print("after")
"""
SHOW = "monitor.show(kernel.current_cell())"


def test_a_job_does_not_print_into_the_output_of_another_cell():
    """Updates while another cell runs are held for the next cell that shows the job."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source)) for source in (DRIVER, OTHER, SHOW)]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=60, kernel_name="python3", config=apart()).execute()
    first, other, shown = ("".join(out.text for out in cell.outputs) for cell in book.cells)
    assert first.startswith("x: submitting")
    assert first.count("\n") == 1
    assert other == "before\nafter\n"
    assert shown.startswith("x: completed, 10 of 10 rows (100%)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # nbconvert's own
def test_nbconvert_shows_the_card_alone(shot):
    """A saved notebook's HTML has the card, no words of the dead widget, and no widget script from anywhere."""
    import nbformat
    from nbconvert import HTMLExporter

    panel = {
        "text/plain": "",
        "text/html": "",
        "application/vnd.jupyter.widget-view+json": {"model_id": "gone"},
    }
    card = html.card(view(shot()), panel="a1")
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (card, panel)]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("job", outputs=outputs)])
    page, _ = HTMLExporter().from_notebook_node(book)
    assert page.count('role="progressbar"') == 1
    assert "412 of 1,000 rows (41%)" in page
    assert "html-manager" not in page
    assert "model_id" not in page
