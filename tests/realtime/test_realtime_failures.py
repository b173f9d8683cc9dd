"""Faults in real time: whose fault it is, what is asked again, and what stops the run without losing a row."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from realtime_endpoint import CUT, HANG, Endpoint
from realtime_harness import FACTS, KEY, QUICK, begin, ended, provider, requests, run, texts

from jupyter_batch.core.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ProviderDownError,
    RateLimitError,
)
from jupyter_batch.core.request import Status
from jupyter_batch.core.status import State
from jupyter_batch.realtime.litellm_call import CallFailedError, LitellmCall
from jupyter_batch.realtime.provider import Realtime


def test_rows_that_fail_at_first_are_asked_again(tmp_path, capfd):
    """Each row is refused twice, in a way of its own, and answered in the end."""
    first = [500, 429, CUT, 503, 408, 529]
    with Endpoint(
        lambda text, before: first[int(text[4:]) % 6] if before < 2 else None
    ) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(30)))
    assert (view.completed, view.failed) == (30, 0)
    assert {r.status for r in found.values()} == {Status.SUCCEEDED}
    assert set(endpoint.asked.values()) == {3}
    assert capfd.readouterr() == ("", "")


def test_a_bad_request_is_its_row_s_failure_alone(tmp_path):
    """A 400 is reported once, in the provider's own words, and asked once; the others are answered."""
    with Endpoint(lambda text, before: 400 if text in ("row 3", "row 7") else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(10)))
    assert (view.ending, view.completed, view.failed) == (State.COMPLETED, 8, 2)
    assert found["jb-3"].status is Status.FAILED
    assert found["jb-3"].error == "c: told 400 about row 3"
    assert endpoint.asked["row 3"] == 1


def test_a_row_that_always_breaks_the_server_fails_alone(tmp_path):
    """A row that meets 500 at each try while others are answered has failed after its tries, with the reason."""
    with Endpoint(lambda text, before: 500 if text == "row 0" else None) as endpoint:
        view, found = run(
            provider(tmp_path, endpoint.base, concurrency=1), requests(tmp_path, texts(40))
        )
    assert (view.completed, view.failed) == (39, 1)
    assert "told 500 about row 0" in found["jb-0"].error
    assert endpoint.asked["row 0"] == 4


def test_a_request_that_can_t_be_read_fails_alone(tmp_path):
    """A line that is no JSON is a failed line in the errors file."""
    with Endpoint() as endpoint:
        path = requests(tmp_path, texts(3))
        path.write_bytes(path.read_bytes() + b"{broken\n")
        real = provider(tmp_path, endpoint.base)

        async def cycle():
            await begin(real, path)
            view = await ended(real)
            data = bytearray()
            await real.fetch(view.error_file_id, data.extend)
            await real.aclose()
            return view, bytes(data)

        view, lines = asyncio.run(cycle())
    assert (view.completed, view.failed) == (3, 1)
    assert b"can't be read" in lines


def test_a_storm_of_429_is_waited_out(tmp_path):
    """A server that takes four at once and refuses the rest answers all 100 rows, since the limit adapts."""
    with Endpoint(headers={"retry-after": "0"}) as endpoint:
        endpoint.decide = lambda text, before: 429 if endpoint.busy > 4 else None
        view, _ = run(
            provider(tmp_path, endpoint.base, concurrency=32), requests(tmp_path, texts(100))
        )
    assert (view.completed, view.failed) == (100, 0)
    assert sum(endpoint.asked.values()) < 1000


def test_a_timeout_is_asked_again(tmp_path):
    """An answer that does not come in time is asked for once more."""
    with Endpoint(
        lambda text, before: HANG if text == "row 1" and not before else None
    ) as endpoint:
        view, found = run(
            provider(tmp_path, endpoint.base, seconds=4.0), requests(tmp_path, texts(4))
        )
    assert (view.completed, view.failed) == (4, 0)
    assert endpoint.asked["row 1"] == 2
    assert found["jb-1"].value == "ROW 1"


def test_a_refused_key_pauses_and_another_key_goes_on(tmp_path):
    """401: poll says so, few calls were made, no row has failed; with a good key all rows are answered, once."""
    with Endpoint(lambda text, before: 401) as endpoint:
        path = requests(tmp_path, texts(50))

        async def refused():
            real = provider(tmp_path, endpoint.base)
            await begin(real, path)
            with pytest.raises(AuthenticationError, match="401") as raised:
                await ended(real)
            asked = sum(endpoint.asked.values())
            with pytest.raises(AuthenticationError):
                await ended(real)
            probed = sum(endpoint.asked.values()) - asked
            await real.aclose()
            return str(raised.value), asked, probed

        raised, asked, probed = asyncio.run(refused())
        assert KEY not in raised
        assert asked <= 8
        assert probed == 1
        endpoint.decide = lambda text, before: None
        endpoint.asked.clear()
        view, found = run(provider(tmp_path, endpoint.base), path)
    assert (view.completed, view.failed, len(found)) == (50, 0, 50)
    assert set(endpoint.asked.values()) == {1}


