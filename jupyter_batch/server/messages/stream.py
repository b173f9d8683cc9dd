"""A whole message as the server-sent events of Anthropic's streaming API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_PIECE = 16


def events(message: Mapping[str, Any]) -> Iterator[bytes]:
    """`message_start`, the content blocks in pieces, `message_delta`, `message_stop`."""
    usage = message["usage"]
    started = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield _event("message_start", message=started)
    for index, block in enumerate(message["content"]):
        yield from _block(index, block)
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence")}
    yield _event("message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
    yield _event("message_stop")


def _block(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    kind = block["type"]
    started = dict(block)
    if kind == "tool_use":
        delta, field, text = (
            "input_json_delta",
            "partial_json",
            msgspec.json.encode(block["input"]).decode(),
        )
        started["input"] = {}
    else:
        delta, field, text = f"{kind}_delta", kind, block[kind]
        started[kind] = ""
    yield _event("content_block_start", index=index, content_block=started)
    for start in range(0, len(text), _PIECE):
        piece = {"type": delta, field: text[start : start + _PIECE]}
        yield _event("content_block_delta", index=index, delta=piece)
    yield _event("content_block_stop", index=index)


def _event(kind: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
