"""Answers of the echo model that fit a JSON schema, filled from the prompt's text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any

import orjson

from jupyter_batch.server.echo.labels import choose, sentiment, words
from jupyter_batch.server.errors import bad_request

_DEEPEST = 24
_MOST_NESTED = 100
_MOST_CHARS = 8 << 20
_VALUE = 256
"""Characters that a value counts for, whatever its size."""
_FORMATS = {
    "date": "2024-01-01",
    "time": "12:00:00Z",
    "date-time": "2024-01-01T12:00:00Z",
    "duration": "P1D",
    "email": "echo@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}
_SCALE = re.compile(
    r"score|confiden|probab|rating|stars?|certain|sentiment|level|priority", re.IGNORECASE
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LISTED = 3
_NOT_WORDS = frozenset({"format", "pattern", "anyOf", "oneOf"})
"""Keywords of texts that are not filled with the text's words."""


class Budget:
    """A bound on what one request's answer may hold, in characters: few bytes of a schema can ask for very many."""

    def __init__(self, chars: int = _MOST_CHARS) -> None:
        self._most = self._left = chars

    def spend(self, chars: int) -> None:
        """Count characters before they are made. Raises ApiError where the answer would get too large."""
        self._left -= chars
        if self._left < 0:
            raise bad_request(
                "The answer that this request asks for is too large: the built-in model writes at "
                f"most {self._most} characters. Ask for less (minLength, minItems, n, nested $defs).",
                code="string_above_max_length",
            )


def fill(schema: Any, text: str, budget: Budget | None = None) -> Any:
    """A value that fits the schema (types, enum, const, $ref, anyOf, oneOf, allOf, bounds), the same for a text."""
    return _Filler(schema, text, budget or Budget()).value(schema, "", 0)


