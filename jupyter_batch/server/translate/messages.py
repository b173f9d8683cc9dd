"""Translation of a Messages request to a chat request, and of its answer to a message.

Dropped, because they have no meaning for a model that speaks chat: `cache_control`, `service_tier`, `thinking` blocks
of earlier turns. Whatever else cannot be translated is refused by `server/checks/message_request.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from jupyter_batch.server.echo import model as echo

_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = ((10_000, "high"), (5_000, "medium"), (0, "low"))
"""`reasoning_effort` by the least `budget_tokens`, as litellm translates them."""
_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def chat_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request. The body was checked before (server/checks/message_request.py)."""
    asked = {name: body[name] for name in _SAME if body.get(name) is not None}
    asked["messages"] = list(_messages(body))
    if body.get("stop_sequences"):
        asked["stop"] = body["stop_sequences"]
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None:
        asked["user"] = user
    effort = _effort(body)
    if effort is not None:
        asked["reasoning_effort"] = effort
    form = _format(body)
    if form is not None:
        schema = {"name": "output", "schema": form["schema"], "strict": True}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    if body.get("tools"):
        asked["tools"] = [_tool(tool) for tool in body["tools"]]
        asked.update(_tool_choice(body.get("tool_choice") or {"type": "auto"}))
    return asked


def input_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of a request's prompt and tools, by echo's rule."""
    asked = chat_of(body)
    texts = [echo.text_of(message.get("content")) for message in asked["messages"]]
    if asked.get("tools"):
        texts.append(msgspec.json.encode(asked["tools"]).decode())
    return sum(map(echo.tokens, texts))


def _format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The output format; the beta's name of the field was `output_format`."""
    return (body.get("output_config") or {}).get("format") or body.get("output_format")


def _effort(body: Mapping[str, Any]) -> str | None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        return next(effort for least, effort in _EFFORTS if thinking["budget_tokens"] >= least)
    effort: str | None = (body.get("output_config") or {}).get("effort")
    return effort


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: tool[name] for name in ("name", "description", "strict") if name in tool}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}


def _tool_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if choice["type"] == "tool":
        asked["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    else:
        asked["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        asked["parallel_tool_calls"] = False
    return asked


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("system"):
        yield {"role": "system", "content": _plain_text(body["system"])}
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "assistant":
            yield _assistant(blocks)
        elif message["role"] == "system":
            yield {"role": "system", "content": _plain_text(blocks)}
        else:
            yield from _user(blocks)


def _plain_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _assistant(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    if calls:
        message["tool_calls"] = calls
    elif not text:
        message["content"] = ""
    return message


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block["input"]).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def _user(blocks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tool messages first, then what else the user's turn holds.

    A tool message holds text only, so images in a tool result move to the user message behind it.
    """
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] != "tool_result":
            parts += _parts(block)
            continue
        content = block.get("content") or ""
        if not isinstance(content, str):
            parts += [part for one in content if one["type"] != "text" for part in _parts(one)]
        text = _plain_text(content)
        if block.get("is_error"):
            text = f"Error: {text}"
        yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}
    if len(parts) == 1 and parts[0]["type"] == "text":
        yield {"role": "user", "content": parts[0]["text"]}
    elif parts:
        yield {"role": "user", "content": parts}


def _parts(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Chat's content parts for a text, an image or a document."""
    if block["type"] == "text":
        return [{"type": "text", "text": block["text"]}]
    source = block["source"]
    kind = source["type"]
    if block["type"] == "image":
        return [{"type": "image_url", "image_url": {"url": _url(source)}}]
    title = [block[name] for name in ("title", "context") if block.get(name)]
    if kind == "text":
        return [{"type": "text", "text": "\n".join([*title, source["data"]])}]
    if kind == "content":
        content = source["content"]
        inner = [{"type": "text", "text": content}] if isinstance(content, str) else content
        named = [{"type": "text", "text": line} for line in title]
        return [*named, *(part for one in inner for part in _parts(one))]
    file = {"filename": block.get("title") or "document.pdf", "file_data": _url(source)}
    return [{"type": "file", "file": file}]


def _url(source: Mapping[str, Any]) -> str:
    if source["type"] == "url":
        return str(source["url"])
    return f"data:{source['media_type']};base64,{source['data']}"


def message_of(chat: Mapping[str, Any], body: Mapping[str, Any], *, id_: str) -> dict[str, Any]:
    """A chat completion, as the message that answers the request `body`."""
    choice: Mapping[str, Any] = next(iter(chat.get("choices") or ()), {})
    stop = _stop_sequence(choice, body)
    reason = _REASONS.get(str(choice.get("finish_reason")), "end_turn")
    message = choice.get("message") or {}
    if message.get("refusal"):
        reason = "refusal"
    elif message.get("tool_calls") and reason == "end_turn":
        reason = "tool_use"
    elif stop is not None and reason == "end_turn":
        reason = "stop_sequence"
    return {
        "id": f"msg_{id_}",
        "type": "message",
        "role": "assistant",
        "model": chat.get("model") or body["model"],
        "content": list(_content(message, body)),
        "stop_reason": reason,
        "stop_sequence": stop if reason == "stop_sequence" else None,
        "usage": _usage(chat.get("usage") or {}),
    }


def _stop_sequence(choice: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    """The stop sequence that ended the text, from a server that names it (vLLM's `stop_reason`)."""
    named = choice.get("stop_reason")
    if named is None:
        named = (choice.get("provider_specific_fields") or {}).get("stop_reason")
    return named if named in (body.get("stop_sequences") or ()) else None


def _content(message: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    reasoning = message.get("reasoning_content")
    if reasoning and (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        yield {"type": "thinking", "thinking": reasoning, "signature": ""}
    text = message.get("content") or message.get("refusal")
    if text:
        yield {"type": "text", "text": text, "citations": None}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function.get("name"),
            "input": _arguments(function.get("arguments") or "{}"),
        }


def _arguments(text: str) -> dict[str, Any]:
    """A tool call's arguments; `input` must be an object, so a text that is none becomes a field of one."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic counts cached tokens apart from `input_tokens`, chat inside of `prompt_tokens`."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": (usage.get("prompt_tokens") or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens") or 0,
        "service_tier": "standard",
    }
