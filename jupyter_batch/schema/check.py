"""Compilation of a JSON schema to a function that validates values, once for all rows.

JSON Schema 2020-12 (and draft 7's `definitions` and `items` lists), with two differences: null for
an optional property counts as omitted (a provider's strict mode requires all properties), and date,
time and UUID formats are checked. `unevaluated*`, `$dynamicRef` and external schemas are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.schema.plain import (
    Check,
    Misfit,
    in_size,
    mapping,
    misfit,
    name_list,
    of_number,
    of_text,
    of_type,
    of_values,
    regex,
    same,
    schema_list,
    shown,
    whole,
)

_ELSEWHERE = (
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
    "dependentSchemas",
)


def resolved(root: Mapping[str, Any], ref: str) -> Any:
    """Return the target of a `$ref` within the schema. Raises OptionError for any other."""
    target: Any = root
    if ref != "#" and not ref.startswith("#/"):
        raise OptionError(f"the schema refers to {ref!r}, which is not in it: put it under $defs")
    for part in ref[2:].split("/") if ref != "#" else ():
        step = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
            target = target[int(step)]
        elif isinstance(target, Mapping) and step in target:
            target = target[step]
        else:
            raise OptionError(f"the schema refers to {ref!r}, which is not in it")
    return target


def compiled(schema: Mapping[str, Any]) -> Check:
    """Return the check of values, which raises Misfit. Raises OptionError for an invalid schema."""
    return _Compiler(schema).check(schema)


class _Later:
    """The check of a reference, usable while it is still being compiled."""

    check: Check

    def __call__(self, value: Any) -> None:
        self.check(value)


class _Compiler:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._refs: dict[str, Check] = {}

    def check(self, schema: Any) -> Check:
        if schema is True:
            return _anything
        if schema is False:
            return lambda value: misfit("nothing", value)
        if not isinstance(schema, Mapping):
            raise OptionError(f"the schema holds {shown(schema)} where a schema has to be")
        unknown = [word for word in _ELSEWHERE if word in schema]
        if unknown:
            raise OptionError(
                f"the schema uses {unknown[0]}, which can't be checked here: say it another way"
            )
        makers: list[Check | None] = [
            self._ref(schema),
            of_values(schema, "const"),
            of_values(schema, "enum"),
            of_type(schema),
            of_text(schema),
            of_number(schema),
            self._array(schema),
            self._object(schema),
            *self._composed(schema),
        ]
        return _all([made for made in makers if made is not None])

    def _ref(self, schema: Mapping[str, Any]) -> Check | None:
        if "$ref" not in schema:
            return None
        ref = str(schema["$ref"])
        if ref not in self._refs:
            later = _Later()  # a schema may be recursive
            self._refs[ref] = later
            later.check = self.check(resolved(self._root, ref))
        return self._refs[ref]

    def _composed(self, schema: Mapping[str, Any]) -> list[Check]:
        checks: list[Check] = [self.check(part) for part in schema_list(schema, "allOf")]
        checks.extend(
            _any_of([self.check(part) for part in schema_list(schema, word)], one=word == "oneOf")
            for word in ("anyOf", "oneOf")
            if word in schema
        )
        if "not" in schema:
            inner = self.check(schema["not"])
            checks.append(
                lambda value: misfit("something else", value) if _fits(inner, value) else None
            )
        if "if" in schema:
            test, then, other = (
                self.check(schema.get(word, True)) for word in ("if", "then", "else")
            )
            checks.append(lambda value: then(value) if _fits(test, value) else other(value))
        return checks

    def _array(self, schema: Mapping[str, Any]) -> Check | None:
        first = schema.get(
            "prefixItems", schema["items"] if isinstance(schema.get("items"), list) else []
        )
        rest = (
            schema.get("additionalItems")
            if isinstance(schema.get("items"), list)
            else schema.get("items")
        )
        heads = [self.check(part) for part in first]
        tail = None if rest is None else self.check(rest)
        low, high = whole(schema, "minItems"), whole(schema, "maxItems")
        inside = self.check(schema["contains"]) if "contains" in schema else None
        least, most = whole(schema, "minContains"), whole(schema, "maxContains")
        unique = bool(schema.get("uniqueItems"))
        if (
            not heads
            and tail is None
            and low is None
            and high is None
            and inside is None
            and not unique
        ):
            return None

        def check(value: Any) -> None:
            if type(value) is not list:
                return
            in_size(len(value), low, high, "items")
            for at, item in enumerate(value):
                one = heads[at] if at < len(heads) else tail
                if one is not None:
                    _within(one, item, at)
            if unique and any(
                same(one, other) for at, one in enumerate(value) for other in value[:at]
            ):
                raise Misfit("a list without equal items is asked for")
            if inside is not None:
                in_size(
                    sum(_fits(inside, item) for item in value),
                    1 if least is None else least,
                    most,
                    "such items",
                )

        return check

    def _object(self, schema: Mapping[str, Any]) -> Check | None:
        properties = {key: self.check(part) for key, part in mapping(schema, "properties").items()}
        required = name_list(schema.get("required", []))
        patterns = [
            (regex(key), self.check(part))
            for key, part in mapping(schema, "patternProperties").items()
        ]
        more = schema.get("additionalProperties")
        others = None if more is None or more is True else self.check(more)
        named = self.check(schema["propertyNames"]) if "propertyNames" in schema else None
        needs = {key: name_list(keys) for key, keys in mapping(schema, "dependentRequired").items()}
        low, high = whole(schema, "minProperties"), whole(schema, "maxProperties")
        optional = frozenset(properties) - frozenset(required)

        def check(value: Any) -> None:
            if type(value) is not dict:
                return
            for key in required:
                if key not in value:
                    raise Misfit(f"{key!r} is missing")
            for key, item in value.items():
                one = properties.get(key)
                if one is not None:
                    if item is not None or key not in optional:
                        _within(one, item, key)
                elif others is not None and not any(pattern.search(key) for pattern, _ in patterns):
                    if more is False:
                        raise Misfit(f"{key!r} is not in the schema, which allows no other fields")
                    _within(others, item, key)

        checks: list[Check] = [check] if properties or required or others is not None else []
        if patterns or named or needs or low is not None or high is not None:
            checks.append(_rare(patterns, named, needs, low, high))
        return _all(checks) if checks else None


def _rare(
    patterns: list[tuple[re.Pattern[str], Check]],
    named: Check | None,
    needs: Mapping[str, list[str]],
    low: float | None,
    high: float | None,
) -> Check:
    def check(value: Any) -> None:
        if type(value) is not dict:
            return
        in_size(len(value), low, high, "fields")
        for key, item in value.items():
            for pattern, one in patterns:
                if pattern.search(key):
                    _within(one, item, key)
            if named is not None:
                named(key)
            for other in needs.get(key, ()):
                if other not in value:
                    raise Misfit(f"{other!r} is missing, which {key!r} asks for")

    return check


# --- parts ----------------------------------------------------------------------------------------------------------


def _anything(_: Any) -> None:
    return None


def _all(checks: list[Check]) -> Check:
    if not checks:
        return _anything
    if len(checks) == 1:
        return checks[0]

    def check(value: Any) -> None:
        for one in checks:
            one(value)

    return check


def _fits(check: Check, value: Any) -> bool:
    try:
        check(value)
    except Misfit:
        return False
    return True


def _within(check: Check, value: Any, step: str | int) -> None:
    try:
        check(value)
    except Misfit as e:
        e.path.append(step)
        raise


def _any_of(checks: list[Check], *, one: bool) -> Check:
    def check(value: Any) -> None:
        fitting = 0
        first: Misfit | None = None
        for branch in checks:
            try:
                branch(value)
            except Misfit as e:  # the branch that got furthest has the best error
                first = e if first is None or len(e.path) > len(first.path) else first
                continue
            if not one:
                return
            fitting += 1
        if fitting == 1:
            return
        if fitting:
            misfit("a value of exactly one of the kinds", value)
        raise first or Misfit("nothing fits here")

    return check
