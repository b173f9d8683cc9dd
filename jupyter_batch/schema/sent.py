"""Conversion of a Schema to a `response_format`: strict if possible, refused if unsupported.

Constraints that strict mode lacks (maxLength) are put into the field's description, and answers are
still checked against the whole schema. litellm translates it for Anthropic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.schema import Schema
from jupyter_batch.schema.check import LISTS, MAPS, ONE, resolved

# OpenAI, structured outputs guide (2026): "Supported schemas" and its limits.
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
MOST_FIELDS, MOST_LEVELS, MOST_VALUES, MOST_CHARS = 5000, 10, 1000, 120_000
MANY_VALUES, MOST_CHARS_OF_MANY = 250, 15_000

# Anthropic, structured outputs guide (2026): for all schemas of a request.
MOST_OPTIONAL, MOST_UNIONS = 24, 16

_NOTES = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "uniqueItems": "no item twice",
    "minProperties": "at least {} fields",
    "maxProperties": "at most {} fields",
    "minContains": "at least {} of them",
    "maxContains": "at most {} of them",
    "contains": "with an item like {}",
    "propertyNames": "field names like {}",
    "format": "format: {}",
    "pattern": "like the regular expression {}",
    "examples": "for example {}",
}
_LOOSE = ("not", "if", "then", "else", "patternProperties", "dependentRequired", "prefixItems")
_KEPT = (
    "type",
    "enum",
    "const",
    "pattern",
    "format",
    "title",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
)


class _Loose(Exception):  # noqa: N818 - it never leaves this file
    """Strict mode can't represent this."""


def response_format(schema: Schema, *, limited: bool = False) -> dict[str, Any]:
    """Return the format for a provider. Raises OptionError before sending.

    limited: without references, and within Anthropic's limits.
    """
    if limited:
        _refuse_anthropic(schema.json)
        return _format(schema.name, _inlined(schema.json, schema.json), strict=True)
    if schema.strict:
        try:
            made = _Strict(schema.json).made()
        except _Loose:
            return _format(schema.name, schema.json, strict=False)
        _refuse_openai(made)
        return _format(schema.name, made, strict=True)
    return _format(schema.name, schema.json, strict=False)


def _format(name: str, schema: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, "strict": strict},
    }


# --- the strict form ------------------------------------------------------------------------------------------------


class _Strict:
    """A schema for OpenAI's strict mode: all fields required, only supported keywords."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def made(self) -> dict[str, Any]:
        return self._node(self._root)

    def _subschemas(self, node: Mapping[str, Any], made: dict[str, Any]) -> None:
        for word in ("anyOf", "oneOf"):
            if word in node:
                made.setdefault("anyOf", []).extend(self._node(part) for part in node[word])
        self._inside(node, made)
        for word in ("$defs", "definitions"):
            if word in node:
                made[word] = {name: self._node(part) for name, part in node[word].items()}

    def _node(self, node: Any) -> dict[str, Any]:
        if not isinstance(node, Mapping) or any(word in node for word in _LOOSE):
            raise _Loose
        if "$ref" in node:
            return self._ref(node)
        parts = node.get("allOf")
        if parts:
            if len(parts) != 1:
                raise _Loose
            return self._node(
                {**parts[0], **{word: held for word, held in node.items() if word != "allOf"}}
            )
        made = {word: node[word] for word in _KEPT if word in node}
        self._subschemas(node, made)
        if "type" not in made and "anyOf" not in made:
            made["type"] = _type_of(node)
        _check_values(made.get("enum", [made.get("const")]))
        described = _described(node, made)
        return {"description": described, **made} if described else made

    def _ref(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return a bare reference; one with its own description is replaced by its target."""
        ref = str(node["$ref"])
        if not node.get("description") or ref in _refs(resolved(self._root, ref), self._root):
            return {"$ref": ref}
        return self._node({**resolved(self._root, ref), "description": node["description"]})

    def _inside(self, node: Mapping[str, Any], made: dict[str, Any]) -> None:
        kinds = node.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds or []
        if "properties" in node or "object" in kinds:
            if node.get("additionalProperties", False) is not False or not node.get("properties"):
                raise _Loose
            needed = node.get("required", [])
            made["properties"] = {
                key: self._node(part) if key in needed else _or_null(self._node(part), self._root)
                for key, part in node["properties"].items()
            }
            made["required"] = list(node["properties"])
            made["additionalProperties"] = False
        if "items" in node or "array" in kinds:
            made["items"] = self._node(node.get("items"))


def _type_of(node: Mapping[str, Any]) -> Any:
    """Return the type, inferred where only values or contents are given."""
    if "properties" in node or "items" in node:
        return "object" if "properties" in node else "array"
    values = [node["const"]] if "const" in node else node.get("enum")
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    if not values or any(type(value) not in names for value in values):
        raise _Loose
    kinds = list(dict.fromkeys(names[type(value)] for value in values))
    return kinds[0] if len(kinds) == 1 else kinds


def _check_values(allowed: Iterable[Any]) -> None:
    """Raise _Loose for an object or a list among the allowed values."""
    if any(isinstance(value, dict | list) for value in allowed):
        raise _Loose


