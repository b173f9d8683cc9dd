"""Killed between any two steps of the rounds of tools: no call ran twice, no follow-up was sent twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from jupyter_batch.tool_calls.execute import INTERRUPTED
from tests import forking
from tests.forking import killed_and_gone_on

from .tools_host import POINTS, ROWS, UNKNOWN


@pytest.fixture(scope="module")
def host():
    """The forking process; one for all cases."""
    with forking.host("tests.tools.tools_host") as run:
        yield run


@pytest.mark.parametrize("point", list(POINTS))
def test_killed_there_and_gone_on(point, host, server, tmp_path):
    """Killed at the point and run again: each row has its answer, each call ran once, each follow-up was sent once.

    A call of unknown outcome is not run again: the model is informed so.
    """
    order = {
        "home": str(tmp_path / "home"),
        "base_url": server.base_url,
        "token": server.token,
        "answers": str(tmp_path / "answers.json"),
        "ran": str(tmp_path / "ran"),
    }
    ending = killed_and_gone_on(host, point, order)
    assert ending["successful"]
    ran = Counter(Path(order["ran"]).read_text().split())
    assert max(ran.values()) == 1, "no call ran twice"
    lost = [out == INTERRUPTED for out in ending["out"]]
    assert [out for out, gone in zip(ending["out"], lost, strict=True) if not gone] == [
        f"told {100 + n}" for n in range(ROWS) if not lost[n]
    ]
    assert sum(lost) == (point in UNKNOWN and "second" in point), "the model has it, and repeats it"
    notes = "".join(path.read_text() for path in (tmp_path / "home").glob("jobs/*/calls.jsonl"))
    assert notes.count(INTERRUPTED) == (point in UNKNOWN)
    least = 2 * ROWS - (point in {"a call is noted as begun", "in a tool, before its effect"})
    assert sum(ran.values()) == least, "all others ran"
    tags = Counter(batch["metadata"]["jupyter_batch"] for batch in server.batches())
    assert max(tags.values()) == 1
    assert len(tags) == 6, (
        "two batches of the first job, and of each follow-up, which keeps to its size"
    )
    assert server.stats()["batches_created"] == 6
