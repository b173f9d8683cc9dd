"""Conversion to Schema of a Pydantic model, a TypedDict, {name: type}, or a JSON schema.

Pydantic generates the JSON schema of types, so all its types are supported; answers are read by a
Pydantic class alone (models.py). Raises OptionError for an invalid schema.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import operator
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.schema import Field, Schema
from jupyter_batch.schema.check import compiled, resolved, shown
from jupyter_batch.schema.models import aliases, remember

TAKES = "a Pydantic model, a TypedDict, {name: type}, or a JSON schema"

_WORDS = frozenset(
    {"properties", "$ref", "anyOf", "oneOf", "allOf", "$schema", "$defs", "definitions"}
)
_PLAIN = {
    "string": "text",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "object",
}
_TIMES = {"date": "date", "date-time": "datetime"}
_DEEPEST = 64
_EMPTY: dict[Any, Any] = {list: [], set: [], frozenset: [], tuple: [], dict: {}}
"""Results of `default_factory`s that are constant (another schema is another job)."""


def read(given: Any) -> Schema:
    """Return the schema of the user's value."""
    if isinstance(given, Schema):
        return given
    if isinstance(given, Mapping):
        if not given:
            raise OptionError("`schema` is empty: give at least one field, such as {'label': str}")
        return (
            _wrapped(given)
            if _is_json(given)
            else _typed(_typed_dict("Answer", given, set()), "Answer")
        )
    if typing.get_origin(given) is not None or (isinstance(given, type) and _is_one_value(given)):
        what = given.__name__ if isinstance(given, type) else str(given).replace("typing.", "")
        raise OptionError(
            f"`schema` takes {TAKES}, not {what} alone: each field is a column, such as {{'label': {what}}}"
        )
    if not isinstance(given, type):
        name = type(given).__name__
        hint = (
            f": give the class {name} itself" if hasattr(type(given), "model_json_schema") else ""
        )
        raise OptionError(f"`schema` takes {TAKES}, not a {name}{hint}")
    if hasattr(given, "model_json_schema"):
        return remember(_typed(given, given.__name__), given)
    if typing.is_typeddict(given) or _is_typed_dict(given):
        return _typed(_own(given, set()), given.__name__)
    if dataclasses.is_dataclass(given):
        return _typed(given, given.__name__)
    raise OptionError(f"`schema` takes {TAKES}, not the class {given.__name__}")


def _is_one_value(given: type) -> bool:
    """Whether answers of this type are one value, and not an object with fields."""
    return given.__module__ == "builtins" or issubclass(given, enum.Enum)


# --- JSON schemas ---------------------------------------------------------------------------------------------------


def _is_json(given: Mapping[Any, Any]) -> bool:
    """Whether this is a JSON schema, possibly in OpenAI's wrapper, and not {name: type}."""
    kind = given.get("type")
    if isinstance(kind, str | list) or isinstance(given.get("json_schema"), Mapping):
        return True
    if isinstance(given.get("name"), str) and isinstance(given.get("schema"), Mapping):
        return True
    return any(word in given and isinstance(given[word], Mapping | list | str) for word in _WORDS)


def _wrapped(given: Mapping[Any, Any]) -> Schema:
    """Parse a JSON schema, or OpenAI's {"type": "json_schema", "json_schema": {...}} wrapper."""
    inner = given.get("json_schema")
    held = inner if given.get("type") == "json_schema" and isinstance(inner, Mapping) else given
    strict, name = True, None
    if isinstance(held.get("schema"), Mapping) and "properties" not in held:
        strict, name = held.get("strict") is not False, held.get("name")
        held = held["schema"]
    try:
        schema = json.loads(json.dumps(dict(held), allow_nan=False))
    except (TypeError, ValueError) as e:
        raise OptionError(
            f"`schema` is no JSON schema: {e}; {{name: type}} holds types alone"
        ) from None
    title = name or schema.get("title")
    return _schema(schema, title if isinstance(title, str) else "Answer", {}, strict=strict)


