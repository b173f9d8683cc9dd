"""Division of a frame's rows by the models, and the endpoints, that columns name for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.config.option import Col
from jupyter_batch.config.options import EVERY
from jupyter_batch.config.settings import checked
from jupyter_batch.core.errors import InputError, ModelError, OptionError
from jupyter_batch.frames import frame as frames
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.providers.endpoints import makes_vectors
from jupyter_batch.providers.table import full_name

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_SHOWN = 5


class ModelRows(NamedTuple):
    """The rows of one model and endpoint (None: as the model has it). rows: their positions in the frame.

    columns, values: the columns that name both, and their cells in these rows. labels: the rows'
    labels, for messages.
    """

    model: str
    endpoint: str | None
    columns: tuple[Any, ...]
    values: tuple[tuple[Any, ...], ...]
    rows: Array
    labels: str


def rows_by_model(
    frame: Any,
    model: str | Col,
    endpoint: str | Col | None = None,
    *,
    api_base: str | None,
    environ: Mapping[str, str],
) -> list[ModelRows]:
    """Each model and endpoint that the columns name, by the model's full name, sorted.

    Raises ColumnError without a column; ModelError, which names the rows, where a row names no
    model, or one whose provider is not clear; and OptionError for an unknown endpoint.
    """
    given = {"model": model, "endpoint": endpoint}
    by_row = {name: value.name for name, value in given.items() if isinstance(value, Col)}
    _check_frame(frame, next(iter(by_row)))
    present = list(frames.column_labels(frame))
    columns = {name: label_of(column, present) for name, column in by_row.items()}
    frames.used(frame, tuple(columns.values()))
    labels = frames.row_labels(frame)
    if not len(labels):
        raise InputError("the frame has no rows: there is nothing to send")
    read: dict[str, Callable[[Any], str]] = {
        "model": lambda name: _full_name(name, api_base, environ),
        "endpoint": lambda name: str(checked(EVERY["endpoint"], name)),
    }
    named = [
        _Named(frames.column(frame, label), labels, read[name]) for name, label in columns.items()
    ]
    missing = named[0].blank() if "model" in columns else ()
    if len(missing):
        raise ModelError(
            f"{rows_named(labels, missing)} of column {columns['model']!r} "
            f"{'names' if len(missing) == 1 else 'name'} no model, nothing was sent: fill in a model, "
            "or leave the rows out"
        )

    def asked(*names: str) -> tuple[Any, Any]:
        found: dict[str, Any] = {**given, **dict(zip(columns, names, strict=True))}
        if found["endpoint"] == "":
            found["endpoint"] = "embeddings" if makes_vectors(found["model"]) else "chat"
        return found["model"], found["endpoint"]

    return [
        ModelRows(*key, tuple(columns.values()), cells, rows, rows_named(labels, rows))
        for key, cells, rows in _groups(named, asked)
    ]


def _full_name(name: Any, api_base: str | None, environ: Mapping[str, str]) -> str:
    if not isinstance(name, str):
        raise ModelError(f"a model is a text such as 'gpt-4.1-mini', not {name!r}")
    return full_name(name, api_base=api_base, environ=environ).strip()


def _check_frame(frame: Any, name: str) -> None:
    """Raise InputError where there are no columns to take the option from."""
    if not frames.is_frame(frame):
        library, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
        raise InputError(
            f"{name}=col(...) takes the {name} from a column of a pandas DataFrame, not of a "
            f"{kind if library == 'builtins' else f'{library} {kind}'}: give a DataFrame, or one {name}"
        )


class _Named:
    """A column's cells, and what they name: "" for none. codes: of each row, a place in both."""

    def __init__(self, cells: Any, labels: Any, read: Callable[[Any], str]) -> None:
        self.codes, written = pd.factorize(cells.astype(object))
        self.cells, self.names = [*written, None], []
        for at, cell in enumerate(self.cells):  # the last, at -1, is that of missing cells
            is_blank = cell is None or (isinstance(cell, str) and not cell.strip())
            try:
                self.names.append("" if is_blank else read(cell))
            except (ModelError, OptionError) as e:
                where = rows_named(labels, np.flatnonzero(self.codes == at))
                raise type(e)(f"{where}: {e}") from None

    def blank(self) -> Array:
        """The rows that name nothing."""
        return np.flatnonzero(np.array([not name for name in self.names])[self.codes])


def _groups(
    named: Sequence[_Named], asked: Callable[..., tuple[Any, Any]]
) -> Iterator[tuple[tuple[Any, Any], tuple[tuple[Any, ...], ...], Array]]:
    """(the model and endpoint, the cells that name it, the rows), sorted, whatever the rows' order."""
    codes, places = np.unique(
        np.stack([one.codes for one in named], axis=1), axis=0, return_inverse=True
    )
    members: dict[tuple[Any, Any], list[int]] = {}
    for at, cells in enumerate(codes):
        names = (one.names[code] for one, code in zip(named, cells, strict=True))
        members.setdefault(asked(*names), []).append(at)
    for key, own in sorted(members.items()):
        cells = zip(
            *([one.cells[code] for code in codes[own, n]] for n, one in enumerate(named)),
            strict=True,
        )
        yield key, tuple(cells), np.flatnonzero(np.isin(places.ravel(), own))


def rows_named(labels: Any, rows: Sequence[int] | Array) -> str:
    """The labels of rows, for messages: `row 'a'`, or `rows 'a', 'b' and 7 more`."""
    named = [repr(label) for label in labels[rows[:_SHOWN]].tolist()]
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(named)}{more}"
