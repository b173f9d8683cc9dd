"""preview: what would be sent and what it would cost, with nothing sent and nothing kept."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from jupyter_batch.core.errors import TemplateError
from jupyter_batch.planning.estimate import EXACT

from .conftest import numbered


def test_a_preview_sends_and_keeps_nothing(server, home, priced):
    """Rows, requests, the rendered prompts, tokens and costs; no file, no batch, no ledger is left."""
    df = numbered(20)
    df.loc["k3", "text"] = None
    seen = df.llm.preview("Say {text}", system="Be brief", max_tokens=10, **priced)
    assert (seen.rows, seen.requests, seen.skipped, seen.reused, seen.shards) == (20, 19, 1, 0, 1)
    assert seen.prompts[0] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Say row number 0"},
    ]
    assert len(seen.prompts) == 3
    assert seen.tokens.exact
    assert 19 * 5 < seen.tokens.count < 19 * 40
    assert seen.output.high == 190
    assert seen.cost.low == pytest.approx(seen.tokens.count * 2 / 1e6)
    assert seen.cost.high == pytest.approx(seen.cost.low + 190 * 8 / 1e6)
    assert (seen.batch.high, seen.realtime.high) == (
        seen.cost.high,
        pytest.approx(2 * seen.cost.high),
    )
    assert server.stats()["batches_created"] == 0
    assert not home.exists()
    assert "out" not in df.columns


def test_it_shows_itself(home, priced):
    """In a terminal and in a notebook, prompts escaped."""
    df = pd.DataFrame({"text": ["<script>alert(1)</script>", "b"]})
    seen = df.llm.preview("{text}", max_tokens=10, max_cost=0.5, **priced)
    output = repr(seen)
    for words in (
        "2 requests to be sent in 1 batch",
        "cost",
        "in real time",
        "$0.5000: it would be sent",
        "up to 20 out",
        "user: <script>",
        "your own prices",
        "at most",
    ):
        assert words in output, words
    page = seen._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert seen.fits is True
    assert df.llm.preview("{text}", max_tokens=10, max_cost=0.000001, **priced).fits is False


def test_what_the_preview_says_is_what_comes(home, priced):
    """The requests are the job's, and its cost is within the range."""
    options = {**priced, "max_tokens": 30, "out": "out"}
    seen = numbered(30).llm.preview("{text}", **options)
    job = numbered(30).llm.batch("{text}", **options).wait(60)
    assert job.counts.succeeded == seen.requests == 30
    assert 0 < job.cost <= seen.cost.high


def test_reuse_is_seen_and_what_it_saves(home, priced):
    """Of a grown frame the new rows alone; equal rows once; of just the same call nothing at all."""
    options = {**priced, "max_tokens": 30, "out": "out"}
    job = numbered(10).llm.batch("{text}", **options).wait(60)
    again = numbered(10).llm.preview("{text}", **options)
    assert (again.requests, again.reused, again.job) == (0, 10, job.id)
    assert again.cost.high == 0
    assert again.reuse_saves.high == pytest.approx(job.cost)
    assert job.id in repr(again)
    grown = pd.concat([numbered(12), numbered(12).tail(1)], ignore_index=True)
    seen = grown.llm.preview("{text}", **options)
    assert (seen.rows, seen.requests, seen.reused, seen.same, seen.joined) == (13, 2, 10, 1, 0)
    assert seen.reuse_saves.low == pytest.approx(job.cost + seen.cost.low / 2), (
        "what ten cost, and about one more"
    )
    assert seen.reuse_saves.high == pytest.approx(job.cost + seen.cost.high / 2)
    assert seen.usual == pytest.approx(job.usage.output_tokens / 10)
    assert seen.cost.low < seen.likely < seen.cost.high
    fresh = numbered(12).llm.preview("{text}", reuse=False, **options)
    assert (fresh.requests, fresh.reused) == (12, 0)


def test_what_reuse_saves_where_all_of_it_is_there(server, home, priced):
    """Answers of several jobs, equal rows, and what a job that only took over answers would cost; waited for, too."""
    options = {**priced, "max_tokens": 30, "out": "out"}
    parts = [
        numbered(10).iloc[part].llm.batch("{text}", **options).wait(60)
        for part in (slice(4), slice(4, 10))
    ]
    twice = pd.concat([numbered(10), numbered(10)], ignore_index=True)
    spared = pytest.approx(2 * sum(part.cost for part in parts))
    seen = twice.llm.preview("{text}", **options)
    assert (seen.requests, seen.cost.high, seen.job) == (0, 0, None)
    assert (seen.reuse_saves.low, seen.reuse_saves.high) == (spared, spared)
    assert "reuse saves" in repr(seen)
    job = twice.llm.batch("{text}", **options).wait(60)
    assert job.cost == 0
    again = twice.llm.preview("{text}", **options)
    assert (again.job, again.reuse_saves.high) == (job.id, spared)
    del options["prices"]
    assert twice.llm.preview("{text}", **options).reuse_saves.high is None
    options["prices"] = priced["prices"]
    server.set_faults("enqueued_tokens=1")
    other = pd.DataFrame({"text": ["a", "b", "c"]})
    under_way = other.llm.batch("{text}", **options)
    waits = other.iloc[:2].llm.preview("{text}", **options)
    assert (waits.requests, waits.joined) == (0, 2)
    fresh = other.iloc[:2].llm.preview("{text}", reuse=False, **options)
    assert (waits.reuse_saves.low, waits.reuse_saves.high) == (fresh.cost.low, fresh.cost.high)
    under_way.cancel().wait(60)


