"""Batch objects of OpenAI and compatible servers -> BatchView. No network.

Fields may be missing, null, or of an undocumented type; a server's additional fields are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.refusals.input_file import InputFile, of_file
from jupyter_batch.core.refusals.quota import is_quota, is_spent
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.core.refusals.stated_limit import stated_limit
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.row_error import code_of, cut, reason_of

_ENDINGS = {
    "completed": State.COMPLETED,
    "failed": State.FAILED,
    "expired": State.EXPIRED,
    "cancelled": State.CANCELLED,
    "canceled": State.CANCELLED,
}
_OVER = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_SHOWN = 3
_KEPT = 500
"""The most invalid lines stored per batch in the ledger."""


def read_batch(obj: Mapping[str, Any]) -> BatchView:
    """Convert a batch object; fields may be missing or empty, an unknown status is running."""
    status = str(obj.get("status") or "unknown")
    counts = obj.get("request_counts")
    counts = counts if isinstance(counts, Mapping) else {}
    found = _each(obj.get("errors")) or _each(obj.get("error"))
    sentences = [_words(one) for one in found]
    spent = any(map(is_spent, sentences))
    metadata = obj.get("metadata")
    return BatchView(
        id=str(obj.get("id") or ""),
        status=status,
        ending=_ENDINGS.get(status.lower()),
        input_file_id=_text(obj.get("input_file_id")),
        output_file_id=_text(obj.get("output_file_id")),
        error_file_id=_text(obj.get("error_file_id")),
        total=tolerant.count(counts.get("total")),
        bad_lines=_bad_lines(obj.get("errors")),
        completed=tolerant.count(counts.get("completed")),
        failed=tolerant.count(counts.get("failed")),
        created_at=_time(obj.get("created_at")),
        expires_at=_time(obj.get("expires_at")),
        errors=_errors(found),
        quota=spent or any(map(is_quota, sentences)),
        spent=spent,
        input_file=_of_file(found),
        limit=next(filter(None, map(stated_limit, sentences)), None),
        ended_at=next((at for name in _OVER if (at := _time(obj.get(name))) is not None), None),
        usage=tolerant.usage_of(obj.get("usage")),
        endpoint=_text(obj.get("endpoint")),
        tag={str(key): str(value) for key, value in metadata.items()}
        if isinstance(metadata, Mapping)
        else {},
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> float | None:
    """Parse a number or an ISO text as seconds since the epoch."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _each(errors: Any) -> list[Any]:
    if isinstance(errors, Mapping):
        errors = errors["data"] if isinstance(errors.get("data"), (list, tuple)) else [errors]
    return [error for error in (errors if isinstance(errors, (list, tuple)) else [errors]) if error]


def _bad_lines(errors: Any) -> tuple[tuple[int, str], ...]:
    """The invalid lines, each once, with all of its errors."""
    found: dict[int, str] = {}
    for error in _each(errors):
        line = error.get("line") if isinstance(error, Mapping) else None
        if not isinstance(line, int) or line < 1:
            continue
        if line in found:
            found[line] = cut(f"{found[line]}; {_sentence(error)}")
        elif len(found) < _KEPT:
            found[line] = _sentence(error)
    return tuple(found.items())


def _words(error: Any) -> str:
    """An error's code and message, for classification by words."""
    refusal = read_refusal(error)
    return f"{refusal.kind} {refusal.message}"


def _errors(found: list[Any]) -> str:
    """The first few errors, and the number of the others."""
    text = "; ".join(_error(error) for error in found[:_SHOWN])
    if len(found) > _SHOWN:
        text += f"; and {len(found) - _SHOWN:,} more"
    return text


def _of_file(found: list[Any]) -> InputFile | None:
    """The request file's state from a batch's only error; an error of a line is about that line."""
    if len(found) != 1 or not isinstance(found[0], Mapping) or found[0].get("line"):
        return None
    return of_file(_words(found[0]))


def _error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return reason_of(error)
    place = ", ".join(
        f"{name} {error[key]}"
        for key, name in (("line", "line"), ("param", "at"))
        if error.get(key)
    )
    return _sentence(error) + (f" ({place})" if place else "")


def _sentence(error: Mapping[str, Any]) -> str:
    return reason_of({"error": error}, code_of(error))
