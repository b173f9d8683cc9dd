"""The same endings at the embedded server, whose faults make them: what is filled, why not, what was asked; retry."""

from __future__ import annotations

import pytest

from jupyter_batch.server.embedded import Embedded

POLL, DOWNLOAD = "GET /v1/batches/{batch_id}", "GET /v1/files/{file_id}/content"
ENDINGS = {
    # faults, the job's state, rows that are filled, words of the others' reasons, result files
    "completed": ("", "completed", 4, "", 1),
    "late": ("late_output=3", "completed", 4, "", 1),
    "expired": ("expire_after=2", "expired", 2, "expired", 2),
    "all failed": ("row_errors=1", "completed", 0, "server had an error", 1),
    "no line for any row": ("drop=1", "completed", 0, "no result", 0),
}


@pytest.fixture
def server(tmp_path):
    """The embedded server, without any pause."""
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def call(server):
    """The options that send a job to `server`."""
    return {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}


@pytest.mark.parametrize("name", list(ENDINGS))
def test_ending(name, harness, server, call):
    """Each file is fetched once, nothing is asked after the end, and `retry` sends the rows that are left."""
    faults, state, filled, words, files = ENDINGS[name]
    server.set_faults(faults)
    df = harness.frame()
    job = df.llm.batch("{t}", out="out", **call)
    harness.until(lambda: job.is_complete)
    job.wait(60)
    assert job.state == state
    assert df["out"].notna().sum() == filled == job.counts.succeeded
    assert job.errors["_error"].str.contains(words).sum() == 4 - filled
    routes = server.stats()["routes"]
    assert routes["POST /v1/batches"]["received"] == routes["POST /v1/files"]["received"] == 1
    assert routes.get(DOWNLOAD, {"received": 0})["received"] == files
    harness.rest()
    assert server.stats()["routes"] == routes, "nothing is asked once it is over"
    if filled < 4:
        server.set_faults("")
        again = job.retry()
        harness.until(lambda: again.is_complete)
        assert again.wait(60).is_successful
        assert df["out"].tolist() == df["t"].tolist()
        assert [batch["request_counts"]["total"] for batch in server.batches()] == [4, 4 - filled]


def test_a_cut_download_is_fetched_again(harness, server, call):
    """Seven of ten downloads break in mid-line: all rows arrive, from one batch."""
    server.set_faults("truncate=0.7,seed=3")
    df = harness.frame()
    job = df.llm.batch("{t}", out="out", **call)
    harness.until(lambda: job.is_complete)
    assert job.wait(60).is_successful
    assert df["out"].tolist() == df["t"].tolist()
    routes = server.stats()["routes"]
    assert routes[DOWNLOAD]["received"] > 1
    assert routes["POST /v1/batches"]["received"] == 1


def test_a_cancelled_job_keeps_what_was_answered(harness, tmp_path):
    """Cancelled on its way at the server's own pace: nothing is asked after the end, and `retry` sends what is left."""
    with Embedded(tmp_path / "server", pace=30.0) as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        df = harness.frame()
        job = df.llm.batch("{t}", out="out", **call)
        harness.until(server.batches)
        job.cancel()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert job.state == "cancelled"
        left = df["out"].isna().sum() if "out" in df else 4
        assert job.counts.cancelled == left > 0
        routes = server.stats()["routes"]
        harness.rest()
        assert server.stats()["routes"] == routes
        job.retry().cancel()
        harness.until(lambda: not harness.here.ledger.jobs(unfinished=True))
