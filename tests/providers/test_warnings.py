"""Warnings of the libraries below us, in processes that make warnings errors."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import types
import warnings

import pytest

from jupyter_batch.core.errors import WarningRaisedError
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.backoff import WARNING_TRIES, is_lost
from jupyter_batch.providers.failures import normalise
from jupyter_batch.realtime.litellm_call import CallFailedError, LitellmCall
from jupyter_batch.wire.openai import CHAT
from tests.ledgers import forget

WORDS = "a type of this library is using the `ReadOnly` qualifier"


def test_a_call_drops_warnings_while_other_threads_have_theirs():
    """Item 0: two threads at once; the one in a call hears nothing, the other's warning is an error as it set."""
    inside, seen = threading.Event(), threading.Event()
    received = []

    def call():
        with quiet():
            inside.set()
            seen.wait(10)
            try:
                warnings.warn(WORDS, UserWarning, stacklevel=1)
            except UserWarning as e:
                received.append(e)

    thread = threading.Thread(target=call)
    thread.start()
    inside.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            pass  # it looks again which filter is the first
        with pytest.raises(UserWarning):
            warnings.warn(WORDS, UserWarning, stacklevel=1)
        seen.set()
        thread.join(10)
    assert not received


def test_tasks_of_one_loop_do_not_share_it():
    """Item 0: of two tasks that overlap only the one in a call drops warnings, whichever ends first."""

    async def call(ready, go):
        with quiet():
            ready.set()
            await go.wait()
            warnings.warn(WORDS, UserWarning, stacklevel=1)

    async def run():
        ready, go = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(call(ready, go))
        await ready.wait()
        with pytest.raises(UserWarning):
            warnings.warn(WORDS, UserWarning, stacklevel=1)
        go.set()
        await task

    asyncio.run(run())


def test_the_filter_is_there_again_after_others_were_put_first():
    """Item 0: a cell that says `simplefilter("error")` between two calls changes neither."""
    with warnings.catch_warnings():
        for _ in range(3):
            warnings.resetwarnings()
            warnings.simplefilter("error")
            with quiet():
                warnings.warn(WORDS, UserWarning, stacklevel=1)
            with pytest.raises(UserWarning):
                warnings.warn(WORDS, UserWarning, stacklevel=1)


def test_the_filters_can_be_sent_to_other_processes():
    """scikit-learn pickles the filters for its workers: there ours is a pattern that never matches."""
    with warnings.catch_warnings():
        with quiet():
            pass
        sent = pickle.loads(pickle.dumps(warnings.filters))
    assert sent[0][1].match("anything") is None


JOB = """
import sys, warnings
import pandas as pd
import jupyter_batch
df = pd.DataFrame({"text": ["a", "b", "c"]})
where = dict(api_base=sys.argv[1], api_key="sk-test", metadata={"of": "test"})
for options in (
    dict(model="openai/m", mode="realtime", **where),
    dict(model="mistral/m", mode="realtime", **where),
    dict(model="local/echo"),
):
    with warnings.catch_warnings():  # pandas' own, of `df["out"] = ...` between cells
        job = df.llm.batch("{text}", out="out_" + options["model"].replace("/", "_"), **options)
        warnings.simplefilter("error")
        assert job.wait(60).is_successful, (options, job.errors, job)
print("well")
"""


def test_jobs_run_where_every_warning_is_an_error(tmp_path):
    """Item 0: PYTHONWARNINGS=error, which the embedded server has too: batch, real time, litellm's own call."""
    from tests.realtime.realtime_endpoint import Endpoint

    home = tmp_path / "home"
    env = {**os.environ, "JUPYTER_BATCH_HOME": str(home), "PYTHONWARNINGS": "error"}
    try:
        with Endpoint() as endpoint:
            run = subprocess.run(
                [sys.executable, "-c", JOB, endpoint.base],
                env=env,
                capture_output=True,
                text=True,
                timeout=120,
            )
    finally:
        forget(home)
    assert run.stdout.strip().endswith("well"), run.stderr[-3000:]


def test_a_warning_that_ends_a_call_is_no_passing_trouble():
    """Item 0: it is an error that says what to do, also wrapped in a library's own, and is not tried for ever."""
    wrapped = RuntimeError("GetLLMProvider Exception")
    wrapped.__cause__ = UserWarning(WORDS)
    for raised in (UserWarning(WORDS), wrapped):
        error = normalise(raised, "https://h/v1", "sk-secret")
        assert isinstance(error, WarningRaisedError)
        assert not error.transient
        assert "PYTHONWARNINGS" in str(error)
        assert WORDS[:20] in str(error)
        assert not is_lost(error, WARNING_TRIES - 1, 10.0)
        assert is_lost(error, WARNING_TRIES, 10.0)


def test_in_real_time_the_row_has_the_reason():
    """Item 0: litellm's call raises a Warning each time: the row fails with a clear error, and is not asked again."""

    async def acompletion(**_):
        raise UserWarning(WORDS)

    call = LitellmCall("mistral/m", api_base="http://127.0.0.1:9", api_key="k")
    call._litellm = types.SimpleNamespace(acompletion=acompletion)
    with pytest.raises(CallFailedError) as failed:
        asyncio.run(call(CHAT, {"messages": []}))
    assert not failed.value.error.transient
    assert "warning" in failed.value.error_object["message"]
