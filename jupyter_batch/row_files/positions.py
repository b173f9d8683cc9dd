"""Positions of many rows from their custom_ids at once (core.request.position_of has a single one's)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jupyter_batch.core.request import position_of

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_FEW = 8
"""Ids that cost less one by one."""
_MOST_DIGITS = 18
"""Of a position that surely fits into an int64."""


def positions_of(job: str, ids: list[str]) -> Array:
    """The position in the job for each id, -1 for any other id."""
    found = _plain("\n".join(ids), len(ids), f"{job}-") if len(ids) > _FEW else None
    if found is None:
        each = [position_of(job, one) for one in ids]
        few = [-1 if at is None or at >= 10**_MOST_DIGITS else at for at in each]
        found = np.array(few, dtype=np.int64)
    return found


def _plain(text: str, lines: int, head: str) -> Array | None:
    """The numbers after the head of each line; None unless all lines have just these."""
    if text.count("\n") != lines - 1 or not text.isascii():
        return None
    joined = f"\n{text}\n".encode()
    if joined.count(b"\n" + head.encode()) != lines:
        return None
    data = np.frombuffer(joined, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    firsts, ends = ends[:-1] + 1 + len(head), ends[1:]
    digits = ends - firsts
    most = int(digits.max())
    if not 0 < digits.min() <= most <= min(_MOST_DIGITS, len(head)):
        return None
    figures = sliding_window_view(data, most)[ends - most] - np.uint8(ord("0"))
    figures[np.arange(most) < (most - digits)[:, None]] = 0
    if figures.max() > 9 or ((data[firsts] == ord("0")) & (digits > 1)).any():  # noqa: PLR2004
        return None
    found = np.zeros(lines, dtype=np.int64)
    for place in range(most):
        found = found * 10 + figures[:, place]
    return found
