"""Request hashes as arrays, and the matching of one set of rows against another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]


def hash_array(hashes: bytes | bytearray) -> Array:
    """Return concatenated request hashes as uint64 of shape (rows, 2)."""
    return np.frombuffer(bytes(hashes), "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


def sum_of(hashes: bytes | bytearray) -> int:
    """The sum of request hashes as big-endian integers of 128 bits, whatever their order."""
    words = np.frombuffer(bytes(hashes), ">u4").reshape(-1, 4)
    totals = words.sum(axis=0, dtype=np.uint64)[::-1]
    return sum(int(total) << 32 * place for place, total in enumerate(totals)) % (1 << 128)


def matches(
    mine: Array, rows: Array, theirs: Array, guess: Array | None = None
) -> tuple[Array, Array]:
    """The rows whose request hash is among `theirs`, and their positions there.

    guess: the positions of most rows, -1 for unknown ones; those of `rows` without it, as in a frame
    that has grown.
    """
    guess = rows if guess is None else guess
    at = np.where((guess >= 0) & (guess < len(theirs)), guess, 0)
    found = _equal(mine[rows], theirs, at)
    rest = np.flatnonzero(~found)
    there = np.flatnonzero(theirs.any(axis=1)) if len(rest) else rest
    if 0 < len(rest) < len(there) // 8:  # fewer to sort
        there = there[np.isin(theirs[there, 0], mine[rows[rest], 0])]
    if len(there):
        order = there[np.argsort(theirs[there, 0], kind="stable")]
        held, wanted = theirs[order, 0], mine[rows[rest]]
        at[rest] = order[np.minimum(np.searchsorted(held, wanted[:, 0]), len(held) - 1)]
        found[rest] = _equal(wanted, theirs, at[rest])
    return rows[found], at[found]


def _equal(mine: Array, theirs: Array, at: Array) -> Array:
    """Whether each hash equals one of `theirs`, and is none of a row without a request."""
    if not len(theirs):
        return np.zeros(len(mine), dtype=bool)
    same: Array = (theirs[at] == mine).all(axis=1) & mine.any(axis=1)
    return same
