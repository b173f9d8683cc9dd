"""Delay of interrupts over short blocks that must be done whole."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from jupyter_batch.notebook.kernel import is_main_thread


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interrupt of the main thread to the end of this block, which must be short."""
    before = signal.getsignal(signal.SIGINT) if is_main_thread() else None
    if before is None:  # another thread, or a handler that is not Python's
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)
