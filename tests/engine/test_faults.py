"""Errors at the server end with the right cell on the right row, and a reason where there is none."""

from __future__ import annotations

import pytest

from jupyter_batch.runner import collect
from jupyter_batch.server.embedded import Embedded

from .conftest import numbered

ROWS, SHARDS = 5000, 7

ALONE = {
    "none": "",
    "latency": "latency=0.05",
    "429": "429=0.3,retry_after=0.1,seed=1",
    "5xx": "500=0.3,seed=2",
    "reset before": "reset=0.3,seed=3",
    "reset after": "reset_after=0.3,seed=4",
    "truncated downloads": "truncate=0.5,seed=5",
    "late output file": "late_output=3",
    "expiry": "expire_after=300",
    "row errors": "row_errors=0.02,seed=6",
    "lines dropped": "drop=0.01,seed=7",
    "lines doubled": "double=0.05,seed=8",
    "order shuffled": "shuffle,seed=9",
}
TOGETHER = (
    "seed=11,latency=0.01,429=0.1,retry_after=0.1,500=0.1,reset=0.1,reset_after=0.1,truncate=0.2,late_output=2,"
    "row_errors=0.02,drop=0.005,double=0.02,shuffle,enqueued_tokens=150000"
)


def check(job, frame):
    """Each row has its own answer, or none and a reason; the counts add up."""
    results = job.results()
    assert list(results.index) == list(frame.index)
    answered = results["_status"] == "succeeded"
    assert (results.loc[answered, "out"] == frame.loc[answered, "text"]).all()
    assert (frame.loc[answered, "out"] == frame.loc[answered, "text"]).all()
    assert results.loc[~answered, "out"].isna().all()
    assert results.loc[~answered, "_error"].str.len().gt(5).all()
    assert results.loc[answered, "_error"].isna().all()
    counts = job.counts
    assert counts.total == ROWS == sum(getattr(counts, name) for name in counts.__struct_fields__)
    assert counts.succeeded == int(answered.sum())
    assert counts.running == 0
    return results


@pytest.mark.parametrize("name", list(ALONE))
def test_one_fault_alone(name, server, call, home):
    """5,000 rows in 7 shards: with any one fault each answer is on its own row, and what has none says why."""
    server.set_faults(ALONE[name])
    frame = numbered(ROWS)
    job = frame.llm.batch("{text}", out="out", shard_size=715, **call)
    job.wait(120)
    assert job.is_complete, job
    ending = check(job, frame)
    statuses = ending["_status"].value_counts().to_dict()
    if name == "expiry":
        assert statuses == {"succeeded": 300 * SHARDS, "expired": ROWS - 300 * SHARDS}
    elif name in ("row errors", "lines dropped"):
        assert 0 < statuses["failed"] < ROWS * 0.05
    else:
        assert statuses == {"succeeded": ROWS}
    assert server.stats()["batches_created"] == SHARDS, "each shard was created exactly once"


def test_the_enqueued_token_limit(tmp_path, home):
    """Room for two batches at a time: those that are refused are sent again when others have ended, and all arrive."""
    with Embedded(tmp_path / "server", pace=0.5, faults="enqueued_tokens=70000") as server:
        frame = numbered(ROWS)
        job = frame.llm.batch(
            "{text}",
            out="out",
            shard_size=715,
            model="openai/echo",
            api_base=server.base_url,
            api_key=server.token,
        )
        job.wait(120)
        assert job.is_successful, job
        check(job, frame)
        ended = [batch["status"] for batch in server.batches()]
        assert ended.count("completed") == SHARDS, "each shard was answered exactly once"
        assert ended.count("failed") > 0, "some were refused, and sent again"


def test_all_faults_at_once(server, call, home, monkeypatch):
    """With all faults at once under a fixed seed it is the same: right cells, named reasons, nothing paid twice."""
    monkeypatch.setattr(collect, "SHORT_SECONDS", 5.0)  # lines that are dropped never come
    server.set_faults(TOGETHER)
    frame = numbered(ROWS)
    job = frame.llm.batch("{text}", out="out", shard_size=715, **call)
    job.wait(240)
    assert job.is_complete, job
    ending = check(job, frame)
    assert (ending["_status"] == "succeeded").mean() > 0.9
    good = [batch for batch in server.batches() if batch["status"] == "completed"]
    assert len(good) == SHARDS, "each shard was answered exactly once"
