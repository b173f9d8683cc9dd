"""The next request of a tool loop, from a request, its tool calls and the tools' results.

In each dialect's own format: the model's answer is returned as received (with its thinking and
signatures), for providers that require them. Only an answer in another dialect is rebuilt from its
calls. No network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jupyter_batch.core.request import ToolCalls
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.translated import JSON_TOOL


class ToolOutput(NamedTuple):
    """A tool's result for one call. id: the provider's, or a generated one if it had none."""

    id: str
    text: str
    failed: bool


def _clean(value: Any) -> Any:
    """Remove empty values, which some providers do not take back."""
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    made = {key: _clean(item) for key, item in value.items()}
    return {key: item for key, item in made.items() if item is not None and item not in ([], {})}


# --- OpenAI: chat ---------------------------------------------------------------------------------------------------


def chat(
    data: dict[str, Any], answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> None:
    """Append a chat answer and the results."""
    body = data["body"]
    message = {} if answer is None else tolerant.message_of(answer)
    old = message.get("function_call") if not message.get("tool_calls") else None
    kept = {
        key: value
        for key, value in _clean(message).items()
        if key not in ("annotations", "tool_calls", "function_call", "role", "content")
    }
    reply: dict[str, Any] = {
        "role": "assistant",
        "content": message.get("content", calls.text or None),
        **kept,
    }
    if old:  # the old form of calls: one, without an id
        reply["function_call"] = old
        turn = [
            {"role": "function", "name": call["name"], "content": one.text}
            for call, one in zip(calls, tool_results, strict=True)
        ]
    else:
        reply["tool_calls"] = list(_tool_calls(message, calls, tool_results))
        ids = {one.id for one in tool_results}
        turn = [
            {"role": "tool", "tool_call_id": one.id, "content": one.text} for one in tool_results
        ]
        turn += [
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": "Error: this kind of tool can't be run here",
            }
            for call in reply["tool_calls"]
            if call.get("id") and call["id"] not in ids
        ]
    body["messages"] = [*body["messages"], reply, *turn]
    if not isinstance(body.get("tool_choice"), str) or body["tool_choice"] == "required":
        body.pop("tool_choice", None)


def _tool_calls(
    message: Mapping[str, Any], calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> Iterator[dict[str, Any]]:
    """The calls as received, each with an id and with arguments that are valid JSON."""
    mine = zip(calls, tool_results, strict=True)
    came = message.get("tool_calls") or [{"function": {}} for _ in calls]
    for item in came:
        if not isinstance(item, Mapping) or not isinstance(item.get("function"), Mapping):
            yield dict(item)
            continue
        call, one = next(mine)
        arguments = call["arguments"] if isinstance(call["arguments"], dict) else {}
        text = item["function"].get("arguments")
        text = (
            text
            if isinstance(text, str) and arguments
            else json.dumps(arguments, ensure_ascii=False)
        )
        extra = {
            key: value
            for key, value in _clean(item).items()
            if key not in ("id", "index", "function", "type")
        }
        yield {
            "id": one.id,
            "type": "function",
            **extra,
            "function": {"name": call["name"], "arguments": text},
        }


# --- OpenAI: responses ----------------------------------------------------------------------------------------------


def responses(
    data: dict[str, Any], answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> None:
    """Append a Responses answer and the results."""
    body = data["body"]
    asked = body["input"]
    items = (
        [{"type": "message", "role": "user", "content": asked}]
        if isinstance(asked, str)
        else list(asked)
    )
    output = [] if answer is None else tolerant.body_of(answer).get("output") or []
    reply = [_clean(item) for item in output if isinstance(item, Mapping)]
    if body.get("store") is False:  # then the provider has no stored reasoning under its id
        reply = [
            item
            for item in reply
            if item.get("type") != "reasoning" or item.get("encrypted_content")
        ]
    if answer is None:
        reply = [
            {
                "type": "function_call",
                "call_id": one.id,
                "name": call["name"],
                "arguments": json.dumps(call["arguments"], ensure_ascii=False),
            }
            for call, one in zip(calls, tool_results, strict=True)
        ]
    results = [
        {"type": "function_call_output", "call_id": one.id, "output": one.text}
        for one in tool_results
    ]
    body["input"] = [*items, *reply, *results]
    if not isinstance(body.get("tool_choice"), str) or body["tool_choice"] == "required":
        body.pop("tool_choice", None)


# --- Anthropic ------------------------------------------------------------------------------------------------------


def anthropic(
    data: dict[str, Any], answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> None:
    """Append Claude's answer and the results."""
    params = data["params"]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": one.id,
            "content": one.text or "(nothing)",
            **({"is_error": True} if one.failed else {}),
        }
        for one in tool_results
    ]
    params["messages"] = [
        *params["messages"],
        {"role": "assistant", "content": _blocks(answer, calls, tool_results)},
        {"role": "user", "content": results},
    ]
    choice = params.get("tool_choice")
    if not isinstance(choice, Mapping) or choice.get("name") == JSON_TOOL:
        return
    if choice.get("type") in ("any", "tool"):
        params["tool_choice"] = {
            "type": "auto",
            **{key: value for key, value in choice.items() if key == "disable_parallel_tool_use"},
        }


