"""Anthropic's error envelope and error types, from the server's own `ApiError`."""

from __future__ import annotations

from typing import Any

from jupyter_batch.server.errors import ApiError

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


def invalid(message: str) -> ApiError:
    """A refused request. Anthropic's messages begin with the field's path: `messages.0.role: ...`."""
    return ApiError(400, message)


def no_batch(batch_id: str) -> ApiError:
    """No such Message Batch."""
    return ApiError(404, f"Message Batch `{batch_id}` not found.")


def no_model(model: str) -> ApiError:
    """No such model; Anthropic's message is the field and the name."""
    return ApiError(404, f"model: {model}")
