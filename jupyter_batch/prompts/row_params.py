"""Chat parameters whose values are in columns: `max_tokens=col(...)`, `tools=col(...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from jupyter_batch.config import tool_definitions
from jupyter_batch.config.option import Col
from jupyter_batch.config.options import EVERY
from jupyter_batch.config.tool_definitions import Function, Tools
from jupyter_batch.config.types import OBJECT, TOOLS
from jupyter_batch.core.errors import OptionError
from jupyter_batch.frames import frame as frames
from jupyter_batch.prompts.conversations import plain
from jupyter_batch.templates.values import RowError, short
from jupyter_batch.wire.openai import Hole

PREFIX = "param "
OWN_TOOLS = f"{PREFIX}tools"
"""The hole of `tools=col(...)`."""
_KNOWN = 1024


class Params(NamedTuple):
    """Chat parameters with a Hole for each `col(...)`, the column of each, and `extra_body`."""

    body: dict[str, Any]
    extra: dict[str, Any] | Hole
    columns: dict[str, Any]


def params_of(params: Mapping[str, Any]) -> Params:
    """The chat parameters for a request's body, sorted by name."""
    body: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    for name, value in sorted(params.items()):
        if isinstance(value, Col):
            body[name] = Hole(f"{PREFIX}{name}")
            columns[f"{PREFIX}{name}"] = value.name
        else:
            body[name] = value
    return Params(body, body.pop("extra_body", None) or {}, columns)


class RowParams:
    """Cells read as chat parameters, and the names of the tools in them so far."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._tools = _RowTools()

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The names of the tools in the cells read so far, in their order."""
        return tuple(self._names)

    def read(self, hole: str, cells: Sequence[Any]) -> list[Any]:
        """Each row's parameter in its type, None for none, or the reason why the row can't be sent."""
        if hole != OWN_TOOLS:
            return [param_of(hole, cell) for cell in cells]
        found = list(map(self._tools.of, cells))
        held = {id(tools): tools for tools in found if isinstance(tools, Tools)}
        for tools in held.values():
            self._names |= dict.fromkeys(tools.names)
        return [tools.definitions if isinstance(tools, Tools) else tools for tools in found]


class _RowTools:
    """The tools of cells, read once for each different text or list of functions."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any]] = {}

    def of(self, cell: Any) -> Tools | RowError | None:
        """The cell's tools, None for none, or the reason why the row can't be sent."""
        parts = cell if isinstance(cell, list | tuple) else [cell]
        key = cell if isinstance(cell, str) else tuple(map(id, parts))
        if key not in self._known:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = parts, _tools_of(cell)  # parts: so that no id is used again
        found: Tools | RowError | None = self._known[key][1]
        return found


def _tools_of(cell: Any) -> Tools | RowError | None:
    try:
        if isinstance(cell, str):
            cell = orjson.loads(cell) if cell.strip() else None
        cell = _as_python(cell)
        if cell is None or (isinstance(cell, list | tuple | dict) and not cell):
            return None
        return tool_definitions.read(cell)
    except OptionError as e:
        return RowError(str(e))
    except Exception:  # a value's own methods may raise anything
        return RowError(f"`tools` takes {TOOLS.says}, or their JSON, not {short(cell, 40)}")


def param_of(hole: str, value: Any) -> Any:
    """A row's chat parameter in its type, None for none, or the reason why the row can't be sent.

    Whole numbers become integers again, which pandas converts to floats in a column with missing
    values. An object may be written as JSON, as in CSV files.
    """
    option = EVERY[hole.removeprefix(PREFIX)]
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        if option.kind is OBJECT:
            ordered = _as_python if option.name == "response_format" else plain
            value = orjson.loads(value) if isinstance(value, str) else ordered(value)
        return option.kind.check(value)
    except Exception:  # a value's own methods may raise anything
        return RowError(f"`{option.name}` takes {option.kind.says}, not {short(value, 40)}")


def _as_python(value: Any) -> Any:
    """Lists and dicts from the arrays of parquet and arrow; others unchanged: a schema's fields have an order."""
    return plain(value) if _has_arrays(value) else value


def _has_arrays(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_arrays, value))
    if isinstance(value, Mapping):
        return any(map(_has_arrays, value.values()))
    return isinstance(value, np.ndarray)


def functions_of(tools: Any, frame: Any) -> dict[str, Function]:
    """The functions in `tools=`, by name. Raises OptionError where rows have different ones of one name."""
    if not isinstance(tools, Col):
        return {} if tools is None else tool_definitions.read(tools).functions
    frames.used(frame, (tools.name,))
    found: dict[str, Function] = {}
    known = _RowTools()
    for cell in frames.cells_of(frames.column(frame, tools.name))[0]:
        held = known.of(cell)
        for name, function in held.functions.items() if isinstance(held, Tools) else ():
            if found.setdefault(name, function) is not function:
                raise OptionError(
                    f"two rows of column {tools.name!r} have different functions called {name!r}: give each a name "
                    "of its own, or all rows the same function"
                )
    return found
