"""Work on a kernel's main thread, and its time: real headless kernels, a terminal IPython, and plain scripts."""

import asyncio
import re
import subprocess
import sys
import textwrap
import threading
from importlib.metadata import version

import pytest
from real_kernel import PATIENCE, Notebook

from jupyter_batch.notebook import kernel, waiting


@pytest.fixture(scope="module")
def notebook():
    """One kernel with this module loaded."""
    book = Notebook()
    try:
        book.run(
            "import asyncio, threading\nfrom jupyter_batch.notebook import kernel, waiting\n"
            "seen = []\ngap = kernel.between()"
        )
        yield book
    finally:
        book.close()


def script(code, *arguments):
    """A fresh Python's output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments, "-c", textwrap.dedent(code)],
        text=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PUT = """
def put(text):
    thread = threading.Thread(target=gap.put, args=(lambda: seen.append(text),))
    thread.start()
    thread.join()
"""


def test_no_request_is_left_unread(notebook):
    """Each of many cells that are sent in the moment in which the one before is replied to runs (ipykernel 7.0-7.3)."""
    for number in range(300):
        assert notebook.until_idle(notebook.send(f"print({number})")) == f"{number}\n"


def test_nothing_runs_inside_a_cell_that_computes(notebook):
    """Work that a thread hands over while a cell runs is done after the cell, before the next one."""
    notebook.run(PUT)
    assert notebook.run("seen.clear(); put('x'); print(seen)") == "[]\n"
    assert notebook.run("print(seen)") == "['x']\n"


def test_nothing_runs_inside_a_cell_that_awaits(notebook):
    """The loop turns while a cell awaits, and still nothing changes under its feet."""
    notebook.run(PUT)
    code = "seen.clear(); put('x')\nfor _ in range(50):\n    await asyncio.sleep(0)\nprint(seen)"
    assert notebook.run(code) == "[]\n"
    assert notebook.run("print(seen)") == "['x']\n"


def test_an_idle_kernel_does_it_at_once(notebook):
    """With no cell running it happens without one."""
    notebook.send("""
        def later():
            while gap._in_cell:
                pass
            gap.put(lambda: print("merged", threading.current_thread() is threading.main_thread()))
        thread = threading.Thread(target=later)
        thread.start()
    """)
    assert "merged True" in notebook.until_printed("merged")


def test_between_queued_cells(notebook):
    """Of two queued cells, the second sees what came while the first ran."""
    notebook.run(PUT)
    notebook.send("seen.clear(); put('x'); print('first', seen)")
    notebook.send("print('second', seen)")
    output = notebook.until_printed("second")
    assert "first []" in output
    assert "second ['x']" in output


def test_one_failure_does_not_stop_the_others(notebook):
    """Work that raises is logged, and the next work is done."""
    output = notebook.run("seen.clear(); gap.put(lambda: 1/0); gap.put(lambda: seen.append('y'))")
    assert "ZeroDivisionError" in output
    assert notebook.run("print(seen)") == "['y']\n"


def test_there_is_one_for_each_shell(notebook):
    """Reloading the extension does not make a second."""
    assert (
        notebook.run("print(kernel.between() is gap, kernel.on_main(lambda: None))")
        == "True True\n"
    )


def test_who_is_listening(notebook):
    """A client that takes no input is nbclient or papermill, without a reader. Each run of a cell has its own name."""
    assert notebook.run("print(kernel.has_frontend())", allow_stdin=False) == "False\n"
    assert notebook.run("print(kernel.has_frontend())", allow_stdin=True) == "True\n"
    assert notebook.run("kernel.current_cell()\na = kernel.current_cell()") == ""
    assert notebook.run("print(a != kernel.current_cell(), len(a) > 8)") == "True True\n"


def test_a_cell_that_clears_its_output_is_another_one(notebook):
    """Its display is cleared, so that it displays again: `clear_output(); display(job)` in a loop."""
    notebook.run("from IPython.display import clear_output, display\nkernel.between()")
    assert notebook.run("""
a = kernel.current_cell()
display(1)
b = kernel.current_cell()
clear_output(wait=True)
print(a == b, b != kernel.current_cell())
""").endswith("True True\n")


def test_the_names_of_a_frame(notebook):
    """Names that a person gave to this very object: no underscore of IPython's, no equal object."""
    notebook.run("frame = [1]; other = [1]; alias = frame; frame")
    notebook.run("frame")
    assert notebook.run("print(kernel.frame_names(get_ipython(), frame))") == "['frame', 'alias']\n"


def test_an_interrupt_ends_the_wait_and_nothing_else(notebook):
    """The interrupted cell says one line, returns False, raises nothing; the next cell runs."""
    notebook.send("""
        printed = []
        def tell():
            if not printed:
                printed.append(print("waiting", flush=True))
        print(waiting.wait_blocking(threading.Event(), on_slice=tell))
    """)
    notebook.until_printed("waiting")
    notebook.manager.interrupt_kernel()
    assert notebook.until_printed("False").split("\n")[:2] == [
        "Stopped waiting. The batch goes on.",
        "False",
    ]
    assert notebook.run("print('next')") == "next\n"


