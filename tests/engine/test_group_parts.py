"""Groups of which one model can't run: the others do, and what is done is merged."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import JobBlockedError, KeyMissingError
from jupyter_batch.server.embedded import Embedded
from tests.waiting import wait_for

from .conftest import numbered

MODELS = ["openai/echo", "local/echo", "anthropic/claude-haiku-4-5"]
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


@pytest.fixture
def two_keys(home, server, monkeypatch):
    """A key and an address of the first model in the environment; the second needs none, the third lacks one."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", server.token)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return server


def test_one_missing_key_blocks_its_model_alone(two_keys, home):
    """Of three models one has no key: the other two run, and the third is a job that is blocked by its key."""
    df = numbered(4)
    group = df.llm.batch("{text}", out="out", model=MODELS)
    with pytest.raises(JobBlockedError, match="ANTHROPIC_API_KEY"):
        group.wait(60)
    assert (df["out_openai/echo"] == df["text"]).all()
    assert (df["out_local/echo"] == df["text"]).all()
    assert [job.blocked for job in group.jobs] == [None, None, "key"]
    assert [job.state for job in group.jobs] == ["completed", "completed", "waiting"]
    assert group.blocked == "key"
    assert two_keys.stats()["batches_created"] == 1
    group.cancel()
    wait_for(lambda: group.jobs[2].is_complete, group.jobs[2])
    assert [job.state for job in group.jobs] == ["completed", "completed", "cancelled"]
    assert group.blocked is None


def test_all_keys_missing_is_an_error_at_once(two_keys, monkeypatch, home):
    """Where no model has a key nothing is kept, and the call says so."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(KeyMissingError):
        numbered(2).llm.batch("{text}", model=[MODELS[0], MODELS[2]])
    with pytest.raises(KeyMissingError, match="ANTHROPIC_API_KEY"):
        numbered(2).llm.batch("{text}", model=MODELS[2])
    assert not (home / "jobs").exists()


def test_members_that_are_done_are_merged_when_the_wait_times_out(call, tmp_path, home):
    """A wait for a group that ends before all of it is done merges the members that are."""
    with Embedded(tmp_path / "slow", pace=3600.0) as slow:
        models = ["openai/echo", "hosted_vllm/echo"]
        where = {**call, "api_base": slow.base_url, "poll_interval": 0.05, "model": models}
        numbered(4).llm.batch("{text}", out="out", **where).jobs[0].finish().wait(60)
        df = numbered(4)
        group = df.llm.batch("{text}", out="out", **where)
        group.wait(timeout=1)
        assert (df["out_openai/echo"] == df["text"]).all()
        assert not group.is_complete
        group.cancel()
