"""The moment of a merge in a real kernel: never inside a cell, but in time for the next one."""

import pytest
from real_kernel import Notebook

from jupyter_batch.server.embedded import Embedded

START = """
import asyncio
import pandas as pd
import jupyter_batch
from jupyter_batch.job import Job
on_change = Job._on_change
def submit(out):
    global df, job
    df = pd.DataFrame({"text": [f"row {n} of {out}" for n in range(20)]})
    job = df.llm.batch("Say it: {text}", out=out, model="openai/local/echo")
"""
CELLS = {
    "computes": "while not job.is_complete:\n    sum(range(2_000))",
    "awaits": "while not job.is_complete:\n    await asyncio.sleep(0.01)",
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """One kernel, and a provider that takes half a second for a batch."""
    folder = tmp_path_factory.mktemp("merge")
    with Embedded(folder / "server", pace=0.5) as server:
        book = Notebook(
            JUPYTER_BATCH_HOME=str(folder / "ledger"),
            OPENAI_BASE_URL=server.base_url,
            OPENAI_API_KEY=server.token,
        )
        try:
            book.run(START)
            yield book
        finally:
            book.close()


@pytest.mark.parametrize("cell", CELLS)
def test_a_running_cell_sees_no_change_and_the_next_one_the_column(notebook, cell):
    """The frame stays as it is while a cell computes or awaits, though the job has ended; a queued cell has all."""
    notebook.run(f"submit({cell!r})")
    notebook.send(CELLS[cell] + "\nprint('inside', list(df.columns))")
    last = notebook.send(f"print('after', df[{cell!r}].notna().sum())")
    assert notebook.until_idle(last) == "inside ['text']\nafter 20\n"


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_saw_the_end_is_followed_by_the_column_though_the_worker_is_slow(
    notebook, cell
):
    """`job.is_complete` was True: then the next cell has the column, whether or not the worker has reported the end."""
    notebook.run(f"Job._on_change = lambda self, seen: None\nsubmit('late, it {cell}')")
    notebook.send(CELLS[cell])
    last = notebook.send("Job._on_change = on_change\nprint('after', df.notna().sum().tolist())")
    assert notebook.until_idle(last) == "after [20, 20]\n"


INTERRUPTED = """
hits, insert = [], pd.DataFrame.insert
def once(*args, **named):
    hits.append(1)
    if len(hits) == 2:
        raise KeyboardInterrupt
    insert(*args, **named)
pd.DataFrame.insert = once
df = pd.DataFrame({"text": ["a", "b"]})
job = df.llm.batch("Fill it: {text}", schema={"one": str, "two": str}, model="openai/local/echo", reuse=False)
try:
    CELL
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "cell", [CELLS["computes"].replace("\n", " "), "job.wait()"], ids=["computes", "waits"]
)
def test_a_merge_that_was_interrupted_is_done_before_the_next_cell(notebook, cell):
    """A Ctrl-C between a job's first and second column, in the wait or between two cells, loses none of them."""
    notebook.run(INTERRUPTED.replace("CELL", cell))
    assert notebook.run(
        "pd.DataFrame.insert = insert\nprint(len(hits) > 1, df.notna().sum().tolist())"
    ) == ("True [2, 2, 2]\n")


@pytest.mark.parametrize("wait", ["job.wait()", "await job"])
def test_a_wait_ends_with_the_column_there(notebook, wait):
    """A waiting cell has it, in either way of waiting."""
    notebook.run(f"submit('with {wait}')")
    output = notebook.run(f"one = {wait}\nprint(one is job, df.notna().sum().tolist())")
    assert output.endswith("True [20, 20]\n")


def test_jobs_that_end_in_one_cell_each_fill_their_column(notebook):
    """Two jobs that end while one cell runs: both columns are there for the next, and nothing else has changed."""
    notebook.run("""
        submit("one")
        first = job
        other = df.llm.batch("Again: {text}", out="two", model="openai/local/echo")
    """)
    notebook.send(
        "while not (first.is_complete and other.is_complete):\n    pass\nprint('inside', list(df.columns))"
    )
    last = notebook.send(
        "print('after', sorted(df.columns), df[['one', 'two']].notna().all().all())"
    )
    assert notebook.until_idle(last) == "inside ['text']\nafter ['one', 'text', 'two'] True\n"
