"""The limiter, with a manual clock."""

from __future__ import annotations

import heapq
import itertools
import math

import pytest

from jupyter_batch.realtime.pacing import FIRST, Bucket, Pacer, retry_wait


def fill(pacer: Pacer, now: float = 0.0) -> int:
    """Start calls until no more may start at once; how many there were."""
    started = 0
    while pacer.wait(now) == 0:
        pacer.start()
        started += 1
    return started


def round_of(pacer: Pacer, now: float = 0.0) -> int:
    """A round: as many calls as may be, and an answer to each."""
    started = fill(pacer, now)
    for _ in range(started):
        pacer.answered()
    return started


def test_the_limit_doubles_in_each_round_until_the_most():
    """A provider that takes more is shown more, round by round, and never more than the person allowed."""
    pacer = Pacer(200, now=0.0)
    assert [round_of(pacer) for _ in range(5)] == [FIRST, 2 * FIRST, 4 * FIRST, 200, 200]


def test_a_limit_below_the_first_is_kept():
    """With concurrency=3 never more than 3 are under way."""
    pacer = Pacer(3, now=0.0)
    assert [round_of(pacer) for _ in range(3)] == [3, 3, 3]


def test_one_storm_halves_the_limit_once():
    """All calls of a round that is refused tell one story: the limit is halved, not thrown to one."""
    pacer = Pacer(200, now=0.0)
    for _ in range(4):
        round_of(pacer)
    started = fill(pacer, now=1.0)
    for _ in range(started):
        pacer.refused(2.0, started=1.0)
    assert (started, pacer.limit, pacer.running) == (200, 100, 0)
    for _ in range(fill(pacer, now=3.0)):
        pacer.refused(4.0, started=3.0)
    assert pacer.limit == 50


def test_after_a_refusal_the_limit_grows_by_one_in_a_round():
    """A rate that was too high is approached again slowly."""
    pacer = Pacer(200, now=0.0)
    for _ in range(fill(pacer)):
        pacer.refused(1.0, started=0.0)
    rounds = [round_of(pacer, 2.0) for _ in range(20)]
    assert rounds[0] == 16
    assert {later - sooner for sooner, later in itertools.pairwise(rounds)} <= {0, 1}
    assert 30 <= rounds[-1] <= 36


def test_the_limit_never_falls_below_one():
    """A provider that refuses everything is still asked, one at a time."""
    pacer = Pacer(4, now=0.0)
    for now in range(10):
        for _ in range(fill(pacer, float(now))):
            pacer.refused(now + 0.5, started=float(now))
    assert pacer.limit == 1
    assert fill(pacer, 11.0) == 1


def test_nothing_starts_before_retry_after():
    """A provider that says "in 7 seconds" to a good part of the calls is left alone for 7 seconds by all rows."""
    pacer = Pacer(10, now=0.0)
    fill(pacer)
    for _ in range(4):
        pacer.refused(5.0, started=0.0, retry_after=7.0)
    for _ in range(6):
        pacer.answered()
    assert pacer.wait(5.0) == 7.0
    assert pacer.wait(11.0) == pytest.approx(1.0)
    assert pacer.wait(12.0) == 0


def test_an_idle_limit_does_not_grow():
    """Answers to one call at a time prove nothing about ten at a time."""
    pacer = Pacer(200, now=0.0)
    for _ in range(100):
        pacer.start()
        pacer.answered()
    assert pacer.limit == FIRST


def test_a_restart_probes_with_one_call_and_then_climbs():
    """After a stop one call goes alone, then 2, 4, 8."""
    pacer = Pacer(200, now=0.0)
    pacer.restart()
    assert [round_of(pacer) for _ in range(4)] == [1, 2, 4, 8]


def test_requests_per_minute_hold_over_minutes():
    """With 120 a minute, ten minutes see 1,200 calls, and no second sees more than a few."""
    pacer = Pacer(1000, now=0.0, requests_per_minute=120)
    now, starts = 0.0, []
    while now < 600:
        wait = pacer.wait(now)
        assert wait is not None
        if wait > 0:
            now += wait
            continue
        pacer.start()
        pacer.answered()
        starts.append(now)
    assert len(starts) == pytest.approx(1200, abs=3)
    assert max(sum(at <= other < at + 1 for other in starts) for at in starts[::50]) <= 4


def test_tokens_per_minute_hold_though_the_estimate_is_wrong():
    """The provider's count is paced: an estimate of 10 for calls of 100 still gives 6,000 a minute."""
    pacer = Pacer(1000, now=0.0, tokens_per_minute=6000)
    now, used = 0.0, 0
    while now < 600:
        wait = pacer.wait(now, 10)
        assert wait is not None
        if wait > 0:
            now += wait
            continue
        pacer.start(10)
        pacer.answered(10, used=100)
        used += 100
    assert used == pytest.approx(60_000, rel=0.01)


def test_a_request_larger_than_a_second_of_tokens_still_goes():
    """A bucket that could never hold the request would be a standstill."""
    bucket = Bucket(60, now=0.0)
    assert bucket.wait(0.0, 500) == 0
    bucket.take(500)
    assert bucket.wait(0.0, 500) == pytest.approx(500)
    assert bucket.wait(500.0, 500) == 0


def test_a_clock_that_goes_back_gives_nothing_away():
    """Nothing is refilled by a step back, and nothing is lost for long."""
    bucket = Bucket(60, now=100.0)
    bucket.take(1)
    assert bucket.wait(50.0, 1) == pytest.approx(1)
    assert bucket.wait(51.0, 1) == 0


def test_pauses_double_are_jittered_and_never_sooner_than_asked():
    """0.5, 1, 2, 4 seconds at the most, half of it at the least; a longer retry-after wins."""
    assert [retry_wait(0.5, 60, n, 1.0) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert retry_wait(0.5, 60, 3, 0.0) == 1
    assert retry_wait(0.5, 60, 500, 1.0) == 60
    assert retry_wait(0.5, 60, 1, 1.0, retry_after=9.0) == 9
    assert math.isfinite(retry_wait(0.5, 60, 10**6, 1.0))


def rows_done_by(seconds, refused_share, retry_after=1.0, latency=0.05):
    """Rows answered by a moment on a manual clock, where a share of the calls is refused."""
    pacer = Pacer(200, now=0.0)
    now, calls, done = 0.0, 0, 0
    under_way = []
    while now < seconds:
        while pacer.wait(now) == 0.0:
            pacer.start()
            calls += 1
            heapq.heappush(under_way, (now + latency, calls, now))
        wait = pacer.wait(now)
        if not under_way:
            now += wait
            continue
        now, number, started = heapq.heappop(under_way)
        if refused_share and number % round(1 / refused_share) == 0:
            pacer.refused(now, started, retry_after)
        else:
            pacer.answered()
            done += 1
    return done


def test_a_few_refusals_do_not_close_the_window():
    """3 % of 429 with `Retry-After: 1` cost about 3 % of the answers, not three quarters of them."""
    assert rows_done_by(20, 0.03) > 0.8 * rows_done_by(20, 0)


def test_many_refusals_close_it():
    """A provider that refuses half of the calls is asked for far less."""
    assert rows_done_by(20, 0.5) < 0.1 * rows_done_by(20, 0)
