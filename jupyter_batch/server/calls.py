"""The echo model's way with tools: which of them a conversation asks for, by rules. No language model, no HTTP.

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

from jupyter_batch.server.fill import fill

_THEN = re.compile(r"\bthen\b", re.IGNORECASE)


def calls(body: Mapping[str, Any], prompt: str) -> list[tuple[str, str]]:
    """(name, arguments as JSON) of each call that comes next in this conversation; none where a text comes."""
    tools = {
        one["function"]["name"]: one["function"]
        for one in body.get("tools") or ()
        if one.get("type") == "function"
    }
    choice = body.get("tool_choice")
    if not tools or choice == "none":
        return []
    named = (
        choice["function"]["name"] if isinstance(choice, Mapping) and "function" in choice else None
    )
    if named is not None:
        tools = {name: tool for name, tool in tools.items() if name == named}
    steps, done = _THEN.split(prompt), rounds(body["messages"])
    wanted = _mentioned(steps[done] if done < len(steps) else "", tools, prompt)
    if not wanted and (named is not None or choice == "required"):
        name, tool = next(iter(tools.items()))
        wanted = [(name, _filled(tool, prompt))]
    return wanted[:1] if body.get("parallel_tool_calls") is False else wanted


def rounds(messages: Sequence[Mapping[str, Any]]) -> int:
    """How often tools were called since the last message of the user's."""
    turns = 0
    for message in messages:
        turns = 0 if message.get("role") == "user" else turns + bool(message.get("tool_calls"))
    return turns


def results(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The contents of the tool messages at the end of a conversation."""
    said: list[Any] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        said.insert(0, message.get("content"))
    return said


def _mentioned(
    text: str, tools: Mapping[str, Mapping[str, Any]], prompt: str
) -> list[tuple[str, str]]:
    if not tools:
        return []
    names = "|".join(re.escape(name) for name in sorted(tools, key=len, reverse=True))
    found, at = [], 0
    mention = re.compile(rf"(?<![\w-])({names})(?![\w-])(\()?")
    while match := mention.search(text, at):
        name, at = match[1], match.end()
        if match[2] is None:
            found.append((name, _filled(tools[name], prompt)))
            continue
        try:
            arguments, at = json.JSONDecoder().raw_decode(text, at)
            found.append((name, orjson.dumps(arguments).decode()))
        except ValueError:
            said = text[at:].partition(")")[0]
            at += len(said)
            found.append((name, said))
    return found


def _filled(tool: Mapping[str, Any], prompt: str) -> str:
    return orjson.dumps(fill(tool.get("parameters") or {"type": "object"}, prompt)).decode()
