"""A batch that is larger than a limit which the provider names: it is cut, and each row is sent once."""

from __future__ import annotations

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.server.embedded import Embedded

ROWS = 40
TEXT = "the quick brown fox jumps over the lazy dog and runs away from here; " * 6


def texts(rows=ROWS):
    """A frame of rows with about 100 tokens each."""
    return pd.DataFrame({"t": [f"{n}: {TEXT}" for n in range(rows)]})


def sent(server):
    """The custom ids of the lines of all batches that were not refused."""
    return [
        line
        for batch in server.batches()
        if batch["status"] == "completed"
        for line in range(batch["request_counts"]["total"])
    ]


@pytest.mark.parametrize("faults", ["enqueued_tokens=1000", "enqueued_tokens=1000,fail_fast"])
def test_a_batch_above_the_limit_is_cut(faults, tmp_path, home):
    """With an empty queue a batch above the named limit is cut into batches that fit, sent one after another."""
    with Embedded(tmp_path / "server", faults=faults) as server:
        frame = texts()
        job = frame.llm.batch(
            "{t}", out="out", model="openai/echo", api_base=server.base_url, api_key=server.token
        )
        job.wait(120)
        assert job.is_successful, job.errors
        assert (frame["out"].str.strip() == frame["t"].str.strip()).all()
        ended = [batch["status"] for batch in server.batches()]
        assert len(sent(server)) == ROWS, "each row was answered exactly once"
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        assert texts().llm.batch("{t}", out="out", **call).id == job.id, "the same cell attaches"
        assert 4 <= ended.count("completed") <= 14
        assert ended.count("failed") <= 14, "what does not fit is not sent again and again"
    assert job.counts.total == ROWS
    ledger = job._here.ledger
    first = ledger.shards(job.id, replaced=True)[0]
    assert len(first.replaced_by) > 1
    assert (first.step, first.counts.total) == (Step.COLLECTED, 0)
    pieces = sorted(ledger.shards(job.id), key=lambda piece: piece.first)
    assert [piece.first for piece in pieces][1:] == [piece.last + 1 for piece in pieces][:-1]


def test_all_shards_of_a_job_are_cut_once_the_limit_is_known(tmp_path, home):
    """The limit that one batch was refused for is kept to by the others, equal rows and skipped ones too."""
    with Embedded(tmp_path / "server", faults="enqueued_tokens=1000,fail_fast") as server:
        frame = texts()
        frame.loc[3, "t"] = None
        frame.loc[[7, 30], "t"] = frame.loc[6, "t"]
        job = frame.llm.batch(
            "{t}",
            out="out",
            shard_size=20,
            model="openai/echo",
            api_base=server.base_url,
            api_key=server.token,
        )
        job.wait(120)
        assert (job.counts.succeeded, job.counts.reused, job.counts.skipped) == (37, 2, 1)
        whole = frame["t"].notna()
        assert (frame["out"].str.strip() == frame["t"].str.strip())[whole].all()
        assert len(sent(server)) == 37


def test_a_row_that_is_above_the_limit_by_itself_fails_alone(tmp_path, home):
    """A request that no batch can hold has its reason, and the other rows are answered."""
    with Embedded(tmp_path / "server", faults="enqueued_tokens=1000,fail_fast") as server:
        frame = texts(4)
        frame.loc[2, "t"] = TEXT * 20
        job = frame.llm.batch(
            "{t}", out="out", model="openai/echo", api_base=server.base_url, api_key=server.token
        )
        job.wait(120)
        assert job.errors.index.tolist() == [2]
        assert "this request alone has about" in job.errors["_error"].iloc[0]
        assert frame["out"].notna().sum() == 3


def test_a_job_that_was_cut_is_recovered_from_its_folder(tmp_path, home):
    """With the database gone, the pieces' answers are read from the folder, each on its own row."""
    with Embedded(tmp_path / "server", faults="enqueued_tokens=1000,fail_fast") as server:
        frame = texts()
        job = frame.llm.batch(
            "{t}", out="out", model="openai/echo", api_base=server.base_url, api_key=server.token
        )
        job.wait(120)
    here = job._here
    batches = job.batches
    here.close()
    for path in here.ledger.home.glob("ledger.sqlite3*"):
        path.unlink()
    fresh = Ledger(here.ledger.home)
    try:
        shards = fresh.shards(job.id)
        assert tuple(shard.batch_id for shard in shards) == tuple(batches)
        assert {shard.step for shard in shards} <= {Step.COLLECTED, Step.ENDED, Step.RUNNING}
    finally:
        fresh.close()


def test_a_batch_that_fits_waits(tmp_path, home):
    """A batch below the limit that is refused since another is under way is not cut: it waits."""
    with Embedded(tmp_path / "server", pace=1.0, faults="enqueued_tokens=1000,fail_fast") as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        one = texts(6).llm.batch("{t}", out="out", **call)
        two = texts(7).iloc[1:].assign(t=lambda f: "x" + f["t"]).llm.batch("{t}", out="out", **call)
        for job in (one, two):
            job.wait(120)
            assert job.is_successful, job.errors
            assert len(job.batches) == 1
    assert jupyter_batch.jobs()
