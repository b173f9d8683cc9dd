"""Checks for combinations of parameters that Anthropic refuses, before a request is sent.

No network. Sources: Claude docs, extended thinking ("feature compatibility"), Messages API
reference (ranges), migration guides (one of temperature and top_p from Claude Opus 4.1 on).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

LEAST_BUDGET = 1024
_TOP_P_THINKING = 0.95
_ONE_SAMPLER = re.compile(r"claude-(opus|sonnet|haiku)-(4-[1-9](?!\d)|[5-9](?!\d))")

LONG_BETA = "output-300k-2026-03-24"
"""The beta of long outputs, in batches alone (Anthropic's SDK 2.14)."""
_LONG_TOKENS, _LONG_FROM = 300_000, 128_000
_LONG_MODELS = re.compile(r"claude-(opus|sonnet)-")


def most_in_batch(model: str, most: int | None) -> int | None:
    """The maximum of output tokens in a batch with LONG_BETA; most: the one without it, if known."""
    long = most is not None and most >= _LONG_FROM and _LONG_MODELS.match(model)
    return _LONG_TOKENS if long else most


def is_long(body: Mapping[str, Any], most: int | None) -> bool:
    """Whether a request needs LONG_BETA; most: the maximum without it, if known."""
    limit = body.get("max_tokens")
    return most is not None and isinstance(limit, int) and limit > most


def budget_of(body: Mapping[str, Any]) -> int:
    """The request's thinking budget in tokens; 0 if not set."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return budget if isinstance(budget, int) else 0


def refusal(model: str, body: Mapping[str, Any], most: int | None = None) -> str | None:
    """Why Anthropic would refuse a request with these parameters, and the remedy; None if unknown.

    body: the parameters in Anthropic's format. most: the model's maximum of output tokens, if
    known.
    """
    return next((refusal for refusal in _refusals(model, body, most) if refusal is not None), None)


def _refusals(model: str, body: Mapping[str, Any], most: int | None) -> Iterable[str | None]:
    if _thinks(body):
        yield _of_thinking(body)
    yield _of_sampling(model, body)
    limit = body.get("max_tokens")
    if most is not None and isinstance(limit, int) and limit > most:
        yield (
            f"max_tokens ({limit:,}) is above the {most:,} that {model} writes: give fewer, or "
            'extra_body={"max_tokens": ...} to send it all the same'
        )
    stops = body.get("stop_sequences")
    if isinstance(stops, list) and any(
        isinstance(stop, str) and not stop.strip() for stop in stops
    ):
        yield "stop: Anthropic takes no stop text of white space alone; leave it out"
    choice = body.get("tool_choice")
    if choice and not body.get("tools"):
        yield f"{_chosen_by(choice)} has no meaning without tools: give tools=, or leave it out"


def _chosen_by(choice: Any) -> str:
    """The parameter of a chat request that became Anthropic's tool_choice."""
    parallel = isinstance(choice, Mapping) and "disable_parallel_tool_use" in choice
    return "parallel_tool_calls" if parallel else "tool_choice"


def _thinks(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")


def _of_thinking(body: Mapping[str, Any]) -> str | None:
    budget, limit = budget_of(body), body.get("max_tokens")
    if budget and budget < LEAST_BUDGET:
        return f"thinking has a budget of {budget} tokens, and Anthropic wants {LEAST_BUDGET:,} or more"
    if budget and isinstance(limit, int) and limit <= budget:
        return (
            f"max_tokens ({limit:,}) has to be above the {budget:,} tokens that thinking may take "
            "(reasoning_effort, or thinking's budget_tokens): allow more, or think less"
        )
    if body.get("temperature") not in (None, 1):
        return (
            f"temperature={body['temperature']} can't be given with thinking: leave one of them out"
        )
    if body.get("top_k") is not None:
        return "top_k can't be given with thinking: leave one of them out"
    top_p = body.get("top_p")
    if isinstance(top_p, int | float) and not _TOP_P_THINKING <= top_p <= 1:
        return f"top_p={top_p} can't be given with thinking, which takes {_TOP_P_THINKING} to 1"
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") in ("any", "tool"):
        return (
            "a tool can't be forced with thinking (tool_choice, or a schema that is asked for as a tool): "
            'take tool_choice="auto", or leave thinking out'
        )
    return None


def _of_sampling(model: str, body: Mapping[str, Any]) -> str | None:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        return f"temperature={temperature}: Anthropic takes 0 to 1"
    if isinstance(top_p, int | float) and not 0 <= top_p <= 1:
        return f"top_p={top_p}: Anthropic takes 0 to 1"
    if temperature is not None and top_p is not None and _ONE_SAMPLER.search(model):
        return f"{model} takes temperature or top_p, not both: leave one of them out"
    return None
