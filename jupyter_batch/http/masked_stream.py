"""Masking of this process's keys in result files, as these are written. A server may repeat the key that it was sent.

Only keys that were given or read for a call count, not each secret of the environment: answers are data, and nothing
but a key that left this process is replaced in them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from jupyter_batch.core.secrets import MASK, forms, given

_SHORTEST = 8
"""Shorter keys, and those of letters alone, are words that an answer may consist of."""


def masked_bytes(data: bytes) -> bytes:
    """Whole lines of results without any form of the keys of this process."""
    return _replaced(data, _written(given()))


class MaskedStream:
    """A writer that passes its bytes on with the keys masked, also where a key lies across two blocks.

    write: takes the bytes. `close` passes the last ones on.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._forms = _written(given())
        self._overlap = max(map(len, self._forms), default=1) - 1
        self._held = b""

    def write(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if not self._forms:
            self._write(block)
            return
        data = _replaced(self._held + block, self._forms)
        end = max(len(data) - self._overlap, 0)
        self._held = data[end:]
        if end:
            self._write(data[:end])

    def close(self) -> None:
        """The file has ended."""
        if self._held:
            self._write(self._held)
        self._held = b""


@functools.lru_cache(maxsize=16)
def _written(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    """The forms of some keys as bytes, the longest first."""
    strong = [key for key in keys if len(key.strip()) >= _SHORTEST and not key.strip().isalpha()]
    found = {form.encode() for key in strong for form in forms(key) if len(form) >= _SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def _replaced(data: bytes, written: Sequence[bytes]) -> bytes:
    for form in written:
        if form in data:
            data = data.replace(form, MASK.encode())
    return data
