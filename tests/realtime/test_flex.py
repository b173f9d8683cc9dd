"""The flex tier: what it refuses waits, is no failure, and is paid once."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from realtime_endpoint import Endpoint
from realtime_harness import (
    begin,
    ended,
    provider,
    requests,
    results,
    run,
    texts,
    until,
)

from jupyter_batch.core.errors import RateLimitError
from jupyter_batch.providers.failures import refused
from jupyter_batch.realtime.pacing import ServiceTier
from jupyter_batch.realtime.run import Tries

FLEX = ServiceTier(name="flex", sent=True)
ROWS = 30
UNAVAILABLE = {
    "error": {
        "message": "Resource Unavailable",
        "type": "resource_unavailable",
        "param": None,
        "code": "resource_unavailable",
    }
}


def unavailable(status=429):
    """OpenAI's refusal of a flex request."""
    return web.json_response(UNAVAILABLE, status=status)


def every_third(endpoint):
    """A tier that refuses every third call."""
    return lambda text, before: unavailable() if sum(endpoint.asked.values()) % 3 == 0 else None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, UNAVAILABLE),
        (498, {"error": {"message": "busy", "type": "x", "code": "capacity_exceeded"}}),
        (498, "Flex tier capacity exceeded"),
        (429, {"error": {"message": "No capacity available for model x", "status": "E"}}),
    ],
)
def test_a_tier_without_capacity_is_a_limit_that_passes(status, body):
    """OpenAI's, Groq's and Google's refusals; none of them is a used-up quota."""
    error = refused(status, body, "x")
    assert isinstance(error, RateLimitError)
    assert (error.capacity, error.spent, error.transient) == (True, False, True)
    limit = refused(429, {"error": {"message": "Rate limit reached for requests"}}, "x")
    assert not limit.capacity
    for server_error in (500, 503):  # litellm reports Google's 503 as a 500
        error = refused(server_error, {"error": {"message": "The model is overloaded."}}, "x")
        assert error.capacity
        assert not isinstance(error, RateLimitError)
    assert not refused(500, {"error": {"message": "Internal error"}}, "x").capacity


def test_refusals_of_the_tier_fail_no_row(tmp_path):
    """Every third call is refused, each row more often than an attempt count allows: all are answered, once."""
    with Endpoint() as endpoint:
        endpoint.decide = lambda text, before: (
            unavailable()
            if before < 40 and text == "row 3"
            else every_third(endpoint)(text, before)
        )
        real = provider(
            tmp_path, endpoint.base, tier=FLEX, tries=Tries(most=2, first=1e-4, last=1e-3)
        )
        view, found = run(real, requests(tmp_path, texts(ROWS)))
    assert (view.completed, view.failed, view.shed) == (ROWS, 0, 0)
    assert {i: r.value for i, r in found.items()} == {f"jb-{n}": f"ROW {n}" for n in range(ROWS)}
    assert endpoint.answered == ROWS
    assert endpoint.asked["row 3"] > 40
    assert {json.loads(body).get("service_tier") for _, body, _ in endpoint.sent} == {"flex"}


def test_refusals_of_the_tier_leave_the_number_of_calls(tmp_path):
    """They say nothing about the load: the limit on concurrent calls stays."""
    with Endpoint() as endpoint:
        endpoint.decide = every_third(endpoint)
        real = provider(tmp_path, endpoint.base, tier=FLEX)
        run(real, requests(tmp_path, texts(ROWS)))
        assert real._gate.pacer.limit == 8


def test_without_the_tier_it_is_a_rate_limit(tmp_path):
    """A job at the full price is refused for ever: patience ends, and the run stops or the rows fail."""
    with Endpoint(lambda text, before: unavailable()) as endpoint:
        real = provider(tmp_path, endpoint.base, tries=Tries(most=1, first=1e-4, last=1e-3))

        async def cycle():
            try:
                await begin(real, requests(tmp_path, texts(2)))
                await until(lambda: not real._runs["realtime-jb-0"].busy)
            finally:
                await real.aclose()

        asyncio.run(cycle())
    assert 0 < max(endpoint.asked.values()) <= 8


def test_the_shed_statuses_of_a_provider_wait(tmp_path):
    """Gemini's 503 on its flex tier, however often."""
    tier = ServiceTier(name="flex", sheds=(503,))
    with Endpoint(lambda text, before: 503 if before < 30 else None) as endpoint:
        quick = Tries(most=2, first=1e-4, last=1e-3)
        real = provider(tmp_path, endpoint.base, tier=tier, tries=quick)
        view, _ = run(real, requests(tmp_path, texts(2)))
    assert (view.completed, view.failed) == (2, 0)


def test_what_waits_is_counted_and_a_stop_ends_the_wait(tmp_path):
    """The view has the number of waiting rows; a cancel awaits none of them."""
    with Endpoint(lambda text, before: unavailable() if text != "row 0" else None) as endpoint:
        slow = Tries(most=2, first=3600.0, last=3600.0)
        real = provider(tmp_path, endpoint.base, tier=FLEX, tries=slow)

        async def cycle():
            try:
                await begin(real, requests(tmp_path, texts(5)))

                async def all_wait():
                    view = await real.poll("realtime-jb-0")
                    return view if view.shed == 4 else None

                waiting = await until(all_wait)
                await real.cancel("realtime-jb-0")
                view = await ended(real)
                return waiting, view, await results(real, view)
            finally:
                await real.aclose()

        waiting, view, found = asyncio.run(cycle())
    assert (waiting.completed, waiting.failed) == (1, 0)
    assert (view.completed, view.failed, view.shed) == (1, 0, 0)
    assert set(found) == {"jb-0"}
