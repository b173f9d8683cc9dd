"""Compilation of a JSON schema to a function that validates values, by jsonschema-rs.

JSON Schema 2020-12 (and draft 7's `definitions` and `items` lists), with two differences: null for
an optional property counts as omitted (a provider's strict mode requires all properties), and of
the formats only dates, times and UUIDs are checked. External schemas are refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, TypeAlias

import jsonschema_rs

from jupyter_batch.core.errors import OptionError

Check: TypeAlias = Callable[[Any], None]

_SHOWN = 60
ONE = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
"""Keywords whose value is a schema; then a list, and an object, of schemas."""
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_SIZES = {
    "minLength": ("at least", "characters"),
    "maxLength": ("at most", "characters"),
    "minItems": ("at least", "items"),
    "maxItems": ("at most", "items"),
    "minProperties": ("at least", "fields"),
    "maxProperties": ("at most", "fields"),
}
_BOUNDS = {
    "minimum": "a number of {} or more",
    "exclusiveMinimum": "a number above {}",
    "maximum": "a number of {} or less",
    "exclusiveMaximum": "a number below {}",
}


def _parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


_FORMATS = {
    "date": _parses(date.fromisoformat),
    "date-time": _parses(datetime.fromisoformat),
    "time": _parses(time.fromisoformat),
    "uuid": _parses(uuid.UUID),
}
"""By Python's own parsers, which later convert the values."""


class Misfit(Exception):  # noqa: N818 - not our error: the answer does not match the schema
    """The reason why an answer does not match, with the location in it.

    repeats: the path to a list of the answer that has equal items, if that is the reason.
    """

    repeats: tuple[str | int, ...] | None = None


def shown(value: Any) -> str:
    """Return a value for a message: short, and with its type where that is unclear."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"the text {text}" if isinstance(value, str) else text


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
    lenient = _Lenient()
    try:
        validator = jsonschema_rs.Draft202012Validator(
            lenient.root(schema), formats=_FORMATS, validate_formats=True, offline=True
        )
    except jsonschema_rs.ValidationError as e:
        raise OptionError(f"the schema is not valid: {_located(e)}") from None

    def check(value: Any) -> None:
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as e:
            misfit, deepest = Misfit(_located(e)), _deepest(e)
            if deepest.kind.name == "uniqueItems":
                misfit.repeats = tuple(deepest.instance_path)
            raise misfit from None
        except ValueError as e:  # too deep, or not JSON
            raise Misfit(f"the answer can't be checked: {e}") from None

    return check


class _Lenient:
    """A copy of a schema that takes null for each optional property: its schema moves to `else`."""

    def __init__(self) -> None:
        self._moved: set[str] = set()
        self._refs: list[dict[str, Any]] = []

    def root(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        copy = {key: part for key, part in self._copy(schema, "#").items() if key != "$schema"}
        for holder in self._refs:
            steps = str(holder["$ref"]).split("/")
            paths = ["/".join(steps[: at + 1]) for at in range(len(steps))]
            holder["$ref"] = "/".join(
                f"{step}/else" if path in self._moved else step
                for step, path in zip(steps, paths, strict=True)
            )
        return copy

    def _copy(self, schema: Any, at: str) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        if schema.get("enum") == []:
            raise OptionError("the schema has an enum without values")
        made = {
            key: self._part(key, part, f"{at}/{key}")
            for key, part in schema.items()
            if key != "format" or part in _FORMATS
        }
        if isinstance(made.get("items"), list):  # draft 7
            first, made["items"] = made.pop("items"), made.pop("additionalItems", True)
            if first:
                made["prefixItems"] = first
        properties: Any = made.get("properties")
        for key in properties if isinstance(properties, dict) else ():
            if key not in schema.get("required", ()):
                properties[key] = {"if": {"type": "null"}, "else": properties[key]}
                self._moved.add(f"{at}/properties/{_escaped(key)}")
        if "$ref" in made:
            self._refs.append(made)
        return made

    def _part(self, key: str, part: Any, at: str) -> Any:
        if isinstance(part, Mapping) and key in MAPS:
            return {name: self._copy(one, f"{at}/{_escaped(name)}") for name, one in part.items()}
        if isinstance(part, list) and (key in LISTS or key == "items"):
            return [self._copy(one, f"{at}/{number}") for number, one in enumerate(part)]
        return self._copy(part, at) if key in ONE or key == "additionalItems" else part


def _escaped(name: str) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _located(error: jsonschema_rs.ValidationError) -> str:
    """Return an error's reason, after the path to the value."""
    error = _deepest(error)
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}"
        for step in error.instance_path
        if step != "else"
    )
    return f"{path.lstrip('.')}: {_reason(error)}" if path else _reason(error)


def _deepest(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Return the error of a choice's branch that got furthest."""
    kind: Any = error.kind
    if kind.name == "propertyNames":
        return _deepest(kind.error)
    branches = getattr(kind, "context", [])
    firsts = [_deepest(branch[0]) for branch in branches if branch]
    if not firsts or len(firsts) < len(branches):  # more than one branch fits
        return error
    return max(firsts, key=lambda one: len(one.instance_path))


def _reason(error: jsonschema_rs.ValidationError) -> str:
    kind: Any = error.kind
    value: Any = error.instance
    word = kind.name
    if word == "required":
        return f"{kind.property!r} is missing"
    if word == "$ref":
        return f"a $ref needs a target within the schema, such as one under $defs ({error.message})"
    if word in ("additionalProperties", "unevaluatedProperties"):
        return f"{kind.unexpected[0]!r} is not in the schema, which allows no other fields"
    if word in _SIZES:
        bound, unit = _SIZES[word]
        return f"expected {bound} {kind.limit} {unit}; got {len(value)}"
    wanted = _wanted(kind)
    return f"expected {wanted}; got {shown(value)}" if wanted else error.message


def _wanted(kind: Any) -> str:
    """Return the expected value, or "" for a keyword without a phrase of its own."""
    word = kind.name
    if word == "type":
        return " or ".join(_TYPES[name] for name in kind.types)
    if word == "enum":
        options = [shown(one).removeprefix("the text ") for one in kind.options]
        more = ", …" if options[8:] else ""
        return f"one of {', '.join(options[:8])}{more}"
    if word == "const":
        return shown(kind.expected_value).removeprefix("the text ")
    if word == "pattern":
        return f"a text like {kind.pattern}"
    if word == "format":
        return f"a {kind.format}"
    if word == "multipleOf":
        return f"a multiple of {kind.multiple_of}"
    if word == "oneOf":
        return "a value of exactly one of the kinds"
    if word in _BOUNDS:
        return _BOUNDS[word].format(kind.limit)
    return ""