def test_a_403_for_one_row_does_not_stop_the_others(tmp_path):
    """Where the key was taken for other rows, a 403 is about the row (moderation)."""
    with Endpoint(lambda text, before: 403 if text == "row 20" else None) as endpoint:
        view, found = run(provider(tmp_path, endpoint.base), requests(tmp_path, texts(30)))
    assert (view.completed, view.failed) == (29, 1)
    assert "told 403" in found["jb-20"].error


def test_a_provider_that_is_down_loses_no_row(tmp_path):
    """500 for everything: poll raises it with a pause, no row is failed; when it is up again, all rows are answered."""
    with Endpoint(lambda text, before: 500) as endpoint:

        async def cycle():
            real = provider(tmp_path, endpoint.base)
            view = await begin(real, requests(tmp_path, texts(20)))
            pauses = []
            for _ in range(2):
                with pytest.raises(ProviderDownError) as raised:
                    await ended(real)
                pauses.append(raised.value.retry_after)
            endpoint.decide = lambda text, before: None
            view = await ended(real)
            await real.aclose()
            return view, pauses

        view, pauses = asyncio.run(cycle())
    assert (view.completed, view.failed) == (20, 0)
    assert pauses == [5, 10]


def test_errors_for_every_row_end_at_last(tmp_path):
    """A server that never does anything but 500 is believed after some stops: each row has its reason."""
    with Endpoint(lambda text, before: 500) as endpoint:

        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(5)))
            stops = 0
            while True:
                try:
                    view = await ended(real)
                except ProviderDownError:
                    stops += 1
                else:
                    await real.aclose()
                    return view, stops

        view, stops = asyncio.run(cycle())
    assert (view.completed, view.failed, stops) == (0, 5, 6)


def test_without_a_connection_no_row_is_ever_given_up(tmp_path):
    """No server listens (a laptop without network): poll says so each time, however often, and no row has failed."""

    async def cycle():
        real = provider(tmp_path, "http://127.0.0.1:9/v1")
        await begin(real, requests(tmp_path, texts(3)))
        for _ in range(9):
            with pytest.raises(ConnectionFailedError, match="no connection to"):
                await ended(real)
        view = await real.cancel("realtime-jb-0")
        await real.aclose()
        return view

    view = asyncio.run(cycle())
    assert (view.ending, view.completed, view.failed) == (State.CANCELLED, 0, 0)


class Wire:
    """A call without a network: `left` answers, then there is no connection; for row 0 there is none from the first."""

    def __init__(self, left):
        self.left = left
        self.asked = Counter()

    async def ready(self):
        pass

    async def aclose(self):
        pass

    async def __call__(self, endpoint, body):
        text = body["messages"][0]["content"]
        self.asked[text] += 1
        if self.left <= 0 or (text == "row 0" and self.left < 100):
            raise CallFailedError(ConnectionFailedError("no connection"), unreachable=True)
        self.left -= 1
        await asyncio.sleep(0)
        return {
            "choices": [{"index": 0, "message": {"content": text.upper()}, "finish_reason": "stop"}]
        }


def test_a_network_that_goes_away_in_the_middle_fails_no_row(tmp_path):
    """Rows that were under way while others were still answered wait for the network like all others."""

    async def cycle():
        wire = Wire(left=13)
        real = Realtime(
            FACTS, folder=tmp_path, call=wire, concurrency=8, tries=QUICK, dice=lambda: 1.0
        )
        await begin(real, requests(tmp_path, texts(40)))
        for _ in range(3):
            with pytest.raises(ConnectionFailedError):
                await ended(real)
        assert (await real.poll("realtime-jb-0")).errors == "no connection", (
            "said while rows wait for it"
        )
        wire.left = 1000
        view = await ended(real)
        assert not view.errors
        await real.aclose()
        return view

    view = asyncio.run(cycle())
    assert (view.ending, view.completed, view.failed) == (State.COMPLETED, 40, 0)


def test_a_quota_that_is_used_up_pauses(tmp_path):
    """429 with insufficient_quota is about the account: the run stops, and no row is failed for it."""

    class Empty(LitellmCall):
        def _failure(self, error):
            failure = super()._failure(error)
            failure.error.spent = True
            return failure

    with Endpoint(lambda text, before: 429) as endpoint:

        async def cycle():
            real = provider(tmp_path, endpoint.base)
            real._call = Empty("openai/m", api_base=endpoint.base, api_key=KEY)
            await begin(real, requests(tmp_path, texts(50)))
            with pytest.raises(RateLimitError) as raised:
                await ended(real)
            await real.aclose()
            return raised.value.retry_after

        assert asyncio.run(cycle()) == 5
        assert sum(endpoint.asked.values()) <= 8
