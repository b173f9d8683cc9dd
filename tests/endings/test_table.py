"""Provider x ending x files, each cell the whole way of a person's job: what is filled, why not, what was asked."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.endings.remote import LATE_POLLS, remote_provider
from tests.endings.table import LEFT_OUT, NO_CANCEL, NO_UPLOAD, PRICE, PROVIDERS, ROWS, cells

COUNTS = {
    "openai": 36,
    "azure": 36,
    "mistral": 36,
    "xai": 16,
    "anthropic": 21,
    "gemini": 28,
    "together_ai": 24,
    "fireworks_ai": 20,
    "openrouter": 16,
}
"""The cells of a provider; of one whose API is OpenAI's there is one for each ending."""
LONG = {"absent": 1300.0, "gone": 600.0}
"""Seconds between two looks, where it is hours until what is missing is given up."""


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_ending(cell, harness):
    """Finished rows are in the column, the rest has its reason, each file was fetched once; `retry` sends the rest."""
    with remote_provider(cell.provider, harness.clock) as remote:
        df = harness.frame()
        job = df.llm.batch("{t}", out="out", prices={remote.call["model"]: PRICE}, **remote.call)
        harness.until(lambda: remote.sent)
        end(cell, remote, harness, job)
        harness.until(lambda: job.is_complete, skip=LONG.get(cell.output, 31.0))
        job.wait(60)
        check(cell, remote, df, job)
        asked = len(remote.log)
        harness.rest()
        assert len(remote.log) == asked, "nothing is asked once it is over"
        retried(cell, remote, harness, df, job)


def end(cell, remote, harness, job):
    """The batch ends as the cell says; a person's cancel ends the cancelled one."""
    remote.work(cell)
    if cell.ending == "cancelled":
        job.cancel()
        harness.until(lambda: is_cancelling(cell.provider, remote, job))
    remote.end(cell.ending)
    if cell.output == "late":
        seen = polls(remote)
        harness.until(lambda: polls(remote) >= seen + LATE_POLLS, skip=5.0)
        assert cell.ending == "cancelled" or not job.is_complete
        remote.name_output()
        harness.until(lambda: job.counts.succeeded == len(cell.answered))


def is_cancelling(provider, remote, job):
    """Whether the cancel has arrived, where there is a call for it."""
    return job.state == "cancelling" if provider in NO_CANCEL else "cancel" in dict(remote.log)


def polls(remote):
    """The number of times that the batch was polled."""
    return [verb for verb, _ in remote.log].count("poll")


def check(cell, remote, df, job):
    """The column, the reasons, the calls and the tokens of a cell."""
    assert job.state == cell.state
    assert dict(zip(ROWS, df["out"], strict=True)) == {
        row: row.upper() if row in cell.filled else pytest.approx(float("nan"), nan_ok=True)
        for row in ROWS
    }
    shown = job.errors
    rows = dict(zip("wxyz", ROWS, strict=True))
    reasons = {rows[label]: (status, error) for label, status, error in shown.itertuples()}
    assert set(reasons) == set(cell.reasons())
    for row, (status, words) in cell.reasons().items():
        assert reasons[row][0] == status, (row, reasons)
        assert words in reasons[row][1], (row, reasons)
    counts = job.counts
    assert (counts.total, counts.succeeded) == (4, len(cell.filled))
    verbs = [verb for verb, _ in remote.log]
    assert verbs.count("create") == 1
    assert verbs.count("upload") == (cell.provider not in NO_UPLOAD)
    assert verbs.count("cancel") == (cell.ending == "cancelled" and cell.provider not in NO_CANCEL)
    assert verbs.count("list") == 0
    outputs, errors = cell.downloads
    fetched = [remote.is_output(path) for verb, path in remote.log if verb == "fetch"]
    if cell.output == "short":  # for minutes
        assert fetched.count(True) >= outputs
    else:
        assert fetched.count(True) == outputs
    assert fetched.count(False) == errors
    if fetched and (cell.ending, cell.output) != ("cancelled", "late"):
        assert "poll" not in verbs[verbs.index("fetch") :], "no poll after the end"
    assert job.cost == (cell.cost if cell.cost is None else pytest.approx(cell.cost))
    usage = job.usage
    assert (usage and (usage.input_tokens, usage.output_tokens)) == cell.tokens


def retried(cell, remote, harness, df, job):
    """Just the rows without an answer go out again, as one linked job, into the same column."""
    again = job.retry()
    harness.until(lambda: len(remote.sent) == 2)
    assert remote.sent[1] == "".join(row for row in ROWS if row not in cell.filled)
    remote.answer_all()
    harness.until(lambda: again.is_complete)
    again.wait(60)
    assert again.is_successful
    assert df["out"].tolist() == list("ABCD")
    assert [verb for verb, _ in remote.log].count("create") == 2
    assert again.counts.reused == len(cell.filled)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_table_has_each_ending_that_a_provider_has(provider):
    """No cell is missing but for those whose absence has a reason."""
    mine = {
        (cell.ending, cell.output, cell.errors) for cell in cells() if cell.provider == provider
    }
    lacking = {what for name, what in LEFT_OUT if name == provider}
    assert not any(lacking & set(cell) for cell in mine)
    assert len(mine) == COUNTS.get(provider, 4)
    assert not pd.Series(list(mine)).duplicated().any()
