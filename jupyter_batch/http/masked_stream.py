"""Masking of keys in result files as they are written, since servers may repeat them.

Only keys that were passed in or read for a call are masked, not every secret of the environment:
answers are data, and only keys that left this process are replaced in them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from jupyter_batch.core.secrets import MASK, forms, given

_SHORTEST = 8
"""Shorter keys, and those of only letters, are words that may occur in an answer."""


def masked_bytes(data: bytes) -> bytes:
    """Return whole result lines with all forms of this process's keys masked."""
    return _replaced(data, _written(given()))


class MaskedStream:
    """A writer that masks keys in its bytes, also those split across two blocks.

    write: receives the bytes. `close` passes on the last ones.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._forms = _written(given())
        self._overlap = max(map(len, self._forms), default=1) - 1
        self._held = b""

    def write(self, block: bytes) -> None:
        """Process the next bytes of the file."""
        if not self._forms:
            self._write(block)
            return
        data = _replaced(self._held + block, self._forms)
        end = max(len(data) - self._overlap, 0)
        self._held = data[end:]
        if end:
            self._write(data[:end])

    def close(self) -> None:
        """Process the end of the file."""
        if self._held:
            self._write(self._held)
        self._held = b""


@functools.lru_cache(maxsize=16)
def _written(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the forms of some keys as bytes, longest first."""
    strong = [key for key in keys if len(key.strip()) >= _SHORTEST and not key.strip().isalpha()]
    found = {form.encode() for key in strong for form in forms(key) if len(form) >= _SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def _replaced(data: bytes, written: Sequence[bytes]) -> bytes:
    for form in written:
        if form in data:
            data = data.replace(form, MASK.encode())
    return data
