"""The words in which each provider says that a limit was met, and those that only look like it.

"openai" and "azure, at the create" were recorded; the others are put together from the terms of the documentation.
"""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import AuthenticationError, BadRequestError, RateLimitError
from jupyter_batch.core.refusals.quota import is_queue, is_quota
from jupyter_batch.providers.failures import by_status, normalise
from jupyter_batch.wire.openai_batches import read_batch

QUEUE = {
    "openai": (
        429,
        (
            "Enqueued token limit reached for gpt-4o-mini in organization org-XXXX. Limit: 2,000,000 enqueued "
            "tokens. Please try again once some in_progress batches have been completed."
        ),
    ),
    "azure, at the create": (
        400,
        (
            "token_limit_exceeded: The number of enqueued tokens has surpassed the configured "
            "limit of 30K for the deployment 'gpt-4.1-batch'. Please either increase the limit "
            "or try again once the current jobs have finished."
        ),
    ),
    "azure, jobs": (429, "too_many_batches: Too many active batch jobs for this resource."),
    "anthropic": (
        429,
        "rate_limit_error: This request would exceed the limit on batch requests in processing queue",
    ),
    "gemini": (429, "RESOURCE_EXHAUSTED: Enqueued tokens limit exceeded"),
    "gemini, batches": (429, "You have reached the limit of concurrent batch requests"),
    "mistral": (429, "You have reached the maximum of pending requests of your workspace"),
    "bedrock": (
        400,
        "ServiceQuotaExceededException: the number of in-progress batch inference jobs exceeds the quota",
    ),
    "litellm proxy": (429, "Batch rate limit exceeded: batch_enqueued_token_limit"),
}
RATE = {
    "openai": (429, "Rate limit reached for requests. Please try again later."),
    "azure": (403, "Out of call volume quota. Quota will be replenished in 12:12:12."),
    "xai": (429, "Too many requests"),
    "google": (403, "Quota exceeded for quota metric 'Batch creations'"),
    "bedrock": (400, "ThrottlingException: Rate exceeded"),
    "anything": (429, ""),
}
NEITHER = {
    "validation": (400, "Missing required parameter: 'endpoint'.", BadRequestError),
    "file size": (
        400,
        "file_size_limit_exceeded: The file is larger than a batch may be",
        BadRequestError,
    ),
    "size": (400, "The file exceeds the size limit of 200 MB", BadRequestError),
    "context": (
        400,
        "context_length_exceeded: This model's maximum context length is 8192 tokens",
        BadRequestError,
    ),
    "requests": (
        400,
        "The number of requests in the batch exceeds the maximum of 50000",
        BadRequestError,
    ),
    "key": (401, "Incorrect API key provided", AuthenticationError),
    "not allowed": (403, "You are not allowed to sample from this model", AuthenticationError),
}


@pytest.mark.parametrize("who", QUEUE)
def test_a_full_queue_is_known_by_its_words(who):
    """A limit on what is under way: it waits for batches to end."""
    error = by_status(*QUEUE[who])
    assert isinstance(error, RateLimitError)
    assert error.queue


@pytest.mark.parametrize("who", RATE)
def test_a_rate_is_known_by_its_words(who):
    """A limit that passes with time."""
    error = by_status(*RATE[who])
    assert isinstance(error, RateLimitError)
    assert not error.queue


@pytest.mark.parametrize("which", NEITHER)
def test_what_is_no_limit_that_passes(which):
    """A refusal of the request, or of the key, stays one."""
    status, text, kind = NEITHER[which]
    assert type(by_status(status, text)) is kind


def test_the_code_is_read_next_to_the_message():
    """An SDK's error with a short message: its code is used."""

    class StatusError(Exception):
        status_code = 400
        body = {"error": {"code": "token_limit_exceeded", "message": "No."}}

    error = normalise(StatusError("no"), "https://h")
    assert isinstance(error, RateLimitError)
    assert error.queue


def test_a_batch_that_failed_for_its_quota():
    """The batch object's own errors are read by code and by message, in OpenAI's and in Azure's words."""
    for code, message in (
        ("token_limit_exceeded", "Enqueued token limit reached"),
        ("", QUEUE["azure, at the create"][1]),
        ("batch_limit_exceeded", ""),
    ):
        batch = read_batch(
            {
                "id": "b",
                "status": "failed",
                "errors": {"data": [{"code": code, "message": message}]},
            }
        )
        assert batch.quota, (code, message)
    batch = read_batch(
        {
            "id": "b",
            "status": "failed",
            "errors": {
                "data": [{"code": "mismatched_model", "message": "The model of line 2 differs"}]
            },
        }
    )
    assert not batch.quota


def test_nothing_reported_is_no_quota():
    """Silence says nothing."""
    assert not is_quota("")
    assert not is_queue("")
