"""Marks in a request for a provider that caches prompts where it is asked to: at the system text, at the tools.

A mark changes what a request costs, never what it says, so that requests are told from each other without it. It knows
chat messages; no provider but by name, no frame, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES, Hole

WITH_TOOLS = "system_and_tools"
MARK = {"type": "ephemeral"}
"""Anthropic's `cache_control`, which litellm passes on."""

_MARKED = frozenset({"anthropic"})
"""Who wants a mark. OpenAI, Azure, Gemini, xAI and others cache on their own, and take no mark in a batch."""
_ROLES = ("system", "developer")


def marks(provider: str, endpoint: str, cache: str | None) -> str | None:
    """What is to be marked: `cache` where this provider wants marks, else None."""
    return cache if provider in _MARKED and endpoint not in (EMBEDDINGS, RESPONSES) else None


def marked_body(body: Mapping[str, Any], cache: str) -> dict[str, Any]:
    """A chat request's body with its marks. Raises OptionError where there is nothing to mark."""
    made, messages, tools = dict(body), body["messages"], body.get("tools")
    tools = tools if cache == WITH_TOOLS and isinstance(tools, list) else []
    if not isinstance(messages, Hole):
        made["messages"] = marked_messages(messages)
        if made["messages"] == list(messages) and not tools:
            raise OptionError(
                f'cache="{cache}": there is no system message to cache; give system=, or leave cache out'
            )
    if tools:
        made["tools"] = [*tools[:-1], {**tools[-1], "cache_control": MARK}]
    return made


def marked_messages(messages: Sequence[Any]) -> list[Any]:
    """The messages, the last of those for the system marked: all before a mark is cached with it."""
    made = list(messages)
    places = [
        at
        for at, message in enumerate(made)
        if isinstance(message, Mapping) and message.get("role") in _ROLES
    ]
    if places and (content := _marked(made[places[-1]].get("content"))) is not None:
        made[places[-1]] = {**made[places[-1]], "content": content}
    return made


def _marked(content: Any) -> list[Any] | None:
    """A content with a mark at its end; None for one that has no text to mark."""
    if isinstance(content, Hole) or (isinstance(content, str) and content):
        return [{"type": "text", "text": content, "cache_control": MARK}]
    if isinstance(content, list) and content and isinstance(content[-1], Mapping):
        return [*content[:-1], {**content[-1], "cache_control": MARK}]
    return None


def marked_holes(holes: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """The rows' own message lists (prompts without a template) with their marks."""
    if "messages" not in holes:
        return holes
    return {
        **holes,
        "messages": [
            marked_messages(said) if isinstance(said, list) else said for said in holes["messages"]
        ],
    }
