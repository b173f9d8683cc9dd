"""Request lines sifted as they are written: those of rows that ask nothing new are put aside.

So that the request files need not be written again without them. match.py decides about each row
once all are hashed; what an earlier job answered is only expected here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.row_files.hash_index import Asked, index_of
from jupyter_batch.row_files.request_files import Blocks, Lines, new_file

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]


class Hashes(Protocol):
    """Request hashes by position, known for each block of lines when it is there."""

    @property
    def array(self) -> Array:
        """They as uint64 of shape (requests, 2); zeros for a row without a request."""


class SiftedLines(Blocks):
    """The lines of requests that no earlier row has, and no earlier job. aside: flags of the others.

    asked: the requests of earlier jobs; None without any. The other lines are written to the
    draft's file `aside`, not synced.
    """

    def __init__(
        self, lines: Blocks, hashes: Hashes, asked: Asked | None, draft: JobFolder
    ) -> None:
        self._lines, self._hashes, self._asked, self._draft = lines, hashes, asked, draft
        rows = len(hashes.array)
        self._firsts = FirstRows(rows)
        self.aside: Array = np.zeros(rows, dtype=bool)

    @classmethod
    def of(
        cls, lines: Blocks, hashes: Hashes, ledger: Ledger, space: str, draft: JobFolder
    ) -> SiftedLines:
        """The lines of a new job of a dedup scope."""
        return cls(lines, hashes, index_of(ledger).asked(ledger, space), draft)

    def __iter__(self) -> Iterator[Lines]:
        with contextlib.ExitStack() as stack:
            file: BinaryIO | None = None
            for lines in self._lines:
                rows, hashes = lines.positions, self._hashes.array
                new = self._firsts.add(hashes, rows)
                if self._asked is not None:
                    new &= ~self._asked.flags(hashes[rows, 0])
                if new.all():
                    yield lines
                    continue
                self.aside[rows[~new]] = True
                if file is None:
                    file = stack.enter_context(new_file(self._draft.aside, synced=False))
                file.write(lines.where(~new).data)
                if new.any():
                    yield lines.where(new)
        self._firsts = FirstRows(0)


class FirstRows:
    """The first row of each request, found block by block: a hash table of 8 to 16 bytes a row."""

    def __init__(self, rows: int) -> None:
        size = 1 << (2 * rows).bit_length()
        self._held: Array = np.full(size, -1, dtype=np.int32)  # a row, or none

    def add(self, hashes: Array, rows: Array) -> Array:
        """Whether each of these rows is the first one with its hash. hashes: of all rows so far."""
        last = len(self._held) - 1
        slots = (hashes[rows, 0] & np.uint64(last)).astype(np.int64)
        first: Array = np.zeros(len(rows), dtype=bool)
        left = np.arange(len(rows))
        while len(left):
            at = slots[left]
            free = left[self._held[at] < 0][::-1]  # of several, the first row is written last
            self._held[slots[free]] = rows[free]
            holder = self._held[at]
            first[left[holder == rows[left]]] = True
            left = left[(hashes[holder] != hashes[rows[left]]).any(axis=1)]
            slots[left] = (slots[left] + 1) & last
        return first
