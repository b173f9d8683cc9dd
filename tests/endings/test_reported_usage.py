"""The tokens that a provider reports for a batch as a whole, against the sum of its result lines."""

from __future__ import annotations

import importlib

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
        shown = remote.fake._document
        monkeypatch.setattr(
            remote.fake, "_document", lambda batch: {**shown(batch), "usage": usage}
        )
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


BYOK = {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.3}}
"""OpenRouter's fee, and the bill of the provider whose key the user gave to it."""


@pytest.mark.parametrize(
    ("provider", "named", "prices", "costs"),
    [
        ("openrouter", {"cost": 0.25}, None, [0.25] * 4),
        ("openrouter", {"cost": 0}, None, [0.0] * 4),
        ("openrouter", BYOK, None, [0.31] * 4),
        ("openrouter", {**BYOK, "cost_details": None}, None, None),
        ("openrouter", {"cost": "0.25"}, None, None),
        ("openrouter", {}, None, None),
        ("openrouter", {"cost": 0.25}, {"input": 1e6, "output": 0.0}, [3.0] * 4),
        ("deepinfra", {"cost": 0.25}, None, None),
    ],
)
def test_a_row_costs_what_its_answer_names(harness, monkeypatch, provider, named, prices, costs):
    """At a provider whose answers name their cost in dollars; the user's own price comes first."""
    with remote_provider(provider, harness.clock) as remote:
        fakes = importlib.import_module(type(remote.fake).__module__)
        if provider == "deepinfra":
            fakes = importlib.import_module("tests.endings.openai_host")
        plain = fakes.completion
        usage = {**plain("")["usage"], **named}
        monkeypatch.setattr(fakes, "completion", lambda text: {**plain(text), "usage": usage})
        prices = prices and {remote.call["model"]: prices}
        job = harness.frame().llm.batch("{t}", out="out", prices=prices, **remote.call)
        harness.until(lambda: remote.sent)
        remote.answer_all()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert (job.usage.input_tokens, job.usage.output_tokens) == (12, 8)
        assert job.cost == (None if costs is None else pytest.approx(sum(costs)))
        rows = job.results()["_cost"]
        assert rows.isna().all() if costs is None else rows.tolist() == pytest.approx(costs)
