"""Tolerant decoding of any result line, in the shapes seen from OpenAI-compatible servers.

Never raises. It is based on the line's contents, not on the endpoint, and handles all
irregularities, so that wire/openai.py's typed path can stay narrow.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from jupyter_batch.core.media import text_in
from jupyter_batch.core.refusals.sentence import is_error, read_refusal, sentence_of
from jupyter_batch.core.request import Finish, Result, Status, ToolCalls, Usage, finish_of, is_whole
from jupyter_batch.wire.row_error import cut, failure_of, id_in

_ERRORS = 400  # HTTP's errors begin at this status
_MOST_DIGITS = 4000  # Python reads whole numbers of 4300 digits at most
_TEXT = ("text", "output_text")


class _Answer(NamedTuple):
    """The value of an answer; where there is none, the reason."""

    value: Any = None
    reason: str = ""
    is_refusal: bool = False


def read(line: bytes) -> Result:
    """Decode any line."""
    try:
        data = loads(line)
    except Exception as error:  # bytes from outside: any error is possible
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        return Result(
            id_in(line), Status.FAILED, error=cut(f"a line that is not valid JSON: {why}")
        )
    if not isinstance(data, dict):
        return Result(
            None,
            Status.FAILED,
            error=cut(f"a line that is no result: {line.decode('utf-8', 'replace')}"),
        )
    custom_id = data.get("custom_id")
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    custom_id = custom_id if isinstance(custom_id, str) else None
    try:
        return _outcome(custom_id, data)
    except Exception as error:  # an unknown shape must not lose the other rows
        return Result(custom_id, Status.FAILED, error=cut(f"a line that can't be read: {error!r}"))


def raw(line: bytes) -> Any:
    """A line's object; its text where it can't be read."""
    try:
        return loads(line)
    except (ValueError, RecursionError):
        return line.decode("utf-8", "replace")


def loads(data: bytes | str) -> Any:
    """Parse JSON, also with some servers' NaN, control characters, invalid UTF-8, or BOM."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        return _whole(json.loads(text.lstrip("\ufeff"), strict=False, parse_int=_number))


def _number(digits: str) -> int | float:
    """A whole number; one that Python refuses to read, for its length, is a float."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def _whole(value: Any) -> Any:
    """Replace lone surrogates, which no file and no column can hold, with U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _outcome(custom_id: str | None, data: dict[str, Any]) -> Result:
    code, body = _response_in(data)
    mapping = body if isinstance(body, dict) else {}
    usage = usage_of(mapping.get("usage"))
    error = _error_in(data, body, failed=code >= _ERRORS)
    if error is not None:
        status, reason = failure_of(error, code if code >= _ERRORS else 0)
        return Result(custom_id, status, error=reason, usage=usage, unbilled=usage is None)
    answer = _answer(mapping)
    if answer.value is None and not mapping and isinstance(body, str) and body:
        answer = _Answer(reason=f"no answer but: {read_refusal(body).message}")
    made = _result_of(custom_id, answer, mapping, usage)
    return msgspec.structs.replace(made, cost=_cost_of(mapping.get("usage")))


def _response_in(data: Mapping[str, Any]) -> tuple[int, Any]:
    """(HTTP status, body) of a result line; the status is 0 where it names none."""
    response = _unpacked(data.get("response"))
    if not isinstance(response, dict):
        return 0, response
    code = count(response.get("status_code"))
    return code, _unpacked(response.get("body")) if "body" in response or code else response


def _result_of(
    custom_id: str | None, answer: _Answer, body: Mapping[str, Any], usage: Usage | None
) -> Result:
    words = body.get("service_tier"), finish_word(body)
    tier, stop = (word if isinstance(word, str) else None for word in words)
    finish = Finish.REFUSAL if answer.is_refusal else finish_of(stop)
    if answer.value is None:
        return Result(custom_id, Status.FAILED, None, cut(answer.reason), usage, finish, tier=tier)
    calls = answer.value if isinstance(answer.value, ToolCalls) else None
    return Result(
        custom_id,
        Status.SUCCEEDED,
        answer.value if calls is None else calls.as_text(),
        usage=usage,
        finish=finish,
        calls=calls,
        stop=None if is_whole(stop) or stop == finish else stop,
        tier=tier,
    )


def body_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The response body in a result line's object, or an empty one."""
    response = _unpacked(data.get("response"))
    held = (
        _unpacked(response["body"])
        if isinstance(response, dict) and "body" in response
        else response
    )
    return held if isinstance(held, dict) else {}


