"""Rows done over time: a few points however many events there were, and the pace that they tell."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.history import MOST, Curve, added, done_at, pace_of, thinned
from jupyter_batch.core.status import Counts, Snapshot, State

HOUR = 3600.0


def course(*events, began=0.0, base=0):
    """The points of events (time, batch, rows done)."""
    curve = Curve(began, base)
    for at, shard, done in events:
        curve.add(at, shard, done, taken=True)
    return curve.points()


def test_the_rows_of_all_batches_are_one_curve():
    """Each batch's newest count counts, with rows that needed no request; a look without news makes no point."""
    points = course((10, 0, 5), (20, 1, 7), (30, 1, 7), (40, 0, 6), began=1.0, base=100)
    assert points == ((1.0, 100), (10, 105), (20, 112), (40, 113))
    assert [done_at(points, when) for when in (0, 1, 15, 40, 99)] == [100, 100, 105, 113, 113]


def test_the_moment_at_which_the_first_batch_is_taken_is_a_point():
    """Nothing is done in that time: the time in the queue before it is distinguished from the time after it."""
    curve = Curve(0.0, 0)
    curve.add(5.0, 0, 0, taken=False)
    curve.add(7200.0, 0, 0, taken=True)
    curve.add(7300.0, 0, 0, taken=True)
    assert curve.points() == ((0.0, 0), (7200.0, 0))


def test_a_hundred_thousand_events_are_a_few_points():
    """Memory does not grow, the first and the last point are kept, and in between each is one that was."""
    curve = Curve(0.0, 0)
    for number in range(1, 100_001):
        curve.add(float(number), 0, number, taken=True)
        assert len(curve._points) <= 2 * MOST
    points = curve.points()
    assert MOST // 2 <= len(points) <= MOST
    assert (points[0], points[-1]) == ((0.0, 0), (100_000.0, 100_000))
    assert all(at == rows for at, rows in points)


def test_a_clock_that_was_put_back_does_not_turn_time_around():
    """The next rows come after it."""
    points = course((100, 0, 5), (40, 0, 9))
    assert points == ((0.0, 0), (100, 5), (100, 9))


def test_several_jobs_are_one_curve_or_none():
    """At each moment the sum; where one's history is not known, the sum isn't."""
    one, other = course((10, 0, 5), began=0.0), course((5, 0, 1), (20, 0, 3), began=2.0, base=2)
    assert added([one, other]) == ((0.0, 2), (2.0, 2), (5, 3), (10, 8), (20, 10))
    assert added([one, ()]) == ()


def test_hours_in_a_queue_are_no_part_of_the_pace():
    """Ten hours of waiting and one of work with 400 rows: it goes on at 400 an hour."""
    curve = Curve(0.0, 0)
    curve.add(10 * HOUR, 0, 0, taken=True)
    for minute in range(1, 61):
        curve.add(10 * HOUR + 60 * minute, 0, 400 * minute // 60, taken=True)
    rate, rows = pace_of(curve.points(), 11 * HOUR, 400, 0)
    assert rate * HOUR == pytest.approx(400, rel=0.05)
    assert 150 <= rows <= 250, "the later half sets it"


def test_a_slow_beginning_does_not_hold_the_eta_back():
    """A provider that took an hour for 10 rows and the next for 990 goes on at 990 an hour, about."""
    rate, _ = pace_of(
        course(
            (0, 0, 0),
            (HOUR, 0, 10),
            *((HOUR + 60 * n, 0, 10 + n * 990 // 60) for n in range(1, 61)),
        ),
        2 * HOUR,
        1000,
        0,
    )
    assert 900 < rate * HOUR < 1100


def test_a_burst_is_not_taken_for_the_rule():
    """600 rows in the last two seconds of an hour: the pace is that of a quarter of the time, at least."""
    rate, _ = pace_of(course((0, 0, 0), (HOUR - 2, 0, 400), (HOUR, 0, 1000)), HOUR, 1000, 0)
    assert rate * HOUR < 4 * 1000


def test_what_was_given_is_not_earned():
    """Rows that were reused or skipped cost no time: they are no part of the pace."""
    points = course((HOUR, 0, 100), base=5000)
    assert pace_of(points, HOUR, 5100, 5000) == (100 / HOUR, 100)
    assert pace_of(points, HOUR, 5000, 5000) is None


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 9), st.integers(0, 10**6)), max_size=60),
    st.integers(0, 100),
    st.integers(0, 200),
)
def test_any_course_has_a_pace_that_is_a_number(events, base, given_rows):
    """For any points, in any order: a pace above 0, from rows, or none."""
    points = course(*events, base=base)
    now = points[-1][0] + 1.0
    shown = pace_of(points, now, points[-1][1], given_rows)
    assert shown is None or (shown[0] > 0 and shown[1] > 0)
    assert all(one[0] <= other[0] for one, other in pairwise(points))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=400).map(sorted), st.integers(8, 64))
def test_thinning_keeps_the_ends(times, most):
    """At most so many, the first and the last among them."""
    points = [(at, number) for number, at in enumerate(times)]
    kept = thinned(points, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert set(kept) <= set(points)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 99)), max_size=500), st.integers(1, 50))
def test_thinned_as_it_came_is_thinned_at_once(events, every):
    """The points are the same, however often somebody looked."""
    often, once = Curve(0.0, 0, 16), Curve(0.0, 0, 16)
    for number, (at, done) in enumerate(sorted(events)):
        often.add(at, 0, done, taken=True)
        once.add(at, 0, done, taken=True)
        if number % every == 0:
            often.points()
    assert often.points() == once.points()
    assert len(once.points()) <= 16


def test_a_group_has_the_history_of_all_its_jobs():
    """Jobs that are shown as one have one course, and a pace by it."""
    counts = Counts(succeeded=50, running=50)
    one = Snapshot(
        id="jb1",
        name=None,
        state=State.RUNNING,
        counts=counts,
        model="a/b",
        provider="a",
        out="o",
        created_at=0.0,
        now=2 * HOUR,
        history=course((HOUR, 0, 0), (2 * HOUR, 0, 50)),
    )
    other = msgspec.structs.replace(
        one, id="jb2", history=course((HOUR, 0, 0), (1.5 * HOUR, 0, 50))
    )
    both = group_snapshot("jg1", [one, other])
    assert both.history == ((0.0, 0), (HOUR, 0), (1.5 * HOUR, 50), (2 * HOUR, 100))
    assert both.eta == pytest.approx(HOUR), (
        "of late: 50 rows in the last half hour, and 100 are left"
    )
    assert group_snapshot("jg1", [one, msgspec.structs.replace(other, history=())]).history == ()
