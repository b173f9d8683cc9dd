"""Tool calls of the echo model, chosen by rules.

A tool is called where its name stands in the prompt: `look_up({"id": 3})` with these arguments, `look_up` alone with
arguments that fit its schema, filled from the prompt; what stands in the parentheses and is no JSON is sent as it is.
Each mention is a call. "then" parts a prompt into rounds: what follows it is called after the results of what stands
before. `tool_choice` forces (`required`, or a tool by its name) or forbids (`none`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.server.echo.fill import Budget, fill

_THEN = re.compile(r"\bthen\b", re.IGNORECASE)
_MOST_CALLS = 128
"""Calls of one turn, so that a long text that names a tool often stays cheap."""


def calls(body: Mapping[str, Any], prompt: str) -> list[tuple[str, str]]:
    """(name, arguments as JSON) of each call that comes next in this conversation; none where a text comes."""
    choice = body.get("tool_choice")
    named = (
        choice["function"]["name"] if isinstance(choice, Mapping) and "function" in choice else None
    )
    tools = {
        one["function"]["name"]: one["function"]
        for one in body.get("tools") or ()
        if one.get("type") == "function" and named in (None, one["function"]["name"])
    }
    if not tools or choice == "none":
        return []
    budget = Budget()
    steps, done = _THEN.split(prompt), rounds(body["messages"])
    wanted = _mentioned(steps[done] if done < len(steps) else "", tools, prompt, budget)
    if not wanted and (named is not None or choice == "required"):
        name, tool = next(iter(tools.items()))
        wanted = [(name, _filled(tool, prompt, budget))]
    return wanted[:1] if body.get("parallel_tool_calls") is False else wanted


def rounds(messages: Sequence[Mapping[str, Any]]) -> int:
    """How often tools were called since the last message of the user's."""
    turns = 0
    for message in messages:
        turns = 0 if message.get("role") == "user" else turns + bool(message.get("tool_calls"))
    return turns


def results(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The contents of the tool messages at the end of a conversation."""
    contents: list[Any] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        contents.insert(0, message.get("content"))
    return contents


def _mentioned(
    text: str, tools: Mapping[str, Mapping[str, Any]], prompt: str, budget: Budget
) -> list[tuple[str, str]]:
    if not tools:
        return []
    names = "|".join(re.escape(name) for name in sorted(tools, key=len, reverse=True))
    found: list[tuple[str, str]] = []
    at = 0
    mention = re.compile(rf"(?<![\w-])({names})(?![\w-])(\()?")
    while len(found) < _MOST_CALLS and (match := mention.search(text, at)):
        name, at = match[1], match.end()
        if match[2] is None:
            found.append((name, _filled(tools[name], prompt, budget)))
            continue
        try:
            arguments, end = json.JSONDecoder().raw_decode(text, at)
            found.append((name, orjson.dumps(arguments).decode()))
            at = end
        except (ValueError, TypeError, RecursionError):  # no JSON, or none that orjson writes
            arguments = text[at:].partition(")")[0]
            at += len(arguments)
            found.append((name, arguments))
    return found


def _filled(tool: Mapping[str, Any], prompt: str, budget: Budget) -> str:
    schema = tool.get("parameters") or {"type": "object"}
    return orjson.dumps(fill(schema, prompt, budget)).decode()
