"""`jupyter_batch.jobs()`: all jobs over all notebooks, each once, with real jobs and with very many."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.database import Database
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.runner.process import session
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget, lose

from .conftest import numbered

MANY = 2000
QUERIES = 20


def test_it_shows_each_job_with_its_notebook_and_counts(call, home, monkeypatch):
    """Text, HTML and frame tell the same of two jobs of two notebooks, the newest first."""
    first = numbered(5).llm.batch("{text}", out="out", name="first", **call).wait(60)
    second = numbered(6).llm.batch("Again {text}", out="out", name="<b>", **call).wait(60)
    ledger = session(home).ledger
    with ledger._transaction() as db:
        for job, path in (
            (first, "/books/a.ipynb"),
            (second, "/books/<img src=x onerror=alert(1)>.ipynb"),
        ):
            record = msgspec.structs.replace(ledger.job(job.id), notebook=path)
            db.execute(
                "UPDATE job SET facts = ? WHERE id = ?",
                (msgspec.json.encode(record).decode(), job.id),
            )
    listing = jupyter_batch.jobs()
    frame = listing.to_frame()
    assert list(frame.index) == [job.id for job in listing] == [second.id, first.id]
    assert frame["notebook"].tolist() == [
        "/books/<img src=x onerror=alert(1)>.ipynb",
        "/books/a.ipynb",
    ]
    assert frame["total"].tolist() == [6, 5]
    assert frame["succeeded"].tolist() == [6, 5]
    assert frame["state"].tolist() == ["completed"] * 2
    assert (frame["age"] >= pd.Timedelta(0)).all()
    assert frame["ended"].notna().all()
    lines = repr(listing).splitlines()
    assert lines[0].split()[-1] == "notebook"
    assert lines[2].startswith(first.id)
    assert lines[2].endswith("/books/a.ipynb")
    assert "6 of 6" in lines[1]
    markup = listing._repr_html_()
    assert "<img" not in markup
    assert "&lt;b&gt;" in markup
    assert "/books/a.ipynb" in markup


def test_a_group_is_one_row(call, home):
    """Several models of one call are one row, with the counts of all of them."""
    group = (
        numbered(4)
        .llm.batch("{text}", **{**call, "model": ["openai/echo", "hosted_vllm/echo"]})
        .wait(60)
    )
    listing = jupyter_batch.jobs().to_frame()
    assert list(listing.index) == [group.id]
    assert listing["model"].tolist() == ["openai/echo, hosted_vllm/echo"]
    assert listing["total"].tolist() == [8]
    assert group.snapshot().counts == jupyter_batch.jobs().snapshots()[0].counts


def test_a_job_whose_rest_went_on_in_real_time_is_one_row(tmp_path, home):
    """It has the id under which it goes on, and the counts of both; so has the same list in another process."""
    with Embedded(tmp_path / "slow", pace=3600.0) as slow:
        job = numbered(5).llm.batch(
            "{text}",
            out="out",
            model="openai/echo",
            api_base=slow.base_url,
            api_key=slow.token,
            poll_interval=0.05,
        )
        first = job.id
        held = jupyter_batch.jobs()
        assert list(held.to_frame()["state"]) != ["completed"]
        job.finish().wait(60)
        assert job.id != first
        for _ in range(2):
            listing = jupyter_batch.jobs().to_frame()
            assert list(listing.index) == list(held.to_frame().index) == [job.id]
            assert listing["succeeded"].tolist() == [5]
            forget(home)


def test_the_list_tells_of_a_job_what_the_job_does(call, home):
    """State, counts, cost and id are those of the job, also while it is open, and after its rest went on."""
    job = (
        numbered(5)
        .llm.batch("{text}", out="out", prices={"input": 1.0, "output": 2.0}, **call)
        .wait(60)
    )
    (shot,) = jupyter_batch.jobs().snapshots()
    whole = job.snapshot()
    assert (shot.id, shot.state, shot.counts, shot.cost, shot.finished_at) == (
        whole.id,
        whole.state,
        whole.counts,
        whole.cost,
        whole.finished_at,
    )
    assert shot.cost > 0


def test_a_job_that_was_forgotten_leaves_the_list_that_is_held(call, home):
    """A list that a person holds is shown as of now: what is gone is not in it, and nothing fails."""
    kept = numbered(5).llm.batch("{text}", out="out", **call).wait(60)
    gone = numbered(6).llm.batch("{text}!", out="out", **call).wait(60)
    listing = jupyter_batch.jobs()
    jupyter_batch.jobs.forget(gone.id)
    assert gone.id not in repr(listing) + listing._repr_html_()
    assert list(listing.to_frame().index) == [kept.id]


@pytest.mark.parametrize("model", [None, ["openai/echo", "hosted_vllm/echo"]])
def test_a_job_that_is_gone_says_so_in_one_line_where_it_is_shown(call, home, capsys, model):
    """A failure to show it in a cell is no error, which IPython would print once for each way of showing it."""
    gone = (
        numbered(3)
        .llm.batch("{text}", out="out", **(call if model is None else {**call, "model": model}))
        .wait(60)
    )
    lose(home)
    capsys.readouterr()
    gone._ipython_display_()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"<{type(gone).__name__} {gone.id}: no job")
    assert "there is no ledger at" in line


def test_without_a_ledger_the_list_is_empty_and_no_folder_is_made(home):
    """A frame with the columns and no row."""
    listing = jupyter_batch.jobs()
    assert repr(listing) == "No jobs."
    assert len(listing.to_frame()) == 0
    assert "cost" in listing.to_frame().columns
    assert not home.exists()


@pytest.fixture
def many(home):
    """A ledger of 2,000 jobs of three batches each."""
    ledger = session(home).ledger
    ledger.exists()
    with ledger._transaction() as db:
        for number in range(MANY):
            job = JobRecord(
                id=f"jb{number:010}",
                fingerprint=f"f{number}",
                created_at=1e9 + number,
                model="openai/x",
                provider="openai",
                dialect="openai",
                endpoint="/v1/chat/completions",
                body_model="x",
                out="out",
                columns=["text"],
                rows=300,
                finished_at=1e9 + number + 60,
                notebook=f"/books/{number % 7}.ipynb",
            )
            db.execute(
                "INSERT INTO job (id, fingerprint, created_at, finished_at, facts) VALUES (?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.fingerprint,
                    job.created_at,
                    job.finished_at,
                    msgspec.json.encode(job).decode(),
                ),
            )
            for part in range(3):
                shard = ShardRecord(
                    job=job.id,
                    number=part,
                    requests=100,
                    bytes=10_000,
                    first=part * 100,
                    last=part * 100 + 99,
                    step=Step.COLLECTED,
                    completed=100,
                    batch_id=f"b{number}",
                )
                db.execute(
                    "INSERT INTO shard (job, number, step, facts) VALUES (?, ?, ?, ?)",
                    (job.id, part, shard.step, msgspec.json.encode(shard).decode()),
                )
    return ledger


@pytest.mark.parametrize(
    "show",
    [repr, lambda message: message._repr_html_(), lambda message: message.to_frame()],
    ids=["text", "html", "frame"],
)
def test_thousands_of_jobs_are_listed_at_once(many, show, monkeypatch):
    """2,000 jobs with 6,000 batches take at most 20 queries: the ledger is read once, not job by job."""
    queries, rows = [], Database._rows

    def counted(self, sql, *arguments):
        queries.append(sql)
        return rows(self, sql, *arguments)

    monkeypatch.setattr(Database, "_rows", counted)
    shown = show(jupyter_batch.jobs())
    assert 0 < len(queries) <= QUERIES
    assert len(shown) == MANY if isinstance(shown, pd.DataFrame) else shown.count("jb0000") == MANY
