"""Rows done over time: a short list of points out of what was noted at each look, and the pace that it tells. Pure.

A point is (seconds since the epoch, rows done from then on). It knows no ledger, no screen and no clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import floor, log2

Points = tuple[tuple[float, int], ...]

MOST = 64
"""Points that are kept of a history, however long it is and however often it was looked at."""
RECENT = 0.25
"""The pace is never told by less than this part of the time since the first batch was taken."""


class Curve:
    """The rows of all batches together, out of the events of each: from any moment on, in any process.

    began: when the job was planned. base: rows that were done then (reused, skipped). Memory does not grow with the
    events: it holds twice `most` points.
    """

    def __init__(self, began: float, base: int, most: int = MOST) -> None:
        self._most = most
        self._points: list[tuple[float, int]] = [(began, base)]
        self._done: dict[int, int] = {}
        self._total = base
        self._taken = False

    def add(self, at: float, shard: int, done: int, *, taken: bool) -> None:
        """A batch has so many rows done from `at` on; taken: by its provider.

        A clock that was put back changes nothing of what was.
        """
        was = self._total
        self._total += done - self._done.get(shard, 0)
        self._done[shard] = done
        first = (
            taken and not self._taken
        )  # a point, though nothing is done: the time before is no part of the pace
        self._taken |= taken
        if first or self._total != was:
            self._points.append((max(at, self._points[-1][0]), self._total))
            if len(self._points) > 2 * self._most:
                self._points = thinned(self._points, self._most)

    def points(self) -> Points:
        """From the beginning to the last change."""
        return tuple(thinned(self._points, self._most))


def thinned(points: Sequence[tuple[float, int]], most: int = MOST) -> list[tuple[float, int]]:
    """At most so many of them, even in time: of each stretch its last; the first, and where the rows begin to come.

    The stretches are so many seconds by the clock, a power of two: those of a longer history are made of whole ones,
    so that what was thinned as it came is what it would be at once.
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
    """Rows done at that moment."""
    return points[max(0, bisect_right(points, when, key=lambda point: point[0]) - 1)][1]


def added(histories: Iterable[Points]) -> Points:
    """Those of several jobs as one; nothing where one of them is not known."""
    several = list(histories)
    if not several or not all(several):
        return ()
    times = sorted({at for points in several for at, _ in points})
    return tuple(thinned([(at, sum(done_at(points, at) for points in several)) for at in times]))


def pace_of(points: Points, now: float, done: int, given: int) -> tuple[float, int] | None:
    """(rows a second, how many rows told it) by what was done last; None where nothing was done.

    done: rows at `now`; given: those of them that cost no time (reused, skipped). It counts from the moment at which
    half of them were there, but over a quarter, at least, of the time since the first batch was taken: a job that
    waited for hours goes on as it goes now, and a burst is not taken for the rule.
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