class _Filler:
    """One schema's root, for `$ref`, and the text."""

    def __init__(self, root: Any, text: str, budget: Budget) -> None:
        self.root = root
        self.text = text
        self.budget = budget
        self._chosen: dict[tuple[str, ...], str] = {}

    @cached_property
    def sentiment(self) -> float:
        """The text's sentiment: counted once, however many fields ask for it."""
        return sentiment(self.text)

    @cached_property
    def mentioned(self) -> float | None:
        """The first number in the text."""
        found = _NUMBER.search(self.text)
        return float(found[0]) if found else None

    @cached_property
    def longest_words(self) -> list[str]:
        """The text's words, the longest first."""
        return sorted(dict.fromkeys(words(self.text)), key=lambda word: (-len(word), word))

    @cached_property
    def _hash(self) -> int:
        return int.from_bytes(blake2b(self.text.encode(errors="replace"), digest_size=4).digest())

    def value(self, schema: Any, name: str, depth: int) -> Any:
        self.budget.spend(_VALUE)
        if depth > _MOST_NESTED:
            raise bad_request(
                f"The schema asks for a value that is nested deeper than {_MOST_NESTED} levels.",
            )
        if not isinstance(schema, Mapping):
            return self._spent(self.text)
        schema = self._resolved(schema)
        if "const" in schema:
            return self._spent(schema["const"])
        if schema.get("enum"):
            return self._enum(schema["enum"])
        for several in ("anyOf", "oneOf"):
            if schema.get(several):
                return self.value(self._branch(schema[several], depth), name, depth + 1)
        kind = self._kind(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind in ("integer", "number"):
            return self._number(schema, name, whole=kind == "integer")
        if kind == "boolean":
            return self.sentiment >= 0
        return None if kind == "null" else self._string(schema)

    def _spent(self, value: Any) -> Any:
        """A value out of the request, counted by its size."""
        self.budget.spend(len(value) if isinstance(value, str) else len(orjson.dumps(value)))
        return value

    def _resolved(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The schema with its `$ref` followed and its `allOf` merged."""
        merged, seen = dict(schema), 0
        self.budget.spend(_VALUE * len(merged))
        while "$ref" in merged and seen < _DEEPEST:
            target: Any = self.root
            for part in str(merged.pop("$ref")).lstrip("#").strip("/").split("/"):
                part = part.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - JSON pointer's escapes
                target = target.get(part, {}) if part and isinstance(target, Mapping) else target
            merged = {**(target if isinstance(target, Mapping) else {}), **merged}
            self.budget.spend(_VALUE * len(merged))
            seen += 1
        for part in merged.pop("allOf", None) or ():
            inner = self._resolved(part)
            self.budget.spend(_VALUE * len(inner.get("properties", ())))
            properties = {**merged.get("properties", {}), **inner.get("properties", {})}
            required = list(
                dict.fromkeys([*merged.get("required", []), *inner.get("required", [])])
            )
            merged = {**inner, **merged}
            if properties:
                merged["properties"] = properties
            if required:
                merged["required"] = required
        return merged

    def _branch(self, branches: list[Any], depth: int) -> Any:
        """The first branch that is not null; where it gets too deep, null if it is offered."""
        kinds = [
            (self._resolved(branch).get("type"), branch)
            for branch in branches
            if isinstance(branch, Mapping)
        ]
        plain = [branch for kind, branch in kinds if kind != "null"]
        nulls = [branch for kind, branch in kinds if kind == "null"]
        first = nulls if nulls and (depth > _DEEPEST // 4 or not plain) else plain
        return first[0] if first else {}

    def _kind(self, schema: Mapping[str, Any], depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            others = [one for one in kind if one != "null"]
            kind = "null" if "null" in kind and (depth > _DEEPEST // 4 or not others) else others[0]
        if kind is None:
            kind = (
                "object" if "properties" in schema else "array" if "items" in schema else "string"
            )
        return str(kind)

    def _enum(self, values: list[Any]) -> Any:
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) < len(values):
            return self._spent(values[self._dice(len(values))])
        labels = tuple(texts)
        if labels not in self._chosen:
            self.budget.spend(len(self.text) + sum(map(len, labels)))
            self._chosen[labels] = choose(texts, self.text)
        return self._spent(self._chosen[labels])

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        names = (
            list(required)
            if depth > _DEEPEST // 4
            else list(dict.fromkeys([*properties, *required]))
        )
        if depth > _DEEPEST and not required:
            return {}
        self.budget.spend(sum(map(len, names)))
        return {name: self.value(properties.get(name, {}), name, depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        low, high = int(schema.get("minItems", 0)), schema.get("maxItems")
        if "prefixItems" in schema:
            return [self.value(one, name, depth + 1) for one in schema["prefixItems"]]
        items = (
            self._resolved(schema.get("items") or {})
            if isinstance(schema.get("items", {}), Mapping)
            else {}
        )
        count = low if depth > _DEEPEST // 4 else max(low, 1)
        count = count if high is None else min(count, int(high))
        self.budget.spend(_VALUE * count)
        if items.get("enum"):
            first = self._enum(items["enum"])
            others = [one for one in items["enum"] if one != first]
            return [self._spent(one) for one in [first, *others][:count]]
        if self._kind(items, depth) == "string" and items.keys().isdisjoint(_NOT_WORDS):
            most = _LISTED if high is None else min(_LISTED, int(high))
            return self._keywords(name, max(low, min(most, len(self.longest_words))))
        return [self.value(items, name, depth + 1) for _ in range(count)]

    def _keywords(self, name: str, count: int) -> list[str]:
        """Return the text's longest words; numbered names where there are too few."""
        self.budget.spend((_VALUE + len(name)) * count)
        found = [self._spent(word) for word in self.longest_words[:count]]
        more = range(1, count - len(found) + 1)
        return found + [f"{name or 'item'}{number}" for number in more]

    def _number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> float | int:
        step = schema.get("multipleOf") or (1 if whole else None)
        low, high = _bounds(schema, step or 1e-6)
        mentioned = self.mentioned
        if _SCALE.search(name) or (low is not None and high is not None and mentioned is None):
            bottom = 0.0 if low is None else float(low)
            top = float(high) if high is not None else bottom + (5.0 if whole else 1.0)
            value = bottom + (top - bottom) * (math.tanh(self.sentiment / 2) + 1) / 2
        else:
            value = float(self._dice(10)) if mentioned is None else mentioned
        value = _clipped(value, low, high)
        value = _stepped(value, step, low, high) if step else value
        return int(value) if whole else round(value, 6)

    def _string(self, schema: Mapping[str, Any]) -> str:
        form = schema.get("format")
        if form in _FORMATS:
            return _FORMATS[form]
        text = self.text.strip()
        longest, least = schema.get("maxLength"), int(schema.get("minLength", 0))
        if longest is not None:
            text = text[: int(longest)]
        self.budget.spend(max(len(text), least))
        return text + "." * (least - len(text))

    def _dice(self, sides: int) -> int:
        return self._hash % sides


def _bounds(schema: Mapping[str, Any], edge: float) -> tuple[float | None, float | None]:
    """Return the least and the greatest number; edge: the distance from an exclusive bound."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + edge
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - edge
    return low, high


def _clipped(value: float, low: float | None, high: float | None) -> float:
    value = value if low is None else max(value, float(low))
    return value if high is None else min(value, float(high))


def _stepped(value: float, step: float, low: float | None, high: float | None) -> float:
    """Return the nearest multiple of `step` within the bounds."""
    value = math.floor(value / step + 0.5) * step
    if low is not None and value < low:
        value += step
    return value - step if high is not None and value > high else value
