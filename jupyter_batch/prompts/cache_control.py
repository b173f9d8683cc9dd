"""Cache markers in requests, at the system text or the tools, for providers that require them.

A marker changes a request's cost but not its answer, so request hashes are computed without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.prompts.row_params import OWN_TOOLS
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES, Hole

WITH_TOOLS = "system_and_tools"
MARK = {"type": "ephemeral"}
"""Anthropic's `cache_control`, which litellm passes on."""

_ROLES = ("system", "developer")


def marks(provider: str, endpoint: str, cache: str | None) -> str | None:
    """The part to mark: `cache` where this provider requires markers, else None."""
    record = RECORDS.get(provider)
    marked = record is not None and record.cache_marks
    return cache if marked and endpoint not in (EMBEDDINGS, RESPONSES) else None


def marked_body(body: Mapping[str, Any], cache: str) -> dict[str, Any]:
    """Return a chat request's body with markers.

    Raises OptionError where there is nothing to mark.
    """
    made, messages, tools = dict(body), body["messages"], body.get("tools")
    tools = tools if cache == WITH_TOOLS else None
    if not isinstance(messages, Hole):
        made["messages"] = marked_messages(messages)
        if made["messages"] == list(messages) and not tools:
            raise OptionError(
                f'cache="{cache}": there is no system message to cache; give system=, or leave cache out'
            )
    if isinstance(tools, list):
        made["tools"] = _marked_tools(tools)
    return made


def _marked_tools(tools: list[Any]) -> list[Any]:
    return [*tools[:-1], {**tools[-1], "cache_control": MARK}]


def marked_messages(messages: Sequence[Any]) -> list[Any]:
    """Return the messages with the last system message marked, which caches everything up to it."""
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
    """Return a content with a marker at its end; None where it has no text."""
    if isinstance(content, Hole) or (isinstance(content, str) and content):
        return [{"type": "text", "text": content, "cache_control": MARK}]
    if isinstance(content, list) and content and isinstance(content[-1], Mapping):
        return [*content[:-1], {**content[-1], "cache_control": MARK}]
    return None


def marked_holes(holes: Mapping[str, Sequence[Any]], cache: str) -> Mapping[str, Sequence[Any]]:
    """Return the rows' own message lists (prompts without a template) and tools with markers."""
    marks = {
        "messages": marked_messages,
        **({OWN_TOOLS: _marked_tools} if cache == WITH_TOOLS else {}),
    }
    return {
        name: [marks[name](one) if isinstance(one, list) else one for one in values]
        if name in marks
        else values
        for name, values in holes.items()
    }
