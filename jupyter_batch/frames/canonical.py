"""Canonical forms of cells: equal in every process and under any display options."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import orjson
import pandas as pd

from jupyter_batch.frames.cells import content_text

# --- cells in prompts -----------------------------------------------------------------------------------------------


class OrderedSet(set[Any]):
    """A set whose order and text do not depend on the process's hash seed."""

    def __iter__(self) -> Iterator[Any]:
        return iter(_ordered(set.__iter__(self)))

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self)) + "}" if self else "set()"


class OrderedFrozenSet(frozenset[Any]):
    """The same for a frozenset."""

    def __iter__(self) -> Iterator[Any]:
        return iter(_ordered(frozenset.__iter__(self)))

    def __repr__(self) -> str:
        return "frozenset({" + ", ".join(map(repr, self)) + "})" if self else "frozenset()"


def _ordered(items: Iterator[Any]) -> list[Any]:
    held = list(items)
    try:
        return sorted(held)
    except TypeError:  # of mixed types
        return sorted(held, key=lambda item: (type(item).__name__, repr(item)))


HOLDERS = frozenset({set, frozenset, list, tuple, dict})


_SETS = frozenset({set, frozenset})


def ordered(cell: Any) -> Any:
    """Return the cell with sets in it ordered; the cell itself if it has none."""
    return _with_ordered_sets(cell) if _holds_set(cell) else cell


def _holds_set(cell: Any) -> bool:
    """Whether the cell is a set or holds one, at any depth: most hold none."""
    kind = type(cell)
    if kind not in HOLDERS:
        return False
    if kind in _SETS:
        return True
    for item in cell.values() if kind is dict else cell:  # noqa: SIM110 - twice as fast as `any`
        if type(item) in HOLDERS and _holds_set(item):
            return True
    return False


def _with_ordered_sets(cell: Any) -> Any:
    kind = type(cell)
    if kind not in HOLDERS:
        return cell
    if kind in _SETS:
        return (OrderedSet if kind is set else OrderedFrozenSet)(map(_with_ordered_sets, cell))
    if kind is dict:
        return {key: _with_ordered_sets(value) for key, value in cell.items()}
    return kind(map(_with_ordered_sets, cell))


_DISPLAY: tuple[Any, ...] = (
    *("display.max_rows", None),
    *("display.max_columns", None),
    *("display.max_colwidth", None),
    *("display.max_seq_items", None),
    *("display.expand_frame_repr", False),
    *("display.large_repr", "truncate"),
    *("display.show_dimensions", "truncate"),
    *("display.width", 80),
    *("display.precision", 6),
    *("display.float_format", None),
    *("display.chop_threshold", None),
    *("display.colheader_justify", "right"),
    *("display.multi_sparse", True),
    *("display.pprint_nest_depth", 3),
    *("display.date_dayfirst", False),
    *("display.date_yearfirst", False),
    *("display.unicode.east_asian_width", False),
    *("display.unicode.ambiguous_as_wide", False),
)


@contextmanager
def whole_texts() -> Iterator[None]:
    """Convert arrays and frames to text untruncated, regardless of display options."""
    with (
        pd.option_context(*_DISPLAY),
        np.printoptions(
            precision=8,
            threshold=sys.maxsize,
            edgeitems=3,
            linewidth=75,
            suppress=False,
            nanstr="nan",
            infstr="inf",
            formatter=None,
            sign="-",
            floatmode="maxprec",
        ),
    ):
        yield


# --- cells in fingerprints ------------------------------------------------------------------------------------------

_NESTED = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_OPTIONS = _NESTED | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
_WITH_TEXTS = (
    "builtins",
    "datetime",
    "decimal",
    "fractions",
    "ipaddress",
    "numpy",
    "pandas",
    "pathlib",
    "re",
    "uuid",
    "zoneinfo",
)
"""Packages whose values have complete texts."""


def content(cell: Any) -> str:
    """Return a text for a cell's whole content; a unique one for an opaque cell."""
    try:
        made = _content(cell)
        if isinstance(made, str):
            return made
        return orjson.dumps(made, default=_content, option=_OPTIONS).decode()
    except Exception:  # a value's own methods may raise anything
        try:
            text = repr(ordered(cell))
        except Exception:
            return _unknown(cell)
        return _unknown(cell) if " at 0x" in text else text


_TOKENS: dict[int, tuple[weakref.ref[Any], str]] = {}
"""A text for each living opaque object. Addresses can be reused by later objects."""


def _unknown(value: Any) -> str:
    """Return a text for an opaque object: constant for its lifetime, and unique."""
    key = id(value)
    known = _TOKENS.get(key)
    if known is not None and known[0]() is value:
        return known[1]
    token = f"unknown {secrets.token_hex(16)}"
    with contextlib.suppress(TypeError):  # no weak references: it gets a new text each time
        _TOKENS[key] = weakref.ref(value, lambda _: _TOKENS.pop(key, None)), token
    return token


def _content(value: Any) -> Any:
    """Return a text, or a JSON-compatible form whose items are converted recursively."""
    known = content_text(value)
    if known is not None:
        return known
    if isinstance(value, dict | list | tuple):
        return _plain(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(content(item) for item in value)
    if isinstance(value, pd.DataFrame):
        return ["frame", value.columns.tolist(), value.index.tolist(), *map(_cells, value.T.values)]
    if isinstance(value, pd.Series | pd.Index):
        index = [] if isinstance(value, pd.Index) else value.index.tolist()
        return ["series", value.name, index, value.tolist()]
    if isinstance(value, FunctionType):
        return _function(value)
    if isinstance(value, type) and hasattr(value, "model_json_schema"):  # a Pydantic class
        return [value.__module__, value.__qualname__, value.model_json_schema()]
    if isinstance(value, Enum) or type(value).__module__.partition(".")[0] in _WITH_TEXTS:
        return _repr_of(value)
    state = _state(value)
    return _repr_of(value) if state is None else [type(value).__qualname__, state]


def _function(value: FunctionType) -> list[Any]:
    """Return what a function is made from, without objects in its closure, which change by its calls."""
    closed = [cell.cell_contents for cell in value.__closure__ or ()]
    closed = [one for one in closed if one is None or isinstance(one, str | int | float)]
    defaults = [value.__defaults__, value.__kwdefaults__]
    code = _code(value.__code__)
    return [value.__module__, value.__qualname__, code, value.__annotations__, defaults, closed]


def _code(code: CodeType) -> list[Any]:
    held = [_code(one) if isinstance(one, CodeType) else content(one) for one in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, held]


def _plain(value: Any) -> Any:
    return (
        value if type(value) in HOLDERS else dict(value) if isinstance(value, dict) else list(value)
    )


def _cells(values: Any) -> list[Any]:
    held: list[Any] = values.tolist()
    return held


def _repr_of(value: Any) -> str:
    text = str(value)
    return _unknown(value) if " at 0x" in text else text


def _state(value: Any) -> dict[str, Any] | None:
    """Return an object's attributes; None without any."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    slots = [
        name
        for kind in type(value).__mro__
        for name in [*getattr(kind, "__slots__", ())]
        if name not in ("__dict__", "__weakref__") and hasattr(value, name)
    ]
    state = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}
    return state or None
