"""`on_done` and `on_progress`: called when, how often, in which thread, and what their errors do."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jupyter_batch.core.errors import OptionError
from tests.monitor.real_kernel import Notebook


def test_done_is_called_once_with_the_job_before_the_wait_returns(submit):
    """One call, with the job, whose column is there; the same object is returned, so that calls can be chained."""
    seen = []
    job = submit()
    (target,) = job._answers.targets
    assert job.on_done(lambda done: seen.append((done, "out" in target.frame))) is job
    job.wait(60)
    assert seen == [(job, True)]
    job.wait(60)
    job._on_change(job.snapshot())
    assert len(seen) == 1


def test_done_is_called_though_nobody_waits(submit):
    """A script that does something else: a thread of its own, not the worker's, calls it."""
    called, threads = threading.Event(), []
    submit().on_done(lambda _: (threads.append(threading.current_thread()), called.set()))
    assert called.wait(60)
    assert threads[0].name == "jupyter-batch-callbacks"


def test_a_complete_job_calls_at_once_and_once(submit):
    """Given after the end, it is called before `on_done` returns, in this thread."""
    job, seen = submit().wait(60), []
    job.on_done(lambda _: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]
    job.wait(60)
    assert len(seen) == 1


def test_an_error_is_logged_once_and_hurts_nothing(submit, caplog):
    """The column is filled, the next callback is called, and one report names the function."""
    seen = []

    def broken(_):
        raise ValueError("mine")

    job = submit()
    job.on_progress(broken).on_done(broken).on_done(seen.append).wait(60)
    assert seen == [job]
    assert job.is_successful
    reports = [one for one in caplog.records if "callback" in one.getMessage()]
    assert len(reports) == 1
    assert "broken failed; the job is not affected" in reports[0].getMessage()


def test_progress_is_called_at_changes_until_the_end(submit):
    """The last call sees the end; each sees the present state."""
    states = []
    submit().on_progress(lambda job: states.append(job.state)).wait(60)
    assert states
    assert states[-1] == "completed"


def test_a_callback_may_wait_and_retry(submit):
    """`f` may use the job as any code does, `wait()` too: it blocks no worker."""
    seen = []
    job = submit()
    job.on_done(lambda one: seen.append(one.wait(60).results()["out"].tolist())).wait(60)
    assert seen == [["row 0", "row 1", "row 2"]]


def test_await_calls_it_too(submit):
    """`await job` returns after the callbacks."""
    seen = []

    async def main():
        return await submit().on_done(seen.append)

    assert asyncio.run(main()) is seen[0]


def test_a_group_calls_with_the_group(submit):
    """One call for all its models."""
    seen = []
    group = submit(model=["openai/echo", "hosted_vllm/echo"])
    group.on_done(seen.append).on_progress(lambda _: None).wait(60)
    assert seen == [group]
    group.on_done(seen.append)
    assert seen == [group, group]


@pytest.mark.parametrize("given", [None, "desktop"])
def test_what_is_no_function_is_refused(submit, given):
    """A sentence, before anything is kept."""
    with pytest.raises(OptionError, match="expected a function that takes the job"):
        submit().on_done(given)


def test_a_coroutine_function_is_refused(submit):
    """It would never run: `await job` is named instead."""

    async def f(_):
        return None

    with pytest.raises(OptionError, match="await job"):
        submit().on_done(f)


def test_in_a_kernel_it_runs_on_the_main_thread_once_the_column_is_there(server, tmp_path):
    """Not within a running cell; before the next one, after the merge."""
    book = Notebook(
        JUPYTER_BATCH_HOME=str(tmp_path / "ledger"),
        OPENAI_BASE_URL=server.base_url,
        OPENAI_API_KEY=server.token,
    )
    try:
        book.run(
            "import threading, pandas as pd, jupyter_batch\n"
            "df = pd.DataFrame({'text': ['a', 'b']})\nseen = []\n"
            "main = threading.main_thread()\n"
            "job = df.llm.batch('{text}', out='out', model='openai/local/echo')\n"
            "f = lambda job: seen.append((threading.current_thread() is main, list(df.columns)))"
        )
        book.send(
            "job.on_done(f)\nwhile not job._over.is_set():\n    sum(range(2_000))\nprint(seen)"
        )
        last = book.send("print('after', seen)")
        assert book.until_idle(last) == "[]\nafter [(True, ['text', 'out'])]\n"
    finally:
        book.close()
