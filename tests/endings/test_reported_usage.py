"""The tokens that a provider reports for a batch as a whole, against the sum of its result lines."""

from __future__ import annotations

import pytest

from tests.endings.remote import remote_provider


@pytest.mark.parametrize(
    ("usage", "note"),
    [
        ({"input_tokens": 12, "output_tokens": 8, "total_tokens": 20}, ""),
        ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, ""),
        (None, ""),
        (
            {"input_tokens": 12, "output_tokens": 1008, "total_tokens": 1020},
            "the provider counts 12 input and 1,008 output tokens for the batch, its result lines 12 and 8",
        ),
    ],
)
def test_a_total_that_is_not_the_sum_of_the_lines_is_shown(harness, monkeypatch, usage, note):
    """Equal, zeros or absent: no word. Different: both are named, and the cost is that of the lines."""
    with remote_provider("openai", harness.clock) as remote:
        shown = remote.fake._told
        monkeypatch.setattr(remote.fake, "_told", lambda batch: {**shown(batch), "usage": usage})
        price = {remote.call["model"]: {"input": 100.0, "output": 1000.0}}
        job = harness.frame().llm.batch("{t}", out="out", prices=price, **remote.call)
        harness.until(lambda: remote.sent)
        remote.answer_all()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        [shard] = job._shards()
        assert shard.note.startswith(note) if note else shard.note == ""
        assert (job.usage.input_tokens, job.usage.output_tokens) == (12, 8)
        assert note in repr(job)
