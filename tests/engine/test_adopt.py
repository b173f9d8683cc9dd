"""Jobs whose ledger is gone, or is another machine's, are found at the provider by their tags and taken up, once."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from jupyter_batch import job as job_module
from jupyter_batch import jobs
from jupyter_batch.core.errors import AlignmentError, InputError, JobNotFoundError, ModelError, OptionError
from jupyter_batch.engine import session as sessions

from .conftest import numbered


@pytest.fixture
def elsewhere(home, tmp_path):
    """Another ledger folder."""
    yield tmp_path / "elsewhere"
    forget(tmp_path / "elsewhere")


def forget(home):
    """As in a new process: nothing of the ledger is known but what is on disk."""
    held = sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
    job_module._OPEN.clear()


def lose(home):
    """The ledger is deleted, with all of its folder."""
    forget(home)
    shutil.rmtree(home)


def where(call):
    """What says where to look, of what a submission is given."""
    return {name: call[name] for name in ("model", "api_base", "api_key")}


def test_a_deleted_ledger_then_adopt_then_the_cell_again(server, call, home):
    """The ledger is gone: two batches are listed and taken up; the cell run again has its column, and pays nothing."""
    df = numbered(30)
    first = df.llm.batch("{text}", out="said", shard_size=20, **call).wait(60)
    lose(home)
    found = jobs.orphans(**where(call))
    assert sorted(o.batch.id for o in found) == sorted(batch["id"] for batch in server.batches())
    assert {(o.job, o.number, o.shards, o.rows) for o in found} == {(first.id, 0, 2, 30), (first.id, 1, 2, 30)}
    shown = repr(found)
    for word in (first.id, "2 of 2", "completed", "/v1/chat/completions", "0 min"):
        assert word in shown
    taken = jobs.adopt(first.id, **where(call)).follow()
    (job,) = taken
    assert job.id == first.id
    assert "run its cell again" in repr(taken)
    job.wait(60)
    assert job.is_successful
    assert job.results()["said"].tolist() == df["text"].tolist(), "by position"
    again = df[["text"]].copy()
    new = again.llm.batch("{text}", out="said", shard_size=20, **call).wait(60)
    assert again["said"].tolist() == df["text"].tolist()
    assert new.is_successful
    assert server.stats()["batches_created"] == 2
