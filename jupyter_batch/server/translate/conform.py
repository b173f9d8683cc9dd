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


def chat_completion(said: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateChatCompletionResponse`."""
    body = _head(said, "chat.completion", "chatcmpl-")
    body["choices"] = [
        {
            "index": at,
            "message": _message(choice.get("message") or {}),
            "logprobs": _logprobs(choice.get("logprobs")),
            "finish_reason": _reason(choice.get("finish_reason"), _FINISHED),
            **_stop_reason(choice),
        }
        for at, choice in enumerate(said.get("choices") or ())
    ]
    if said.get("service_tier") in _TIERS:
        body["service_tier"] = said["service_tier"]
    return {**body, **_present(said, _CITED)}


def text_completion(said: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateCompletionResponse`."""
    body = _head(said, "text_completion", "cmpl-")
    body["choices"] = [
        {
            "index": at,
            "text": str(choice.get("text") or ""),
            "logprobs": choice["logprobs"] if isinstance(choice.get("logprobs"), dict) else None,
            "finish_reason": _reason(choice.get("finish_reason"), _FINISHED_TEXT),
        }
        for at, choice in enumerate(said.get("choices") or ())
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


def embeddings(said: Mapping[str, Any]) -> dict[str, Any]:
    """`CreateEmbeddingResponse`."""
    usage = said.get("usage") or {}
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": one.get("embedding")}
            for at, one in enumerate(said.get("data") or ())
        ],
        "model": str(said.get("model") or ""),
        "usage": {name: _whole(usage.get(name)) for name in ("prompt_tokens", "total_tokens")},
    }


def _head(said: Mapping[str, Any], kind: str, prefix: str) -> dict[str, Any]:
    created = said.get("created")
    body: dict[str, Any] = {
        "id": str(said.get("id") or f"{prefix}{uuid.uuid4().hex}"),
        "object": kind,
        "created": int(created) if isinstance(created, int | float) else int(time.time()),
        "model": str(said.get("model") or ""),
    }
    if isinstance(said.get("system_fingerprint"), str):
        body["system_fingerprint"] = said["system_fingerprint"]
    if said.get("usage"):
        body["usage"] = _usage(said["usage"])
    return body


def _usage(said: Mapping[str, Any]) -> dict[str, Any]:
    usage: dict[str, Any] = {name: _whole(said.get(name)) for name in _COUNTS}
    for name in _DETAILS:
        details = said.get(name)
        if isinstance(details, Mapping):
            usage[name] = {
                key: value
                for key, value in details.items()
                if isinstance(value, int) and not isinstance(value, bool)
            }
    return usage


def _message(said: Mapping[str, Any]) -> dict[str, Any]:
    content = said.get("content")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content is None or isinstance(content, str) else str(content),
        "refusal": said["refusal"] if isinstance(said.get("refusal"), str) else None,
        **_present(said, _KEPT),
    }
    calls = [_call(one) for one in said.get("tool_calls") or () if isinstance(one, Mapping)]
    if calls:
        message["tool_calls"] = calls
    if isinstance(said.get("function_call"), Mapping):
        message["function_call"] = _function(said["function_call"])
    cited = [one for one in said.get("annotations") or () if _is_citation(one)]
    if cited:
        message["annotations"] = [_citation(one["url_citation"]) for one in cited]
    audio = said.get("audio")
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


def _call(said: Mapping[str, Any]) -> dict[str, Any]:
    call_id = str(said.get("id") or f"call_{uuid.uuid4().hex}")
    if said.get("type") == "custom" and isinstance(said.get("custom"), Mapping):
        held = said["custom"]
        custom = {"name": str(held.get("name") or ""), "input": str(held.get("input") or "")}
        return {"id": call_id, "type": "custom", "custom": custom}
    return {"id": call_id, "type": "function", "function": _function(said.get("function") or {})}


def _function(said: Mapping[str, Any]) -> dict[str, str]:
    return {"name": str(said.get("name") or ""), "arguments": str(said.get("arguments") or "")}


def _is_citation(said: Any) -> bool:
    return isinstance(said, Mapping) and isinstance(said.get("url_citation"), Mapping)


def _citation(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": _whole(said.get("start_index")),
            "end_index": _whole(said.get("end_index")),
            "url": str(said.get("url") or ""),
            "title": str(said.get("title") or ""),
        },
    }


def _logprobs(said: Any) -> dict[str, Any] | None:
    if not isinstance(said, Mapping):
        return None
    return {name: _tokens(said.get(name)) for name in ("content", "refusal")}


def _tokens(said: Any) -> list[dict[str, Any]] | None:
    if not isinstance(said, list):
        return None
    return [
        {**_TOKEN, **_present(one, ("token", "logprob", "bytes")), "top_logprobs": _top(one)}
        for one in said
    ]


def _top(token: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"bytes": None, **_present(one, ("token", "logprob", "bytes"))}
        for one in token.get("top_logprobs") or ()
    ]


def _present(said: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: said[name] for name in names if said.get(name) is not None}


def _reason(said: Any, known: frozenset[str]) -> str:
    return said if said in known else "stop"


def _whole(said: Any) -> int:
    return int(said) if isinstance(said, int | float) else 0