def test_an_unknown_price_is_reported_and_no_key_is_needed(home, monkeypatch):
    """Before anybody has a key: tokens, and how to give a price."""
    seen = numbered(3).llm.preview("{text}", model="openai/no-such-model", out="out")
    assert seen.cost.low is None
    assert seen.cost.high is None
    assert "unknown: prices=" in repr(seen)
    assert seen.assumed
    assert "max_tokens=" in repr(seen)
    known = numbered(3).llm.preview("{text}", model="openai/gpt-4.1-mini", out="out")
    assert known.cost.high < known.realtime.high
    assert not known.assumed
    assert "litellm" in known.price.source


def test_a_sample_tells_within_its_bound(home, priced):
    """Of a large frame 2,000 are counted: the whole count is within what the preview says that it may be off."""
    from jupyter_batch.http.litellm import load_litellm

    dice = random.Random(4)
    words = [
        "one",
        "two",
        "three",
        "elephant",
        "antidisestablishmentarianism",
        "12345",
        "ß",
        "日本",
    ]
    texts = [
        " ".join(dice.choices(words, k=dice.randint(1, 60))) + f" {n}" for n in range(EXACT * 3)
    ]
    seen = pd.DataFrame({"text": texts}).llm.preview("{text}", max_tokens=5, **priced)
    litellm = load_litellm()
    whole = sum(
        litellm.token_counter(model="echo", messages=[{"role": "user", "content": text}])
        for text in texts
    )
    assert not seen.tokens.exact
    assert 0 < seen.tokens.error < 0.02 * whole
    assert abs(seen.tokens.count - whole) <= seen.tokens.error
    assert seen.cost.low < whole * 2 / 1e6 < seen.cost.high
    assert "±" in repr(seen)


def test_a_few_huge_rows_are_within_the_bound(home, priced):
    """Three rows of another script, a thousand times as long: they are counted, whether a sample has them or not."""
    from jupyter_batch.http.litellm import load_litellm

    texts = [f"just some words in row {n}" for n in range(EXACT * 3)]
    for at in (1, 2345, 5001):
        texts[at] = f"{at}" + " 漢字文本" * 4000
    seen = pd.DataFrame({"text": texts}).llm.preview("{text}", max_tokens=5, **priced)
    count = load_litellm().token_counter
    each = [count(model="echo", messages=[{"role": "user", "content": text}]) for text in texts]
    assert abs(seen.tokens.count - sum(each)) <= seen.tokens.error < 0.01 * sum(each)
    assert seen.tokens.longest >= max(each)
    assert seen.requests == seen.output.high / 5 == len(texts)


def test_bad_input_is_refused_as_in_the_real_call(home, priced):
    """A wrong column is reported by the preview, too."""
    with pytest.raises(TemplateError, match="did you mean"):
        numbered(3).llm.preview("{txt}", **priced)


def test_the_limit_that_splits_is_named(home, priced):
    """Two batches, since no more requests may be in one."""
    seen = numbered(6).llm.preview("{text}", shard_size=4, max_tokens=5, **priced)
    assert seen.shards == 2
    assert any("split by the number of requests" in limit for limit in seen.limits)


def test_the_magic_has_it_too(home, priced):
    """`%%llm_batch df --preview` gives the same, and binds no job."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.extension_manager.load_extension("jupyter_batch")
        shell.user_ns["df"] = numbered(4)
        seen = shell.run_cell_magic(
            "llm_batch", "df --preview --max-tokens 5 --model local/echo", "{text}"
        )
        assert (seen.requests, seen.cost.high) == (4, 0)
        assert not home.exists()
        assert (
            len(
                shell.run_cell_magic(
                    "llm_batch", "--preview --model local/echo", "a\n---\nb"
                ).prompts
            )
            == 2
        )
    finally:
        shell.extension_manager.unload_extension("jupyter_batch")
        InteractiveShell.clear_instance()


def test_the_expected_cost_is_first_and_the_bound_second(server, home, priced):
    """Without earlier answers a length is assumed and named; after a job its answers are the basis."""
    df = numbered(20)
    facts = dict(df.llm.preview("{text}", out="out", max_tokens=300, **priced).facts())
    assert facts["cost"].startswith("about $0.0")
    assert "; at most $0.0" in facts["cost"]
    assert "answers of 200 tokens are assumed: df.llm.sample(...)" in facts["based on"]
    df.llm.batch("{text}", out="out", max_tokens=300, **priced).wait(60)
    preview = df.llm.preview("Again {text}", out="out", **priced)
    facts = dict(preview.facts())
    assert "as in the last such job" in facts["based on"]
    assert "max_tokens= would lower the bound" in facts["based on"]
    assert preview.about(preview.price.batch) < preview.cost.high / 10
    assert facts["in real time"].startswith("about $")
