"""The pause between two drawings of a screen, so that a long job stays small. Pure.

A Jupyter server stores all messages for a closed page, and sends them to the page that is opened
next. So an older job is drawn less often, as it is polled less often, and a long message makes a
longer pause; and jobs on one page share what a single one may send.
"""

from __future__ import annotations

SHARE = 25
"""A pause is this part of the job's age: two seconds at the first minute, two minutes at the first hour."""
SHORTEST, LONGEST = 0.5, 900.0
USUAL = 1200
"""Characters of an ordinary drawing. One of twice as many makes twice the pause."""


class Pace:
    """When one part of a screen may be drawn again. slower: how many times the pause."""

    def __init__(self, slower: float = 1.0) -> None:
        self._slower = slower
        self._next = 0.0

    def left(self, now: float) -> float:
        """Seconds until it may be drawn; 0 for now. A clock that was put back waits no longer than the longest."""
        left = self._next - now
        return left if 0 < left <= LONGEST * self._slower * 10 else 0.0

    def drawn(self, now: float, age: float, size: int, jobs: int = 1) -> None:
        """It was drawn at `now`, `age` seconds after the job began, with so many characters.

        jobs: how many are drawn in this process.
        """
        pause = min(max(SHORTEST * jobs, age / SHARE), LONGEST)
        self._next = now + pause * self._slower * max(1.0, size / USUAL)
