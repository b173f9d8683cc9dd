"""A job of a dozen rows with an ending of each kind, and the embedded server for jobs of the engine's own."""

from __future__ import annotations

import pytest

from jupyter_batch.viewer.server import Viewer
from tests.engine.conftest import call, server
from tests.viewer.finished_jobs import PROMPT, answer, failure, request, written

__all__ = ["call", "server"]
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def few(home):
    """A job of ten rows: 3 failed, 5 was cut off, 7 has another cost, 8 has markup in it."""
    job, lines = "jbfew", []
    for row in range(10):
        text = f"{PROMPT}Review {row} of the café" + (EVIL if row == 8 else "")
        ask = request(job, row, text, system="You are terse.")
        if row == 3:
            lines.append((ask, failure(job, row, "the content was refused"), True))
            continue
        finish = "length" if row == 5 else "stop"
        content = EVIL if row == 8 else f"answer {row}" + ", which is long" * (row == 6)
        tokens = (40, 500 if row == 7 else 3 + row)
        lines.append((ask, answer(job, row, content, finish=finish, tokens=tokens), False))
    return written(home, job, lines, shards=2)


@pytest.fixture
def viewer(few):
    """The server of a ledger with the job `jbfew`."""
    made = Viewer(few).start()
    yield made
    made.stop()
