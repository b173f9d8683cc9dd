"""Detection of image and PDF data from its first bytes, with an image's size; answers that are media.

No image is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "pdf": "application/pdf",
}
"""Media types by kind: the images that OpenAI, Anthropic and Google accept (vision guides), PDF."""

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of frames, which hold the size (ITU T.81, table B.1)."""
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length field."""


def kind_of(data: bytes) -> str | None:
    """Return the kind, a key of TYPES; None for other data."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def pixels_of(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from an image's header; None where it has none."""
    sizes = {"png": _png, "jpeg": _jpeg, "gif": _gif, "webp": _webp}
    read = sizes.get(kind_of(data) or "")
    try:
        found = None if read is None else read(data)
    except IndexError:  # truncated data
        return None
    return found if found is not None and all(found) else None


def _big(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], "big")


def _little(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], "little")


def _png(data: bytes) -> tuple[int, int]:
    return _big(data, 16, 4), _big(data, 20, 4)


def _gif(data: bytes) -> tuple[int, int]:
    return _little(data, 6, 2), _little(data, 8, 2)


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:  # noqa: PLR2004 - the start of a marker
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
        else:
            at += 2 if marker in _JPEG_BARE else 2 + max(2, _big(data, at + 2, 2))
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if form == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return None


def text_in(body: Mapping[str, Any]) -> str | None:
    """The answer in generated images (addresses or contents), OCR (texts of pages) or a moderation (JSON).

    None for other answers.
    """
    results = body.get("results")
    if isinstance(results, list) and results:
        return msgspec.json.encode(results[0] if len(results) == 1 else results).decode()
    items = body.get("data") or body.get("pages")
    items = items if isinstance(items, list) else []
    known = [item for item in items if isinstance(item, dict)]
    texts = [item.get("url") or item.get("b64_json") or item.get("markdown") for item in known]
    whole = len(texts) == len(items) and all(isinstance(text, str) for text in texts)
    return "\n\n".join(map(str, texts)) if texts and whole else None
