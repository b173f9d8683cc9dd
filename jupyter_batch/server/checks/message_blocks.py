"""Checks of `system` and `messages`: roles, content blocks, tool calls and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ROLES = ("user", "assistant", "system")
_BLOCKS = {
    "user": ("document", "image", "text", "tool_result"),
    "assistant": ("redacted_thinking", "text", "thinking", "tool_use"),
    "system": ("text",),
    "tool_result": ("document", "image", "text"),
    "document": ("image", "text"),
}
"""The content blocks that each place may hold."""
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_SOURCES: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "image": {"base64": (("data", "media_type"), _IMAGES), "url": (("url",), ())},
    "document": {
        "base64": (("data", "media_type"), ("application/pdf",)),
        "text": (("data", "media_type"), ("text/plain",)),
        "url": (("url",), ()),
        "content": ((), ()),
    },
}
"""By block and source type: the texts that it must have, and its media types."""


def is_text(value: object) -> bool:
    """Whether a value is a string with something in it."""
    return isinstance(value, str) and bool(value)


def system_problems(system: Any) -> Iterator[str]:
    """The problems of the system prompt."""
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        yield "system: Input should be a valid string or list"
        return
    for place, block in enumerate(system):
        yield from _block_problems(f"system.{place}", block, _BLOCKS["system"])


def turn_problems(messages: Any) -> Iterator[str]:
    """The problems of the conversation."""
    if not isinstance(messages, list):
        yield "messages: Input should be a valid list"
        return
    if not messages:
        yield "messages: at least one message is required"
        return
    for place, message in enumerate(messages):
        yield from _message_problems(f"messages.{place}", message)
    yield from _pairing_problems(messages)
    if messages[-1]["role"] == "assistant" and _ends_in_space(messages[-1]["content"]):
        yield "messages: final assistant content cannot end with trailing whitespace"


def _message_problems(where: str, message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"{where}: Input should be a valid dictionary"
        return
    role, content = message.get("role"), message.get("content")
    if role is None:
        yield f"{where}.role: Field required"
    elif role not in _ROLES:
        yield (
            f'{where}.role: Unexpected role "{role}". Allowed roles are "user", "assistant" or '
            '"system".'
        )
    if content is None:
        yield f"{where}.content: Field required"
    elif content in ("", []) and role != "assistant":
        yield f"{where}: all messages must have non-empty content"
    elif isinstance(content, str):
        return
    elif isinstance(content, list) and isinstance(role, str):
        for place, block in enumerate(content):
            yield from _block_problems(f"{where}.content.{place}", block, _BLOCKS[role])
    else:
        yield f"{where}.content: Input should be a valid string or list"


def _block_problems(where: str, block: Any, kinds: Sequence[str]) -> Iterator[str]:
    if not isinstance(block, dict):
        yield f"{where}: Input should be a valid dictionary"
        return
    kind = block.get("type")
    if kind not in kinds:
        quoted = ", ".join(f"'{one}'" for one in kinds)
        yield (
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected "
            f"tags: {quoted}"
        )
    elif kind == "text":
        if not isinstance(block.get("text"), str):
            yield f"{where}.text.text: Field required"
        elif not block["text"]:
            yield "messages: text content blocks must be non-empty"
    elif kind in _SOURCES:
        for field in ("title", "context"):
            if not isinstance(block.get(field) or "", str):
                yield f"{where}.{kind}.{field}: Input should be a valid string"
        yield from _source_problems(f"{where}.{kind}.source", block.get("source"), kind)
    elif kind == "tool_use":
        yield from _tool_use_problems(f"{where}.tool_use", block)
    elif kind == "tool_result":
        yield from _tool_result_problems(f"{where}.tool_result", block)


def _source_problems(where: str, source: Any, block: str) -> Iterator[str]:
    if not isinstance(source, dict):
        yield f"{where}: Field required"
        return
    kind = source.get("type")
    if not is_text(kind) or kind not in _SOURCES[block]:
        quoted = ", ".join(f"'{one}'" for one in _SOURCES[block])
        yield (
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the tags that "
            f"this server supports: {quoted}"
        )
        return
    fields, media_types = _SOURCES[block][kind]
    for field in fields:
        if not is_text(source.get(field)):
            yield f"{where}.{kind}.{field}: Field required"
    if media_types and source.get("media_type") not in media_types:
        quoted = ", ".join(f"'{one}'" for one in media_types)
        yield f"{where}.{kind}.media_type: Input should be one of {quoted}"
    if kind == "content":
        yield from _content_problems(f"{where}.content", source.get("content"), "document")


def _content_problems(where: str, content: Any, place: str) -> Iterator[str]:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        yield f"{where}: Input should be a valid string or list"
        return
    for index, block in enumerate(content):
        yield from _block_problems(f"{where}.{index}", block, _BLOCKS[place])


def _tool_use_problems(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    for field in ("id", "name"):
        if not is_text(block.get(field)):
            yield f"{where}.{field}: Field required"
    if not isinstance(block.get("input"), dict):
        yield f"{where}.input: Input should be a valid dictionary"


def _tool_result_problems(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    if not is_text(block.get("tool_use_id")):
        yield f"{where}.tool_use_id: Field required"
    if block.get("content") is not None:
        yield from _content_problems(f"{where}.content", block["content"], "tool_result")


def _pairing_problems(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each tool call has its result in the next message, and no result lacks its call."""
    called: list[str] = []
    for place, message in enumerate(messages):
        answered = _ids(message, "tool_result", "tool_use_id")
        for tool_id in answered:
            if tool_id not in called:
                yield (
                    f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{tool_id}. Each `tool_result` block must have a corresponding `tool_use` "
                    "block in the previous message."
                )
        missing = [tool_id for tool_id in called if tool_id not in answered]
        if missing:
            yield _unanswered(place - 1, missing)
        called = _ids(message, "tool_use", "id")
    if called:
        yield _unanswered(len(messages) - 1, called)


def _unanswered(place: int, ids: Sequence[str]) -> str:
    return (
        f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message."
    )


def _ids(message: Mapping[str, Any], kind: str, field: str) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return []
    return [block[field] for block in content if block["type"] == kind]


def _ends_in_space(content: Any) -> bool:
    if isinstance(content, str):
        return content != content.rstrip()
    text = content[-1].get("text", "") if content else ""
    return bool(text != text.rstrip())
