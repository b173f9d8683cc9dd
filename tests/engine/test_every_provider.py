"""The person's own call at every provider: the column, a row that fails, and `retry`, which sends that row alone."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import pandas as pd
import pytest

from jupyter_batch.core.errors import InputError, KeyMissingError, ModelError, OptionError
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.planning.retry import plan_again
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.anthropic.fake import Fake
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.gemini import Gemini
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.xai import Xai
from tests.waiting import wait_for

from .conftest import numbered

FAKES = {"azure": Azure, "xai": Xai, "mistral": Mistral, "gemini": Gemini}


def frame():
    """Four rows."""
    return pd.DataFrame({"t": ["a", "b", "c", "d"]}, index=list("wxyz"))


@pytest.mark.parametrize("name", list(FAKES))
def test_a_column_and_its_retry(name, home):
    """Three answers and a failure; run again, nothing is sent; `retry` sends one request, and the column is whole."""
    with FAKES[name](time.time) as fake:
        call = {"model": f"{name}/the-model", "api_base": fake.url, "api_key": fake.key}
        if name == "azure":
            call["api_version"] = "2024-10-21"
        df = frame()
        job = df.llm.batch("{t}", out="out", **call)
        wait_for(lambda: fake.batches, job)
        fake.end(failed=1)
        job.wait(60)
        assert job.is_complete
        assert df["out"].tolist()[:3] == ["A", "B", "C"]
        assert pd.isna(df["out"].iloc[3])
        assert "fell over" in job.errors["_error"].iloc[0]
        assert df.llm.batch("{t}", out="out", **call) is job
        first = fake.batches.popitem()[1]
        again = job.retry()
        assert job.retry() is again, "asked twice, it is the same job"
        wait_for(lambda: fake.batches, again)
        assert len(fake.only.requests) == 1
        fake.end()
        again.wait(60)
        assert again.is_successful
        assert df["out"].tolist() == ["A", "B", "C", "D"]
        counts = again.counts
        assert (counts.total, counts.succeeded, counts.reused) == (4, 1, 3)
        assert again.results()["_status"].tolist() == ["reused", "reused", "reused", "succeeded"]
        assert len(first.requests) == 4


@contextmanager
def anthropic():
    """Anthropic's API in a thread; each batch ends as soon as it is there, the last request of the first one fails."""
    fake, up, over = Fake(), threading.Event(), threading.Event()
    add = fake.add

    def add_and_end(requests):
        made = add(requests)
        fake.end(
            made,
            lambda n: (
                "errored" if len(fake.batches) == 1 and n == len(requests) - 1 else "succeeded"
            ),
        )
        return made

    fake.add = add_and_end

    async def serve():
        async with fake.serving():
            up.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    up.wait(60)
    try:
        yield fake
    finally:
        over.set()
        thread.join()


def test_anthropic_the_whole_way(home):
    """Translated by litellm once, sent inline, decoded from its own wire; a failed row is sent again alone."""
    with anthropic() as fake:
        call = {
            "model": "anthropic/claude-haiku-4-5",
            "api_base": fake.base,
            "api_key": ANTHROPIC_KEY,
        }
        df = frame()
        job = df.llm.batch("{t}", out="out", system="Be loud", shard_size=10, **call).wait(60)
        assert job.is_complete, job
        assert df["out"].tolist()[:3] == ["A", "B", "C"]
        assert "bad prompt" in job.errors["_error"].iloc[0]
        assert job.usage.cached_tokens == 6
        (batch,) = fake.batches.values()
        assert {request["params"]["max_tokens"] for request in batch["requests"]} == {4096}
        assert df.llm.batch("{t}", out="out", system="Be loud", shard_size=10, **call) is job
        again = job.retry().wait(60)
        assert again.is_successful
        assert df["out"].tolist() == ["A", "B", "C", "D"]
        assert [len(batch["requests"]) for batch in fake.batches.values()] == [4, 1]
    assert not any(
        ANTHROPIC_KEY.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file()
    )


def test_equal_rows_in_another_dialect_are_sent_again_once(home):
    """Of equal rows that failed one is sent again, in a batch or at once, from the requests in OpenAI's words too."""
    with anthropic() as fake:
        df = pd.concat([frame(), frame(), frame()], ignore_index=True)
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
        ).wait(60)
        assert job.counts.failed == 3
        record, ledger = job._record(), job._here.ledger
        now = plan_again(ledger, record, ledger.shards(job.id), now=time.time(), at_once="realtime")
        (shard,) = ledger.shards(now.id)
        assert (shard.requests, shard.followers, now.reused) == (1, 2, 9)
        assert snapshot_of(now, [shard], 0.0).counts.total == 12


