"""A real kernel's replies while a cell waits, to a page that sends all to its main thread: clicks, and a reload."""

import time

import pytest
from real_kernel import Notebook

START = """
import threading
from comm import create_comm
from jupyter_batch.notebook import kernel, waiting
kernel.between()
reported = []
line = create_comm(target_name="test", comm_id="line")
line.on_msg(lambda message: (reported.append(message["content"]["data"]), reported[-1] == "end" and over.set()))
"""
WAITS = {
    "blocking": "print('waiting', flush=True)\nwhole = waiting.wait_blocking(over)",
    "awaiting": "print('waiting', flush=True)\nwhole = await waiting.await_done(over)",
    "two at once": "import asyncio\nprint('waiting', flush=True)\n"
    "whole = all(await asyncio.gather(waiting.await_done(over), waiting.await_done(over)))",
}


@pytest.fixture(scope="module")
def kernel_there():
    """One kernel with a widget's line to it."""
    book = Notebook()
    try:
        book.run(START)
        yield book
    finally:
        book.close()


@pytest.fixture
def notebook(kernel_there):
    """Nothing was clicked yet."""
    kernel_there.run("over = threading.Event(); reported.clear()")
    return kernel_there


def click(notebook, data):
    """As a widget's button does."""
    notebook.post("comm_msg", comm_id="line", data=data)


@pytest.mark.parametrize("wait", WAITS)
def test_clicks_are_answered_in_the_wait_and_cells_keep_their_order(notebook, wait):
    """Clicks reach their widget while the cell waits; cells that were queued before run after it, in their order."""
    notebook.send(WAITS[wait] + "\nprint('waited', whole, reported, flush=True)")
    notebook.until_printed("waiting")
    notebook.send("print('second', reported)")
    last = notebook.send("reported.append('third')\nprint('third')")
    click(notebook, "one")
    click(notebook, "end")
    output = notebook.until_idle(last)
    assert output == "waited True ['one', 'end']\nsecond ['one', 'end']\nthird\n"


@pytest.mark.parametrize("wait", WAITS)
def test_what_the_cell_says_after_a_click_is_the_cells(notebook, wait):
    """The cell's output stays its own after a click, and the kernel says again that it is busy with that cell."""
    cell = notebook.send(WAITS[wait] + "\nprint('waited')")
    notebook.until_printed("waiting")
    states = []

    def text(message):
        parent = message["parent_header"].get("msg_id")
        if message["msg_type"] == "status":
            states.append((parent == cell, message["content"]["execution_state"]))
        return message["msg_type"] == "stream" and parent == cell

    click(notebook, "end")
    assert notebook.until(text).rstrip() == "waited"  # its line break may be a message of its own
    assert states == [(False, "busy"), (False, "idle"), (True, "busy")]
    assert notebook.run("print('next')") == "next\n"


@pytest.mark.parametrize("wait", WAITS)
def test_a_page_that_is_opened_again_finds_its_widgets_in_the_wait(notebook, wait):
    """Its questions are answered while the cell waits: which kernel this is, and which widgets it has."""
    cell = notebook.send(WAITS[wait])
    notebook.until_printed("waiting")
    assert (
        notebook.reply(notebook.post("kernel_info_request"))["content"]["implementation"]
        == "ipython"
    )
    comms = notebook.reply(notebook.post("comm_info_request"))["content"]["comms"]
    assert comms["line"] == {"target_name": "test"}
    click(notebook, "end")
    notebook.until_idle(cell)


@pytest.mark.parametrize("wait", WAITS)
def test_a_cell_that_fails_after_the_wait_stops_the_queue_as_ever(notebook, wait):
    """Queued cells are given up when the waiting cell fails, and not those that are sent later."""
    cell = notebook.send(WAITS[wait] + "\n1 / 0")
    notebook.until_printed("waiting")
    second = notebook.send("print('second')")
    click(notebook, "end")
    assert notebook.until_idle(cell) == "ZeroDivisionError"
    assert notebook.reply(second)["content"]["status"] == "aborted"
    assert notebook.run("print('later')") == "later\n"


@pytest.mark.parametrize("wait", WAITS)
def test_an_idle_kernel_stands_an_interrupt_after_a_click(notebook, wait):
    """After a click in a wait an interrupt of the idle kernel does nothing, as before it; the next cell runs."""
    cell = notebook.send(WAITS[wait])
    notebook.until_printed("waiting")
    click(notebook, "end")
    notebook.until_idle(cell)
    notebook.manager.interrupt_kernel()
    assert notebook.run("print('alive')").endswith("alive\n")


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_the_wait_within_half_a_second_after_a_click_too(notebook, wait):
    """From the interrupt to the cell's end: half a second, in one of ten tries (this machine may be busy)."""
    took = []
    while len(took) < 10 and min(took, default=1) > 0.5:
        cell = notebook.send(f"reported.clear()\n{WAITS[wait]}")
        notebook.until_printed("waiting")
        click(notebook, "one")
        notebook.until(
            lambda message, cell=cell: (
                message["msg_type"] == "status" and message["parent_header"].get("msg_id") == cell
            )
        )
        began = time.monotonic()
        notebook.manager.interrupt_kernel()
        notebook.until_idle(cell)
        took.append(time.monotonic() - began)
        assert notebook.run("print(reported, over.is_set())") == "['one'] False\n"
    assert min(took) <= 0.5, took


def test_an_interrupt_while_a_click_is_answered_loses_no_cell(notebook):
    """It comes in the midst of ipykernel's own work, ends the wait as ever, and what was sent behind the click runs."""
    notebook.run("""
        import signal
        of_kernel = get_ipython().kernel
        publish_status = of_kernel._publish_status
        def publish(status, *more, **parent):
            publish_status(status, *more, **parent)
            if parent:
                signal.raise_signal(signal.SIGINT)
    """)
    cell = notebook.send(
        "of_kernel._publish_status = publish\n"
        + WAITS["blocking"]
        + "\ndel of_kernel._publish_status\nprint(reported, over.is_set())"
    )
    notebook.until_printed("waiting")
    click(notebook, "one")
    last = notebook.send("print('next')")
    assert notebook.until_idle(cell) == "Stopped waiting. The batch goes on.\n['one'] False\n"
    assert notebook.until_idle(last) == "next\n"


def test_a_click_that_fails_does_not_end_the_wait(notebook):
    """An error of a widget's handler is not the waiting cell's error."""
    notebook.run(
        "bad = create_comm(target_name='test', comm_id='bad')\nbad.on_msg(lambda message: 1 / 0)"
    )
    cell = notebook.send(WAITS["blocking"] + "\nprint('waited', whole)")
    notebook.until_printed("waiting")
    notebook.post("comm_msg", comm_id="bad", data="x")
    click(notebook, "end")
    assert "waited True" in notebook.until_idle(cell)
