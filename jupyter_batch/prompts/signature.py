"""Short forms of a prompt: dspy's modules, and signatures such as `question -> answer, confidence: float`.

A signature's inputs are columns and become a prompt, its typed outputs become a schema; dspy is not needed.
"""

from __future__ import annotations

import ast
import datetime as dt
import functools
import operator
import typing
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.frames.adapter import is_frame
from jupyter_batch.prompts import dspy_module

ARROW = "->"
"""The text between inputs and outputs; a text without it is an ordinary prompt."""


def spelled_out(source: Any, prompt: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(the prompt, the options), unchanged for any other prompt. Raises InputError."""
    columns = getattr(source, "columns", None) if is_frame(source) else None
    columns = columns if hasattr(columns, "tolist") else None
    if isinstance(prompt, str):
        made = None if columns is None else as_asked(prompt, columns.tolist(), given)
        return made or (prompt, given)
    if not dspy_module.is_module(prompt):
        return prompt, given
    if columns is None:
        raise InputError(
            "a dspy module takes its inputs from a frame's columns, or from dspy Examples: "
            "pd.DataFrame({...}).llm.batch(module), or jupyter_batch.batch(examples, module)"
        )
    return dspy_module.as_asked(prompt, columns.tolist(), given)


_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "Any": Any,
    "None": None,
    "List": list,
    "Dict": dict,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
}


class Signature(NamedTuple):
    """inputs: columns. outputs: a type for each field."""

    inputs: tuple[str, ...]
    outputs: dict[str, Any]


def read_signature(text: str, columns: Sequence[Any] = ()) -> Signature | None:
    """Parse a signature; None for any other text. Raises OptionError for an unknown type.

    columns: inputs with these names need not be Python identifiers.
    """
    left, arrow, right = text.strip().partition(ARROW)
    if not arrow or ARROW in right:
        return None
    inputs, outputs = _inputs(left, columns), _fields(right)
    if not inputs or not outputs:
        return None
    for names in (inputs, [field.arg for field in outputs]):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise OptionError(f"the signature names {twice[0]!r} twice: {text.strip()}")
    types = {
        field.arg: str if field.annotation is None else _type(field.annotation, field.arg)
        for field in outputs
    }
    return Signature(tuple(inputs), types)


def _inputs(text: str, columns: Sequence[Any]) -> list[str]:
    """The names before the arrow; [] where they are invalid."""
    whole = [part.strip() for part in text.split(",")]
    return (
        whole
        if all(name in columns for name in whole)
        else [field.arg for field in _fields(text) or ()]
    )


def _fields(text: str) -> list[ast.arg] | None:
    """Each name with its annotation, in the syntax of a Python function's arguments."""
    try:
        made = ast.parse(f"def _({text.strip()}): ...").body
        asked = made[0].args if len(made) == 1 and isinstance(made[0], ast.FunctionDef) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if (
        asked is None
        or asked.vararg
        or asked.kwarg
        or asked.kwonlyargs
        or asked.posonlyargs
        or asked.defaults
    ):
        return None
    return asked.args


def _type(node: ast.expr, name: str) -> Any:
    """The type that an annotation names; nothing is evaluated."""
    match node:
        case (
            ast.Name(id=known) | ast.Attribute(value=ast.Name(id="typing" | "datetime"), attr=known)
        ) if known in _TYPES:
            return _TYPES[known]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_type(left, name), _type(right, name)]  # noqa: UP007 - of types that come at run time
        case ast.Subscript(
            value=ast.Name(id=of) | ast.Attribute(value=ast.Name(id="typing"), attr=of),
            slice=inside,
        ):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            if of == "Literal":
                return typing.Literal[tuple(_value(part, name) for part in parts)]
            kinds = [_type(part, name) for part in parts]
            if of in ("Optional", "Union"):
                return functools.reduce(
                    operator.or_, [*kinds, type(None)] if of == "Optional" else kinds
                )
            if of in ("list", "List") and len(kinds) == 1:
                return list[kinds[0]]  # type: ignore[valid-type]  # a type that comes at run time
            if of in ("dict", "Dict") and len(kinds) == 2:  # noqa: PLR2004 - a key and a value
                return dict[kinds[0], kinds[1]]  # type: ignore[valid-type]
    raise OptionError(
        f"the signature has the type {ast.unparse(node)} for {name!r}: it knows str, int, float, bool, "
        "date, datetime, list[...], dict[str, ...], Literal['a', 'b'], Optional[...] and a | b; "
        "`schema` takes any other"
    )


def _value(node: ast.expr, name: str) -> Any:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int)):
        return node.value
    raise OptionError(
        f"the signature has {ast.unparse(node)} in the Literal of {name!r}: it holds texts and whole "
        "numbers"
    )


def as_asked(
    text: str, columns: Sequence[Any], given: Mapping[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """(the prompt, the options) of a signature over these columns; None for an ordinary text.

    The default of `system` is the one that dspy writes. Raises ColumnError where an input is no
    column, and OptionError where inputs that are columns are followed by invalid outputs: as a
    prompt such a text would be the same for each row.
    """
    found = read_signature(text, columns)
    if found is None:
        _check_half_signature(text, columns)
        return None
    _check_inputs(found.inputs, columns)
    if given.get("schema") is not None:
        raise OptionError(
            f"`schema` says what the answer holds, and so does the signature after ->: {text.strip()}"
        )
    value = "{{{{ row[{!r}] }}}}" if given.get("template") == "jinja" else "{{{}}}"
    title = "[[ ## {} ## ]]\n" if len(found.inputs) > 1 else ""
    prompt = "\n\n".join(title.format(name) + value.format(name) for name in found.inputs)
    inputs, outputs = (
        ", ".join(f"`{name}`" for name in names) for names in (found.inputs, found.outputs)
    )
    system = f"Given the fields {inputs}, produce the fields {outputs}."
    return prompt, {**given, "schema": found.outputs, "system": given.get("system") or system}


def _check_half_signature(text: str, columns: Sequence[Any]) -> None:
    """Raise OptionError for a text whose inputs are columns and whose outputs are invalid."""
    left, arrow, _ = text.strip().partition(ARROW)
    names = _inputs(left, columns) if arrow and "{" not in text else []
    if names and all(name in columns for name in names):
        raise OptionError(
            f"{text.strip()!r} begins as a signature, but after the -> there must be names of fields, "
            "with their types where needed, such as answer, confidence: float"
        )


def _check_inputs(inputs: Iterable[str], columns: Sequence[Any]) -> None:
    """Raise ColumnError for an input that is no column, with the closest column's name."""
    missing = next((name for name in inputs if name not in columns), None)
    if missing is None:
        return
    close = get_close_matches(missing, [name for name in columns if isinstance(name, str)], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ColumnError(
        f"the signature asks for the column {missing!r}, which the frame has not{hint} Columns: "
        f"{', '.join(map(str, columns[:20]))}",
        column=missing,
    )
