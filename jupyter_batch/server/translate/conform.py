"""litellm's answers in the documented form, without its nulls and undocumented fields.

Of the undocumented fields, only those that clients read remain: reasoning, thinking blocks,
citations.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

_FINISHED = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_FINISHED_TEXT = frozenset({"stop", "length", "content_filter"})
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_KEPT = ("reasoning_content", "thinking_blocks")
_CITED = ("citations", "search_results")
_TOKEN: dict[str, Any] = {"bytes": None, "top_logprobs": []}


def chat_completion(given: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateChatCompletionResponse`."""
    body = _head(given, "chat.completion", "chatcmpl-")
    body["choices"] = [
        {
            "index": at,
            "message": _message(choice.get("message") or {}),
            "logprobs": _logprobs(choice.get("logprobs")),
            "finish_reason": _reason(choice.get("finish_reason"), _FINISHED),
            **_stop_reason(choice),
        }
        for at, choice in enumerate(given.get("choices") or ())
    ]
    if given.get("service_tier") in _TIERS:
        body["service_tier"] = given["service_tier"]
    return {**body, **_present(given, _CITED)}


def text_completion(given: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateCompletionResponse`."""
    body = _head(given, "text_completion", "cmpl-")
    body["choices"] = [
        {
            "index": at,
            "text": str(choice.get("text") or ""),
            "logprobs": choice["logprobs"] if isinstance(choice.get("logprobs"), dict) else None,
            "finish_reason": _reason(choice.get("finish_reason"), _FINISHED_TEXT),
        }
        for at, choice in enumerate(given.get("choices") or ())
    ]
    return body


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The completions of several prompts as those of one request, in the prompts' order."""
    choices = [choice for part in parts for choice in part["choices"]]
    for at, choice in enumerate(choices):
        choice["index"] = at
    used = [part["usage"] for part in parts if "usage" in part]
    usage = {name: sum(one[name] for one in used) for name in _COUNTS}
    return {**parts[0], "choices": choices, "usage": usage}


def embeddings(given: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateEmbeddingResponse`."""
    usage = given.get("usage") or {}
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": one.get("embedding")}
            for at, one in enumerate(given.get("data") or ())
        ],
        "model": str(given.get("model") or ""),
        "usage": {name: _whole(usage.get(name)) for name in ("prompt_tokens", "total_tokens")},
    }


def _head(given: Mapping[str, Any], kind: str, prefix: str) -> dict[str, Any]:
    created = given.get("created")
    body: dict[str, Any] = {
        "id": str(given.get("id") or f"{prefix}{uuid.uuid4().hex}"),
        "object": kind,
        "created": int(created) if isinstance(created, int | float) else int(time.time()),
        "model": str(given.get("model") or ""),
    }
    if isinstance(given.get("system_fingerprint"), str):
        body["system_fingerprint"] = given["system_fingerprint"]
    if given.get("usage"):
        body["usage"] = _usage(given["usage"])
    return body


def _usage(given: Mapping[str, Any]) -> dict[str, Any]:
    usage: dict[str, Any] = {name: _whole(given.get(name)) for name in _COUNTS}
    for name in _DETAILS:
        details = given.get(name)
        if isinstance(details, Mapping):
            usage[name] = {
                key: value
                for key, value in details.items()
                if isinstance(value, int) and not isinstance(value, bool)
            }
    return usage


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    content = given.get("content")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content is None or isinstance(content, str) else str(content),
        "refusal": given["refusal"] if isinstance(given.get("refusal"), str) else None,
        **_present(given, _KEPT),
    }
    calls = [_call(one) for one in given.get("tool_calls") or () if isinstance(one, Mapping)]
    if calls:
        message["tool_calls"] = calls
    if isinstance(given.get("function_call"), Mapping):
        message["function_call"] = _function(given["function_call"])
    cited = [one for one in given.get("annotations") or () if _is_citation(one)]
    if cited:
        message["annotations"] = [_citation(one["url_citation"]) for one in cited]
    audio = given.get("audio")
    if isinstance(audio, Mapping):
        known = _present(audio, ("id", "expires_at", "data", "transcript"))
        message["audio"] = {"id": "", "expires_at": 0, "data": "", "transcript": "", **known}
    return message


def _stop_reason(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The stop sequence that ended the text, which vLLM names and litellm moves to its own fields."""
    named = choice.get("stop_reason")
    if named is None:
        named = (choice.get("provider_specific_fields") or {}).get("stop_reason")
    return {} if named is None else {"stop_reason": named}


def _call(given: Mapping[str, Any]) -> dict[str, Any]:
    call_id = str(given.get("id") or f"call_{uuid.uuid4().hex}")
    if given.get("type") == "custom" and isinstance(given.get("custom"), Mapping):
        held = given["custom"]
        custom = {"name": str(held.get("name") or ""), "input": str(held.get("input") or "")}
        return {"id": call_id, "type": "custom", "custom": custom}
    return {"id": call_id, "type": "function", "function": _function(given.get("function") or {})}


def _function(given: Mapping[str, Any]) -> dict[str, str]:
    return {"name": str(given.get("name") or ""), "arguments": str(given.get("arguments") or "")}


def _is_citation(given: Any) -> bool:
    return isinstance(given, Mapping) and isinstance(given.get("url_citation"), Mapping)


def _citation(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": _whole(given.get("start_index")),
            "end_index": _whole(given.get("end_index")),
            "url": str(given.get("url") or ""),
            "title": str(given.get("title") or ""),
        },
    }


def _logprobs(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, Mapping):
        return None
    return {name: _tokens(given.get(name)) for name in ("content", "refusal")}


def _tokens(given: Any) -> list[dict[str, Any]] | None:
    if not isinstance(given, list):
        return None
    return [
        {**_TOKEN, **_present(one, ("token", "logprob", "bytes")), "top_logprobs": _top(one)}
        for one in given
    ]


def _top(token: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"bytes": None, **_present(one, ("token", "logprob", "bytes"))}
        for one in token.get("top_logprobs") or ()
    ]


def _present(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _reason(given: Any, known: frozenset[str]) -> str:
    return given if given in known else "stop"


def _whole(given: Any) -> int:
    return int(given) if isinstance(given, int | float) else 0
