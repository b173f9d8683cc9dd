"""A text as bytes whose letters have one case, and its places in other bytes."""

from __future__ import annotations

import json

import numpy as np

from jupyter_batch.results.rows.lines import Array

FOLD = 0x20
"""This bit set, letters of ASCII, Latin-1 and most of Greek and Cyrillic have one case in UTF-8."""
FEW = 16
"""Places in a block that are found one by one, in less time than arrays of all its bytes take."""
_COMMON = b"zqxjkvbpygfwmucldrhsnioate "
"""Letters of English texts, the rarest first; other bytes are taken for rarer."""
_SPARSE = 64
"""Bytes of a block to a place: as soon as there are fewer places, the bytes left are compared there alone."""


class Exact:
    """The bytes of a text in UTF-8 by case, to confirm places of its folded bytes without decoding."""

    def __init__(self, text: str) -> None:
        same = [one for one in variants(text) if one.casefold() == text.casefold()]
        self._checks = [(folded(raw(one)), _checks(one)) for one in same]

    def confirmed(self, data: Array, at: Array, form: bytes) -> Array:
        """Whether the text is surely at each place of a folded form of it."""
        sure = np.zeros(len(at), dtype=bool)
        for own, checks in self._checks:
            if own == form:
                sure |= _all_equal(data, at, checks)
        return sure


def _checks(text: str) -> list[tuple[int, list[bytes]]]:
    """(offset, encodings in each case) of the characters that their folded bytes do not tell apart."""
    found, offset = [], 0
    for character in text:
        size = len(raw(character))
        if not (character.isascii() and character.isalpha()):
            cases = {
                raw(one)
                for one in variants(character)
                if one.casefold() == character.casefold() and len(raw(one)) == size
            }
            found.append((offset, sorted(cases)))
        offset += size
    return found


def _all_equal(data: Array, at: Array, checks: list[tuple[int, list[bytes]]]) -> Array:
    equal = np.ones(len(at), dtype=bool)
    for offset, cases in checks:
        one = np.zeros(len(at), dtype=bool)
        for case in cases:
            this = np.ones(len(at), dtype=bool)
            for number, byte in enumerate(case, offset):
                this &= data[at + number] == byte
            one |= this
        equal &= one
    return equal


def places(data: bytes | bytearray, form: bytes, end: int) -> Array:
    """Where a form begins in bytes before `end`."""
    found: list[int] = []
    at = data.find(form, 0, end)
    while at >= 0 and len(found) <= FEW:
        found.append(at)
        at = data.find(form, at + 1, end)
    if at < 0:
        return np.array(found, dtype=np.int64)
    held, end = np.frombuffer(data, np.uint8), end - len(form) + 1
    rarest = sorted(range(len(form)), key=lambda number: _COMMON.find(form[number : number + 1]))
    same = held[rarest[0] : end + rarest[0]] == form[rarest[0]]
    compared = 1
    while compared < len(form) and np.count_nonzero(same) * _SPARSE > end:
        number = rarest[compared]
        same &= held[number : end + number] == form[number]
        compared += 1
    places = np.flatnonzero(same)
    for number in rarest[compared:]:
        places = places[held[places + number] == form[number]]
    return places


def folded(data: bytes | memoryview) -> bytes:
    """The bytes with `FOLD` set in each."""
    return (np.frombuffer(data, np.uint8) | FOLD).tobytes()


def variants(text: str) -> set[str]:
    """A text as it is, and in each case."""
    return {text, text.lower(), text.upper(), text.casefold()}


def forms(text: str) -> list[bytes]:
    """The folded bytes of a text in JSON: as UTF-8, and with escapes for what is not ASCII."""
    found = set()
    for variant in variants(text):
        for ascii_only in (False, True):
            plain = json.dumps(variant, ensure_ascii=ascii_only)[1:-1]
            found |= {plain, plain.replace("/", "\\/")}
    return sorted(set(map(folded, map(raw, found))))


def raw(text: str) -> bytes:
    """A text as UTF-8, half characters too."""
    return text.encode("utf-8", "surrogatepass")