def _blocks(
    answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> list[dict[str, Any]]:
    """The blocks of the answer; made from its calls where the answer is not here."""
    if answer is not None:
        content = answer["result"]["message"]["content"]
        return [_block(each) for each in content if each.get("type") != "text" or each.get("text")]
    return [
        *([{"type": "text", "text": calls.text}] if calls.text else []),
        *(
            {"type": "tool_use", "id": one.id, "name": call["name"], "input": _input(call)}
            for call, one in zip(calls, tool_results, strict=True)
        ),
    ]


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block to send back: a call's input is kept even if empty."""
    kept = {key: value for key, value in block.items() if value is not None}
    return (
        {**kept, "input": _input({"arguments": kept.get("input")})}
        if kept.get("type") == "tool_use"
        else kept
    )


def _input(call: Mapping[str, Any]) -> dict[str, Any]:
    return call["arguments"] if isinstance(call.get("arguments"), dict) else {}


# --- Bedrock: Converse ----------------------------------------------------------------------------------------------


def converse(
    data: dict[str, Any], answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> None:
    """Append a Converse answer and the results."""
    asked = data["modelInput"]
    if answer is None:
        content: list[Any] = [{"text": calls.text}] if calls.text else []
        content += [
            {"toolUse": {"toolUseId": one.id, "name": call["name"], "input": _input(call)}}
            for call, one in zip(calls, tool_results, strict=True)
        ]
    else:
        content = [
            block
            for block in answer["modelOutput"]["output"]["message"]["content"]
            if block.get("text") != ""
        ]
    results = [
        {
            "toolResult": {
                "toolUseId": one.id,
                "content": [{"text": one.text or "(nothing)"}],
                "status": "error" if one.failed else "success",
            }
        }
        for one in tool_results
    ]
    asked["messages"] = [
        *asked["messages"],
        {"role": "assistant", "content": content},
        {"role": "user", "content": results},
    ]
    held = asked.get("toolConfig")
    if isinstance(held, Mapping) and "auto" not in (held.get("toolChoice") or {"auto": {}}):
        asked["toolConfig"] = {key: value for key, value in held.items() if key != "toolChoice"}


# --- Vertex AI: Gemini ----------------------------------------------------------------------------------------------


def gemini(
    data: dict[str, Any], answer: Any, calls: ToolCalls, tool_results: Sequence[ToolOutput]
) -> None:
    """Append Gemini's answer and the results."""
    asked = data["request"]
    if answer is None:
        parts: list[Any] = [{"text": calls.text}] if calls.text else []
        parts += [{"functionCall": {"name": call["name"], "args": _input(call)}} for call in calls]
    else:
        parts = answer["response"]["candidates"][0]["content"]["parts"]
    called = [
        part["functionCall"]
        for part in parts
        if isinstance(part.get("functionCall"), dict) and not part.get("thought")
    ]
    results = []
    for call, one in zip(called, tool_results, strict=True):
        made = {
            "name": call.get("name"),
            "response": {"error" if one.failed else "output": one.text},
        }
        results.append(
            {"functionResponse": {**made, **({"id": call["id"]} if call.get("id") else {})}}
        )
    asked["contents"] = [
        *asked["contents"],
        {"role": "model", "parts": parts},
        {"role": "user", "parts": results},
    ]
    for key in ("toolConfig", "tool_config"):
        held = asked.get(key)
        if isinstance(held, Mapping) and "ANY" in json.dumps(held):
            del asked[key]