def message_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The message in a chat answer's result line, or an empty one."""
    choices = body_of(data).get("choices")
    message = _first(choices).get("message") if isinstance(choices, list) and choices else None
    return message if isinstance(message, dict) else {}


def _unpacked(value: Any) -> Any:
    """Parse a JSON object that was sent as a text (OGX does so)."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            return loads(value)
        except ValueError:
            return value
    return value


def _error_in(line: Mapping[str, Any], body: Any, *, failed: bool) -> Any:
    """The row's error in a line, in the shapes of core/refusals/sentence.py, or None."""
    error = line.get("error")
    if error:
        return {"error": error}
    if is_error(body) or (isinstance(body, dict) and body.get("errors")):
        return body
    return (body or {}) if failed else None


def _answer(body: Mapping[str, Any]) -> _Answer:
    choices, output, data = body.get("choices"), body.get("output"), body.get("data")
    if isinstance(choices, list) and choices:
        return _chat(_first(choices))
    if isinstance(output, list):
        return _response(output, body)
    if (other := text_in(body)) is not None:
        return _Answer(other)
    if isinstance(data, list) and data:
        return _vectors(data)
    if sentence := sentence_of(body):
        return _Answer(reason=f"no answer but: {sentence}")
    held = ", ".join(map(str, body)) or "nothing"
    return _Answer(reason=f"the line holds neither an answer nor an error (in its body: {held})")


def _first(choices: list[Any]) -> dict[str, Any]:
    dicts = [choice for choice in choices if isinstance(choice, dict)]
    return next((choice for choice in dicts if choice.get("index") == 0), dicts[0] if dicts else {})


def finish_word(body: Mapping[str, Any]) -> Any:
    """The provider's finish reason of a chat or responses answer, or None."""
    choices, details = body.get("choices"), body.get("incomplete_details")
    if isinstance(choices, list):
        return _first(choices).get("finish_reason")
    if isinstance(details, dict) and details.get("reason"):
        return details["reason"]
    return body.get("status") if isinstance(body.get("output"), list) else None


def _chat(choice: dict[str, Any]) -> _Answer:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}  # the old completions
    finish = choice.get("finish_reason")
    text, refusal = _parts(message.get("content"))
    spoken = message.get("audio")
    if not text and isinstance(spoken, dict) and isinstance(spoken.get("transcript"), str):
        text = spoken["transcript"]
    refusal = message.get("refusal") or refusal
    calls = message.get("tool_calls") or [
        {"function": message.get("function_call")}
    ]  # the second is the old form
    return _answer_of(text, refusal, _calls(calls), finish, message.get("content"))


def _response(output: list[Any], body: Mapping[str, Any]) -> _Answer:
    items = [item for item in output if isinstance(item, dict)]
    read = [_parts(item.get("content")) for item in items if item.get("type") == "message"]
    texts = [text for text, _ in read if text is not None]
    refusal = "".join(refusal for _, refusal in read)
    calls = _calls(
        [
            {"id": item.get("call_id"), "function": item}
            for item in items
            if item.get("type") == "function_call"
        ]
    )
    details = body.get("incomplete_details")
    finish = details.get("reason") if isinstance(details, dict) else body.get("status")
    return _answer_of("".join(texts) if texts else None, refusal, calls, finish)


def _parts(content: Any) -> tuple[str | None, str]:
    """Return (text, refusal) of a content: a text, or a list of parts, thinking excluded."""
    if isinstance(content, str):
        return content, ""
    texts, refusals = [], []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and "text" in part and part.get("type", "text") in _TEXT:
            text = part.get("text")
            texts.append(text.get("value", "") if isinstance(text, dict) else str(text or ""))
        elif isinstance(part, dict) and part.get("type") == "refusal":
            refusals.append(str(part.get("refusal") or "refused"))
    return ("".join(texts) if texts else None), "".join(refusals)


def _answer_of(
    text: str | None, refusal: Any, calls: list[dict[str, Any]], finish: Any, content: Any = None
) -> _Answer:
    """The answer in a message: its refusal, tool calls or text, or the reason why it is empty."""
    if refusal:
        return _Answer(reason=f"refusal: {refusal}", is_refusal=True)
    if calls:
        return _Answer(ToolCalls(calls, text or ""))
    if text:
        return _Answer(text)
    if finish == "content_filter":
        return _Answer(reason="content_filter: the provider's filter held the answer back")
    if finish in ("length", "max_output_tokens"):
        return _Answer(
            reason=f"{finish}: all the tokens were used up before any text came; allow more (max_tokens)"
        )
    if text is not None and finish in ("stop", "completed", None):
        return _Answer(text)  # an empty text is an answer
    if content not in (None, "", []):
        return _Answer(reason=f"the answer's content is not a text: {json.dumps(content)}")
    return _Answer(reason=f"the answer has no content (finish_reason: {finish})")


