"""The limits that refusals name, in the words of several providers."""

from __future__ import annotations

import pytest

from jupyter_batch.core.refusals.stated_limit import StatedLimit, Unit, stated_limit
from jupyter_batch.providers.failures import by_status
from jupyter_batch.runner.refusals.cutting import cuts
from jupyter_batch.wire.openai_batches import read_batch

OPENAI = (
    "Enqueued token limit reached for gpt-4o in organization org-x. Limit: 90,000 enqueued tokens. "
    "Please try again once some in_progress batches have been completed."
)


@pytest.mark.parametrize(
    ("message", "unit", "most"),
    [
        (f"token_limit_exceeded {OPENAI}", Unit.TOKENS, 90_000),
        (
            "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment",
            Unit.TOKENS,
            30_000,
        ),
        ("EnqueuedTokenLimit: Limit: 2.5M, requested: 3,000,000 tokens", Unit.TOKENS, 2_500_000),
        ("This would exceed 1000000 enqueued tokens for gpt-4o-mini", Unit.TOKENS, 1_000_000),
        ("The batch has 60,000 requests, which exceeds the limit of 50,000", Unit.REQUESTS, 50_000),
        ("too_many_tasks: a batch may have at most 100 requests", Unit.REQUESTS, 100),
        ("The file is too large (300 MB): the maximum is 200 MB", Unit.BYTES, 200_000_000),
        ("Maximum file size is 512 KB", Unit.BYTES, 512_000),
    ],
)
def test_a_limit_is_read(message, unit, most):
    """The limit that a refusal names is read in one place, into a field."""
    assert stated_limit(message) == StatedLimit(unit, most)


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for requests: limit 500 requests per minute",
        "token_limit_exceeded The number of enqueued tokens is above your quota.",
        "Invalid value: max_tokens must be at most 4096",
        "This model's maximum context length is 8192 tokens",
        "The model gpt-4 does not exist",
        "requests.2.params.temperature: Input should be at most 1",
        "requests[17].params.max_tokens: Input should be at most 8192",
    ],
)
def test_other_texts_name_none(message):
    """Limits on a rate, on one request, or without a number are none of these."""
    assert stated_limit(message) is None


def test_a_refusal_and_a_failed_batch_carry_it():
    """The field is on the error of a create, and on a batch that failed; the advice is not cut off."""
    error = by_status(429, OPENAI, code="token_limit_exceeded")
    assert error.limit == StatedLimit(Unit.TOKENS, 90_000)
    assert OPENAI in str(error)
    document = {"code": "token_limit_exceeded", "message": OPENAI, "line": None, "param": None}
    failed = read_batch({"id": "b", "status": "failed", "errors": {"data": [document]}})
    assert failed.limit == StatedLimit(Unit.TOKENS, 90_000)
    assert OPENAI in failed.errors


def test_where_a_shard_is_cut():
    """Pieces are as full as the limit allows; a request above it is a piece by itself."""
    assert cuts([3, 3, 3, 3], 6) == [0, 2]
    assert cuts([3, 9, 3, 3], 6) == [0, 1, 2]
    assert cuts([1], 6) == [0]
