"""Answers that a provider counted, and whose lines it never gave: a later run of the cell sends none of them again."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.endings.remote import remote_provider
from tests.endings.table import WHY


def counted(remote, *, failed="a", batch=None):
    """The newest batch ends with all rows counted; its output file is never named, but that of the failed row is."""
    batch = batch or list(remote.fake.batches.values())[-1]
    by_row = {body["messages"][-1]["content"]: one for one, body in batch.requests.items()}
    batch.answers = {one: row.upper() for row, one in by_row.items() if row != failed}
    batch.errors = {by_row[failed]: WHY}
    batch.output_named = False
    batch.ending = "completed"
    return batch


@pytest.mark.parametrize("rows", ["abcd", "abcde"])
@pytest.mark.parametrize("provider", ["openai", "azure", "mistral"])
def test_a_cell_does_not_ask_again_for_what_was_counted(provider, rows, harness):
    """With a failed row alone in the files, the same cell, and one with more rows, send no counted row again."""
    with remote_provider(provider, harness.clock) as remote:
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        counted(remote)
        harness.until(lambda: job.is_complete, skip=600.0)
        assert job.counts.succeeded == 0
        harness.rest()
        frame = pd.DataFrame({"t": list(rows)})
        again = frame.llm.batch("{t}", out="out", **remote.call)
        assert (again.id == job.id) == (rows == "abcd")
        for _ in range(3):
            harness.rest()
        sent = "".join(remote.sent)
        assert all(sent.count(row) == 1 for row in "bcd")
        assert again.is_complete or rows == "abcde"
        if rows == "abcde":
            harness.until(lambda: len(remote.sent) == 2)
            remote.answer_all()
            harness.until(lambda: again.is_complete)
            again.wait(30)
            assert again.errors["_error"].str.contains(job.id).sum() == 3
            assert frame["out"].tolist()[4] == "E"
            again.retry()
            harness.until(lambda: "".join(remote.sent).count("b") == 2)


def test_a_shard_that_waits_does_not_ask_for_what_was_counted(harness):
    """A job that waits for a batch whose answers were counted, and do not come, does not send their rows either."""
    with remote_provider("openai", harness.clock) as remote:
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        again = pd.DataFrame({"t": list("abcde")}).llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: len(remote.sent) == 2)
        remote.answer_all()
        counted_first = next(iter(remote.fake.batches.values()))
        counted(remote, batch=counted_first)
        harness.until(lambda: job.is_complete, skip=600.0)
        for _ in range(3):
            harness.rest()
        sent = "".join(remote.sent)
        assert all(sent.count(row) == 1 for row in "bcd")
        harness.until(lambda: len(remote.sent) == 3)
        remote.answer_all()
        harness.until(lambda: again.is_complete)
        again.wait(30)
        assert again.counts.failed == 3
        assert again.counts.succeeded == 2
        again.retry()
        harness.until(lambda: "".join(remote.sent).count("bcd") == 2)
