"""A ledger that is another user's, on a read-only file system, or can't be made: read as far as it can be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ledgers import forget
from tests.prepared import python

from .conftest import frame

ROOT = Path(__file__).parents[2]
FINE = "['succeeded', 'succeeded', 'skipped', 'succeeded', 'reused', 'succeeded']"


@pytest.fixture
def ran(call, home):
    """The id of a job that is over."""
    job = frame().llm.batch("{text}", out="answer", **call).wait(60)
    forget(home)
    return job.id


@pytest.fixture
def outcomes_by_door(ran, call, home):
    """Each entry point's result in a process that is bound by file modes; they are set back at the end."""

    def run():
        child = subprocess.run(
            [
                *python(),
                "-m",
                "tests.ledger.limited_process",
                ran,
                call["api_base"],
                call["api_key"],
            ],
            env={**os.environ, "JUPYTER_BATCH_HOME": str(home), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if child.returncode == 77:
            pytest.skip("this machine has no way to give up root's rights")
        assert child.returncode == 0, child.stderr
        return json.loads(child.stdout.splitlines()[-1])

    yield run
    home.parent.chmod(0o700)
    if home.is_dir():
        home.chmod(0o700)
        for path in home.rglob("*"):
            if path.is_dir():
                path.chmod(0o700)


def read_only(home):
    """No file and no folder can be written to."""
    for path in sorted(home.rglob("*"), reverse=True):
        path.chmod(0o500 if path.is_dir() else 0o400)
    home.chmod(0o500)


def test_a_read_only_ledger_is_read_and_nothing_is_sent(ran, outcomes_by_door, home, requests_sent):
    """In a read-only ledger all is shown, merged and previewed; what would be sent says what to do."""
    read_only(home)
    before = requests_sent()
    doors = outcomes_by_door()
    assert ran in doors["jobs"]
    assert ran in doors["list"]
    assert ran in doors["listing"]
    assert doors["show"].startswith("0 ")
    assert doors["watch"].startswith("0 ")
    assert doors["results"] == FINE
    assert doors["merge"] == "5"
    assert doors["again"] == ran
    assert doors["preview"] == "2"
    assert "error" not in doors["load_ext"].lower()
    for door in ("batch", "sample"):
        assert doors[door].startswith("LedgerReadOnlyError: ")
        assert str(home) in doors[door]
        assert "JUPYTER_BATCH_HOME" in doors[door]
        assert ".draft" not in doors[door]
    assert requests_sent() == before


def test_a_home_that_can_not_be_read_is_reported_at_every_door(
    outcomes_by_door, home, requests_sent
):
    """In another user's home each door says in one sentence what can't be read, and what to do."""
    home.chmod(0)
    before = requests_sent()
    doors = outcomes_by_door()
    doors.pop("lab")
    for door, words in doors.items():
        assert str(home) in words, door
        assert "JUPYTER_BATCH_HOME" in words, door
        assert "Traceback" not in words, door
    assert requests_sent() == before


def test_a_home_that_can_not_be_made_is_needed_only_to_send(outcomes_by_door, home, requests_sent):
    """`preview()` works where the ledger's folder can't be made; a submission says what to do."""
    shutil.rmtree(home)
    home.parent.chmod(0o500)
    before = requests_sent()
    doors = outcomes_by_door()
    assert doors["jobs"] == "No jobs."
    assert doors["preview"] == "6"
    for door in ("batch", "sample"):
        assert doors[door].startswith("LedgerReadOnlyError: ")
        assert "JUPYTER_BATCH_HOME" in doors[door]
    assert requests_sent() == before


def test_a_file_where_the_home_should_be(call, tmp_path, monkeypatch):
    """With a file in the home's place the sentence says so, and preview() works."""
    from jupyter_batch import jobs
    from jupyter_batch.core.errors import LedgerError

    home = tmp_path / "file"
    home.write_bytes(b"")
    for place in (home, home / "below"):
        monkeypatch.setenv("JUPYTER_BATCH_HOME", str(place))
        assert frame().llm.preview("{text}", out="answer", **call).requests == 4
        assert len(jobs.list_jobs()) == 0
        with pytest.raises(LedgerError, match="a file is where a folder should be"):
            frame().llm.batch("{text}", out="answer", **call)
        forget(place)