def _schema(
    schema: dict[str, Any], name: str, names: Mapping[str, str], *, strict: bool = True
) -> Schema:
    """names: of the columns, by JSON key, where they differ."""
    root = _root(schema)
    compiled(root)  # raises for an invalid schema
    properties: Mapping[str, Any] = root["properties"]
    needed = root.get("required", [])
    fields = []
    for key, part in properties.items():
        kind, categories = _kind(part, root)
        default = part.get("default") if isinstance(part, Mapping) and key not in needed else None
        fields.append(Field(names.get(key, key), key, kind, categories, default))
    return Schema(
        re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64] or "Answer", root, tuple(fields), strict
    )


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with an object at its root."""
    root, seen = dict(schema), 0
    while "$ref" in root and seen < _DEEPEST:
        target: dict[str, Any] = resolved(schema, str(root["$ref"]))
        root = target | {word: root[word] for word in ("$defs", "definitions") if word in root}
        seen += 1
    if len(root.get("allOf", ())) == 1 and "properties" not in root:
        root = (
            {**root, **resolved(schema, root["allOf"][0]["$ref"])}
            if "$ref" in root["allOf"][0]
            else {**root, **root["allOf"][0]}
        )
        root.pop("allOf")
    if root.get("type", "object") != "object" or not isinstance(
        root.get("properties", {}), Mapping
    ):
        kind = root.get("type")
        raise OptionError(
            f"the schema's root is {shown(kind).removeprefix('the text ')}: an answer is an object with "
            "a field for each column; a list can be a field: {'items': list[str]}"
        )
    if "properties" not in root and any(word in root for word in ("anyOf", "oneOf", "allOf")):
        raise OptionError(
            "the schema's root is a choice of several: an answer is one object with a field for each "
            "column; the choice can be a field"
        )
    if not root.get("properties"):
        raise OptionError("the schema has no fields: name at least one under properties")
    return {"type": "object", **root}


def _kind(part: Any, root: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the kind of a field's column, and its categories."""
    kinds: list[str] = []
    values: list[Any] = []
    _gather(part, root, kinds, values, 0)
    found = set(kinds)
    if found == {"category"}:
        unique = list(dict.fromkeys(values))
        return (
            ("category", tuple(unique))
            if len(unique) == len({(type(v) is bool, v) for v in values})
            else ("object", ())
        )
    if found == {"int", "float"}:
        return "float", ()
    if found == {"date", "datetime"}:
        return "datetime", ()
    return (kinds[0], ()) if len(found) == 1 else ("object", ())


def _gather(
    part: Any, root: Mapping[str, Any], kinds: list[str], values: list[Any], depth: int
) -> None:
    """Collect all alternatives of a field, except null."""
    if not isinstance(part, Mapping) or depth > _DEEPEST:
        kinds.append("object")
        return
    if "$ref" in part:
        _gather(resolved(root, str(part["$ref"])), root, kinds, values, depth + 1)
        return
    merged = part.get("allOf", ())
    branches = part.get("anyOf") or part.get("oneOf") or (merged if len(merged) == 1 else ())
    for branch in branches:
        _gather(branch, root, kinds, values, depth + 1)
    if branches:
        return
    if "const" not in part and "enum" not in part:
        kinds.extend(_named(part))
        return
    scalars = _scalars(part)
    values.extend(scalars)
    if scalars:
        kinds.append("category" if _are_plain(scalars) else "object")


def _scalars(part: Mapping[str, Any]) -> list[Any]:
    allowed = [part["const"]] if "const" in part else part["enum"]
    return [value for value in allowed if value is not None]


