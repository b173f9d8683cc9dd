"""Bounds on every input from outside: bytes, lines, nesting, widths and time. Each one is far above what is honest.

A provider's own limits on what is sent (requests and bytes of a batch file) are its record's; these guard the memory,
the disk and the time of this process against an answer or a template that never ends.
"""

from __future__ import annotations

import re

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

BODY_BYTES = 32 * MIB
"""An answer that is held in memory (an object, a page of a list, an answer in real time), after decompression.

The largest honest one is a page of embeddings or an answer with generated pictures, some ten megabytes."""
ERROR_BYTES = 1 * MIB
"""The beginning of an answer with an error status; the rest is not read."""
FILE_BYTES = 64 * GIB
"""A result file on its way to the disk, after decompression: 50,000 answers of a megabyte."""
LINE_BYTES = 32 * MIB
"""A line of a result file, that is one answer. What is longer is replaced by an error for its row."""
LINE_HEAD_BYTES = 64 * KIB
"""The beginning of a line that is too long, which is searched for its row's id."""
PIECE_BYTES = 1 * MIB
"""The most that is decompressed in one go."""

FIELD_WIDTH = 100_000
"""Width and precision of a format in a template, and the count of a repetition or padding in Jinja, in characters."""
TEXT_CHARS = 32 * MIB
"""A rendered text. No provider takes a request that is as long."""
LOOP_STEPS = 1_000_000
"""Pieces of text that one row of a Jinja template may produce."""

_NUMBERS = re.compile(r"\d+")


def is_too_wide(spec: str) -> bool:
    """Whether a format asks for a width or precision above FIELD_WIDTH."""
    return any(int(number[:9]) > FIELD_WIDTH for number in _NUMBERS.findall(spec))
