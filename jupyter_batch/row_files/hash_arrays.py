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


def matches(mine: Array, rows: Array, theirs: Array) -> tuple[Array, Array]:
    """The rows whose request hash is among `theirs`, and their positions there."""
    there = np.flatnonzero(theirs.any(axis=1))
    if not len(there) or not len(rows):
        return rows[:0], rows[:0]
    order = there[np.argsort(theirs[there, 0], kind="stable")]
    held = theirs[order, 0]
    at = order[np.minimum(np.searchsorted(held, mine[rows, 0]), len(held) - 1)]
    same = (theirs[at] == mine[rows]).all(axis=1)
    return rows[same], at[same]