def test_an_interrupt_ends_an_await(notebook):
    """SIGINT does not wake an idle loop: the wait wakes itself and is interrupted, the job's event untouched."""
    cell = notebook.send(
        "event = threading.Event()\nprint('waiting', flush=True)\nawait waiting.await_done(event)"
    )
    notebook.until_printed("waiting")
    notebook.manager.interrupt_kernel()
    assert notebook.until_idle(cell).endswith(("KeyboardInterrupt", "CancelledError"))
    assert notebook.run("print(event.is_set())") == "False\n"


def test_widgets_are_not_pinned_to_the_cell(notebook):
    """In the widgets' context the shell's parent is empty, and the cell's own stays as it is: where that pins them."""
    pins = tuple(map(int, version("ipykernel").split(".")[:2])) >= (7, 4)
    notebook.run("parent = get_ipython().kernel.get_parent")
    assert (
        notebook.run("print(bool(kernel.widget_context().run(parent)), bool(parent()))")
        == f"{not pins} True\n"
    )


def test_the_notebooks_path(notebook):
    """The server's name for the notebook, where it gave one."""
    code = "import os\nos.environ.pop('JPY_SESSION_NAME', 0)\nprint(kernel.notebook_path())"
    assert notebook.run(code) == "None\n"
    notebook.run("os.environ['JPY_SESSION_NAME'] = '/a/b.ipynb'")
    assert notebook.run("print(kernel.notebook_path())") == "/a/b.ipynb\n"


def test_an_interrupt_between_two_cells_loses_no_other_work():
    """Work queued behind the interrupted one is done at the next moment."""
    from IPython.core.interactiveshell import InteractiveShell

    gap, seen = kernel.BetweenCells(InteractiveShell()), []

    def interrupted():
        raise KeyboardInterrupt

    for work in (interrupted, lambda: seen.append("a"), lambda: seen.append("b")):
        gap.put(work)
    with pytest.raises(KeyboardInterrupt):
        gap._before()
    assert seen == []
    gap._before()
    assert seen == ["a", "b"]


def test_a_terminal_does_it_before_the_next_input():
    """Terminal IPython has no loop between prompts: what comes there is done before the next input runs."""
    lines = """
import threading
from jupyter_batch.notebook import kernel, waiting
seen, gap, ip = [], kernel.between(), get_ipython()
once = lambda _: (ip.events.unregister("post_run_cell", once), gap.put(lambda: seen.append("x")), print("now", seen))
ip.events.register("post_run_cell", once)
print("then", seen)
print(kernel.has_frontend(), kernel.current_cell(), kernel.notebook_path())
"""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "IPython",
            "--simple-prompt",
            "--no-banner",
            "--colors=nocolor",
            "--no-confirm-exit",
            "--quick",
        ],
        input=lines,
        text=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert "now []" in done.stdout
    assert "then ['x']" in done.stdout
    assert re.search(r"False In \[\d+\] None", done.stdout)


def test_a_script_runs_nothing_and_imports_nothing():
    """Without IPython there is no moment between cells, and no IPython is imported to find that out."""
    assert (
        script("""
        import sys
        from jupyter_batch.notebook import kernel, waiting
        print(kernel.on_main(lambda: print("never")), kernel.between(), kernel.has_frontend(), kernel.notebook_path())
        print([name for name in ("IPython", "ipykernel", "ipywidgets", "nest_asyncio") if name in sys.modules])
    """)
        == "False None False None\n[]\n"
    )


def test_a_wait_inside_a_running_loop_lets_its_tasks_go_on():
    """In a coroutine of one's own, a blocking wait lets the other tasks run (nest_asyncio, and only there)."""
    if sys.version_info >= (3, 14):
        pytest.skip("from 3.14 on the wait blocks plainly: nest_asyncio breaks anyio there")
    assert (
        script("""
        import asyncio, threading
        from jupyter_batch.notebook import kernel, waiting
        async def main():
            event = threading.Event()
            async def other():
                event.set()
            task = asyncio.create_task(other())
            print(waiting.wait_blocking(event, timeout=30), task.done())
        asyncio.run(main())
    """)
        == "True True\n"
    )


def test_a_loop_that_can_not_nest_is_waited_in_plainly():
    """A loop that nest_asyncio refuses (uvloop's kind) is blocked in slices, with no warning and no error."""

    class Strange(asyncio.SelectorEventLoop):
        @property
        def _nest_patched(self):
            raise ValueError("Can't patch loop")

    async def main():
        event = threading.Event()
        return waiting.wait_blocking(event, on_slice=event.set)

    loop = Strange()
    try:
        assert loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_timeout_stops_the_waiting():
    """After the timeout both waits answer False; a job that is done is True however short the time."""
    event = threading.Event()
    assert waiting.wait_blocking(event, timeout=0) is False
    assert asyncio.run(waiting.await_done(event, timeout=0)) is False
    event.set()
    assert waiting.wait_blocking(event, timeout=0) is True
    assert asyncio.run(waiting.await_done(event, timeout=0)) is True


def test_slices_are_called_while_waiting():
    """The caller's slice runs on the waiting thread, blocking and awaiting alike."""
    for wait in (
        lambda event, slice_: waiting.wait_blocking(event, on_slice=slice_),
        lambda event, slice_: asyncio.run(waiting.await_done(event, on_slice=slice_)),
    ):
        event, threads = threading.Event(), []

        def slice_(event=event, threads=threads):
            threads.append(threading.current_thread())
            event.set()

        assert wait(event, slice_)
        assert threads == [threading.main_thread()]
