"""Division of a frame's rows by the models that a column names for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from jupyter_batch.core.errors import InputError, ModelError
from jupyter_batch.frames import frame as frames
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.providers.model_names import full_name

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_SHOWN = 5


class ModelRows(NamedTuple):
    """The rows of one model. names: as the column has them. rows: their positions in the frame.

    labels: the rows' labels, for messages.
    """

    model: str
    column: Any
    names: tuple[str, ...]
    rows: Array
    labels: str


def rows_by_model(
    frame: Any, name: Any, *, api_base: str | None, environ: Mapping[str, str]
) -> list[ModelRows]:
    """Each model that the column names, by its full name, sorted.

    Raises ColumnError without the column, and ModelError, which names the rows, where a row names
    no model, or one whose provider is not clear.
    """
    if not frames.is_frame(frame):
        library, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
        raise InputError(
            "model=col(...) takes the model from a column of a pandas DataFrame, not of a "
            f"{kind if library == 'builtins' else f'{library} {kind}'}: give a DataFrame, or one model"
        )
    label = label_of(name, list(frames.column_labels(frame)))
    frames.used(frame, (label,))
    cells = frames.column(frame, label)
    codes, written = pd.factorize(cells.astype(object))
    labels = frames.row_labels(frame)
    blank = [at for at, one in enumerate(written) if isinstance(one, str) and not one.strip()]
    missing = np.flatnonzero((codes < 0) | np.isin(codes, blank))
    if len(missing):
        raise ModelError(
            f"{rows_named(labels, missing)} of column {label!r} "
            f"{'names' if len(missing) == 1 else 'name'} no model, nothing was sent: fill in a model, "
            "or leave the rows out"
        )
    if not len(written):
        raise InputError("the frame has no rows: there is nothing to send")
    models: dict[str, list[int]] = {}
    for at, one in enumerate(written):
        models.setdefault(_full(one, labels, codes == at, api_base, environ), []).append(at)
    made = []
    for model, places in sorted(models.items()):  # whatever the order of the rows
        rows = np.flatnonzero(np.isin(codes, places))
        names = tuple(str(written[at]) for at in places)
        made.append(ModelRows(model, label, names, rows, rows_named(labels, rows)))
    return made


def _full(
    one: Any, labels: Any, rows: Array, api_base: str | None, environ: Mapping[str, str]
) -> str:
    where = rows_named(labels, np.flatnonzero(rows))
    if not isinstance(one, str):
        raise ModelError(f"{where}: a model is a text such as 'gpt-4.1-mini', not {one!r}")
    try:
        return full_name(one, api_base=api_base, environ=environ).strip()
    except ModelError as e:
        raise ModelError(f"{where}: {e}") from None


def rows_named(labels: Any, rows: Sequence[int] | Array) -> str:
    """The labels of rows, for messages: `row 'a'`, or `rows 'a', 'b' and 7 more`."""
    named = [repr(label) for label in labels[rows[:_SHOWN]].tolist()]
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(named)}{more}"