def test_retry_at_openais(server, call, home):
    """Of 400 rows some fail; `retry`, and `retry` of that, send ever fewer; what was answered is never sent twice."""
    server.set_faults("row_errors=0.2,seed=3")
    df = numbered(400)
    job = df.llm.batch("{text}", out="out", shard_size=150, **call).wait(60)
    failed = job.counts.failed
    assert 0 < failed < 200
    again = job.retry().wait(60)
    assert again.counts.reused == 400 - failed
    assert df["out"].notna().sum() == 400 - again.counts.failed
    server.set_faults("")
    last = again.retry().wait(60)
    assert last.is_successful
    assert (df["out"] == df["text"]).all()
    with pytest.raises(InputError, match="no row is left"):
        last.retry()
    sent = [batch["request_counts"]["total"] for batch in server.batches()]
    assert sum(sent) == 400 + failed + again.counts.failed
    fresh = numbered(400)
    assert fresh.llm.batch("{text}", out="out", shard_size=150, **call).id == last.id, (
        "the cell finds the newest"
    )
    assert (fresh["out"] == fresh["text"]).all()


def test_retry_on_a_frame_under_new_labels(server, call, home):
    """The frame was turned round and reset, and the cell run again: a retry lands there too, on rows that are alike."""
    server.set_faults("row_errors=0.3,seed=3")
    df = pd.DataFrame({"text": [f"text {n // 2}" for n in range(60)]})
    df.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    renewed = df[["text"]].iloc[::-1].reset_index(drop=True)
    again = renewed.llm.batch("{text}", out="out", **call).retry().wait(60)
    assert again.is_successful
    assert (renewed["out"] == renewed["text"]).all()
    assert again.results()["out"].tolist() == renewed["text"].tolist()


def test_a_job_that_is_open_is_not_retried(server, call, home):
    """Retry of a job that is not over says so, and sends nothing."""
    server.set_faults("latency=0.3")
    job = numbered(5).llm.batch("{text}", out="out", **call)
    with pytest.raises(InputError, match="not over yet"):
        job.retry()
    job.wait(60)


def test_real_time_on_request(server, call, home):
    """mode="realtime": no batch is made, each row is asked at once, and everything else is the same."""
    df = numbered(60)
    job = df.llm.batch("{text}", out="out", mode="realtime", concurrency=8, **call).wait(60)
    assert job.is_successful, job
    assert (df["out"] == df["text"]).all()
    routes = server.stats()["routes"]
    assert routes["POST /v1/chat/completions"]["took_effect"] == 60
    assert "POST /v1/batches" not in routes
    assert df.llm.batch("{text}", out="out", **call) is job, (
        "what was answered in real time is not paid again"
    )


def test_real_time_at_the_embedded_server(home):
    """A local model in real time needs nothing but this machine."""
    df = numbered(5)
    assert (
        df.llm.batch("{text}", out="out", model="local/echo", mode="realtime")
        .wait(60)
        .is_successful
    )
    assert (df["out"] == df["text"]).all()


REFUSED = {
    "a provider without a batch API": (
        ModelError,
        {"model": "cohere/command-r"},
        'mode="realtime"',
    ),
    "its price is named": (ModelError, {"model": "deepseek/deepseek-chat"}, "full price"),
    "no key of Groq's": (KeyMissingError, {"model": "groq/llama-3"}, "GROQ_API_KEY"),
    "a window that Groq has not": (
        OptionError,
        {"model": "groq/llama-3", "completion_window": "8d", "api_key": "k"},
        "from 24h to 7d",
    ),
    "a proxy without an address": (
        OptionError,
        {"model": "litellm_proxy/x", "api_key": "k"},
        "api_base",
    ),
    "vllm in real time without an address": (
        OptionError,
        {"model": "hosted_vllm/x", "mode": "realtime"},
        "api_base",
    ),
    "no key of Anthropic's": (
        KeyMissingError,
        {"model": "anthropic/claude-haiku-4-5"},
        "ANTHROPIC_API_KEY",
    ),
    "no key in real time": (
        KeyMissingError,
        {"model": "deepseek/x", "mode": "realtime"},
        "DEEPSEEK_API_KEY",
    ),
    "azure without a version": (
        OptionError,
        {"model": "azure/x", "api_key": "k", "api_base": "http://127.0.0.1:1"},
        "api_version",
    ),
    "an unknown mode": (OptionError, {"model": "local/echo", "mode": "fast"}, "realtime"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_can_not_go_there_is_reported_at_once(name, home, monkeypatch):
    """One sentence that names the way out; nothing is sent, nothing is kept; no key of another provider is taken."""
    for key in ("ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "AZURE_API_VERSION", "AZURE_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    kind, options, words = REFUSED[name]
    with pytest.raises(kind) as raised:
        frame().llm.batch("{t}", **options)
    assert words in str(raised.value)
    assert not home.exists()


def test_the_table_of_providers():
    """`jupyter_batch.providers()` shows every provider that a model may name, as text and as HTML."""
    import jupyter_batch

    shown = jupyter_batch.providers()
    assert {"openai", "azure", "anthropic", "xai", "mistral"} <= {
        record.name for record in shown if record.batch
    }
    assert "anthropic" in repr(shown)
    assert "<table" in shown._repr_html_()
