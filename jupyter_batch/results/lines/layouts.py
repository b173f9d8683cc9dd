"""The bytes of result lines around their texts, in the layouts that they have with values of certain widths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

WORD, DIGITS = "word", "digits"
"""Kinds of values that are not read. Those of any other kind are numbers of up to 8 digits."""
_LEAST, _MOST = ord("-"), 0x7F
"""Words have no byte below or above these, and no backslash."""
_WORDS, _NUMBERS, _UNREAD = rb"([-.-\[\]-\x7f]*)", rb"(0|[1-9]\d{0,7})", rb"(0|[1-9]\d{0,14})"
_BACKSLASH, _ZERO, _NINE = *b"\\0", 9
PROBE = 8
"""Bytes next to the text by which lines of a layout are found among others."""
_MOST_LAYOUTS = 64  # of a side
_ZEROS = np.uint64(0x3030303030303030)
_PAIRS, _FOURS, _EIGHTS = map(np.uint64, (10 * 2**8 + 1, 100 * 2**16 + 1, 10**4 * 2**32 + 1))


class _Layout:
    """A side of a shape with values of certain widths: the least byte at each place, and the range above it.

    probe: the bytes next to the text. ends, digits: of each number that is read.
    """

    def __init__(self, found: re.Match[bytes], kinds: list[str], *, is_head: bool) -> None:
        side, first = found[0], found.start()
        self._is_head, self.size = is_head, len(side)
        self._probe = np.frombuffer(side[-PROBE:] if is_head else side[:PROBE], "<u8")[0]
        self._least = np.frombuffer(side, dtype=np.uint8).copy()
        self._range = np.zeros(len(side), dtype=np.uint8)
        self.ends, self.digits = list[int](), list[int]()
        for group, kind in enumerate(kinds, 1):
            start, end = found.start(group) - first, found.end(group) - first
            is_word = kind == WORD
            self._least[start:end] = _LEAST if is_word else _ZERO
            self._range[start:end] = _MOST - _LEAST if is_word else _NINE
            if not is_word and end - start > 1:  # no zero leads
                self._least[start] += 1
                self._range[start] -= 1
            if kind not in (WORD, DIGITS):
                self.ends.append(end if is_head else end - len(side))
                self.digits.append(end - start)

    def fits(self, data: Array, edges: Array, *, probed: bool) -> Array:
        """Whether the bytes after, or before, each of the edges are so. probed: most are not.

        They have no newline, and so are of one line.
        """
        last = len(data) - self.size
        found = np.zeros(len(edges), dtype=bool)
        if last < 0:
            return found
        at = edges if self._is_head else edges - self.size
        some: Array | slice = slice(None)
        if at[0] < 0 or at[-1] > last:
            some = np.flatnonzero((at >= 0) & (at <= last))
            at = at[some]
        if probed:
            words: Array = np.ndarray((len(data) - PROBE + 1,), "<u8", data, 0, (1,))
            near = at + (self.size - PROBE if self._is_head else 0)
            probe = np.flatnonzero(words[near] == self._probe)
            at, some = at[probe], probe if isinstance(some, slice) else some[probe]
        sides: Array = np.ndarray((last + 1,), f"V{self.size}", data, 0, (1,))
        seen = sides[at].view(np.uint8).reshape(len(at), self.size)
        others = seen - self._least > self._range
        found[some] = ~others.any(axis=1) if others.any() else True
        if b"\\" in seen.tobytes():
            found[some] &= (seen != _BACKSLASH).all(axis=1)
        return found


class Side:
    """The bytes of a shape's lines before, or after, their texts, in the layouts found so far."""

    def __init__(self, side: bytes, values: list[tuple[int, int, str]], *, is_head: bool) -> None:
        self._is_head = is_head
        self._kinds = [kind for *_, kind in values]
        self.read = [kind for kind in self._kinds if kind not in (WORD, DIGITS)]
        parts, last = list[bytes](), 0
        for start, end, kind in values:
            form = {WORD: _WORDS, DIGITS: _UNREAD}.get(kind, _NUMBERS)
            parts += [re.escape(side[last:start]), form]
            last = end
        whole = b"".join([*parts, re.escape(side[last:])])
        self._form = re.compile(whole if is_head else whole + rb"\Z")
        self._layouts: dict[tuple[int, ...], _Layout] = {}

    def find(self, line: bytes) -> re.Match[bytes] | None:
        """This side in a line of the shape."""
        return self._form.match(line) if self._is_head else self._form.search(line)

    def learn(self, found: re.Match[bytes]) -> bool:
        """Add the layout of a line; return whether it is a new one."""
        widths = tuple(map(len, found.groups()))
        if widths in self._layouts or len(self._layouts) >= _MOST_LAYOUTS:
            return False
        self._layouts[widths] = _Layout(found, self._kinds, is_head=self._is_head)
        self.sizes = np.array([one.size for one in self._layouts.values()])
        self.ends = np.array([one.ends for one in self._layouts.values()], np.int64).T
        self.digits = np.array([one.digits for one in self._layouts.values()], np.int64).T
        return True

    def sort(self, data: Array, edges: Array) -> Array:
        """The number of the layout that each line has, by its start or its end; -1 for none."""
        found = np.full(len(edges), -1, dtype=np.int64)
        left = np.arange(len(edges))
        for number, layout in enumerate(self._layouts.values()):
            fits = layout.fits(data, edges[left], probed=len(self._layouts) > 1)
            found[left[fits]] = number
            left = left[~fits]
            if not len(left):
                break
        return found


def numbers_at(data: Array, ends: Array, digits: Array) -> Array:
    """The numbers of 1 to 8 digits that end at these offsets, the eight bytes of each as one integer."""
    words: Array = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
    others = (64 - 8 * digits).astype(np.uint64)  # bits before the number, which are the lower ones
    held = ((words[ends - 8] ^ _ZEROS) >> others) << others
    held = (held * _PAIRS >> 8) & 0x00FF00FF00FF00FF
    held = (held * _FOURS >> 16) & 0x0000FFFF0000FFFF
    found: Array = (held * _EIGHTS >> 32).astype(np.int64)
    return found
