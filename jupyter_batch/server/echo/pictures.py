"""Descriptions of pictures and files by the echo model, from their headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.media import kind_of, pixels_of

_CHARS = 200


def seen(part: Mapping[str, Any]) -> str:
    """A line for a part of a message's content: `[image png 64x48]`, `[image https://...]`, `[file a.pdf pdf]`."""
    kind = part.get("type")
    if kind == "image_url":
        held = part.get("image_url")
        return f"[image {_what(held.get('url') if isinstance(held, Mapping) else held)}]"
    if kind == "file":
        held = part.get("file")
        held = held if isinstance(held, Mapping) else {}
        named = held.get("filename") or held.get("file_id")
        return (
            "["
            + " ".join(
                filter(None, ["file", named and str(named)[:_CHARS], _what(held.get("file_data"))])
            )
            + "]"
        )
    return ""


def _what(url: Any) -> str:
    if not isinstance(url, str) or not url.startswith("data:"):
        return str(url or "")[:_CHARS]
    try:
        data = base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        return "that is no base64"
    pixels = pixels_of(data)
    return (kind_of(data) or "of no known kind") + (f" {pixels[0]}x{pixels[1]}" if pixels else "")
