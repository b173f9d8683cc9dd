"""Freed memory that the C library keeps for itself, returned to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

_MANY_ROWS = 1 << 15
"""For fewer rows it is not worth the milliseconds."""
_Block = TypeVar("_Block")


def give_back(rows: int) -> None:
    """Return freed memory before arrays of so many rows are made, which find no room in it.

    glibc keeps what thousands of small blocks took, and Arrow what its arrays did.
    """
    if rows < _MANY_ROWS:
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()


def returned(blocks: Iterable[tuple[range, _Block]]) -> Iterator[tuple[range, _Block]]:
    """Yield blocks of rows; what was freed is returned now and then, since Arrow keeps it, too."""
    since = 0
    for rows, block in blocks:
        if rows.start - since >= _MANY_ROWS:
            give_back(since := rows.start)
        yield rows, block
