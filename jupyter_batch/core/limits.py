"""Bounds on every input from outside: bytes, lines, nesting, widths and time.

Each is far above legitimate use. A provider's limits on requests and batch files are in its record;
these protect this process's memory, disk and time from endless answers and templates.
"""

from __future__ import annotations

import re

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

BODY_BYTES = 32 * MIB
"""A response held in memory (an object, a list page, a realtime answer), after decompression.

The largest legitimate one is a page of embeddings or generated images, about ten megabytes."""
ERROR_BYTES = 1 * MIB
"""The part of an error response that is read."""
FILE_BYTES = 64 * GIB
"""A result file downloaded to disk, after decompression: 50,000 answers of a megabyte."""
LINE_BYTES = 32 * MIB
"""A line (one answer) of a result file. A longer one is replaced by an error for its row."""
LINE_HEAD_BYTES = 64 * KIB
"""The beginning of an overlong line that is searched for its row's id."""
PIECE_BYTES = 1 * MIB
"""The most that is decompressed in one step."""

FIELD_WIDTH = 100_000
"""Width and precision of a template's format, and Jinja repetition or padding, in characters."""
TEXT_CHARS = 32 * MIB
"""A rendered text. No provider accepts a request of this length."""
LOOP_STEPS = 1_000_000
"""Pieces of text that a Jinja template may produce for a row."""

_NUMBERS = re.compile(r"\d+")


def is_too_wide(spec: str) -> bool:
    """Whether a format specifies a width or precision above FIELD_WIDTH."""
    return any(int(number[:9]) > FIELD_WIDTH for number in _NUMBERS.findall(spec))
