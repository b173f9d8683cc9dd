"""Detection of transient limits and of exhausted quotas in providers' error texts.

OpenAI's and Azure's texts were recorded (openai-python issue 2084, Microsoft Q&A 2285577); for
others the terms of their documentation are matched, with the provider named next to the pattern. A
full queue that is not recognized still waits after a 429, but is not retried when a batch ends.
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
"""A limit on open work, which passes when batches end."""
_LIMIT = re.compile(
    r"quota|rate[ _-]?limit|too many requests|throttl|resource[ _]?(?:limit|(?:has been )?exhausted)"
    r"|limit_exceeded"
)
_NOT = re.compile(r"size[ _]limit|file[ _]size|context[ _](?:length|window)|too large")
"""Limits on a request or a file, which never pass."""


_SPENT_CODES = re.compile(
    r"insufficient_(?:user_)?(?:quota|funds?|balance|credits?)|billing_(?:hard_limit|not_active|disabled|error)"
    r"|exceeded_current_quota|budget_?exceeded|exceeded_?budget|arrearage|invalid_payment_instrument|payment_required"
)
"""OpenAI, Perplexity, one-api; Google; Moonshot; litellm's proxy; Alibaba; Bedrock."""
_SPENT = re.compile(
    r"check your (?:plan and )?billing|billing (?:hard )?limit|billing to be enabled"  # OpenAI; Google
    r"|billing (?:account|is|has)\b.{0,80}(?:disabled|closed|inactive|absent)"  # Google
    r"|balance (?:is |was )?(?:too low|insufficient|not enough|exhausted|negative)"  # Anthropic
    r"|(?:insufficient|not enough|no remaining|out of|lack of) (?:balance|funds?|credits?|quota)"  # DeepSeek
    r"|(?:doesn't|does not|don't|do not) have (?:any|enough|sufficient) (?:credits?|balance|funds)"  # xAI
    r"|(?:used(?: up)?|exhausted|exceeded|run out of|ran out of)\b.{0,40}\bcredits?\b"  # xAI, Hugging Face, OpenRouter
    r"|(?:spend(?:ing)?|usage|budget|credit|billing)[ _](?:limit|cap)s?\b"  # Anthropic, xAI, Groq, Together, Cohere
    r"|budget has been exceeded|payment (?:required|method)|(?:account|overdue).{0,30}(?:in arrears|overdue|unpaid)"
    r"|余额不足|欠费"  # Zhipu, Alibaba
)
"""Errors that only the account's owner can resolve."""
_IN_TIME = re.compile(
    r"rate[ _-]?limit|per[ _-]?(?:second|minute|hour|day)|\b[rt]p[md]\b|resource_exhausted|quota exceeded for|enqueued"
    r"|retry in|call volume quota"
)
"""Rate limits, whose texts from OpenAI and Google also mention billing."""


_CAPACITY = re.compile(
    r"resource[ _]unavailable|capacity_exceeded|\b(?:no|insufficient|not enough) capacity\b"
)
"""A service tier without capacity: OpenAI (429 "Resource Unavailable"), Groq, Google."""
_OVERLOADED = re.compile(r"\boverloaded\b|\bunavailable\b|high demand")
"""Google's 503 UNAVAILABLE of its flex tier."""
_CAPACITY_STATUS = 498
"""Groq's own, of its flex tier."""


def is_capacity(status: int, message: str) -> bool:
    """Whether a service tier has no capacity for the request now, which is not charged."""
    if status >= 500:  # noqa: PLR2004 - litellm makes a 500 of Google's 503
        return bool(_OVERLOADED.search(message.lower()))
    return status == _CAPACITY_STATUS or (status == 429 and bool(_CAPACITY.search(message.lower())))  # noqa: PLR2004


def is_spent(message: str) -> bool:
    """Whether a refusal (code and message) means a used-up quota, credit or budget."""
    text = message.lower()
    if _SPENT_CODES.search(text):
        return True
    return bool(_SPENT.search(text)) and not _IN_TIME.search(text)


def is_quota(message: str) -> bool:
    """Whether a refusal (code, message) is for a limit that passes with time or as batches end."""
    text = message.lower()
    return not _NOT.search(text) and bool(_LIMIT.search(text) or _QUEUE.search(text))


def is_queue(message: str) -> bool:
    """Whether the limit passes as batches end, not with time: enqueued tokens, batch count."""
    return bool(_QUEUE.search(message.lower()))
