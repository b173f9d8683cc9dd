"""The progress curve of a job, as points and in words. Pure.

html.py draws the curve.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypedDict

from jupyter_batch.core.history import Points, done_at
from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor.words import span

COLUMNS = 40
"""Moments at which the curve is drawn."""
CHANGES = 2
"""So often, at least, rows were done: before that there is no course to be seen."""
MARKS = (25, 50, 75)
"""Percentages of all rows whose times are named in words."""


class CurveFields(TypedDict, total=False):
    """The View's fields of these names."""

    curve: tuple[int, ...]
    curve_words: str


def curve(shot: Snapshot) -> CurveFields:
    """Rows done in percent of all, from the submission to now or the end; nothing where no course is to be seen yet."""
    points, total = shot.history, shot.counts.total
    end = shot.finished_at or shot.now
    if not points or not total or end <= shot.created_at:
        return {}
    if points[-1][1] != shot.counts.done:
        points = (*points, (max(end, points[-1][0]), shot.counts.done))
    if sum(one[1] < other[1] for one, other in pairwise(points)) < CHANGES:
        return {}
    step = (end - shot.created_at) / (COLUMNS - 1)
    heights = [done_at(points, shot.created_at + number * step) for number in range(COLUMNS - 1)]
    heights.append(shot.counts.done)
    counted = "rows" if shot.samples == 1 else "answers"
    captions = [
        *_marks(points, total, shot.created_at),
        f"{shot.counts.done:,} of {total:,} {counted} after {span(end - shot.created_at)}",
    ]
    return {
        "curve": tuple(round(100 * rows / total) for rows in heights),
        "curve_words": ", ".join(captions),
    }


def _marks(points: Points, total: int, began: float) -> list[str]:
    """`25% after 12 min`: when which part was there, unless it was from the beginning on."""
    found: dict[str, int] = {}
    for percent in MARKS:
        when = next((at for at, rows in points if rows * 100 >= percent * total), None)
        if when is not None and when > began:
            found[span(when - began)] = percent  # of several at one moment, the most
    return [f"{percent}% after {after}" for after, percent in found.items()]
