"""A batch that is refused as a whole, before any row was answered: which rows were at fault, and what others say."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import InputError
from tests.anthropic.fake import RefusalError
from tests.endings.remote import remote_provider
from tests.endings.table import REFUSED


@pytest.mark.parametrize("provider", ["openai", "azure"])  # Mistral and xAI name no lines
def test_the_rows_at_fault_are_named(provider, harness):
    """Lines 2 and 3 of the file are wrong, and the first row has no line: the rows are named by their own labels."""
    with remote_provider(provider, harness.clock) as remote:
        df = harness.frame()
        df.loc["w", "t"] = None
        job = df.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        remote.refuse((2, 3))
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert job.state == "failed"
        errors = job.errors["_error"]
        mine = f"the provider refused the whole batch for this row: invalid_request: {REFUSED}"
        assert errors[["y", "z"]].tolist() == [mine, mine]
        assert "refused the whole batch" not in errors["x"]
        assert "at fault: row 2, 3 (counted from 0)" in errors["x"]
        assert job.errors.loc["w", "_status"] == "skipped"
        assert "fetch" not in dict(remote.log)
        again = job.retry()
        harness.until(lambda: len(remote.sent) == 2)
        remote.answer_all()
        harness.until(lambda: again.is_complete)
        assert again.wait(60).is_successful
        assert df["out"].tolist()[1:] == ["B", "C", "D"]


def test_anthropic_refuses_at_the_create(harness):
    """Anthropic names a request in its refusal of the create: it is that row's reason, and nothing was sent twice."""
    with remote_provider("anthropic", harness.clock) as remote:
        refusal = RefusalError(400, "requests.2.params.temperature: Input should be at most 1")
        remote.fake.faults.append(("create", refusal))
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: job.is_complete)
        errors = job.errors["_error"]
        assert "for this row" in errors["y"]
        assert "at most 1" in errors["y"]
        assert "at fault: row 2 (counted from 0)" in errors["z"]
        assert [verb for verb, _ in remote.log] == ["create"]


@pytest.mark.parametrize("provider", ["xai", "mistral"])
def test_who_names_no_lines_gives_one_reason_to_all(provider, harness):
    """Where a provider gives one sentence, each row has it."""
    with remote_provider(provider, harness.clock) as remote:
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        remote.refuse(())
        harness.until(lambda: job.is_complete)
        assert job.errors["_error"].str.contains(REFUSED).sum() == 4
        again = job.retry()
        with pytest.raises(InputError, match="not over"):
            again.retry()
        harness.until(lambda: remote.sent[1:])
        remote.answer_all()
        harness.until(lambda: again.is_complete)
