"""Texts and rows of request lines that are alike, found as bytes, a block of lines at a time."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from jupyter_batch.results.rows.lines import Array

_ID = b'{"custom_id":"'
_QUOTE, _ESCAPE, _U, _ZERO = b'"\\u0'
_MOST_DIGITS, _LARGEST_DIGIT = 10, 9
_POWERS = 10 ** np.arange(_MOST_DIGITS + 1, dtype=np.int64)
_LONGER = 2
"""Characters that an id may have more than the first one of its block."""


class Shape(NamedTuple):
    """The bytes around the text of most lines: from the id to the text, and from its end to the newline."""

    job: str
    before: bytes
    after: bytes


class ShapedLines:
    """The lines of a block. first, last: where each text is; last is 0 in a line of another shape.

    spans: the beginnings and ends of the lines.
    """

    def __init__(self, shape: Shape, block: bytes, spans: tuple[Array, Array]) -> None:
        self.data = np.frombuffer(block, np.uint8)
        self.begins, self.ends = spans
        clean = np.frombuffer(_without_escaped(block), np.uint8)
        self._escapes = np.flatnonzero(clean == _ESCAPE) if b"\\" in block else ()
        self._job = shape.job
        width = max(1, block.find(b'"', len(_ID)) - len(_ID) + 1 + _LONGER)
        ids, self._named = self._at(self.begins, len(_ID) + width)
        self._id_ends = self.begins + len(_ID) + (ids[:, len(_ID) :] == _QUOTE).argmax(axis=1)
        self._named &= _rows_equal(ids[:, : len(_ID)], _ID)
        self._named &= self._byte(self._id_ends) == _QUOTE
        self.first = self._id_ends + 1 + len(shape.before)
        end = self.ends - len(shape.after)
        like = self._named & (end >= self.first)
        like &= self._have(self._id_ends + 1, shape.before) & self._have(end, shape.after + b"\n")
        around = _without_escaped(_ID + b'"' + shape.before + shape.after).count(b'"')
        quote = clean == _QUOTE
        if not like.all() or np.count_nonzero(quote) != around * len(like):
            found = np.append(np.flatnonzero(quote), len(block))  # a text ends at a quote
            like &= found[np.minimum(np.searchsorted(found, self.first), len(found) - 1)] == end
        self.last = np.where(like, end, 0)

    def within(self, at: Array, size: int) -> Array:
        """Whether bytes at these places are in their line's text, and do not begin inside of an escape."""
        line = self.line_of(at)
        inside: Array = (at >= self.first[line]) & (at + size <= self.last[line])
        if len(self._escapes):
            before = self._escapes[np.maximum(np.searchsorted(self._escapes, at) - 1, 0)]
            end = before + np.where(self._byte(before + 1) == _U, 6, 2)
            inside &= (at < before) | (at >= end)
        return inside

    def line_of(self, at: Array) -> Array:
        """The number of the line of each place."""
        return np.searchsorted(self.ends, at)

    @cached_property
    def rows(self) -> Array:
        """Each line's row by its id; -1 where it is none of the job."""
        head = f"{self._job}-".encode()
        start = self.begins + len(_ID)
        size = self._id_ends - start - len(head)
        mine = self._named & self._have(start, head) & (size >= 1) & (size <= _MOST_DIGITS)
        width = int(size[mine].max(initial=1))
        held, there = self._at(start + len(head), width)
        digits, number = held.astype(np.int64) - _ZERO, np.arange(width)
        outside = number >= size[:, None]
        mine &= there & (((digits >= 0) & (digits <= _LARGEST_DIGIT)) | outside).all(axis=1)
        mine &= (size == 1) | (digits[:, 0] != 0)
        power = _POWERS[np.clip(size[:, None] - 1 - number, 0, _MOST_DIGITS)]
        return np.where(mine, np.where(outside, 0, digits * power).sum(axis=1), -1)

    def _byte(self, at: Array) -> Array:
        return self.data[np.minimum(at, len(self.data) - 1)]

    def _have(self, at: Array, form: bytes) -> Array:
        """Whether a form is at each of these places."""
        held, there = self._at(at, len(form))
        return there & _rows_equal(held, form)

    def _at(self, at: Array, size: int) -> tuple[Array, Array]:
        """The bytes from each of these places on, a row each, and whether there are as many."""
        there = (at >= 0) & (at + size <= len(self.data))
        if size > len(self.data):
            return np.zeros((len(at), size), np.uint8), there
        windows = np.ndarray((len(self.data) - size + 1,), f"V{size}", self.data, strides=(1,))
        return windows[np.where(there, at, 0)].view(np.uint8).reshape(len(at), size), there


def _rows_equal(held: Array, form: bytes) -> Array:
    if held.tobytes() == form * len(held):
        return np.ones(len(held), dtype=bool)
    equal: Array = (held == np.frombuffer(form, np.uint8)).all(axis=1)
    return equal


def _without_escaped(block: bytes) -> bytes:
    r"""The block without `\\` and `\"`: each `"` begins or ends a text then, each `\` begins an escape."""
    if b"\\" not in block:
        return block
    return block.replace(rb"\\", b"\xff\xff").replace(rb"\"", b"\xff\xff")
