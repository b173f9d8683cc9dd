"""The line about slow work: in a real kernel, in a terminal, at an interrupt."""

import signal
import threading

import pytest
from real_kernel import PATIENCE, Notebook

from jupyter_batch.http import litellm as loading
from jupyter_batch.notebook import progress as lines
from jupyter_batch.notebook.kernel import uninterrupted
from tests.terminal_stream import Terminal


def standard_error(monkeypatch):
    """Make it a terminal: in the test's body, since pytest sets it for each phase."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_a_terminal_shows_the_line_and_removes_it(monkeypatch):
    """Work that is slow is named, with the part that is done; nothing is left on the line."""
    terminal = standard_error(monkeypatch)
    with lines.progress("Planning 4 rows", after=0):
        lines.report(1, 4)
        terminal.written.clear()
        assert terminal.written.wait(PATIENCE)
    assert terminal.getvalue().startswith("\r\x1b[2KPlanning 4 rows")
    assert "Planning 4 rows: 25%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_work_within_work_changes_the_line(monkeypatch):
    """One line at a time; the outer work is named again afterwards."""
    terminal = standard_error(monkeypatch)
    with lines.progress("outer", after=0):
        with lines.progress("inner", after=0):
            pass
        terminal.written.clear()
        assert terminal.written.wait(PATIENCE)
    shown = [part for part in terminal.getvalue().split("\r\x1b[2K") if part]
    assert shown[:2] == ["outer", "inner"]
    assert shown[-1].startswith("outer")


def test_quick_work_shows_nothing(monkeypatch):
    """Nor does work of another thread, or work in a script whose output is a file."""
    terminal = standard_error(monkeypatch)
    with lines.progress("quick"):
        pass

    def aside():
        with lines.progress("aside", after=0):
            pass

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert not terminal.getvalue()


def test_an_interrupt_comes_after_the_block():
    """An uninterruptible step is completed; then the interrupt is raised."""
    done = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_ends_the_wait_for_litellm_and_not_its_import(monkeypatch):
    """The import goes on in its thread; the next call gets the same module."""
    go, module = threading.Event(), object()

    def imported():
        signal.raise_signal(signal.SIGINT)  # the main thread waits
        assert go.wait(PATIENCE)
        return module

    monkeypatch.setattr(loading, "_litellm", None)
    monkeypatch.setattr(loading, "_import", None)
    monkeypatch.setattr(loading, "_imported", imported)
    with pytest.raises(KeyboardInterrupt):
        loading.load_litellm()
    go.set()
    assert loading.load_litellm() is module


def test_an_import_that_failed_is_tried_again(monkeypatch):
    """Its error is raised by the call."""
    answers = iter([ImportError("no disk"), "module"])

    def imported():
        if isinstance(found := next(answers), Exception):
            raise found
        return found

    monkeypatch.setattr(loading, "_litellm", None)
    monkeypatch.setattr(loading, "_import", None)
    monkeypatch.setattr(loading, "_imported", imported)
    with pytest.raises(ImportError, match="no disk"):
        loading.load_litellm()
    assert loading.load_litellm() == "module"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A kernel with the extension loaded."""
    book = Notebook(JUPYTER_BATCH_HOME=str(tmp_path_factory.mktemp("home")))
    try:
        book.run("%load_ext jupyter_batch\nimport threading, pandas as pd, jupyter_batch")
        yield book
    finally:
        book.close()


def outputs(notebook, ident):
    """The outputs of a cell until it is idle, as (kind of message, plain text)."""
    found = []

    def note(message):
        data = message["content"].get("data", {})
        if "text/plain" in data and message["parent_header"].get("msg_id") == ident:
            found.append((message["msg_type"], data["text/plain"]))
        return (
            message["msg_type"] == "status"
            and message["parent_header"].get("msg_id") == ident
            and message["content"]["execution_state"] == "idle"
        )

    notebook.until(note)
    return found


def test_a_kernel_shows_the_line_in_the_cell_while_rows_are_planned(notebook):
    """The line is an output of the cell, and is empty once the preview is there."""
    ident = notebook.send(
        """
        from jupyter_batch.notebook import progress
        seen, shown = threading.Event(), progress._Output.show
        def show(self, text):
            shown(self, text)
            seen.set()
        progress._Output.show = show
        frame = pd.DataFrame({"text": ["a"]})
        def slow(row):
            seen.wait(60)  # the line is there
            return row["text"]
        frame.llm.build(slow, model="openai/gpt-4.1-mini", api_key="k")
        """,
        allow_stdin=True,
    )
    found = outputs(notebook, ident)
    assert found[0] == ("display_data", "Planning 1 rows: 0%")
    assert found[1:-1] == [("update_display_data", "")]


def test_an_interrupt_while_planning_leaves_nothing(notebook):
    """No job, no draft: the ledger is as before."""
    ident = notebook.send(
        """
        frame = pd.DataFrame({"text": ["a"]})
        def slow(row):
            print("planning", flush=True)
            threading.Event().wait(60)
        frame.llm.batch(slow, out="answer", model="openai/gpt-4.1-mini", api_key="k")
        """
    )
    notebook.until_printed("planning")
    notebook.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in notebook.until_idle(ident)
    output = notebook.run(
        """
        import os, pathlib
        home = pathlib.Path(os.environ["JUPYTER_BATCH_HOME"])
        print(len(list(jupyter_batch.jobs())), [p.name for p in home.rglob("*.jsonl") if "builds" not in str(p)])
        """
    )
    assert output.split("\n")[-2] == "0 []"
