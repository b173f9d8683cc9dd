"""Parsing of an answer's text into its fields' values, or the reason for a failure.

Accepted: JSON; JSON in a fence; JSON surrounded by text, if it is the only object. Nothing is
guessed: a truncated object is invalid, and a number in quotes is a text, but for the schema of a
Pydantic class, whose own validation decides.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import msgspec

from jupyter_batch.core.request import Finish, Result, Status
from jupyter_batch.core.schema import Field, Schema
from jupyter_batch.schema.adapters import reader_of
from jupyter_batch.schema.check import Misfit, compiled
from jupyter_batch.schema.models import checked_by, validated_by

REASON_CHARS = 500

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*[\w-]*[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE
)
_THOUGHT = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_STARTS = re.compile(r'\{\s*["}]')  # the start of JSON; a brace in prose is not followed by this
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
_CUT = {
    Finish.LENGTH: "the answer was cut off at its last token; allow more (max_tokens)",
    Finish.CONTEXT_WINDOW: "the answer was cut off where the model's context was full; send less",
    Finish.CONTENT_FILTER: "the provider's filter held back the rest of the answer",
}


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


_JSON = msgspec.json.Decoder()
_PLAIN = json.JSONDecoder(strict=False, parse_constant=_no_number)


class Parser:
    """Parses the answers of a job.

    lax: the schema is a Pydantic class's. model: the class, where this process has it.
    """

    def __init__(self, schema: Schema, *, lax: bool = False, model: Any = None) -> None:
        self._checked = (
            checked_by(compiled(schema.json), schema, lax=lax)
            if model is None
            else validated_by(model, schema)
        )
        self._fields = tuple(
            (field.name, field.key, field, _CONVERT.get(field.kind)) for field in schema.fields
        )
        self._defaults = tuple(field for field in schema.fields if field.default is not None)
        self._nullable = frozenset(
            field.key for field in self._defaults if _takes_null(schema, field)
        )
        self._keys = frozenset(field.key for field in schema.fields)
        self._found = (
            found_in if not schema.reader else reader_of(schema, partial(_takes_null, schema))
        )

    def read(self, results: Iterable[Result]) -> Iterator[Result]:
        """Yield each result with its fields' values by name; failures have the text in `raw`."""
        for result in results:
            yield self.one(result) if result.status is Status.SUCCEEDED else result

    def one(self, result: Result) -> Result:
        """Parse a single result."""
        text = result.value
        try:
            value = self.values(text)
        except Misfit as e:
            cut = next((why for word, why in _CUT.items() if word == result.finish), None)
            filtered = result.finish == Finish.CONTENT_FILTER
            word = result.finish if filtered else result.stop or result.finish
            reason = f"{word}: {cut}" if cut else str(e)
            reason = reason if len(reason) <= REASON_CHARS else reason[: REASON_CHARS - 1] + "…"
            raw = text if isinstance(text, str) else json.dumps(text)
            return msgspec.structs.replace(
                result, status=Status.FAILED, value=None, error=reason, raw=raw
            )
        return msgspec.structs.replace(result, value=value)

    def values(self, text: Any) -> dict[str, Any]:
        """Return the fields' values in an answer's text, None if missing. Raises Misfit."""
        found = self._found(text)
        if (
            len(found) == 1
            and "values" in found
            and "values" not in self._keys
            and isinstance(found["values"], dict)
        ):
            found = found["values"]  # some Anthropic models wrap the input of litellm's JSON tool
        found = self._checked(found)
        for field in self._defaults:
            if found.get(field.key) is None and (
                field.key not in found or field.key not in self._nullable
            ):
                found[field.key] = deepcopy(field.default)  # each cell has its own list
        values: dict[str, Any] = {}
        for name, key, field, convert in self._fields:
            value = found.get(key)
            values[name] = value if value is None or convert is None else convert(field, value)
        return values


def _takes_null(schema: Schema, field: Field) -> bool:
    """Whether null is a value, rather than an omitted field."""
    check = compiled({**schema.json, "required": [field.key]})
    try:
        check({field.key: None})
    except Misfit:
        return False
    return True


def found_in(text: Any) -> dict[str, Any]:
    """Return the only JSON object in a text. Raises Misfit unless there is exactly one."""
    if not isinstance(text, str):
        raise Misfit("the answer is no text")
    try:
        value = _JSON.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = _chatty(text)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a value of its own"
        raise Misfit(f"the answer is {kind}, not a JSON object")
    return value


def _chatty(text: str) -> Any:
    """Return the JSON in a text that is not JSON as a whole."""
    text = _THOUGHT.sub("", text, count=1).strip().lstrip("\ufeff")
    try:
        return _loads(text)
    except ValueError as e:
        whole = e
    fences = [block for block in _FENCE.findall(text) if _STARTS.match(block.lstrip())]
    if len(fences) == 1:
        try:
            return _loads(fences[0])
        except ValueError as e:
            raise _broken(e) from None
    objects = _objects("\n".join(fences) if fences else text)
    if not objects:
        raise Misfit(
            "the answer is not JSON"
            if not _STARTS.match(text)
            else f"the answer is not valid JSON: {whole}"
        )
    if any(one != objects[0] for one in objects[1:]):
        raise Misfit(
            f"the answer holds {len(objects)} JSON objects, and it is not clear which is meant"
        )
    return objects[0]


def _objects(text: str) -> list[Any]:
    """Return the top-level JSON objects in a text, without those in lists or other objects."""
    objects: list[Any] = []
    at = 0
    while start := _STARTS.search(text, at):
        if text[at : start.start()].rstrip().endswith("["):
            raise Misfit("the answer is a list, not a JSON object")
        try:
            value, at = _PLAIN.raw_decode(text, start.start())
            objects.append(_whole(value))
        except (ValueError, RecursionError) as e:
            raise _broken(e) from None
    return objects


def _loads(text: str) -> Any:
    """Parse JSON, allowing raw line breaks and tabs (models write them) and surrogates."""
    try:
        return _whole(_PLAIN.decode(text.strip()))
    except RecursionError:
        raise ValueError("it is too deep") from None


def _broken(error: Exception) -> Misfit:
    return Misfit(f"the answer is not valid JSON: {error}")


def _whole(value: Any) -> Any:
    """Replace lone surrogates, invalid in files and columns, by U+FFFD; refuse infinite numbers."""
    if isinstance(value, str):
        return (
            value
            if value.isascii()
            else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


# --- values ---------------------------------------------------------------------------------------------------------


def _int(field: Field, value: Any) -> int:
    number = int(value)
    if not _LOWEST <= number <= _HIGHEST:
        raise Misfit(f"{field.key}: {number} is too large for a column of whole numbers (64 bits)")
    return number


def _float(field: Field, value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):  # Pydantic makes one of "nan", and of 400 digits
        why = "it is not a number" if math.isnan(number) else "the number is too large"
        raise Misfit(f"{field.key}: {why}")
    return number


def _date(field: Field, value: Any) -> date:
    del field
    return date.fromisoformat(value)


def _datetime(field: Field, value: Any) -> datetime:
    when = datetime.fromisoformat(value)
    try:
        if when.tzinfo is not None:
            when.astimezone(UTC)
    except OverflowError:
        raise Misfit(
            f"{field.key}: {value} is a time before the year 1, or after 9999, in UTC"
        ) from None
    return when


_CONVERT = {"int": _int, "float": _float, "date": _date, "datetime": _datetime}
