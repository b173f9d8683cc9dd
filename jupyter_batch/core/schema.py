"""Columns of an answer, as plain data that is stored with its job: the fields of a schema, and `keep=`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

KINDS = ("int", "float", "bool", "text", "category", "date", "datetime", "object")


class Field(msgspec.Struct, frozen=True):
    """A field of an answer, which fills a column.

    name: the column's, without prefix. key: the JSON key. kind: one of KINDS. categories: the
    values of a "category", in the given order. default: the value for an answer without the field;
    None without one.
    """

    name: str
    key: str
    kind: str
    categories: tuple[str | int | float | bool, ...] = ()
    default: Any = None


class Schema(msgspec.Struct, frozen=True):
    """A structured answer. name: for the provider. json: the schema to check answers against.

    strict: whether the provider may be asked for strict mode. reader: "" where answers are JSON;
    else the dspy adapter that parses them, as "module:name".
    """

    name: str
    json: dict[str, Any]
    fields: tuple[Field, ...]
    strict: bool = True
    reader: str = ""


def suffixed(schema: Schema, end: str) -> Schema:
    """Return the schema with _ and `end` appended to the column names."""
    fields = tuple(
        msgspec.structs.replace(field, name=f"{field.name}_{end}") for field in schema.fields
    )
    return msgspec.structs.replace(schema, fields=fields)


def without_names(schema: Schema) -> Schema:
    """Return the schema without column names, which affect neither request nor check."""
    fields = tuple(msgspec.structs.replace(field, name=field.key) for field in schema.fields)
    return msgspec.structs.replace(schema, fields=fields)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return column names joined on a line; of many, only the first few."""
    held = list(names)
    first = ", ".join(held[:most])
    return first if len(held) <= most else f"{first} and {len(held) - most} more"


def columns(out: str, schema: Schema | None) -> dict[str, Field | None]:
    """Return the columns to fill: `out` alone, or one for each field, prefixed with `out`."""
    if schema is None:
        return {out: None}
    return {f"{out}_{field.name}" if out else field.name: field for field in schema.fields}


PARTS: Mapping[str, str] = {
    "reasoning": "text",
    "logprobs": "object",
    "citations": "object",
    "annotations": "object",
    "transcript": "text",
}
"""The parts that can be stored, and the kind of their cells.

reasoning: the thinking text. logprobs: tokens with log probabilities, in the provider's format.
citations: a list of sources. annotations: the same, only where the provider uses that name.
transcript: the text of a spoken answer.
"""

Keep = Mapping[str, str]
"""Column suffix -> part, a key of KINDS."""

DEFAULT_OUT = "response"


def kept_columns(out: str, keep: Keep) -> dict[str, Field]:
    """Return the columns for `keep`: `out`_name, or `response`_name for a schema without `out`."""
    return {
        f"{out or DEFAULT_OUT}_{end}": Field(name, name, PARTS[name]) for end, name in keep.items()
    }


def all_columns(out: str, schema: Schema | None, keep: Keep) -> dict[str, Field | None]:
    """Return the columns of the answers and of `keep`."""
    return {**columns(out, schema), **kept_columns(out, keep)}