def _described(node: Mapping[str, Any], made: dict[str, Any]) -> str:
    """Return the description with keywords unknown to strict mode, moved out of `made`."""
    notes = []
    for word, says in _NOTES.items():
        if word not in node or node[word] is False:
            continue
        if (word == "format" and node[word] in _FORMATS) or (
            word == "pattern" and "(?" not in str(node[word])
        ):
            continue
        made.pop(word, None)
        value = node[word]
        notes.append(
            says.format(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        )
    description = str(node.get("description") or "")
    return f"{description} ({'; '.join(notes)})".strip() if notes else description


def _or_null(made: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema, or null: for an optional field, since strict mode requires all."""
    if _allows_null(made, root):
        return made
    if "anyOf" in made:
        return {**made, "anyOf": [*made["anyOf"], {"type": "null"}]}
    if "const" in made or "$ref" in made:
        return {"anyOf": [made, {"type": "null"}]}
    kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
    nullable = {**made, "type": [*kinds, "null"]}
    return {**nullable, "enum": [*made["enum"], None]} if "enum" in made else nullable


def _allows_null(made: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    seen: set[str] = set()
    while "$ref" in made and made["$ref"] not in seen:
        seen.add(str(made["$ref"]))
        made = resolved(root, str(made["$ref"]))
    kinds = made.get("type", [])
    return (
        made.get("const", 0) is None
        or "null" in ([kinds] if isinstance(kinds, str) else kinds)
        or any(_allows_null(part, root) for part in made.get("anyOf", ()))
    )


def _inlined(node: Any, root: Mapping[str, Any]) -> Any:
    """Return the schema without references, which litellm alters on a path to Anthropic."""
    if isinstance(node, list):
        return [_inlined(part, root) for part in node]
    if not isinstance(node, Mapping):
        return node
    if isinstance(node.get("$ref"), str):
        rest = {word: part for word, part in node.items() if word != "$ref"}
        return _inlined({**resolved(root, node["$ref"]), **rest}, root)
    return {
        word: _inlined(part, root)
        for word, part in node.items()
        if word not in ("$defs", "definitions")
    }


# --- limits ---------------------------------------------------------------------------------------------------------


def _parts(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the direct subschemas, each with its keyword; references are not followed."""
    if not isinstance(node, Mapping):
        return
    for word in MAPS:
        for part in (node.get(word) or {}).values():
            yield word, part
    for word in LISTS:
        for part in node.get(word) or ():
            yield word, part
    for word in ONE:
        if isinstance(node.get(word), Mapping):
            yield word, node[word]


def _all(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        for _, part in _parts(node):
            yield from _all(part)


def _refs(node: Any, root: Mapping[str, Any]) -> set[str]:
    """Return all references reachable from a schema."""
    found: set[str] = set()
    left = [node]
    while left:
        for part in _all(left.pop()):
            ref = part.get("$ref")
            if ref is not None and ref not in found:
                found.add(ref)
                left.append(resolved(root, ref))
    return found


def _levels(node: Any, root: Mapping[str, Any], seen: frozenset[str]) -> int:
    """Return the nesting depth of objects; a recursive schema counts once."""
    if not isinstance(node, Mapping):
        return 0
    ref = node.get("$ref")
    below = 0
    if ref is not None and ref not in seen:
        below = _levels(resolved(root, ref), root, seen | {ref})
    inner = (
        _levels(part, root, seen)
        for word, part in _parts(node)
        if word not in ("$defs", "definitions")
    )
    return max([below, *inner]) + ("properties" in node)


def _refuse_openai(made: dict[str, Any]) -> None:
    """Raise OptionError for a schema beyond strict mode's limits."""
    names: list[str] = []
    values: list[Any] = []
    for node in _all(made):
        names.extend(node.get("properties", ()))
        names.extend((*node.get("$defs", ()), *node.get("definitions", ())))
        enum = [*node.get("enum", ()), *([node["const"]] if "const" in node else ())]
        values.extend(enum)
        length = sum(len(value) for value in enum if isinstance(value, str))
        if len(enum) > MANY_VALUES and length > MOST_CHARS_OF_MANY:
            raise _too_much(
                f"{len(enum):,} allowed values of {length:,} characters in one field",
                f"{MOST_CHARS_OF_MANY:,} characters where they are more than {MANY_VALUES}",
            )
    fields = sum(len(node.get("properties", ())) for node in _all(made))
    levels = _levels(made, made, frozenset())
    chars = sum(map(len, names)) + sum(len(value) for value in values if isinstance(value, str))
    for there, most, what in (
        (fields, MOST_FIELDS, "fields"),
        (levels, MOST_LEVELS, "levels of objects"),
        (len(values), MOST_VALUES, "allowed values"),
        (chars, MOST_CHARS, "characters of names and allowed values"),
    ):
        if there > most:
            raise _too_much(f"{there:,} {what}", f"{most:,}")


def _too_much(there: str, most: str) -> OptionError:
    return OptionError(
        f"`schema` has {there}; the provider's structured output takes at most {most}: ask for less, or "
        "in several jobs"
    )


def _refuse_anthropic(schema: Mapping[str, Any]) -> None:
    """Raise OptionError for schemas that Anthropic's structured output does not support."""
    optional = unions = 0
    for node in _all(schema):
        if node.get("$ref") == "#" or (
            node.get("$ref") in _refs(resolved(schema, node["$ref"]), schema)
            if "$ref" in node
            else False
        ):
            raise OptionError(
                "`schema` holds itself, which Anthropic does not take: say how deep it goes by a model "
                "for each level"
            )
        if node.get("additionalProperties") not in (None, False):
            raise OptionError(
                "`schema` has an object whose field names are left open (a dict), which Anthropic does "
                "not take: name the fields, or take a list of objects with a name and a value"
            )
        properties = node.get("properties", {})
        optional += len(set(properties) - set(node.get("required", ())))
        unions += sum(
            "anyOf" in part or "oneOf" in part or isinstance(part.get("type"), list)
            for part in properties.values()
            if isinstance(part, Mapping)
        )
    for there, most, what in (
        (optional, MOST_OPTIONAL, "fields that may be left out"),
        (unions, MOST_UNIONS, "fields of more than one type, null counted"),
    ):
        if there > most:
            raise OptionError(
                f"`schema` has {there} {what}; Anthropic takes at most {most}: make them required, or of "
                "one type"
            )
