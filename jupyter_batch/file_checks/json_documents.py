"""Result files that are one JSON document or multi-line objects, rewritten as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import orjson

from jupyter_batch.ledger.folder import written

MOST_BYTES = 1 << 28
"""Largest file that is read as a whole; a larger one stays unchanged."""
_HEAD = 1 << 16


def to_lines(path: Path) -> None:
    """Rewrite a file whose first line is no JSON object; invalid JSON stays unchanged."""
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    first, _, rest = head.partition(b"\n")
    is_array = head[:1] == b"["
    is_spread = head[:1] == b"{" and bool(rest) and not _is_object(first)
    if not (is_array or is_spread) or path.stat().st_size > MOST_BYTES:
        return
    try:
        objects = list(_objects(path.read_text("utf-8-sig")))
    except (ValueError, RecursionError):  # an error page, or cut off
        return
    if not all(isinstance(one, dict) and "custom_id" in one for one in objects):
        return
    with written(path) as out:
        for one in objects:
            out.write(orjson.dumps(one) + b"\n")


def _is_object(line: bytes) -> bool:
    return len(line) >= _HEAD - 4 or line.rstrip().endswith(b"}")


def _objects(text: str) -> Iterator[object]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found, at = decoder.raw_decode(text, at)
        if isinstance(found, list):
            yield from found
        else:
            yield found
