"""The litellm proxy, which many companies put between their people and a provider, in front of the embedded server."""

from __future__ import annotations

import pytest

from tests.messages import messages
from tests.third_party.conftest import MASTER, numbered


@pytest.fixture(params=["litellm_proxy", "openai"])
def call(request, proxy):
    """The options that send a job to the proxy, under either name."""
    return {"model": f"{request.param}/echo", "api_base": proxy.url, "api_key": MASTER}


def test_the_whole_cycle(call, proxy, upstream):
    """All rows arrive; one upload, one create and one download are asked of the proxy, and nothing after the end."""
    batches = upstream.stats()["batches_created"]
    proxy.forget()
    df = numbered(50)
    job = df.llm.batch("{text}", out="out", **call).wait(90)
    assert job.is_successful, job
    assert (df["out"] == df["text"]).all()
    assert upstream.stats()["batches_created"] == batches + 1
    asked = proxy.asked()
    assert [one for one in asked if one.startswith("POST")] == ["POST files", "POST batches"]
    assert [one for one in asked if "content" in one] == ["GET files content"]
    assert asked[-1] == "GET files content"


def test_rows_that_fail_are_retried_alone(call, proxy, upstream):
    """Some rows fail behind the proxy: they have their reasons, and `retry` sends them alone."""
    upstream.set_faults("row_errors=0.3,seed=4")
    df = numbered(30)
    try:
        job = df.llm.batch("{text}", out="out", **call).wait(90)
        failed = job.counts.failed
        assert 0 < failed < 30
        assert job.errors["_error"].str.len().gt(5).all()
    finally:
        upstream.set_faults("")
    again = job.retry().wait(90)
    assert again.is_successful, again
    assert (df["out"] == df["text"]).all()
    assert upstream.batches()[-1]["request_counts"]["total"] == failed


def test_a_job_is_cancelled_through_it(call, upstream):
    """Cancel reaches the provider behind the proxy, and the job ends."""
    upstream.set_faults("latency=0.3")
    try:
        job = numbered(5).llm.batch("{text}", out="out", **call)
        job.cancel().wait(90)
    finally:
        upstream.set_faults("")
    assert job.is_complete
    assert job.state in ("cancelled", "completed"), "it may have been over before"


def test_a_key_that_the_proxy_refuses_pauses_the_job(call, upstream):
    """The proxy says no: nothing is lost, and with a good key it goes on."""
    batches = upstream.stats()["batches_created"]
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", **{**call, "api_key": "sk-wrong"})
    job.wait(8)
    assert job.state == "waiting", job
    assert "key was refused" in messages(job.snapshot())
    assert "sk-wrong" not in messages(job.snapshot())
    job.resume(api_key=MASTER).wait(90)
    assert job.is_successful, job
    assert upstream.stats()["batches_created"] == batches + 1
