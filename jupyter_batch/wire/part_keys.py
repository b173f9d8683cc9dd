"""Checks for misspelled, missing or unknown keys of message parts in OpenAI's chat format.

A server refuses such a part in each row, hours later, or answers without its image. No network.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_batch.wire.whole import Refused

# Source: OpenAI API reference, create chat completion, content parts; `format` is litellm's, for Gemini.
_FIELDS: Mapping[str, frozenset[str]] = {
    "image_url": frozenset({"url", "detail", "format", "file_id"}),
    "input_audio": frozenset({"data", "format"}),
    "file": frozenset({"file_id", "file_data", "file_url", "filename", "format"}),
    "video_url": frozenset({"url", "detail", "format"}),
    "audio_url": frozenset({"url", "format"}),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "image_url": ("url", "file_id"),
    "input_audio": ("data",),
    "file": ("file_id", "file_data", "file_url"),
    "video_url": ("url",),
    "audio_url": ("url",),
}
_AROUND = frozenset({"type", "cache_control"})
_CLOSE = 0.75


def check_part(part: Mapping[str, Any], path: str, *, strict: bool = False) -> None:
    """Raise Refused for a part without its content, or with a misspelled key.

    strict: refuse any key unknown to OpenAI; compatible servers may have keys of their own.
    """
    kind = str(part.get("type"))
    _check_keys(part, _AROUND | {kind}, path, strict=strict)
    held = part.get(kind)
    if kind not in _FIELDS:
        return
    if isinstance(held, Mapping):
        _check_keys(held, _FIELDS[kind], f"{path}.{kind}", strict=strict)
        if not any(held.get(name) for name in _NEEDED[kind]):
            raise Refused(f"{path}.{kind} has no {' or '.join(map(repr, _NEEDED[kind]))}: give it")
    elif not held:
        raise Refused(f"{path} is of the type {kind!r} and has no {kind!r}: give it")


def _check_keys(held: Mapping[str, Any], known: frozenset[str], path: str, *, strict: bool) -> None:
    for key in held:
        if key in known:
            continue
        near = difflib.get_close_matches(str(key), sorted(known - held.keys()), n=1, cutoff=_CLOSE)
        if near:
            raise Refused(f"{path} has the key {key!r}; did you mean {near[0]!r}?")
        if strict:
            raise Refused(
                f"{path} has the key {key!r}, which OpenAI does not take; known are {', '.join(sorted(known))}"
            )


def check_parts(messages: Any) -> None:
    """Raise Refused for a message part with a key that OpenAI does not take."""
    for path, part in parts_in(messages):
        if part.get("type") in _FIELDS or part.get("type") == "text":
            check_part(part, path, strict=True)


def parts_in(messages: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, part) of each part of messages in chat form."""
    for at, message in enumerate(messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        for n, part in enumerate(content if isinstance(content, list | tuple) else ()):
            if isinstance(part, Mapping):
                yield f"messages[{at}].content[{n}]", part


def refuse_files(messages: Any) -> None:
    """Refuse a file by address, which litellm would fetch during encoding. Raises Refused."""
    for _, part in parts_in(messages):
        held = part.get("file")
        name = held.get("file_id") if isinstance(held, Mapping) else None
        if isinstance(name, str) and name.startswith(("http://", "https://", "www.")):
            raise Refused(
                f"{name[:100]}: a file's address can't be handed on: give the file itself (for images= its "
                "path, in a message a data: URL)"
            )
