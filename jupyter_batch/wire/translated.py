"""Shared parts of the dialects translated by litellm, besides their encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jupyter_batch.core.finish import answer_finish, finish_of
from jupyter_batch.core.result import Result, Status, ToolCalls, Usage
from jupyter_batch.wire.part_keys import parts_in
from jupyter_batch.wire.row_error import cut
from jupyter_batch.wire.whole import Refused

_ADDRESSES = ("url", "file_id", "file_data")
"""Fields that may hold the address of an image or a file."""


def refuse_downloads(messages: Any, known: Callable[[str], bool]) -> None:
    """Refuse an address that litellm would fetch itself while rows are encoded. Raises Refused.

    known: whether an address is passed on unchanged.
    """
    for _, part in parts_in(messages):
        held = part.get(part["type"]) if part.get("type") else None
        urls = [held.get(name) for name in _ADDRESSES] if isinstance(held, Mapping) else [held]
        for url in urls:
            if (
                isinstance(url, str)
                and url.startswith(("http://", "https://", "gs://"))
                and not known(url)
            ):
                raise Refused(
                    f"{url[:100]}: this address can't be handed on: give the file itself (for images= "
                    "its path, in a message a data: URL)"
                )


def failed(
    custom_id: str | None,
    reason: str,
    usage: Usage | None = None,
    *,
    status: Status = Status.FAILED,
    stop: Any = None,
    unbilled: bool = False,
) -> Result:
    """A Result without a value; its reason is truncated for display. stop: as for `answered`."""
    return Result(
        custom_id,
        status,
        error=cut(reason),
        usage=usage,
        finish=finish_of(stop),
        unbilled=unbilled,
    )


def answered(custom_id: str | None, value: Any, usage: Usage | None, stop: Any = None) -> Result:
    """A Result with a value, or with tool calls. stop: the provider's finish reason."""
    calls = value if isinstance(value, ToolCalls) else None
    return Result(
        custom_id,
        Status.SUCCEEDED,
        value if calls is None else calls.as_text(),
        usage=usage,
        finish=answer_finish(finish_of(stop), calls),
        calls=calls,
        stop=stop if isinstance(stop, str) else None,
    )


def time_of(value: Any) -> float | None:
    """Parse an RFC 3339 text as seconds since the epoch."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}