def _calls(calls: Any) -> list[dict[str, Any]]:
    """Tool calls: [{"id": ..., "name": ..., "arguments": {...}}, ...]."""
    found = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found.append(
                {
                    "id": call.get("id"),
                    "name": function.get("name"),
                    "arguments": arguments_of(function.get("arguments")),
                }
            )
    return found


def arguments_of(arguments: Any) -> Any:
    """Parse a call's arguments as an object, else return the text; empty text is no arguments."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    return _unpacked(arguments)


def _vectors(data: list[Any]) -> _Answer:
    """One vector, or a list of them in the order of their inputs."""
    items = sorted(
        (item for item in data if isinstance(item, dict)), key=lambda item: count(item.get("index"))
    )
    vectors = [_vector(item.get("embedding")) for item in items]
    if not vectors or any(vector is None for vector in vectors):
        return _Answer(reason="the line holds no vector")
    return _Answer(vectors[0] if len(vectors) == 1 else vectors)


def _vector(embedding: Any) -> list[float] | None:
    if isinstance(embedding, str):
        return list(unpacked(embedding) or ()) or None
    return (
        [float(number) for number in embedding]
        if isinstance(embedding, list) and embedding
        else None
    )


_IN = ("prompt_tokens_details", "input_tokens_details")
_OUT = ("completion_tokens_details", "output_tokens_details")


def unpacked(text: str) -> array[float] | None:
    """Decode a base64 vector (`encoding_format`): little-endian 32-bit floats. None otherwise."""
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def usage_of(usage: Any) -> Usage | None:
    """The tokens of a `usage` object, in the format of chat or of responses, or None."""
    counts = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    if not isinstance(usage, Mapping) or all(usage.get(key) is None for key in counts):
        return None

    def of(*keys: str) -> int:
        return next((count(usage[key]) for key in keys if usage.get(key) is not None), 0)

    taken = [detail for key in _IN if isinstance(detail := usage.get(key), Mapping)]
    made = [detail for key in _OUT if isinstance(detail := usage.get(key), Mapping)]

    def inside(name: str, details: list[Mapping[str, Any]]) -> int:
        return count(details[0].get(name)) if details else 0

    cached = inside("cached_tokens", taken)
    into, thought = of("prompt_tokens", "input_tokens"), inside("reasoning_tokens", made)
    out = whole_output(into, of("completion_tokens", "output_tokens"), thought, of("total_tokens"))
    put = inside("cache_write_tokens", taken) or inside("cache_creation_tokens", taken)
    ages = [detail.get("cache_creation_token_details") for detail in taken]
    held = [age.get("ephemeral_1h_input_tokens") for age in ages if isinstance(age, Mapping)]
    return Usage(
        into,
        out,
        cached or of("prompt_cache_hit_tokens"),
        thought,
        put,
        inside("audio_tokens", taken),
        inside("image_tokens", taken),
        inside("audio_tokens", made),
        inside("image_tokens", made),
        sum(map(count, held)),
    )


def _cost_of(usage: Any) -> float | None:
    """The cost that a `usage` names (OpenRouter), with the upstream's where that has its own bill."""
    if not isinstance(usage, Mapping) or usage.get("cost") is None:
        return None
    costs = [usage["cost"]]
    if usage.get("is_byok"):
        costs.append((usage.get("cost_details") or {}).get("upstream_inference_cost"))
    known = all(type(cost) in (int, float) and 0 <= cost < math.inf for cost in costs)
    return math.fsum(costs) if known else None


def whole_output(into: int, out: int, thought: int, total: int | None) -> int:
    """All output tokens: xAI counts reasoning separately, as its total shows."""
    return out + thought if thought and total == into + out + thought else out


def count(value: Any) -> int:
    """Parse a number that may be missing, a float or a text; 0 if invalid."""
    if type(value) is int:  # nearly always
        return max(0, value)
    try:
        return max(int(value), 0) if isinstance(value, (int, float, str)) else 0
    except (ValueError, OverflowError):
        return 0