def _are_plain(scalars: list[Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in scalars)


def _named(part: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of a field's `type`, except null."""
    given = part.get("type")
    for name in [given] if isinstance(given, str) else given or ["object"]:
        if name == "string":
            yield _TIMES.get(str(part.get("format")), "text")
        elif name != "null":
            yield _PLAIN.get(name, "object")


# --- types ----------------------------------------------------------------------------------------------------------


def _typed(made: Any, name: str) -> Schema:
    """Return the schema of a class from Pydantic."""
    import pydantic

    try:
        schema = (
            made.model_json_schema()
            if hasattr(made, "model_json_schema")
            else pydantic.TypeAdapter(made).json_schema()
        )
    except pydantic.errors.PydanticUndefinedAnnotation as e:
        raise OptionError(f"the schema {name} names a type that is not defined: {e.name}") from None
    except (pydantic.errors.PydanticUserError, NameError, RecursionError) as e:
        why = str(e).partition("\n")[0]
        raise OptionError(f"the schema {name} can't be written as a JSON schema: {why}") from None
    schema = json.loads(json.dumps(schema, default=str))
    described = schema.get("description")
    if described and not (made.__doc__ or "").strip():
        schema.pop("description")
    names, factories = aliases(made), _factories(made)
    for key, part in schema.get("properties", {}).items():
        empty = _EMPTY.get(factories.get(names.get(key, key)))
        if empty is not None and isinstance(part, dict):
            part.setdefault("default", empty)
    return _schema(schema, name, names)


def _factories(made: Any) -> dict[str, Any]:
    """Return the default factory of each field whose default is not a plain value."""
    factories = (
        {field.name: field.default_factory for field in dataclasses.fields(made)}
        if dataclasses.is_dataclass(made)
        else {}
    )
    return factories | {
        name: info.default_factory for name, info in getattr(made, "model_fields", {}).items()
    }


def _is_typed_dict(given: Any) -> bool:
    import typing_extensions

    return bool(typing_extensions.is_typeddict(given))


def _typed_dict(
    name: str, fields: Mapping[Any, Any], held: set[Any], *, required: frozenset[str] | None = None
) -> Any:
    """Return a TypedDict for Pydantic in any Python. required: the required names; None is all."""
    import typing_extensions

    made: dict[str, Any] = {}
    for field, kind in fields.items():
        if not isinstance(field, str) or not field.strip():
            raise OptionError(f"`schema` has a field {field!r}: its names are texts")
        own = _checked(field, kind, held)
        made[field] = (
            own if required is None or field in required else typing_extensions.NotRequired[own]
        )
    return typing_extensions.TypedDict(name, made)  # type: ignore[operator]  # by its name and fields


def _checked(field: str, kind: Any, held: set[Any]) -> Any:
    """Return a field's type. Raises OptionError, naming the field, if unknown to Pydantic."""
    import pydantic

    if isinstance(kind, Mapping):
        return _typed_dict(field, kind, held)
    if isinstance(kind, str):
        raise OptionError(
            f"`schema` has the text {kind!r} as the type of {field!r}: give a type, such as str, float "
            "or Literal['a', 'b']"
        )
    own = _own(kind, held)
    try:
        if inspect.isroutine(kind):  # Pydantic treats it as the arguments of a call
            raise TypeError
        pydantic.TypeAdapter(own).json_schema()
    except (pydantic.errors.PydanticUserError, NameError, TypeError):
        raise OptionError(
            f"`schema` has {_called(kind)} as the type of {field!r}, which can't be written as a JSON "
            "schema: give str, int, float, bool, Literal[...], list[...], a date, or a model"
        ) from None
    return own


def _own(kind: Any, held: set[Any]) -> Any:
    """Return the type with each TypedDict converted for Pydantic (required before Python 3.12)."""
    if _is_typed_dict(kind) or typing.is_typeddict(kind):
        if kind in held:
            raise OptionError(f"the TypedDict {kind.__name__} holds itself: give a Pydantic model")
        hints = typing.get_type_hints(kind, include_extras=True)
        plain = {name: _bare(hint) for name, hint in hints.items()}
        return _typed_dict(kind.__name__, plain, held | {kind}, required=kind.__required_keys__)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if not args or origin is typing.Literal:
        return kind
    if origin is typing.Annotated:
        return typing.Annotated[(_own(args[0], held), *args[1:])]
    own = tuple(arg if isinstance(arg, list) else _own(arg, held) for arg in args)
    if own == args:
        return kind
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, own)
    return origin[own if len(own) > 1 else own[0]]


def _bare(hint: Any) -> Any:
    """Return the type without Required[...], NotRequired[...] and ReadOnly[...]."""
    import typing_extensions

    while typing.get_origin(hint) in (
        typing_extensions.Required,
        typing_extensions.NotRequired,
        typing_extensions.ReadOnly,
    ):
        hint = typing.get_args(hint)[0]
    return hint


def _called(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else repr(kind)
