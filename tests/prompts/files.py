"""Pictures and files made by hand, so that no library has to agree with us about them; and what a job sent."""

from __future__ import annotations

import json
import struct
import zlib

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
GIF = (
    b"GIF89a"
    + struct.pack("<HH", 7, 5)
    + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x07\0\x05\0\0\x02\x05\x84\x8f\xa9\xcb]\0;"
)
JPEG = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"  # noqa: ISC003
    + b"\xff\xc0\0\x11\x08"
    + struct.pack(">HH", 9, 31)
    + b"\x03\x01\x11\0\x02\x11\1\x03\x11\1\xff\xd9"
)
WEBP = (
    b"RIFF\x2a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
    + (19).to_bytes(3, "little")
    + (11).to_bytes(3, "little")
    + b"\0" * 8
)


def png(width: int, height: int, shade: int = 128) -> bytes:
    """A PNG of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress((b"\0" + bytes([shade]) * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def sent(job) -> list[list[dict]]:
    """The messages of each request that the job sent, in the rows' order."""
    found = []
    for path in sorted(job._folder.path.glob("requests-*.jsonl")) or [job._folder.requests(0)]:
        found += [json.loads(line)["body"]["messages"] for line in path.read_text().splitlines()]
    return found
