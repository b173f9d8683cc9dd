"""Freed memory that the C library keeps for itself, returned to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_MANY_ROWS = 1 << 15
"""For fewer rows it is not worth the milliseconds."""


def give_back(rows: int) -> None:
    """Return freed memory before arrays of so many rows are made, which find no room in it.

    glibc keeps what thousands of small blocks took. Elsewhere nothing happens.
    """
    if rows < _MANY_ROWS:
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
