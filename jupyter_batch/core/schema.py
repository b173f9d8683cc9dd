"""Schema: what a structured answer looks like, as plain data that is kept with its job. It knows no frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

KINDS = ("int", "float", "bool", "text", "category", "date", "datetime", "object")


class Field(msgspec.Struct, frozen=True):
    """One field of an answer, one column.

    name: the column's, before any prefix. key: in the JSON. kind: one of KINDS. categories: what a "category" may be,
    in the order that was given. default: what an answer without the field says; None where it says nothing.
    """

    name: str
    key: str
    kind: str
    categories: tuple[str | int | float | bool, ...] = ()
    default: Any = None


class Schema(msgspec.Struct, frozen=True):
    """A structured answer. name: for the provider. json: the JSON schema that answers are held against.

    strict: whether the provider may be asked to keep to it to the letter. reader: "" where answers are JSON; else which
    of dspy's adapters reads them, as "module:name".
    """

    name: str
    json: dict[str, Any]
    fields: tuple[Field, ...]
    strict: bool = True
    reader: str = ""


def suffixed(schema: Schema, end: str) -> Schema:
    """The same answer, into columns whose names end with _ and `end`."""
    fields = tuple(
        msgspec.structs.replace(field, name=f"{field.name}_{end}") for field in schema.fields
    )
    return msgspec.structs.replace(schema, fields=fields)


def without_names(schema: Schema) -> Schema:
    """The same answer, whatever its columns are called: what is asked, and what counts as an answer, and no more."""
    fields = tuple(msgspec.structs.replace(field, name=field.key) for field in schema.fields)
    return msgspec.structs.replace(schema, fields=fields)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names of columns on a line; of many the first few."""
    held = list(names)
    first = ", ".join(held[:most])
    return first if len(held) <= most else f"{first} and {len(held) - most} more"


def columns(out: str, schema: Schema | None) -> dict[str, Field | None]:
    """The columns that answers fill: `out` alone, or one for each field, named as it, with `out` as the prefix."""
    if schema is None:
        return {out: None}
    return {f"{out}_{field.name}" if out else field.name: field for field in schema.fields}
