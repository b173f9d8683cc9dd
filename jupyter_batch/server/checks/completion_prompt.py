"""Checks of the `prompt` of `/v1/completions`: texts, or lists of token numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_batch.server.errors import ApiError, missing, no_texts, too_many

MOST_PROMPTS = 2048


def check_prompt(body: Mapping[str, Any]) -> ApiError | None:
    """The refusal of a request's `prompt`, or None."""
    if "prompt" not in body:
        return missing("prompt")
    prompt = body["prompt"]
    if prompt is not None and not isinstance(prompt, str) and not _is_prompts(prompt):
        return no_texts("prompt")
    if isinstance(prompt, list) and len(prompt) > MOST_PROMPTS and not isinstance(prompt[0], int):
        return too_many("prompt", MOST_PROMPTS, prompt)
    return None


def _is_prompts(value: Any) -> bool:
    """A list that is not empty, of texts alone, of token numbers alone, or of lists of token numbers."""
    if not isinstance(value, list) or not value:
        return False
    return (
        all(isinstance(one, str) for one in value)
        or _is_tokens(value)
        or all(_is_tokens(one) for one in value)
    )


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    )
