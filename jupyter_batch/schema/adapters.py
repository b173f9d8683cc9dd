"""Parsing of answers in the format of a dspy adapter, by that adapter.

The signature is rebuilt from the stored schema, so that a later process needs only dspy, no class.
"""

from __future__ import annotations

import datetime as dt
import importlib
import re
from collections.abc import Callable
from typing import Any, Literal, Optional

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.schema import Field, Schema
from jupyter_batch.schema.check import Misfit

_FIELD = re.compile(r"Failed to parse field \S+ with value .*?(?=Error message: |$)", re.DOTALL)
_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "text": str,
    "date": str,
    "datetime": str,
}


def reader_of(schema: Schema, nullable: Callable[[Field], bool]) -> Callable[[Any], dict[str, Any]]:
    """Return the parser of an answer's text by the schema's adapter; it raises Misfit.

    nullable: whether a field may be null. Raises InputError without dspy or this adapter.
    """
    module, _, name = schema.reader.partition(":")
    try:
        dspy: Any = importlib.import_module("dspy")
        adapter = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError):
        raise InputError(
            f"the answers of this job are read by dspy's {name}, which is not installed here: "
            'pip install "jupyter_batch[dspy]"'
        ) from None
    fields = {
        field.key: (_type(field, nullable=nullable(field)), dspy.OutputField())
        for field in schema.fields
    }
    signature = dspy.Signature({"text": (str, dspy.InputField()), **fields}, "Read the fields.")

    def read(text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise Misfit("the answer is no text")
        try:
            found = adapter.parse(signature, text)
        except Exception as e:  # any text of a model, any error of dspy's
            raise Misfit(_reason(e, fields)) from None
        return {key: _plain(value) for key, value in found.items()}

    return read


def _type(field: Field, *, nullable: bool) -> Any:
    if field.kind == "category":
        kind: Any = Literal[field.categories]
    else:
        kind = _TYPES.get(field.kind, Any)
    return Optional[kind] if nullable and kind is not Any else kind  # noqa: UP045 - a runtime type


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def _reason(error: Exception, fields: dict[str, Any]) -> str:
    """Return the wrong field as the reason: dspy's message quotes the whole answer."""
    read = getattr(error, "parsed_result", None)
    if isinstance(read, dict) and set(fields) - set(read):
        missing = ", ".join(f"`{name}`" for name in fields if name not in read)
        return f"the answer does not have the fields {missing} in the form that was asked for"
    found = _FIELD.search(str(error))
    return " ".join((found[0] if found else str(error)).split())
