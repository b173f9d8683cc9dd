"""Progress over time: a bounded list of points (time, rows done), and the pace computed from it.

A point is (seconds since the epoch, rows done from then on).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import floor, log2

import msgspec

Points = tuple[tuple[float, int], ...]

MOST = 64
"""Points stored for a history, however long it is and however often it was polled."""
RECENT = 0.25
"""The smallest share of the time since the first accepted batch that the pace is based on."""


class Curve:
    """The rows done of all batches, computed from the events of each.

    began: when the job was planned. base: rows already done then (reused, skipped). Memory use does
    not grow with the events: at most twice `most` points are stored.
    """

    def __init__(self, began: float, base: int, most: int = MOST) -> None:
        self._most = most
        self._points: list[tuple[float, int]] = [(began, base)]
        self._done: dict[int, int] = {}
        self._total = base
        self._taken = False

    def add(self, at: float, shard: int, done: int, *, taken: bool) -> None:
        """Record a batch's rows done from `at` on; taken: the provider has accepted it.

        A clock that was set back does not change earlier points.
        """
        was = self._total
        self._total += done - self._done.get(shard, 0)
        self._done[shard] = done
        first = (
            taken and not self._taken
        )  # a point without rows done: the time before does not count for the pace
        self._taken |= taken
        if first or self._total != was:
            self._points.append((max(at, self._points[-1][0]), self._total))
            if len(self._points) > 2 * self._most:
                self._points = thinned(self._points, self._most)

    def points(self) -> Points:
        """Return the points from the beginning to the last change."""
        return tuple(thinned(self._points, self._most))


def thinned(points: Sequence[tuple[float, int]], most: int = MOST) -> list[tuple[float, int]]:
    """Return at most `most` points: the first, the start of progress, each interval's last.

    Intervals are aligned to the clock, their length a power of two seconds, so that thinning step
    by step gives the same points as thinning once.
    """
    if len(points) <= most:
        return list(points)
    flat = sum(1 for _ in takewhile(lambda point: point[1] == points[0][1], points))
    head = [points[0], points[flat - 1]][: min(flat, 2)]
    rest = points[flat:]
    seconds = 2.0 ** floor(log2(max((points[-1][0] - points[0][0]) / most, 2.0**-20)))
    while True:
        kept = {int(point[0] // seconds): point for point in rest}
        if len(kept) + len(head) <= most:
            return [*head, *kept.values()]
        seconds *= 2


def done_at(points: Points, when: float) -> int:
    """Return the rows done at that time."""
    return points[max(0, bisect_right(points, when, key=lambda point: point[0]) - 1)][1]


def added(histories: Iterable[Points]) -> Points:
    """Return the sum of several jobs' histories; empty where one of them is unknown."""
    several = list(histories)
    if not several or not all(several):
        return ()
    times = sorted({at for points in several for at, _ in points})
    return tuple(thinned([(at, sum(done_at(points, at) for points in several)) for at in times]))


def pace_of(points: Points, now: float, done: int, given: int) -> tuple[float, int] | None:
    """Return (rows a second, rows it is based on) of recent progress; None without any.

    done: rows at `now`; given: those that took no time (reused, skipped). Computed since half of
    the rows were done, but over at least a quarter of the time since the first batch was accepted:
    hours of waiting do not count, and a burst does not dominate.
    """
    counted = [(at, max(0, rows - given)) for at, rows in points]
    base = counted[0][1]
    began = [at for at, _ in takewhile(lambda point: point[1] == base, counted)][-1]
    gained = done - given - base
    if gained <= 0 or now <= began:
        return None
    since, rows = began, base
    for at, there in counted:
        if at >= began and there - base <= gained / 2 and now - at >= RECENT * (now - began):
            since, rows = at, there
    return (done - given - rows) / (now - since), done - given - rows


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The usual time from sending a batch to its end, in seconds. batches: how many it is known from."""

    low: float
    high: float
    batches: int


LEAST_BATCHES = 3
"""Fewer batches are no history."""
ALIKE = 4
"""Batches of up to so many times more or fewer requests are of the same size, where there are enough of them."""
OUTSIDE = 0.1
"""The share of the batches that took less than `low`, and of those that took more than `high`."""


def usual_wait(took: Sequence[tuple[int, float]], requests: int) -> Wait | None:
    """The usual wait for a batch of so many requests, from (requests, seconds) of earlier ones, the newest first."""
    alike = [
        seconds for size, seconds in took if requests / ALIKE <= size <= max(1, requests) * ALIKE
    ]
    if len(alike) < LEAST_BATCHES:
        alike = [seconds for _, seconds in took]
    times = sorted(max(0.0, seconds) for seconds in alike)
    if len(times) < LEAST_BATCHES:
        return None
    aside = int(len(times) * OUTSIDE)
    return Wait(low=times[aside], high=times[-1 - aside], batches=len(times))
