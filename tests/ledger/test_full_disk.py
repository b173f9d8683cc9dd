"""A disk that is full: nothing is left half written, a sentence says so, and with some space it goes on."""

from __future__ import annotations

import contextlib

import msgspec
import pandas as pd
import pytest

from jupyter_batch.core.errors import LedgerFullError
from jupyter_batch.core.status import Step
from jupyter_batch.testing.scripted import FACTS, Scripted
from tests.harness import Harness

resource = pytest.importorskip("resource")
SMALL = 450_000


@contextlib.contextmanager
def no_file_above(size: int):
    """Let no file of this process grow above a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_request_files_that_do_not_fit_leave_nothing_behind(call, home, requests_sent):
    """A frame whose requests do not fit on the disk is refused in a sentence; no job and no file is left."""
    rows = pd.DataFrame({"text": ["x" * 1000] * 600})
    rows["text"] += rows.index.astype(str)
    before = requests_sent()
    with (
        no_file_above(SMALL),
        pytest.raises(LedgerFullError, match=r"disk is full.*free some space"),
    ):
        rows.llm.batch("{text}", out="answer", **call)
    assert requests_sent() == before
    assert [path.name for path in home.rglob("*.jsonl")] == []
    assert rows.llm.batch("{text}", out="answer", **call).wait(60).is_successful


def test_results_that_do_not_fit_are_fetched_when_there_is_space(tmp_path):
    """Results that do not fit on the disk stay at the provider; the job says so, and fetches them later."""
    harness = Harness(
        tmp_path / "home",
        lambda: provider,
        model="scripted/m",
        limits=FACTS.limits,
        texts=[f"row {number}" for number in range(1000)],
    )
    provider = Scripted(lambda _: "z" * 500)
    job = harness.plan()

    async def way():
        await harness.step()
        provider.finish(harness.shard(job).batch_id)
        with no_file_above(SMALL):
            await harness.step(600.0)
            await harness.step(600.0)
        shard = harness.shard(job)
        assert shard.step is Step.ENDED
        assert "disk is full" in shard.note
        await harness.to_the_end(job)

    harness.play(way())
    assert all(answer is not None for answer in harness.outcomes(job).answers)
    assert len(provider.batches) == 1
    harness.ledger.close()


def test_a_database_that_can_not_grow_sends_nothing(tmp_path):
    """Where the ledger's database can't be written, no request leaves: what was not written down is not sent."""
    provider = Scripted(lambda _: "z" * 500)
    harness = Harness(
        tmp_path / "home",
        lambda: provider,
        model="scripted/m",
        limits=msgspec.structs.replace(FACTS.limits, requests=2),
    )
    job = harness.plan()

    async def way():
        with no_file_above(1):
            await harness.step()
        assert not provider.batches
        assert harness.shard(job).step is Step.PLANNED
        await harness.step(60.0)
        assert len(provider.batches) == 2

    harness.play(way())
    with no_file_above(1), pytest.raises(LedgerFullError, match="the disk is full"):
        harness.ledger.say(job, "x")
    harness.ledger.close()
