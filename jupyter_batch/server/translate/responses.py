"""Translation of OpenAI's Responses API to chat and back.

Fields without a meaning for a chat model (`include`, `truncation`, `metadata`) are ignored; those
that need earlier responses are refused by server/checks/requests.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SAME = (
    "model",
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "user",
    "service_tier",
    "store",
    "prompt_cache_key",
    "safety_identifier",
    "stream",
)
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
)
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
}
"""What stands in a response for a field that the request does not have; the others are null."""


def _text_options(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat request's `verbosity` and `response_format`."""
    asked = {} if text.get("verbosity") is None else {"verbosity": text["verbosity"]}
    form = text.get("format") or {}
    if form.get("type") == "json_object":
        return {**asked, "response_format": {"type": "json_object"}}
    if form.get("type") != "json_schema":
        return asked
    schema = {
        name: form[name] for name in ("name", "description", "schema", "strict") if name in form
    }
    return {**asked, "response_format": {"type": "json_schema", "json_schema": schema}}


def chat_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks the same. The body was checked before (server/checks/requests.py)."""
    asked: dict[str, Any] = {name: body[name] for name in _SAME if body.get(name) is not None}
    asked["messages"] = list(_messages(body))
    if body.get("max_output_tokens") is not None:
        asked["max_completion_tokens"] = body["max_output_tokens"]
    if asked.get("top_logprobs"):
        asked["logprobs"] = True
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        asked["reasoning_effort"] = effort
    asked |= _text_options(body.get("text") or {})
    tools = [_nested(tool) for tool in body.get("tools") or () if tool.get("type") == "function"]
    if tools:
        asked["tools"] = tools
        choice = body.get("tool_choice")
        if choice is not None:
            asked["tool_choice"] = _nested(choice) if isinstance(choice, Mapping) else choice
    return asked


def _nested(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A function, or the choice of one: here its fields lie flat, in chat under `function`."""
    return {
        "type": "function",
        "function": {name: value for name, value in tool.items() if name != "type"},
    }


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("instructions"):
        yield {"role": "system", "content": body["instructions"]}
    asked = body["input"]
    if isinstance(asked, str):
        yield {"role": "user", "content": asked}
        return
    calls: list[dict[str, Any]] = []
    for item in asked:
        kind = item.get("type", "message")
        if kind == "function_call":  # of one turn: chat wants them in one message
            calls.append(
                {
                    "id": item.get("call_id"),
                    "type": "function",
                    "function": {"name": item.get("name"), "arguments": item.get("arguments")},
                }
            )
            continue
        if calls:
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        if kind == "function_call_output":
            yield {
                "role": "tool",
                "tool_call_id": item.get("call_id"),
                "content": _content(item.get("output")),
            }
        elif kind == "message":
            yield {"role": item["role"], "content": _content(item["content"])}
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _content(content: Any) -> Any:
    """A text, where all is text; else chat's parts."""
    if not isinstance(content, list):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") == "input_image":
            image = {"url": part.get("image_url"), "detail": part.get("detail", "auto")}
            parts.append({"type": "image_url", "image_url": image})
        elif part.get("type") == "input_file":
            held = {name: value for name, value in part.items() if name != "type"}
            parts.append({"type": "file", "file": held})
        else:
            parts.append(
                {"type": "text", "text": str(part.get("text") or part.get("refusal") or "")}
            )
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts


def response_of(chat: Mapping[str, Any], body: Mapping[str, Any], *, id_: str) -> dict[str, Any]:
    """A chat completion, as the response to the request `body`."""
    choice: Mapping[str, Any] = next(iter(chat.get("choices") or ()), {})
    cut = _CUT.get(str(choice.get("finish_reason")))
    echoed: dict[str, Any] = {name: body.get(name) for name in _ECHOED}
    for name, default in _DEFAULTS.items():
        if echoed[name] is None:
            echoed[name] = default
    echoed["tools"] = [_whole_tool(tool) for tool in echoed["tools"]]
    if isinstance(body.get("user"), str):
        echoed["user"] = body["user"]
    return {
        **echoed,
        "id": f"resp_{id_}",
        "object": "response",
        "created_at": chat.get("created"),
        "status": "incomplete" if cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "model": chat.get("model") or body["model"],
        "output": list(
            _output(choice.get("message") or {}, id_, "incomplete" if cut else "completed")
        ),
        "usage": _usage(chat.get("usage") or {}),
    }


def _whole_tool(tool: Any) -> Any:
    """A tool as a response shows it: a function with its defaults."""
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        return tool
    return {"parameters": None, "strict": True, **tool}


def _output(message: Mapping[str, Any], id_: str, status: str) -> Iterator[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if message.get("content") is not None and not (
        message.get("tool_calls") and not message["content"]
    ):
        parts.append(
            {"type": "output_text", "annotations": [], "logprobs": [], "text": message["content"]}
        )
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        yield {
            "id": f"msg_{id_}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": parts,
        }
    for at, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        yield {
            "id": f"fc_{id_}_{at}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    into, out = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": into,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": into + out,
    }
