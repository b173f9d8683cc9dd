"""A bound on the nesting of JSON, checked without parsing: parsers' own limits differ."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jupyter_batch.server.errors import ApiError, bad_request

MOST_NESTED = 128
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_OPENING = frozenset({b"[", b"{"})


def is_too_deep(raw: bytes | bytearray) -> bool:
    """Whether a JSON text is nested deeper than `MOST_NESTED`. Texts with few brackets are not looked at."""
    if raw.count(b"[") + raw.count(b"{") <= MOST_NESTED:
        return False
    return next(_deep_spans(raw), None) is not None


def pruned(raw: bytes) -> bytes:
    """The JSON text with null for each container that lies too deep."""
    kept: list[bytes] = []
    at = 0
    for start, end in _deep_spans(raw):
        kept.extend((raw[at:start], b"null"))
        at = end
    return b"".join((*kept, raw[at:]))


def too_deep(line: int | None = None) -> ApiError:
    """The refusal. line: which line of the input file, counted from 1."""
    where = "The request's body" if line is None else f"Line {line} of the input file"
    return bad_request(f"{where} is nested deeper than {MOST_NESTED} levels.", param="body")


def _deep_spans(raw: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(start, end) of each container that lies one level too deep."""
    depth = start = 0
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in _OPENING:
            depth += 1
            if depth == MOST_NESTED + 1:
                start = match.start()
        elif token in (b"]", b"}"):
            if depth == MOST_NESTED + 1:
                yield start, match.end()
            depth -= 1
    if depth > MOST_NESTED:
        yield start, len(raw)
