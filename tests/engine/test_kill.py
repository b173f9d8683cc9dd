"""A process that is killed between any two steps of a row's way loses nothing, and pays for nothing twice."""

from __future__ import annotations

import pytest

from jupyter_batch.server.embedded import Embedded
from tests import forking
from tests.forking import killed_and_gone_on

from .kill_host import FORGOTTEN, GROWN, LINKED, POINTS, ROWS


@pytest.fixture(scope="module")
def host():
    """The forking process; one for all cases."""
    with forking.host("tests.engine.kill_host") as run:
        yield run


@pytest.mark.parametrize("point", list(POINTS))
def test_killed_there_and_gone_on(point, host, server, tmp_path):
    """Killed at the point and run again in a new process: every row is answered, each shard was created once."""
    order = {
        "home": str(tmp_path / "home"),
        "base_url": server.base_url,
        "token": server.token,
        "answers": str(tmp_path / "answers.json"),
    }
    ending = killed_and_gone_on(host, point, order)
    assert ending["complete"]
    assert ending["out"] == [f"row number {n}" for n in range(ROWS)]
    tags = [batch["metadata"]["jupyter_batch"] for batch in server.batches()]
    assert sorted(tags) == [f"{ending['jobs']}/{n}" for n in range(3)], (
        "each shard was created exactly once"
    )
    assert server.stats()["batches_created"] == 3
    assert not (tmp_path / "home" / "drafts").exists(), "what the dead process had drafted is gone"


@pytest.mark.parametrize("point", [*GROWN, *LINKED])
def test_a_grown_frame_killed_there_and_gone_on(point, host, tmp_path):
    """Killed while answers are taken from other jobs, and run again: every row is answered, each was asked once."""
    with Embedded(tmp_path / "server", pace=3.0) as server:
        order = {
            "home": str(tmp_path / "home"),
            "base_url": server.base_url,
            "token": server.token,
            "answers": str(tmp_path / "answers.json"),
            "grown": True,
            "linked": point in LINKED,
        }
        ending = killed_and_gone_on(host, point, order)
        assert ending["complete"]
        assert ending["out"] == [f"row number {n}" for n in range(ROWS)]
        assert sum(batch["request_counts"]["total"] for batch in server.batches()) == ROWS
        assert (ending["links"] > 0) == (point in LINKED)
    assert not (tmp_path / "home" / "drafts").exists(), "what the dead process had drafted is gone"


@pytest.mark.parametrize("point", list(FORGOTTEN))
def test_a_job_killed_while_it_is_forgotten(point, host, server, tmp_path):
    """Killed while a job is removed: it is listed no more, and the job that refers to it has all answers."""
    order = {
        "home": str(tmp_path / "home"),
        "base_url": server.base_url,
        "token": server.token,
        "answers": str(tmp_path / "answers.json"),
        "forgets": True,
    }
    ending = killed_and_gone_on(host, point, order)
    assert ending == {
        "out": [f"row number {n}" for n in range(60)],
        "left": 1,
        "was_listed": False,
    }
    assert sum(batch["request_counts"]["total"] for batch in server.batches()) == 60


@pytest.mark.parametrize(
    "point",
    [
        "within ledger.plan",
        "ledger.plan -> planned -> submitting",
        "submitting -> provider.submit",
        "uploaded, and its id nowhere",
        "provider.submit -> running",
        "provider.fetch -> folder.write",
        "frame.merge -> cell",
    ],
)
def test_rows_of_several_models_killed_there_and_gone_on(point, host, server, tmp_path):
    """Models and endpoints by row: a text or a vector in each row's place, each part's shards were created once."""
    order = {
        "home": str(tmp_path / "home"),
        "base_url": server.base_url,
        "token": server.token,
        "answers": str(tmp_path / "answers.json"),
        "by_row": True,
    }
    ending = killed_and_gone_on(host, point, order)
    assert ending["complete"]
    assert ending["out"] == ["1 axis" if n % 6 == 1 else f"row number {n}" for n in range(ROWS)]
    tags = [batch["metadata"]["jupyter_batch"] for batch in server.batches()]
    assert sorted(tag.partition("/")[2] for tag in tags) == ["0", "0", "0", "1"]
    assert len(set(tags)) == server.stats()["batches_created"] == 4
    assert sum(batch["request_counts"]["total"] for batch in server.batches()) == ROWS
