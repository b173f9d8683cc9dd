"""An adoption that is killed between any two of its steps, and done again, takes up each job once and whole."""

from __future__ import annotations

import pytest

from tests import forking
from tests.forking import killed_and_gone_on
from tests.ledgers import lose

from .adopt_host import POINTS
from .conftest import numbered


@pytest.fixture(scope="module")
def host():
    """The forking process; one for all cases."""
    with forking.host("tests.engine.adopt_host") as run:
        yield run


@pytest.mark.parametrize("point", list(POINTS))
def test_killed_there_and_adopted_again(point, host, server, call, home, tmp_path):
    """Killed at the point and run again in a new process: one job, whole, with the answers of both batches."""
    job = numbered(30).llm.batch("{text}", out="said", shard_size=20, **call).wait(60).id
    lose(home)
    order = {
        "home": str(tmp_path / "new"),
        "base_url": server.base_url,
        "token": server.token,
        "answers": str(tmp_path / "answers.json"),
    }
    assert killed_and_gone_on(host, point, order) == [[job, [f"row number {n}" for n in range(30)]]]
    assert [path.name for path in (tmp_path / "new" / "jobs").iterdir()] == [job], (
        "no draft is left"
    )
    assert server.stats()["batches_created"] == 2
