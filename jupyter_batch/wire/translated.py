"""Shared parts of the dialects that are not OpenAI's, besides their encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.request import Result, Status, ToolCalls, Usage, answer_finish, finish_of
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.part_keys import parts_in
from jupyter_batch.wire.row_error import cut
from jupyter_batch.wire.whole import Refused

_ADDRESSES = ("url", "file_id", "file_data")
"""Fields that may hold the address of an image or a file."""


JSON_TOOL = "json_tool_call"
"""The tool that litellm requests where a model has no JSON mode: its input is the answer."""


class StopWords(NamedTuple):
    """A dialect's finish reasons: the field's name, its value for used-up tokens, and for whole answers."""

    field: str
    spent: str
    whole: tuple[str, ...]


def value_of(
    text: str, calls: list[dict[str, Any]], stop: str, words: StopWords
) -> tuple[Any, str]:
    """(value, "") of an answer with this text and these tool calls, or (None, reason)."""
    if calls:
        return ToolCalls(calls, text), ""
    if text or stop in words.whole:
        return text, ""  # an empty text is an answer, where the model had no output
    if stop == words.spent:
        return (
            None,
            f"{stop}: all the tokens were used up before any text came; allow more (max_tokens)",
        )
    return None, f"the answer has no content ({words.field}: {stop or 'none'})"


def json_of(calls: Sequence[Mapping[str, Any]]) -> str | None:
    """The answer of a model without a JSON mode, from the input of JSON_TOOL; None without it."""
    asked = [call for call in calls if call.get("name") == JSON_TOOL]
    return json.dumps(asked[0].get("input"), ensure_ascii=False) if asked else None


def calls_of(
    calls: Sequence[Mapping[str, Any]], id_key: str, tool_names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Tool calls of Anthropic's shape. tool_names: the user's name of each tool that was renamed."""
    return [
        {
            "id": call.get(id_key),
            "name": tool_names.get(str(call.get("name")), call.get("name")),
            "arguments": tolerant.arguments_of(call.get("input")),
        }
        for call in calls
    ]


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


def slimmed(custom_id: str, held: Mapping[str, msgspec.Raw]) -> bytes:
    """A stored result line: the id, and of `held` what came."""
    made = [b'{"custom_id":%b' % msgspec.json.encode(custom_id)]
    for name, value in held.items():
        if bytes(value):
            made.append(b'"%b":%b' % (name.encode(), msgspec.json.format(value, indent=-1)))
    return b",".join(made) + b"}\n"


def time_of(value: Any) -> float | None:
    """Parse an RFC 3339 text as seconds since the epoch."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def dicts_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; none for any other value."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}
