"""Answers that a provider counted, and whose lines it never gave: a later run of the cell sends none of them again."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.endings.far import far_side
from tests.endings.table import WHY


def counted(far, *, failed="a", batch=None):
    """The newest batch ends with all rows counted; its output file is never named, but that of the failed row is."""
    batch = batch or list(far.fake.batches.values())[-1]
    by_row = {body["messages"][-1]["content"]: one for one, body in batch.requests.items()}
    batch.answers = {one: row.upper() for row, one in by_row.items() if row != failed}
    batch.errors = {by_row[failed]: WHY}
    batch.output_named = False
    batch.ending = "completed"
    return batch


@pytest.mark.parametrize("rows", ["abcd", "abcde"])
@pytest.mark.parametrize("provider", ["openai", "azure", "mistral"])
def test_a_cell_does_not_ask_again_for_what_was_counted(provider, rows, desk):
    """C3: with a failed row alone in the files, the same cell, and one with more rows, send no counted row again."""
    with far_side(provider, desk.clock) as far:
        job = desk.frame().llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: far.sent)
        counted(far)
        desk.until(lambda: job.is_complete, skip=600.0)
        assert job.counts.succeeded == 0
        desk.rest()
        frame = pd.DataFrame({"t": list(rows)})
        again = frame.llm.batch("{t}", out="out", **far.call)
        assert (again.id == job.id) == (rows == "abcd")
        for _ in range(3):
            desk.rest()
        sent = "".join(far.sent)
        assert all(sent.count(row) == 1 for row in "bcd")
        assert again.is_complete or rows == "abcde"
        if rows == "abcde":
            desk.until(lambda: len(far.sent) == 2)
            far.answer_all()
            desk.until(lambda: again.is_complete)
            again.wait(30)
            assert again.errors["_error"].str.contains(job.id).sum() == 3
            assert frame["out"].tolist()[4] == "E"
            again.retry()
            desk.until(lambda: "".join(far.sent).count("b") == 2)


def test_a_shard_that_waits_does_not_ask_for_what_was_counted(desk):
    """C3: a job that waits for a batch whose answers were counted, and do not come, does not send their rows either."""
    with far_side("openai", desk.clock) as far:
        job = desk.frame().llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: far.sent)
        again = pd.DataFrame({"t": list("abcde")}).llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: len(far.sent) == 2)
        far.answer_all()
        counted_first = next(iter(far.fake.batches.values()))
        counted(far, batch=counted_first)
        desk.until(lambda: job.is_complete, skip=600.0)
        for _ in range(3):
            desk.rest()
        sent = "".join(far.sent)
        assert all(sent.count(row) == 1 for row in "bcd")
        desk.until(lambda: len(far.sent) == 3)
        far.answer_all()
        desk.until(lambda: again.is_complete)
        again.wait(30)
        assert again.counts.failed == 3
        assert again.counts.succeeded == 2
        again.retry()
        desk.until(lambda: "".join(far.sent).count("bcd") == 2)
