"""The File and Batch objects, field by field as in OpenAI's OpenAPI document."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

DAY = 86_400
COMPLETION_WINDOW = DAY
BATCH_FILE_LIFE = 30 * DAY
ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
"""What OpenAI's batches take as `endpoint`."""
SERVED = ("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions")
"""Those of them that this server answers."""
UPLOAD_PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")

OPEN = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
"""The states that a batch still leaves."""


def new_id(prefix: str) -> str:
    """A fresh id, such as `file-...` or `batch_...`."""
    return f"{prefix}{secrets.token_hex(16)}"


class File(msgspec.Struct, kw_only=True):
    """The File object. Times are whole seconds since the epoch."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None


class Counts(msgspec.Struct, kw_only=True):
    """`request_counts`."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class CachedTokens(msgspec.Struct):
    """`usage.input_tokens_details`."""

    cached_tokens: int = 0


class ReasoningTokens(msgspec.Struct):
    """`usage.output_tokens_details`."""

    reasoning_tokens: int = 0


class Usage(msgspec.Struct, kw_only=True):
    """`usage`: the tokens of all rows that were answered."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = msgspec.field(default_factory=CachedTokens)
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = msgspec.field(default_factory=ReasoningTokens)
    total_tokens: int = 0

    def add(self, usage: dict[str, Any]) -> None:
        """Add one answer's `usage`, in the words of chat and embeddings or in those of responses."""
        prompt = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        output = usage.get("completion_tokens") or usage.get("output_tokens") or 0
        self.input_tokens += prompt
        self.output_tokens += output
        self.total_tokens += prompt + output
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        if details:
            self.input_tokens_details.cached_tokens += details.get("cached_tokens") or 0
        details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
        if details:
            self.output_tokens_details.reasoning_tokens += details.get("reasoning_tokens") or 0


class LineError(msgspec.Struct, kw_only=True):
    """One entry of `errors.data`; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Errors(msgspec.Struct, kw_only=True):
    """`errors`: why the input was refused."""

    object: str = "list"
    data: list[LineError]


class Batch(msgspec.Struct, kw_only=True):
    """The Batch object. Times are whole seconds since the epoch."""

    id: str
    object: str = "batch"
    endpoint: str
    model: str | None = None
    errors: Errors | None = None
    input_file_id: str
    completion_window: str = "24h"
    status: str = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts = msgspec.field(default_factory=Counts)
    usage: Usage = msgspec.field(default_factory=Usage)
    metadata: dict[str, str] | None = None


class Record(msgspec.Struct, kw_only=True):
    """A batch with what only the server knows of it.

    output_id, error_id: the ids that the result files will have; their bytes are written there from the start, and
    the files come into being for clients when the batch ends. output_life: seconds that they live. expired: no further
    row is answered. left: requests that were not processed, because the batch expired or was cancelled.
    """

    batch: Batch
    output_id: str
    error_id: str
    output_life: int = BATCH_FILE_LIFE
    expired: bool = False
    left: int = 0
