"""Waiting raises an error on failed rows where that is asked for; the answers are in place all the same."""

from __future__ import annotations

import asyncio

import pytest

import jupyter_batch
from jupyter_batch.core.errors import JobFailedError, JupyterBatchError

from .conftest import numbered


def test_each_way_of_waiting(server, call, home):
    """wait=True, wait() and the option raise with the counts and what to do; without it, nothing is raised."""
    server.set_faults("row_errors=0.5,seed=3")
    df = numbered(
        40
    )  # the fault falls by the custom_id, which is random: some of 40 fail, never all
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    failed = job.counts.failed
    assert 0 < failed < 40
    with pytest.raises(
        JobFailedError, match=rf"{failed} of 40 rows have no answer \({failed} failed"
    ):
        job.wait(60, raise_on_failure=True)
    again = numbered(40)
    with pytest.raises(JupyterBatchError, match=r"job\.retry\(\) sends these rows again") as raised:
        again.llm.batch("{text}", out="said", wait=True, raise_on_failure=True, **call)
    assert (raised.value.job, raised.value.counts) == (job.id, job.counts)
    assert again["said"].notna().sum() == 40 - failed
    assert job.wait(60, raise_on_failure=False) is job
    server.set_faults("")
    assert job.retry().wait(60, raise_on_failure=True).is_successful


async def raised_by(job):
    """The error of awaiting a job."""
    with pytest.raises(JobFailedError) as raised:
        await job
    return raised.value


def test_awaited(server, call, home):
    """`await` raises where the call asked for it, of a group too."""
    server.set_faults("row_errors=1")
    job = jupyter_batch.batch(["a", "b"], raise_on_failure=True, **call)
    assert asyncio.run(raised_by(job)).counts.failed == 2
    with pytest.raises(JobFailedError, match="2 of 2"):
        asyncio.run(jupyter_batch.abatch(["a", "b"], raise_on_failure=True, **call))
