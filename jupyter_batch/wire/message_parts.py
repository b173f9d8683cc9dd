"""Message parts in the formats of Anthropic, Gemini and OpenAI's Responses -> OpenAI's chat format.

All translations take that format. A part of unknown type is refused: otherwise it would be
omitted silently, or refused row by row a day later. No network.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.wire.part_keys import check_part
from jupyter_batch.wire.whole import Refused

KNOWN = frozenset({"text", "image_url", "input_audio", "file", "refusal", "video_url", "audio_url"})
"""Types of parts in OpenAI's chat API and compatible servers."""
_TEXTS = frozenset({"input_text", "output_text"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_OTHERS = ("image", "document", "tool_use", "tool_result", "input_image", "input_file")


def in_chat_form(messages: Any) -> Any:
    """Convert messages to OpenAI's chat format; return the same object if in it. Raises Refused."""
    if not isinstance(messages, list):
        return messages
    made: list[Any] = []
    for at, message in enumerate(messages):
        made += _message(message, f"messages[{at}]")
    return messages if made == messages else made


def _message(message: Any, path: str) -> list[Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list | tuple):
        return [message]
    content, calls, results, thoughts = _sorted_parts(message["content"], path)
    if not (results or calls or thoughts):
        return [{**message, "content": content}]
    rest = {key: value for key, value in message.items() if key != "content"}
    if calls:
        rest["tool_calls"] = [*(message.get("tool_calls") or []), *calls]
    if thoughts:
        rest["thinking_blocks"] = thoughts
    if not content and not (calls or thoughts):
        return results
    return [*results, {**rest, "content": content or None}]


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = orjson.dumps(part.get("input") or {}).decode()
    function = {"name": part.get("name"), "arguments": arguments}
    return {"id": part.get("id"), "type": "function", "function": function}


def _result(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    if part.get("is_error"):
        raise Refused(
            f"{path}: is_error has no place in a tool's message: say it in the result's text"
        )
    held = part.get("content")
    parts = held if isinstance(held, list | tuple) else None
    content = held if parts is None else [_part(one, path) for one in parts]
    return {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": content or ""}


def _gemini_part(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert Gemini's part, which has no type; None for another one."""
    inline = part.get("inline_data") or part.get("inlineData")
    if isinstance(inline, Mapping):
        media = inline.get("mime_type") or inline.get("mimeType")
        return _file(f"data:{media};base64,{inline.get('data')}", str(media))
    if part.get("type") is None and isinstance(part.get("text"), str):
        return {"type": "text", **part}
    return None


def _part(part: Any, path: str) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise Refused(
            f"{path} is a {type(part).__name__}: a part of a message is a dict with a type"
        )
    kind = part.get("type")
    if kind in KNOWN:
        check_part(part, path)
        return part
    if (gemini := _gemini_part(part)) is not None:
        return gemini
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image":
        return _input_image(part, path)
    if kind == "input_file":
        held = {key: value for key, value in part.items() if key != "type"}
        return {"type": "file", "file": held}
    if kind in ("image", "document"):
        return _source(part, path)
    near = difflib.get_close_matches(str(kind), [*KNOWN, *_OTHERS], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(KNOWN))}"
    raise Refused(f"{path} has the type {kind!r}, which nobody reads; {hint}")


def _input_image(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert the Responses API's image."""
    if not isinstance(part.get("image_url"), str):
        raise Refused(f"{path}: an input_image is read by its image_url, an address or a data: URL")
    lost = set(part) - {"type", "image_url", "detail"}
    if lost:
        raise Refused(f"{path}: {min(lost)!r} of an input_image has no place in a request")
    detail = {"detail": part["detail"]} if part.get("detail") else {}
    return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}


def _sorted_parts(
    parts: Sequence[Any], path: str
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """(content, tool calls, tool results, thoughts) of a message in Anthropic's or OpenAI's form."""
    content: list[Any] = []
    calls: list[Any] = []
    results: list[Any] = []
    thoughts: list[Any] = []
    for at, part in enumerate(parts):
        where = f"{path}.content[{at}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_use":
            calls.append(_call(part))
        elif kind == "tool_result":
            results.append(_result(part, where))
        elif kind in _THOUGHTS:
            thoughts.append(part)
        else:
            content.append(_part(part, where))
    return content, calls, results, thoughts


def _source(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert Anthropic's image or document."""
    source = part.get("source")
    source = source if isinstance(source, Mapping) else {}
    kind, media = source.get("type"), str(source.get("media_type") or "")
    more = {key: part[key] for key in ("cache_control",) if key in part}
    lost = set(part) - {"type", "source", "cache_control"}
    if lost:
        raise Refused(
            f"{path}: {min(lost)!r} of a {part['type']} has no place in a request: leave it out"
        )
    is_image = part["type"] == "image"
    if kind == "base64" and source.get("data"):
        return {**_file(f"data:{media};base64,{source['data']}", media), **more}
    if kind == "url":
        url = source.get("url")
        if is_image:
            return {"type": "image_url", "image_url": {"url": url}, **more}
        return {"type": "file", "file": {"file_id": url}, **more}
    if kind == "file":
        # Without a format litellm passes an id to Anthropic's code execution, not to the model.
        form = media or ("image/png" if is_image else "application/pdf")
        return {"type": "file", "file": {"file_id": source.get("file_id"), "format": form}, **more}
    if kind == "text" and source.get("data"):
        return {"type": "text", "text": source["data"], **more}
    raise Refused(f"{path}: a source of the type {kind!r} can't be read; give base64, url or file")


def _file(url: str, media: str) -> dict[str, Any]:
    if media.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if media.startswith("audio/"):
        data, form = url.partition(";base64,")[2], media.partition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    return {"type": "file", "file": {"file_data": url}}


def all_in_chat_form(rows: Sequence[Any]) -> list[Any]:
    """Convert the messages of each row; an unreadable row is a RowError."""
    from jupyter_batch.templates.values import RowError

    made: list[Any] = []
    for messages in rows:
        try:
            made.append(in_chat_form(messages))
        except Refused as e:
            made.append(RowError(str(e)))
    return made
