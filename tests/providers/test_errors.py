"""A provider's refusal or silence, verb by verb; sent once, and the key shown nowhere."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import pytest

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
)
from jupyter_batch.providers.azure.batches import ViaAzure
from jupyter_batch.providers.failures import by_status
from jupyter_batch.providers.http_api import Direct
from jupyter_batch.providers.openrouter import batches as openrouter
from tests.providers.fakes.host import Fault, Host

VERBS = ["upload", "create", "poll", "list", "cancel", "fetch"]


async def _nothing(_):
    pass


def _has(harness, verb):
    if verb in harness.fake.lacks:
        pytest.skip("it has no such call")


async def call(harness, provider, verb):
    """One verb of a provider whose fake has one batch."""
    requests = harness.ledger.home.parent / "requests.jsonl"
    provider.requests_of = lambda _: requests  # where a batch is known by its rows
    url = "/chat/completions" if harness.name == "azure" else "/v1/chat/completions"
    line = f'"method":"POST","url":"{url}","body":{{"model":"m","messages":[{{"role":"user","content":"x"}}]}}'
    if harness.dialect == "gemini":
        line = '"request":{"contents":[{"parts":[{"text":"x"}]}]}'
    requests.write_text(f'{{"custom_id":"a-0",{line}}}\n')
    how = {"endpoint": url, "window": "24h", "on_upload": _nothing}
    if verb in ("upload", "create"):
        return await provider.submit(requests, {"jupyter_batch": "a/0"}, uploaded=None, **how)
    if not harness.fake.batches:
        await provider.submit(requests, {"jupyter_batch": "a/0"}, uploaded=None, **how)
    batch = next(iter(harness.fake.batches))
    match verb:
        case "poll":
            return await provider.poll(batch)
        case "list":
            return await provider.find({"jupyter_batch": "a/0"}, since=0)
        case "cancel":
            return await provider.cancel(batch)
        case _:
            harness.fake.end()
            return await provider.fetch(harness.fake.results_of(batch), lambda _: None)


@pytest.mark.parametrize("verb", VERBS)
def test_each_refusal_has_its_kind(harness, verb):
    """Each HTTP status becomes its error of our tree, with the provider's words, and without the key."""
    kinds = {
        401: AuthenticationError,
        403: AuthenticationError,
        404: NotFoundError,
        429: RateLimitError,
        422: BadRequestError,
        500: ProviderDownError,
        503: ProviderDownError,
    }

    _has(harness, verb)

    async def way():
        provider = harness.provider()
        await call(harness, provider, "create")
        for status, kind in kinds.items():
            if verb == "cancel" and kind is BadRequestError:
                continue  # answered by how the batch stands
            before = harness.fake.asked[verb]
            harness.fake.faults[verb] = [Fault(status, headers={"retry-after": "7"})]
            with pytest.raises(ProviderError) as raised:
                await call(harness, provider, verb)
            assert type(raised.value) is kind, raised.value
            assert raised.value.status == harness.fake.shown.get(status, status)
            assert Host.key not in str(raised.value)
            assert harness.fake.asked[verb] == before + 1, "sent once"
            assert raised.value.retry_after == 7.0
        harness.fake.batches.clear()

    harness.play(way())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:27:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "soon", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "5s"}, 5.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "250ms"}, 0.25),
        ({"retry-after": "2h"}, 7200.0),
        ({"retry-after": "s"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    """A date is held against the server's own clock; a duration such as `1m30s` is read; other texts say nothing."""
    assert by_status(429, "slow down", headers=headers).retry_after == seconds


def test_a_date_without_the_server_s_clock_is_held_against_ours():
    """An answer without a `date`."""
    until = formatdate(time.time() + 600, usegmt=True)
    assert 500 < by_status(503, "down", headers={"retry-after": until}).retry_after < 700


@pytest.mark.parametrize("verb", VERBS)
def test_a_connection_that_breaks_is_reported_as_such(harness, verb):
    """Cut without an answer: it is not known whether it was done, so it passes for nothing but that."""
    _has(harness, verb)

    async def way():
        provider = harness.provider()
        await call(harness, provider, "create")
        harness.fake.faults[verb] = [Fault(after=True)]
        with pytest.raises(ProviderError) as raised:
            await call(harness, provider, verb)
        assert raised.value.transient
        assert raised.value.status is None
        assert isinstance(raised.value, ConnectionFailedError)

    harness.play(way())


def test_a_server_that_is_not_there(harness):
    """No server listens: each verb says so, and it may pass."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def way():
            await call(harness, harness.provider(), "create")
            for verb in VERBS:
                with pytest.raises(ProviderError) as raised:
                    await call(harness, harness.provider(url=url), verb)
                assert isinstance(raised.value, ConnectionFailedError)

        harness.play(way())


def test_silence_ends_by_itself(harness, monkeypatch):
    """No answer to a create: after the time that a call may take it is a timeout, not an endless wait."""
    for kind in (Direct, ViaAzure):
        monkeypatch.setattr(kind._open.__wrapped__, "__defaults__", (0.3,))
    monkeypatch.setattr(openrouter, "TRANSFER_SECONDS", 0.3)  # its create has the requests
    harness.fake.faults["create"] = [Fault(hang=True)]

    async def way():
        with pytest.raises(ProviderTimeoutError):
            await call(harness, harness.provider(), "create")

    harness.play(way())


def test_a_download_that_is_cut_is_no_download(harness):
    """Half of the results came: that is an error, and the whole is fetched again."""
    job = harness.plan()
    harness.fake.faults["fetch"] = [Fault(half=True)]

    async def way():
        await harness.step()
        harness.fake.end()
        await harness.to_the_end(job)

    harness.play(way())
    assert harness.fake.asked["fetch"] == (3 if harness.name in ("xai", "openrouter") else 2)
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_download_is_never_whole_in_memory(harness):
    """Results of 12 MB arrive in many small blocks."""

    async def way():
        provider = harness.provider()
        await call(harness, provider, "create")
        batch = harness.fake.only
        batch.answers = {f"a-{n}": "x" * 400_000 for n in range(30)}
        batch.ending = "completed"
        sizes = []
        await provider.fetch(
            harness.fake.results_of(batch.id), lambda block: sizes.append(len(block))
        )
        assert sum(sizes) > 12_000_000
        assert max(sizes) < 2_000_000

    harness.play(way())


def test_a_full_disk_is_not_the_providers_fault(harness):
    """An error of our own disk while a download is written passes unchanged."""

    def full(_):
        raise OSError(28, "No space left on device")

    async def way():
        provider = harness.provider()
        await call(harness, provider, "create")
        batch = harness.fake.end()
        with pytest.raises(OSError, match="No space left"):
            await provider.fetch(harness.fake.results_of(batch.id), full)

    harness.play(way())
