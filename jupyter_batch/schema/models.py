"""Pydantic classes by which answers are validated, as long as this process has them.

A process without the class reads the same answers by the stored schema, with Pydantic's lax numbers.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec

from jupyter_batch.core.schema import Field, Schema, without_names
from jupyter_batch.schema.check import Check, Misfit, shown

_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "text": (str,),
    "date": (str,),
    "datetime": (str,),
}
"""The JSON types that fit a column."""
_MODELS: dict[bytes, Any] = {}


class ModelSchema(Schema, frozen=True):
    """A schema that was read from a Pydantic class; it equals the same schema as it is stored."""

    def __eq__(self, other: object) -> bool:
        same = msgspec.structs.astuple
        return isinstance(other, Schema) and same(self) == same(other)

    __hash__ = Schema.__hash__


def remember(schema: Schema, model: Any) -> ModelSchema:
    """Have answers of this schema validated by the class, in this process."""
    _MODELS[_key(schema)] = model
    return ModelSchema(**msgspec.structs.asdict(schema))


def model_of(schema: Schema) -> Any:
    """The class of a schema; None where this process does not have it."""
    return _MODELS.get(_key(schema))


def _key(schema: Schema) -> bytes:
    return msgspec.json.encode(without_names(schema))


@cache
def mark_of(model: Any) -> str:
    """A hash of a class's source, with its validators; for one without a source, of this process alone."""
    digest = blake2b(digest_size=16)
    for kind in model.__mro__:
        if kind.__module__.partition(".")[0] not in ("pydantic", "builtins", "typing", "abc"):
            try:
                digest.update(inspect.getsource(kind).encode())
            except (OSError, TypeError):
                digest.update(secrets.token_bytes(16))
    return digest.hexdigest()


def aliases(made: Any) -> dict[str, str]:
    """Return a Pydantic model's field names by their JSON names."""
    names: dict[str, str] = {}
    for name, info in getattr(made, "model_fields", {}).items():
        alias = info.validation_alias or info.alias
        first = getattr(alias, "choices", [alias])[0]
        if isinstance(first, str):
            names[first] = name
    return names


def validated_by(model: Any, schema: Schema) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The validation of an answer's object by the class: JSON values by the schema's keys. It raises Misfit."""
    names = aliases(model)

    def read(found: dict[str, Any]) -> dict[str, Any]:
        made = _validated(model, found)
        return {
            field.key: _fitting(field, made.get(names.get(field.key, field.key)))
            for field in schema.fields
        }

    return read


def _validated(model: Any, found: dict[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        try:
            made = model.model_validate_json(json.dumps(found))
        except ValidationError as e:
            reduced = _without_nulls(found, e)
            if reduced is None:
                raise
            try:
                made = model.model_validate_json(json.dumps(reduced))
            except ValidationError:
                raise e from None
        dumped: dict[str, Any] = made.model_dump(mode="json", warnings=False)
    except ValidationError as e:
        raise Misfit(_reason(e)) from None
    except Exception as e:  # any validator's or serializer's own
        raise Misfit(f"{model.__name__} raised {type(e).__name__}: {e}") from None
    return dumped


def _without_nulls(found: dict[str, Any], error: Any) -> dict[str, Any] | None:
    """The object without nulls for optional fields, which a provider's strict mode requires; None without any."""
    reduced, removed = json.loads(json.dumps(found)), False
    for one in error.errors(include_url=False):
        *path, last = one["loc"] or (None,)
        holder = reduced
        for step in path:
            held = isinstance(holder, dict) or (isinstance(holder, list) and isinstance(step, int))
            holder = holder[step] if held and step in _steps(holder) else None
        if isinstance(holder, dict) and last in holder and holder[last] is None:
            del holder[last]
            removed = True
    return reduced if removed else None


def _steps(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


def _reason(error: Any) -> str:
    first, *more = error.errors(include_url=False)
    where = ".".join(map(str, first["loc"]))
    rest = f" (and {len(more)} more)" if more else ""
    return f"{where}: {first['msg']}{rest}" if where else f"{first['msg']}{rest}"


def _fitting(field: Field, value: Any) -> Any:
    """A validated value; a validator may have made one that its column can't hold."""
    if value is None or field.kind == "object":
        return value
    if field.kind == "category":
        fits = value in field.categories
    else:
        is_bool = isinstance(value, bool)
        fits = isinstance(value, _KINDS[field.kind]) and is_bool == (field.kind == "bool")
    if not fits:
        raise Misfit(
            f"{field.key}: the validators made {shown(value)}, and the column holds {field.kind} values"
        )
    return value


def checked_by(
    check: Check, schema: Schema, *, lax: bool
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The check of an answer's object by its JSON schema. lax: with numbers that are written as texts.

    Equal items of a list that is to have each once are merged, as Pydantic merges a set's.
    """
    numbers = [field for field in schema.fields if field.kind in ("int", "float")] if lax else []

    def read(found: dict[str, Any]) -> dict[str, Any]:
        for field in numbers:
            if isinstance(text := found.get(field.key), str):
                found[field.key] = _number(text, field.kind)
        while True:
            try:
                check(found)
            except Misfit as e:
                if e.repeats is None or not _merge_equal(found, e.repeats):
                    raise
            else:
                return found

    return read


def _merge_equal(found: Any, path: tuple[str | int, ...]) -> bool:
    """Remove the items of a list that it has before; return whether there are any."""
    for step in path:
        found = found[step]
    once = list({json.dumps(item, sort_keys=True): item for item in found}.values())
    is_shorter, found[:] = len(once) < len(found), once
    return is_shorter


def _number(text: str, kind: str) -> Any:
    """The number in a text; the text where it is none of the kind."""
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return text
