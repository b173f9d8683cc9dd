"""Result files that are gone or cut on this disk, of batches, embeddings and real-time jobs: nothing is paid again."""

from __future__ import annotations

import shutil

import pytest

from jupyter_batch import jobs
from tests.ledgers import forget

from .conftest import numbered


def asked(server):
    """The number of requests that the server answered, in batches and in real time."""
    direct = server.stats()["routes"].get("POST /v1/chat/completions", {"took_effect": 0})
    batched = sum(batch["request_counts"]["completed"] for batch in server.batches())
    return batched + direct["took_effect"]


def damage(home, how):
    """Do it to every output file."""
    for path in (home / "jobs").glob("jb*/output-0.jsonl"):
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_several_jobs(server, call, home, how):
    """Two columns of one frame, each of a job of its own: each job's file is fetched again."""
    first = numbered(4)
    pair = [{**call, "out": "one"}, {**call, "out": "two", "temperature": 0.5}]
    for options in pair:
        first.llm.batch("{text}", **options).wait(60)
    paid = asked(server)
    forget(home)
    damage(home, how)
    again = numbered(4)
    for options in pair:
        again.llm.batch("{text}", **options).wait(60)
    assert again["one"].tolist() == again["two"].tolist() == again["text"].tolist()
    assert asked(server) == paid


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_vectors(server, call, home, how):
    """Embeddings are fetched again, too."""
    first = numbered(4)
    first.llm.embed("text", out="vector", **call).wait(60)
    paid = asked(server)
    forget(home)
    damage(home, how)
    again = numbered(4)
    again.llm.embed("text", out="vector", **call).wait(60)
    assert [len(v) for v in again["vector"]] == [len(v) for v in first["vector"]]
    assert asked(server) == paid


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_real_time(server, call, home, how):
    """Rows answered in real time are still in the run's journal."""
    numbered(4).llm.batch("{text}", out="out", mode="realtime", **call).wait(60)
    forget(home)
    damage(home, how)
    again = numbered(4)
    again.llm.batch("{text}", out="out", mode="realtime", **call).wait(60)
    assert again["out"].tolist() == again["text"].tolist()
    assert asked(server) == 4


def test_real_time_without_a_copy(server, call, home):
    """Output and journal are gone: reported at once, sent again by retry() alone."""
    numbered(4).llm.batch("{text}", out="out", mode="realtime", **call).wait(60)
    forget(home)
    damage(home, "gone")
    for path in (home / "jobs").glob("jb*/realtime"):
        shutil.rmtree(path)
    again = numbered(4)
    job = again.llm.batch("{text}", out="out", mode="realtime", **call).wait(30)
    assert job.is_complete
    assert job.counts.failed == 4
    assert "output-0.jsonl" in job.errors.to_string()
    assert asked(server) == 4
    job.retry().wait(60)
    assert again["out"].tolist() == again["text"].tolist()
    assert asked(server) == 8


def test_forgotten_jobs_are_paid_again(server, call):
    """`forget` is the user's word that a job is gone: no folder is left to recover it from, its cell sends again."""
    job = numbered(4).llm.batch("{text}", out="out", **call).wait(60)
    jobs.forget(job.id)
    again = numbered(4)
    assert again.llm.batch("{text}", out="out", **call).wait(60).id != job.id
    assert asked(server) == 8
