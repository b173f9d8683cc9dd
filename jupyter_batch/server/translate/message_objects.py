"""The Message Batch object and the errors as Anthropic documents them, made of the server's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jupyter_batch.server.errors import ApiError
from jupyter_batch.server.storage.objects import DAY, OPEN, Batch, Record

MESSAGES = "/v1/messages"
"""The endpoint, and the prefix of every route of this API."""
BATCHES = f"{MESSAGES}/batches"
BATCH_PREFIX = "msgbatch_"
RESULTS_LIFE = 29 * DAY
"""Seconds from a batch's creation until its results are no longer available."""


def has_v1_twice(path: str) -> bool:
    """Whether a client appended `/v1` to an address that ends in it already, as Anthropic's does."""
    return path.startswith("/v1/v1/")


def speaks(path: str) -> bool:
    """Whether a request's path belongs to this API, with `/v1` once or twice."""
    path = path.removeprefix("/v1") if has_v1_twice(path) else path
    return path == MESSAGES or path.startswith(f"{MESSAGES}/")


def processing_status(batch: Batch) -> str:
    """`in_progress`, `canceling` or `ended`."""
    if batch.status == "cancelling":
        return "canceling"
    return "in_progress" if batch.status in OPEN else "ended"


def ended_at(batch: Batch) -> int | None:
    """The time at which processing ended, in epoch seconds."""
    return batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at


def is_archived(batch: Batch, now: float) -> bool:
    """Whether the results have expired."""
    return now >= batch.created_at + RESULTS_LIFE


def request_counts(record: Record) -> dict[str, int]:
    """Requests by outcome. All of them are `processing` until the whole batch has ended; the sum is constant."""
    batch = record.batch
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if batch.status in OPEN:
        counts["processing"] = batch.request_counts.total
        return counts
    counts["succeeded"] = batch.request_counts.completed
    counts["canceled" if batch.cancelling_at else "expired"] = record.left
    counts["errored"] = batch.request_counts.total - batch.request_counts.completed - record.left
    return counts


def message_batch(record: Record, *, origin: str, now: float) -> dict[str, Any]:
    """The object. `origin`: scheme and host under which the client reached this server, for `results_url`."""
    batch = record.batch
    archived = is_archived(batch, now)
    has_results = batch.status not in OPEN and not archived
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": processing_status(batch),
        "request_counts": request_counts(record),
        "created_at": _timestamp(batch.created_at),
        "expires_at": _timestamp(batch.expires_at),
        "ended_at": _timestamp(ended_at(batch)),
        "cancel_initiated_at": _timestamp(batch.cancelling_at),
        "archived_at": _timestamp(batch.created_at + RESULTS_LIFE) if archived else None,
        "results_url": f"{origin}{BATCHES}/{batch.id}/results" if has_results else None,
    }


def _timestamp(seconds: int | None) -> str | None:
    """RFC 3339, in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SERVER_ERRORS = 500


def error_type(status: int) -> str:
    """The `type` that goes with an HTTP status."""
    default = "api_error" if status >= _SERVER_ERRORS else "invalid_request_error"
    return _TYPES.get(status, default)


def envelope(status: int, message: str, request_id: str) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    return {
        "type": "error",
        "error": {"type": error_type(status), "message": message},
        "request_id": request_id,
    }


def no_batch(batch_id: str) -> ApiError:
    """No such Message Batch."""
    return ApiError(404, f"Message Batch `{batch_id}` not found.")


def no_model(model: str) -> ApiError:
    """No such model; Anthropic's message is the field and the name."""
    return ApiError(404, f"model: {model}")
