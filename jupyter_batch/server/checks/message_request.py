"""Checks of a Messages request; the first problem is reported with its field's path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_batch.server.checks.message_blocks import is_text, system_problems, turn_problems
from jupyter_batch.server.errors import ApiError, bad_request

_REQUIRED = ("model", "max_tokens", "messages")
_KNOWN = frozenset(
    {
        *_REQUIRED,
        "cache_control",
        "metadata",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_NOT_HERE = frozenset(
    {
        "container",
        "context_management",
        "diagnostics",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "speed",
        "user_profile_id",
    }
)
"""Fields that Anthropic has and a model that speaks chat has not."""
_BOUNDS: dict[str, tuple[bool, float, float | None]] = {
    "max_tokens": (True, 1, None),
    "temperature": (False, 0, 1),
    "top_p": (False, 0, 1),
    "top_k": (True, 0, None),
}
"""Whether a number is whole, its least and its largest value."""
_OBJECTS = ("metadata", "output_config", "output_format", "thinking", "tool_choice")
_CHOICES = ("auto", "any", "tool", "none")
_THINKING = ("enabled", "adaptive", "disabled")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def check(body: Any) -> ApiError | None:
    """The refusal of a request's body, or None."""
    if not isinstance(body, dict):
        return bad_request("params: Input should be a valid dictionary")
    problem = next(_problems(body), None)
    return None if problem is None else bad_request(problem)


def _name_problems(body: Mapping[str, Any]) -> Iterator[str]:
    for name in body:
        if name in _NOT_HERE:
            yield f"{name}: not supported by this server"
        elif name not in _KNOWN:
            yield f"{name}: Extra inputs are not permitted"
    for name in _REQUIRED:
        if body.get(name) is None:
            yield f"{name}: Field required"


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    yield from _name_problems(body)
    if not isinstance(body["model"], str):
        yield "model: Input should be a valid string"
    elif not body["model"]:
        yield "model: String should have at least 1 character"
    yield from _number_problems(body)
    for name in _OBJECTS:
        if not isinstance(body.get(name) or {}, dict):
            yield f"{name}: Input should be a valid dictionary"
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None and not isinstance(user, str):
        yield "metadata.user_id: Input should be a valid string"
    if not isinstance(body.get("stream") or False, bool):
        yield "stream: Input should be a valid boolean"
    yield from _stop_problems(body.get("stop_sequences"))
    yield from _thinking_problems(body)
    yield from _format_problems(body)
    yield from _tool_problems(body)
    yield from _choice_problems(body)
    yield from system_problems(body.get("system"))
    yield from turn_problems(body["messages"])


def _number_problems(body: Mapping[str, Any]) -> Iterator[str]:
    for name, (whole, low, high) in _BOUNDS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            yield f"{name}: Input should be a valid {'integer' if whole else 'number'}"
        elif value < low:
            yield f"{name}: Input should be greater than or equal to {low}"
        elif high is not None and value > high:
            yield f"{name}: Input should be less than or equal to {high}"


def _stop_problems(stops: Any) -> Iterator[str]:
    if stops is None:
        return
    if not isinstance(stops, list):
        yield "stop_sequences: Input should be a valid list"
        return
    for place, stop in enumerate(stops):
        if not isinstance(stop, str):
            yield f"stop_sequences.{place}: Input should be a valid string"
        elif not stop.strip():
            yield "stop_sequences: each stop sequence must contain non-whitespace"


def _thinking_problems(body: Mapping[str, Any]) -> Iterator[str]:
    thinking = body.get("thinking")
    if not thinking:
        return
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind not in _THINKING:
        yield _wrong_tag("thinking", kind, _THINKING)
    elif kind == "enabled" and (not isinstance(budget, int) or budget < _LEAST_BUDGET):
        yield (
            "thinking.enabled.budget_tokens: Input should be greater than or equal to "
            f"{_LEAST_BUDGET}"
        )
    elif kind == "enabled" and budget >= body["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."


def _format_problems(body: Mapping[str, Any]) -> Iterator[str]:
    config = body.get("output_config") or {}
    effort = config.get("effort")
    if effort is not None and effort not in _EFFORTS:
        yield f"output_config.effort: Input should be {_listed(_EFFORTS)}"
    for where, form in (
        ("output_config.format", config.get("format")),
        ("output_format", body.get("output_format")),
    ):
        if form is None:
            continue
        if not isinstance(form, dict) or form.get("type") != "json_schema":
            yield f"{where}.type: Input should be 'json_schema'"
        elif not isinstance(form.get("schema"), dict):
            yield f"{where}.schema: Input should be a valid dictionary"


def _tool_problems(body: Mapping[str, Any]) -> Iterator[str]:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        yield "tools: Input should be a valid list"
        return
    names: set[str] = set()
    for place, tool in enumerate(tools):
        where = f"tools.{place}"
        if not isinstance(tool, dict):
            yield f"{where}: Input should be a valid dictionary"
            continue
        if tool.get("type") not in (None, "custom"):
            yield f"{where}: '{tool['type']}' runs at Anthropic; this server has custom tools only"
            continue
        name = tool.get("name")
        if not isinstance(name, str):
            yield f"{where}.custom.name: Field required"
        elif not _TOOL_NAME.fullmatch(name):
            yield (f"{where}.custom.name: String should match pattern '^{_TOOL_NAME.pattern}$'")
        elif name in names:
            yield "tools: Tool names must be unique."
        else:
            names.add(name)
        if not isinstance(tool.get("input_schema"), dict):
            yield f"{where}.custom.input_schema: Field required"


def _choice_problems(body: Mapping[str, Any]) -> Iterator[str]:
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    if not choice:
        return
    kind = choice.get("type")
    if kind not in _CHOICES:
        yield _wrong_tag("tool_choice", kind, _CHOICES)
    elif not tools and kind != "none":
        yield "tool_choice: Tool choice may only be specified while providing tools."
    elif kind == "tool" and not any(tool["name"] == choice.get("name") for tool in tools):
        yield f"tool_choice: Tool '{choice.get('name')}' not found in provided tools"


def _wrong_tag(where: str, tag: object, tags: tuple[str, ...]) -> str:
    if not is_text(tag):
        return f"{where}: Unable to extract tag using discriminator 'type'"
    return (
        f"{where}: Input tag '{tag}' found using 'type' does not match any of the expected tags: "
        f"{_quoted(tags)}"
    )


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _listed(names: tuple[str, ...]) -> str:
    return f"{_quoted(names[:-1])} or '{names[-1]}'"
