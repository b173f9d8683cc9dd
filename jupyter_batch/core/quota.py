"""Which refusals are about a limit that passes, by the words in which providers say so. Pure.

OpenAI's and Azure's texts were recorded (openai-python issue 2084, Microsoft Q&A 2285577); for the others the terms in
which their documentation speaks of such limits are looked for, with the provider beside the pattern. What is not
recognised as a full queue still waits, if it came as a 429; it only is not woken by a batch that ends.
"""

from __future__ import annotations

import re

_QUEUE = re.compile(
    r"token_limit_exceeded|enqueued[ _-]?(?:prompt[ _-])?tokens?"  # OpenAI, Azure, Gemini; litellm's proxy
    r"|too[ _]many[ _](?:[\w-]+[ _]){0,3}(?:batches|jobs)"
    r"|number of (?:[\w-]+ ){0,4}(?:batches|jobs)\b"  # Bedrock: "... number of in-progress batch inference jobs"
    r"|(?:active|concurrent|pending|queued|running|in[ _-]progress) (?:batch )?(?:batches|jobs|requests)"  # Mistral
    r"|concurrent batch|processing queue|batch(?:es)?[ _](?:queue|limit|quota)"  # Anthropic: "... in processing queue"
    r"|service ?quota ?exceeded"  # Bedrock
)
"""A limit on what is under way: it passes when batches end."""
_LIMIT = re.compile(
    r"quota|rate[ _-]?limit|too many requests|throttl|resource[ _]?(?:limit|(?:has been )?exhausted)"
    r"|limit_exceeded"
)
_NOT = re.compile(r"size[ _]limit|file[ _]size|context[ _](?:length|window)|too large")
"""Limits on one request or one file: they never pass."""


def is_quota(said: str) -> bool:
    """Whether a refusal (code and message) is about a limit that passes, with time or when batches end."""
    text = said.lower()
    return not _NOT.search(text) and bool(_LIMIT.search(text) or _QUEUE.search(text))


def is_queue(said: str) -> bool:
    """Whether it passes when batches end, rather than with time: the enqueued tokens, the number of batches."""
    return bool(_QUEUE.search(said.lower()))
