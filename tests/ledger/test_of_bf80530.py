"""A ledger that commit bf80530 wrote (make_bf80530.py) is read, merged, retried and gone on with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
import tarfile
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.status import Block, Step
from jupyter_batch.ledger.migrations import MIGRATIONS
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers import table
from jupyter_batch.server.embedded import Embedded
from tests.ledger.make_bf80530 import MODEL, PORT, PROMPT, ROWS, TEXTS, TOKEN, frame


class Old:
    """The ledger, unpacked, and the embedded server on the state of that time, as it would have gone on then."""

    def __init__(self, folder):
        with tarfile.open(Path(__file__).with_name("bf80530.tar.gz")) as packed:
            packed.extractall(folder, filter="data")
        self.home = folder / "home"
        self.names = json.loads((folder / "names.json").read_text())
        behind = time.time() - self.names["made_at"] - 60
        self.server = Embedded(
            folder / "server", token=TOKEN, port=PORT, clock=lambda: time.time() - behind
        )
        self.call = {"model": MODEL, "api_base": self.names["base"], "api_key": TOKEN}

    def requests(self):
        """The number of batches that the server has created by now."""
        return len(self.server.batches())


@pytest.fixture
def old(tmp_path, monkeypatch):
    """That ledger; its server is stopped at the end. The address is one for all processes of this machine."""
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "old" / "home"))
    monkeypatch.setattr(table, "_NEAR", table._OURS)
    lock = Path(tempfile.gettempdir()) / f"jupyter_batch-{PORT}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        made = Old(tmp_path / "old")
        with made.server:
            yield made


def test_it_is_of_that_time(old):
    """The database has the version of that commit, and a block that is the beginning of a note."""
    with contextlib.closing(sqlite3.connect(old.home / "ledger.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        notes = [json.loads(facts)["note"] for (facts,) in db.execute("SELECT facts FROM shard")]
    assert [note for note in notes if note.startswith("paused: ")]


def test_it_opens_as_one_of_today(old):
    """All jobs are listed with their states, and a note that meant a block is a field."""
    states = {job.id: str(job.state) for job in jupyter_batch.jobs()}
    assert states[old.names["done"]] == "completed"
    assert states[old.names["failed"]] == "completed"
    assert states[old.names["running"]] == "running"
    ledger = Ledger(old.home)
    assert ledger._rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
    (paused,) = ledger.shards(old.names["paused"])
    assert (paused.step, paused.blocked_by) == (Step.WAITING, Block.KEY)
    assert not paused.note.startswith("paused")
    assert list(ledger.groups().values()) == [old.names["group"]]
    ledger.close()


def test_the_same_cell_merges_what_is_there(old):
    """A finished job: its cell, run again, fills the column, and sends nothing."""
    before = old.requests()
    df = pd.DataFrame({"text": TEXTS})
    job = df.llm.batch(PROMPT, out="sentiment", **old.call).wait(60)
    assert job.id == old.names["done"]
    assert list(df["sentiment"]) == ["positive", "negative", "neutral"]
    assert old.requests() == before


def test_a_grown_frame_sends_its_new_rows_alone(old):
    """The rows of that time are found by the kind of hash that the job was written with."""
    before = sum(batch["request_counts"]["total"] for batch in old.server.batches())
    df = pd.DataFrame({"text": ["I love the table", *TEXTS[::-1]]})
    job = df.llm.batch(PROMPT, out="sentiment", **old.call).wait(60)
    assert (job.counts.succeeded, job.counts.reused) == (1, 3)
    assert list(df["sentiment"])[1:] == ["neutral", "negative", "positive"]
    assert sum(batch["request_counts"]["total"] for batch in old.server.batches()) == before + 1


def test_its_failed_rows_are_retried_alone(old):
    """Only rows without an answer are sent again, into the same column."""
    job = jupyter_batch.open(old.names["failed"])
    df = frame(ROWS)
    job.merge(df)
    missing = int(df["echo"].isna().sum())
    assert 0 < missing == job.counts.failed < ROWS
    again = job.retry(api_key=TOKEN).wait(60)
    assert again.is_successful
    assert (again.counts.succeeded, again.counts.reused) == (missing, ROWS - missing)
    assert list(df["echo"]) == list(df["text"])


def test_a_running_job_is_gone_on_with(old):
    """The batch that was running is polled and collected; nothing is sent again."""
    before = old.requests()
    df = frame(4, "open")
    job = df.llm.batch("{text}", out="echo", **old.call).wait(60)
    assert job.id == old.names["running"]
    assert job.is_successful
    assert list(df["echo"]) == list(df["text"])
    assert old.requests() == before


def test_a_blocked_job_goes_on_with_a_key(old):
    """The job whose key was refused goes on when its cell is run with a good one."""
    df = frame(2, "key")
    job = df.llm.batch("{text}", out="echo", **old.call).wait(60)
    assert job.id == old.names["paused"]
    assert list(df["echo"]) == list(df["text"])


def test_a_group_comes_onto_a_frame(old):
    """Each model of a group fills its column."""
    df = frame(3, "both")
    ledger = Ledger(old.home)
    (group,) = ledger.groups()
    ledger.close()
    df.llm.attach(group)
    columns = [column for column in df.columns if column != "text"]
    assert len(columns) == 2
    assert all(list(df[column]) == list(df["text"]) for column in columns)
