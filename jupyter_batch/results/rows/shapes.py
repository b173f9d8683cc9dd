"""Texts and rows of request lines that are alike, found as bytes, a block of lines at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jupyter_batch.results.rows.lines import Array

_ID = b'{"custom_id":"'
_QUOTE, _ESCAPE, _U, _ZERO = b'"\\u0'
_MOST_DIGITS, _LARGEST_DIGIT = 10, 9
_LONGER = 2
"""Characters that an id may have more than the first one of its block."""


class Shape(NamedTuple):
    """The bytes around the text of most lines: from the id to the text, and from its end to the newline."""

    job: str
    before: bytes
    after: bytes


class ShapedLines:
    """The lines of a block. alike: whether all of them have the shape; where each text is: only if they have.

    spans: the beginnings and ends of the lines.
    """

    def __init__(self, shape: Shape, block: bytes, spans: tuple[Array, Array]) -> None:
        begins, ends = spans
        self.data = np.frombuffer(block, np.uint8)
        self._job, self._first, self._last = shape.job, begins, begins
        self._ids = self._at(begins, max(len(_ID), block.find(b'"', len(_ID)) + 1 + _LONGER))
        self._sizes = (self._ids[:, len(_ID) :] == _QUOTE).argmax(axis=1)
        clean = np.frombuffer(_without_escaped(block), np.uint8)
        self._escapes = np.flatnonzero(clean == _ESCAPE) if b"\\" in block else ()
        around = _without_escaped(_ID + b'"' + shape.before + shape.after).count(b'"')
        self.alike = np.count_nonzero(clean == _QUOTE) == around * len(begins)
        self.alike = self.alike and _are(self._ids[:, : len(_ID)], _ID)
        if self.alike:
            id_ends = begins + len(_ID) + self._sizes
            self._first = id_ends + 1 + len(shape.before)
            self._last = ends - len(shape.after)
            self.alike = bool((self._first <= self._last).all()) and all(
                _are(self._at(at, len(form)), form)
                for at, form in ((id_ends, b'"' + shape.before), (self._last, shape.after + b"\n"))
            )

    def within(self, at: Array, line: Array, size: int) -> Array:
        """Whether bytes at these places of lines are in the text."""
        inside: Array = (at >= self._first[line]) & (at + size <= self._last[line])
        return inside

    def plain(self, at: Array) -> Array:
        """Whether bytes at these places do not begin inside of an escape."""
        if not len(self._escapes):
            return np.ones(len(at), dtype=bool)
        before = self._escapes[np.maximum(np.searchsorted(self._escapes, at) - 1, 0)]
        following = self.data[np.minimum(before + 1, len(self.data) - 1)]
        outside: Array = (at < before) | (at >= before + np.where(following == _U, 6, 2))
        return outside

    def rows(self) -> Array | None:
        """Each line's row by its id; None where one is none of the job."""
        head = f"{self._job}-".encode()
        digits = self._ids[:, len(_ID) + len(head) :]
        sizes = self._sizes - len(head)
        if not _are(self._ids[:, len(_ID) : len(_ID) + len(head)], head):
            return None
        found = np.zeros(len(sizes), dtype=np.int64)
        for size in np.flatnonzero(np.bincount(np.maximum(sizes, 0))).tolist():
            if not 1 <= size <= _MOST_DIGITS:
                return None
            mine = sizes == size
            number = digits[mine, :size].astype(np.int64) - _ZERO
            if ((number < 0) | (number > _LARGEST_DIGIT)).any():
                return None
            found[mine] = number @ (10 ** np.arange(size - 1, -1, -1, dtype=np.int64))
        return found

    def _at(self, at: Array, size: int) -> Array:
        """The bytes from each of these places on, a row each; none where there are not as many."""
        last = len(self.data) - size
        if not len(at) or at.min() < 0 or at.max() > last:
            return np.zeros((0, size), np.uint8)
        windows = np.ndarray((last + 1,), f"V{size}", self.data, strides=(1,))
        return windows[at].view(np.uint8).reshape(len(at), size)


def _are(held: Array, form: bytes) -> bool:
    """Whether there are rows, and each is a form."""
    return len(held) > 0 and held.tobytes() == form * len(held)


def _without_escaped(block: bytes) -> bytes:
    r"""The block without `\\` and `\"`: each `"` begins or ends a text then, each `\` begins an escape."""
    if b"\\" not in block:
        return block
    return block.replace(rb"\\", b"\xff\xff").replace(rb"\"", b"\xff\xff")
