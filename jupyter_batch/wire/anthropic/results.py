"""Anthropic's dialect: result lines -> Results, message_batch objects -> BatchView.

No network. As in wire/openai.py, decoding has a typed path for most lines (an answer with text)
and a tolerant one, which takes any bytes and never raises, for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.finish import answer_finish, finish_of, is_whole
from jupyter_batch.core.result import Result, Status, ToolCalls, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic.requests import MAX_TOKENS, MAX_TOKENS_THINKING, Encoder
from jupyter_batch.wire.row_error import code_of, cut, reason_of

__all__ = ["MAX_TOKENS", "MAX_TOKENS_THINKING", "Encoder", "decode", "decode_lines", "read_batch"]

JSON_TOOL = "json_tool_call"
"""The tool that litellm requests where a model has no JSON mode: its input is the answer."""

_SILENT = ("thinking", "redacted_thinking")
_SUCCEEDED = Status.SUCCEEDED


# --- results: the typed path ----------------------------------------------------------------------


class _Details(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _ByAge(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Used(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _ByAge | None = None
    output_tokens_details: _Details | None = None
    iterations: Any = None


_NO_AGE = _ByAge()


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str = ""


class _Message(msgspec.Struct, gc=False):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Used | None = None


class _Outcome(msgspec.Struct, gc=False):
    type: str
    message: _Message | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    result: _Outcome


_DECODER = msgspec.json.Decoder(_Line)


def _typed(line: _Line) -> Result | None:
    """The Result of a plain answer; None for other lines."""
    message = line.result.message
    if line.result.type != "succeeded" or message is None or not is_whole(message.stop_reason):
        return None
    texts = []
    for block in message.content:
        if block.type == "text":
            texts.append(block.text)
        elif block.type not in _SILENT:
            return None
    value = "".join(texts)
    if not value:
        return None
    used = message.usage
    if used is None:
        return Result(line.custom_id, _SUCCEEDED, value, finish=finish_of(message.stop_reason))
    if used.iterations:
        return None
    read, thought = used.cache_read_input_tokens or 0, used.output_tokens_details
    age = used.cache_creation or _NO_AGE
    longer = age.ephemeral_1h_input_tokens or 0
    put = used.cache_creation_input_tokens or longer + (age.ephemeral_5m_input_tokens or 0)
    return Result(
        line.custom_id,
        _SUCCEEDED,
        value,
        None,
        Usage(
            used.input_tokens + read + put,
            used.output_tokens,
            read,
            (thought.thinking_tokens if thought else None) or 0,
            put,
            cache_write_1h_tokens=longer,
        ),
        finish_of(message.stop_reason),
    )


def decode(
    line: bytes, endpoint: str = "", *, tool_names: Mapping[str, str] | None = None
) -> Result:
    """Decode one line of a batch's results. Never raises: an unreadable line is a failed Result.

    endpoint: as for OpenAI's lines; not needed here. tool_names: as returned by the Encoder.
    """
    del endpoint
    try:
        result = _typed(_DECODER.decode(line))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        result = None
    return _read(line, tool_names or {}) if result is None else result


def decode_lines(
    block: bytes, endpoint: str = "", *, tool_names: Mapping[str, str] | None = None
) -> Iterator[Result]:
    r"""Decode a block of whole lines; a line ends at b"\n" only, and empty lines are skipped."""
    for line in block.split(b"\n"):
        if line and not line.isspace():
            yield decode(line, endpoint, tool_names=tool_names)


# --- results: the tolerant path -------------------------------------------------------------------


def _read(line: bytes, tool_names: Mapping[str, str]) -> Result:
    try:
        data = tolerant.loads(line)
        result = data["result"]
    except (
        Exception
    ):  # bytes from outside: not JSON, or not Anthropic's; the other dialect's reader reports it
        return tolerant.read(line)
    custom_id = data.get("custom_id")
    custom_id = custom_id if isinstance(custom_id, str) else None
    try:
        return _outcome(
            custom_id, result if isinstance(result, dict) else {"type": result}, tool_names
        )
    except Exception as error:  # an unknown shape must not lose the other rows
        return _failed(custom_id, f"a line that can't be read: {error!r}")


def _failed(
    custom_id: str | None,
    reason: str,
    usage: Usage | None = None,
    *,
    status: Status = Status.FAILED,
    unbilled: bool = False,
    finish: str | None = None,
) -> Result:
    return Result(
        custom_id, status, error=cut(reason), usage=usage, unbilled=unbilled, finish=finish
    )


def _outcome(
    custom_id: str | None, result: dict[str, Any], tool_names: Mapping[str, str]
) -> Result:
    kind = result.get("type")
    if kind == "expired":
        return _failed(
            custom_id,
            "expired: the batch expired before this row was answered",
            status=Status.EXPIRED,
        )
    if kind in ("canceled", "cancelled"):
        return _failed(
            custom_id,
            "canceled: the batch was cancelled before this row was sent to the model",
            status=Status.CANCELLED,
        )
    if kind == "errored":
        return _failed(custom_id, _reason(result.get("error")), unbilled=True)
    message = result.get("message")
    if kind != "succeeded" or not isinstance(message, dict):
        return _failed(
            custom_id, f"a result that is neither an answer nor an error (its type: {kind})"
        )
    usage = _usage(message.get("usage"))
    value, reason = _answer(message, tool_names)
    finish = finish_of(message.get("stop_reason"))
    if value is None:
        return _failed(custom_id, reason, usage, finish=finish)
    calls = value if isinstance(value, ToolCalls) else None
    return Result(
        custom_id,
        _SUCCEEDED,
        value if calls is None else calls.as_text(),
        usage=usage,
        finish=answer_finish(finish, calls),
        calls=calls,
        stop=None if is_whole(message.get("stop_reason")) else message.get("stop_reason"),
    )


def _reason(error: Any) -> str:
    """The reason of an error, nested ({"type": "error", "error": {...}}) or flat (old docs)."""
    return reason_of({"error": error} if error else None, code_of(error))


def _answer(message: dict[str, Any], tool_names: Mapping[str, str]) -> tuple[Any, str]:
    """Return (value, "") or (None, reason)."""
    stop = message.get("stop_reason")
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = (
        [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    )
    texts = [str(block.get("text") or "") for block in blocks if block.get("type") == "text"]
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    if stop == "refusal":
        details = message.get("stop_details")
        why = details.get("explanation") if isinstance(details, dict) else None
        return None, f"refusal: {why or ''.join(texts) or 'the model refused to answer'}"
    asked = [call for call in calls if call.get("name") == JSON_TOOL]
    if asked:
        return json.dumps(asked[0].get("input"), ensure_ascii=False), ""
    if calls:
        return ToolCalls(
            [
                {
                    "id": call.get("id"),
                    "name": tool_names.get(str(call.get("name")), call.get("name")),
                    "arguments": tolerant.arguments_of(call.get("input")),
                }
                for call in calls
            ],
            "".join(texts),
        ), ""
    if any(texts):
        return "".join(texts), ""
    if stop == "max_tokens":
        return (
            None,
            "max_tokens: all the tokens were used up before any text came; allow more (max_tokens)",
        )
    if stop in ("end_turn", "stop_sequence"):
        return "", ""  # the model had no output: an empty text is an answer
    return None, f"the answer has no content (stop_reason: {stop})"


def _usage(usage: Any) -> Usage | None:
    """All input tokens, including cache reads and writes, which Anthropic counts separately."""
    if not isinstance(usage, Mapping) or all(
        usage.get(key) is None for key in ("input_tokens", "output_tokens")
    ):
        return None
    rounds = [each for each in usage.get("iterations") or () if isinstance(each, Mapping)] or [
        usage
    ]

    def of(key: str) -> int:
        return sum(tolerant.count(each.get(key)) for each in rounds)

    written = of("cache_creation_input_tokens")
    ages = [age for each in rounds if isinstance(age := each.get("cache_creation"), Mapping)]
    ages = ages or [age for age in [usage.get("cache_creation")] if isinstance(age, Mapping)]
    written = written or sum(tolerant.count(tokens) for age in ages for tokens in age.values())
    longer = sum(tolerant.count(age.get("ephemeral_1h_input_tokens")) for age in ages)
    details = usage.get("output_tokens_details")
    thought = tolerant.count(details.get("thinking_tokens")) if isinstance(details, Mapping) else 0
    read = of("cache_read_input_tokens")
    return Usage(
        of("input_tokens") + read + written,
        of("output_tokens"),
        read,
        thought,
        written,
        cache_write_1h_tokens=longer,
    )


# --- batch objects --------------------------------------------------------------------------------------------------


def read_batch(obj: Mapping[str, Any]) -> BatchView:
    """Convert a message_batch object; fields may be missing or null, an unknown status is running.

    Anthropic has one ending, `ended`; ours is derived from the counts. They are zero until then, so
    there is no progress to show. One file, under the batch's own id, has all answers and errors.
    """
    batch_id, status = str(obj.get("id") or ""), str(obj.get("processing_status") or "unknown")
    counts = obj.get("request_counts")
    counts = counts if isinstance(counts, Mapping) else {}
    of = {
        key: tolerant.count(counts.get(key))
        for key in ("processing", "succeeded", "errored", "canceled", "expired")
    }
    ended = status == "ended"
    # Results that were removed after 29 days are requested too: the refusal says so.
    there = ended and bool(obj.get("results_url") or obj.get("archived_at"))
    return BatchView(
        id=batch_id,
        status=status,
        ending=_ending(of, obj) if ended else None,
        output_file_id=batch_id if there else None,
        total=sum(of.values()),
        completed=of["succeeded"],
        failed=of["errored"],
        created_at=_time(obj.get("created_at")),
        expires_at=_time(obj.get("expires_at")),
        ended_at=_time(obj.get("ended_at")),
    )


def _ending(counts: Mapping[str, int], obj: Mapping[str, Any]) -> State:
    if counts["canceled"] and obj.get("cancel_initiated_at"):
        return State.CANCELLED
    if counts["expired"] and counts["expired"] == sum(counts.values()):
        return State.EXPIRED
    return State.COMPLETED


def _time(value: Any) -> float | None:
    """Parse an RFC 3339 text as seconds since the epoch."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
