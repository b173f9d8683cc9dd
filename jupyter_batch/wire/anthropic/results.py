"""Anthropic's dialect: result lines -> Results, message_batch objects -> BatchView.

No network. As in wire/openai.py, decoding has a typed path for most lines (an answer with text)
and a tolerant one, which takes any bytes and never raises, for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.request import (
    Result,
    Status,
    ToolCalls,
    Usage,
    answer_finish,
    finish_of,
    is_whole,
)
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic.requests import MAX_TOKENS, MAX_TOKENS_THINKING, Encoder
from jupyter_batch.wire.row_error import code_of, reason_of
from jupyter_batch.wire.translated import (
    StopWords,
    calls_of,
    dicts_in,
    failed,
    json_of,
    mapping,
    time_of,
    value_of,
)

__all__ = ["MAX_TOKENS", "MAX_TOKENS_THINKING", "Encoder", "decode", "decode_lines", "read_batch"]

_STOP_WORDS = StopWords("stop_reason", "max_tokens", ("end_turn", "stop_sequence"))
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
    if not all(block.type == "text" or block.type in _SILENT for block in message.content):
        return None
    value = "".join(block.text for block in message.content if block.type == "text")
    if not value:
        return None
    used = message.usage
    if used is not None and used.iterations:
        return None
    usage = None if used is None else _typed_usage(used)
    return Result(
        line.custom_id, _SUCCEEDED, value, usage=usage, finish=finish_of(message.stop_reason)
    )


def _typed_usage(used: _Used) -> Usage:
    read, thought = used.cache_read_input_tokens or 0, used.output_tokens_details
    age = used.cache_creation or _NO_AGE
    longer = age.ephemeral_1h_input_tokens or 0
    written = used.cache_creation_input_tokens or longer + (age.ephemeral_5m_input_tokens or 0)
    return Usage(
        used.input_tokens + read + written,
        used.output_tokens,
        read,
        (thought.thinking_tokens if thought else None) or 0,
        written,
        cache_write_1h_tokens=longer,
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
        return failed(custom_id, f"a line that can't be read: {error!r}")


def _outcome(
    custom_id: str | None, result: dict[str, Any], tool_names: Mapping[str, str]
) -> Result:
    kind = result.get("type")
    if kind == "expired":
        return failed(
            custom_id,
            "expired: the batch expired before this row was answered",
            status=Status.EXPIRED,
        )
    if kind in ("canceled", "cancelled"):
        return failed(
            custom_id,
            "canceled: the batch was cancelled before this row was sent to the model",
            status=Status.CANCELLED,
        )
    if kind == "errored":
        error = result.get("error")  # nested ({"type": "error", "error": {...}}) or flat (old docs)
        reason = reason_of({"error": error} if error else None, code_of(error))
        return failed(custom_id, reason, unbilled=True)
    message = result.get("message")
    if kind != "succeeded" or not isinstance(message, dict):
        return failed(
            custom_id, f"a result that is neither an answer nor an error (its type: {kind})"
        )
    usage = _usage(message.get("usage"))
    value, reason = _answer(message, tool_names)
    stop = message.get("stop_reason")
    if value is None:
        return failed(custom_id, reason, usage, stop=stop)
    calls = value if isinstance(value, ToolCalls) else None
    return Result(
        custom_id,
        _SUCCEEDED,
        value if calls is None else calls.as_text(),
        usage=usage,
        finish=answer_finish(finish_of(stop), calls),
        calls=calls,
        stop=None if is_whole(stop) else stop,
    )


def _answer(message: dict[str, Any], tool_names: Mapping[str, str]) -> tuple[Any, str]:
    """Return (value, "") or (None, reason)."""
    content = message.get("content")
    blocks = dicts_in([{"type": "text", "text": content}] if isinstance(content, str) else content)
    text = "".join(str(each.get("text") or "") for each in blocks if each.get("type") == "text")
    if message.get("stop_reason") == "refusal":
        why = mapping(message.get("stop_details")).get("explanation")
        return None, f"refusal: {why or text or 'the model refused to answer'}"
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    if (value := json_of(calls)) is not None:
        return value, ""
    stop = str(message.get("stop_reason"))
    return value_of(text, calls_of(calls, "id", tool_names), stop, _STOP_WORDS)


def _usage(usage: Any) -> Usage | None:
    """All input tokens, including cache reads and writes, which Anthropic counts separately."""
    if not isinstance(usage, Mapping) or {
        usage.get("input_tokens"),
        usage.get("output_tokens"),
    } == {None}:
        return None
    rounds: list[Mapping[str, Any]] = [*dicts_in(usage.get("iterations"))] or [usage]

    def of(key: str) -> int:
        return sum(tolerant.count(each.get(key)) for each in rounds)

    written, longer = _cache_writes(usage, rounds)
    read = of("cache_read_input_tokens")
    return Usage(
        of("input_tokens") + read + written,
        of("output_tokens"),
        read,
        tolerant.count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
        written,
        cache_write_1h_tokens=longer,
    )


def _cache_writes(usage: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Tokens that were written to the cache, and how many of them for an hour."""
    ages = dicts_in([each.get("cache_creation") for each in rounds])
    ages = ages or dicts_in([usage.get("cache_creation")])
    written = sum(tolerant.count(each.get("cache_creation_input_tokens")) for each in rounds)
    by_age = sum(tolerant.count(tokens) for age in ages for tokens in age.values())
    longer = sum(tolerant.count(age.get("ephemeral_1h_input_tokens")) for age in ages)
    return written or by_age, longer


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
        created_at=time_of(obj.get("created_at")),
        expires_at=time_of(obj.get("expires_at")),
        ended_at=time_of(obj.get("ended_at")),
    )


def _ending(counts: Mapping[str, int], obj: Mapping[str, Any]) -> State:
    if counts["canceled"] and obj.get("cancel_initiated_at"):
        return State.CANCELLED
    if counts["expired"] and counts["expired"] == sum(counts.values()):
        return State.EXPIRED
    return State.COMPLETED
