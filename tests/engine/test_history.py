"""A job's progress over time is the ledger's: any process has it at once, and reads only what is new after that."""

import msgspec
import pytest

from jupyter_batch.core.status import Step
from jupyter_batch.jobs import open_job
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import History, snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.view import view
from tests.ledgers import forget

from .conftest import numbered

ME = "here:1:me"


@pytest.fixture
def ledger(tmp_path):
    """A ledger with a job of two batches of 50 rows, planned at 1000.0, which this holder moves."""
    made = Ledger(tmp_path / "one")
    job = JobRecord(
        id="jbaaa",
        fingerprint="f",
        created_at=1000.0,
        model="openai/x",
        provider="openai",
        dialect="openai",
        endpoint="/v1/chat/completions",
        body_model="x",
        out="out",
        columns=["t"],
        rows=105,
        skipped=5,
    )
    shards = [
        ShardRecord(job="jbaaa", number=n, requests=50, bytes=9, first=n * 50, last=n * 50 + 49)
        for n in (0, 1)
    ]
    made.plan(job, shards, lambda: None)
    made.lease("jbaaa", ME, 1000.0, 1e9)
    yield made
    made.close()


def moved(ledger, number, to, at, **changes):
    """The batch goes on."""
    assert ledger.move(ledger.shards("jbaaa")[number], to, ME, at, **changes) is not None


def some_hours(ledger):
    """The first batch waits for two hours, then has 10 rows, 30 rows."""
    moved(ledger, 0, Step.SUBMITTING, 1001.0)
    moved(ledger, 0, Step.WAITING, 1002.0)
    moved(ledger, 0, Step.SUBMITTING, 8200.0)
    moved(ledger, 0, Step.RUNNING, 8205.0)
    moved(ledger, 0, Step.RUNNING, 8300.0, completed=10)
    moved(ledger, 0, Step.RUNNING, 8310.0, completed=10)
    moved(ledger, 0, Step.RUNNING, 8400.0, completed=29, failed=1)


def test_a_process_that_opens_a_job_has_its_history_at_once(ledger):
    """All that was noted before, from the plan on, with the moment at which the first batch was taken."""
    some_hours(ledger)
    opened = Ledger(ledger.home)
    points = History().look(opened, opened.job("jbaaa"))
    opened.close()
    assert points == ((1000.0, 5), (8205.0, 5), (8300.0, 15), (8400.0, 35))


def test_after_that_only_what_is_new_is_read(ledger, monkeypatch):
    """Each event once: after many looks the history is that of one who looks for the first time."""
    history, job, read = History(), ledger.job("jbaaa"), []
    news = ledger.news

    def counted(job, seen):
        mark, events = news(job, seen)
        read.extend(events)
        return mark, events

    monkeypatch.setattr(ledger, "news", counted)
    history.look(ledger, job)
    some_hours(ledger)
    history.look(ledger, job)
    history.look(ledger, job)
    moved(ledger, 0, Step.ENDED, 8500.0, completed=50, failed=0)
    seen = history.look(ledger, job)
    assert read == ledger.events("jbaaa")
    assert seen == History().look(ledger, job)
    assert seen[-1] == (8500.0, 55)


def test_events_of_other_jobs_are_not_counted(ledger):
    """Two jobs that are moved in turns have each its own history."""
    other = msgspec.structs.replace(ledger.job("jbaaa"), id="jbbbb", fingerprint="g")
    ledger.plan(
        other,
        [msgspec.structs.replace(shard, job="jbbbb") for shard in ledger.shards("jbaaa")],
        lambda: None,
    )
    ledger.lease("jbbbb", ME, 1000.0, 1e9)
    history = History()
    history.look(ledger, ledger.job("jbaaa"))
    some_hours(ledger)
    shard = ledger.shards("jbbbb")[0]
    assert ledger.move(shard, Step.SUBMITTING, ME, 8401.0) is not None
    assert history.look(ledger, ledger.job("jbaaa"))[-1] == (8400.0, 35)
    assert History().look(ledger, other) == ((1000.0, 5),)


def test_the_eta_of_a_job_that_was_opened_again_is_by_its_history(ledger):
    """Two hours in a queue are not part of the pace: 20 rows in the last 100 s, so that 70 rows take 350 s."""
    some_hours(ledger)
    job = ledger.job("jbaaa")
    shot = snapshot_of(job, ledger.shards("jbaaa"), 8400.0, history=History().look(ledger, job))
    assert shot.eta == pytest.approx(70 / (20 / 100))
    assert view(shot).eta == "about 6 min left (3 to 10 min)"
    assert msgspec.structs.replace(shot, history=()).eta > 10_000, "as it was without"


def test_a_real_job_has_its_course_after_a_restart(server, call, home):
    """Real batches: the history goes from no row to all, and a new process shows the same curve and words."""
    job = (
        numbered(60)
        .llm.batch("{text}", out="out", shard_size=10, poll_interval=0.05, **call)
        .wait(60)
    )
    before = job.snapshot()
    assert before.history[0] == (job._record().created_at, 0)
    assert before.history[-1][1] == 60
    assert len(before.history) > 3
    forget(home)
    after = open_job(job.id).snapshot()
    assert after.history == before.history
    assert view(after).curve == view(before).curve
    assert view(after).curve[-1] == 100
    assert "60 of 60 rows after" in view(after).curve_words
