"""Few-shot examples: rows of a frame with their expected answers, before each row's message.

They are rendered once, with the same template as the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.schema import Field, Schema
from jupyter_batch.frames.adapter import as_frame, column_labels, is_frame, row_count
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.prompts.conversations import started
from jupyter_batch.schema import Parser
from jupyter_batch.schema.check import Misfit
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.openai import Hole

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 1000
MOST_BYTES = 16_000_000
"""Limit of all examples in bytes. Each request repeats them: more is probably a whole data set."""

Message = dict[str, Any]


class Shown:
    """A prompt with examples between the system messages and the row's own.

    A Prompt (prompt.py).
    """

    def __init__(self, inner: Any, pairs: Sequence[Message]) -> None:
        self._inner = inner
        self._pairs = list(pairs)
        self.columns: tuple[Any, ...] = inner.columns
        self.needed: tuple[Any, ...] = inner.needed
        asked = inner.messages()
        self._hole = asked.name if isinstance(asked, Hole) else None
        if hasattr(inner, "weights"):
            self.weights = inner.weights

    @property
    def read(self) -> tuple[Any, ...]:
        """As without examples, which are the same for all rows."""
        read: tuple[Any, ...] = self._inner.read
        return read

    def messages(self) -> Any:
        """The prompt's messages, with the examples inserted."""
        asked = self._inner.messages()
        return asked if self._hole is not None else self._with(asked)

    def holes(
        self, start: int, columns: Sequence[Sequence[Any]], rows: int
    ) -> dict[str, list[Any]]:
        """The prompt's values, with the examples inserted where each row has its own messages."""
        made: dict[str, list[Any]] = self._inner.holes(start, columns, rows)
        if self._hole is None:
            return made
        return {
            **made,
            self._hole: [
                messages if isinstance(messages, RowError) else self._with(messages)
                for messages in made[self._hole]
            ],
        }

    def _with(self, messages: Sequence[Message]) -> list[Message]:
        at = started(messages)
        return [*messages[:at], *self._pairs, *messages[at:]]


def pairs_of(
    examples: Any,
    prompt_over: Callable[[list[Any]], Any],
    out: str,
    model: str,
    schema: Schema | None,
) -> list[Message]:
    """The examples' messages: for each row a request and its answer.

    prompt_over: the prompt for a frame with these columns. out: the column to fill, or the prefix
    of the columns; with several models, without the model's name at the end. Raises InputError,
    ColumnError.
    """
    frame = _frame(examples)
    labels = list(column_labels(frame))
    fields = _answers(labels, out, model, schema)
    prompt = prompt_over([label for label in labels if label not in {*fields.values()}])
    for label in prompt.columns:
        label_of(label, labels, of="examples=")
    parser = None if schema is None else Parser(schema)
    made: list[Message] = []
    for place, (messages, answer) in enumerate(_rows(frame, prompt, fields)):
        if isinstance(messages, RowError):
            raise InputError(f"row {place} of the examples (counted from 0): {messages.reason}")
        text = _text(answer) if schema is None else _json(answer, schema)
        if parser is not None:
            try:
                parser.values(text)
            except Misfit as e:
                gone = next((fields[key] for key, value in answer.items() if value is None), None)
                hint = "" if gone is None else f" (there is no value in column {gone!r})"
                raise InputError(
                    f"row {place} of the examples (counted from 0) does not fit the schema: {e}{hint}"
                ) from None
        made += [*messages[started(messages) :], {"role": "assistant", "content": text}]
    size = len(orjson.dumps(made))
    if size > MOST_BYTES:
        raise InputError(
            f"examples= makes {size:,} bytes of each request, which all repeat them: give a few"
        )
    return made


def _frame(examples: Any) -> pd.DataFrame:
    import pandas as pd

    if (
        isinstance(examples, list)
        and examples
        and all(isinstance(row, Mapping) for row in examples)
    ):
        examples = pd.DataFrame(examples)
    examples = as_frame(examples)
    if not is_frame(examples):
        raise OptionError(
            f"`examples` takes a DataFrame with the prompt's columns and the answers', not a "
            f"{type(examples).__name__}"
        )
    if not row_count(examples):
        raise InputError("examples= has no rows: leave it out, or give a few")
    if row_count(examples) > MOST_ROWS:
        raise InputError(
            f"examples= has {row_count(examples):,} rows, and each request repeats them all: give a few, such "
            "as examples.head(20)"
        )
    frame: pd.DataFrame = examples
    return frame


def _answers(labels: list[Any], out: str, model: str, schema: Schema | None) -> dict[str, Any]:
    """The column of each key of an answer; without a schema one, called "". Raises ColumnError."""
    if schema is None:
        return {"": _column(labels, [out, out.removesuffix(f"_{model}")])}
    if schema.reader and not schema.reader.endswith(":JSONAdapter"):
        raise OptionError("`examples` is the module's own business: give them to it as its demos")
    found = {}
    for field in schema.fields:
        name = field.name.removesuffix(f"_{model}")
        found[field.key] = _column(
            labels, [f"{out}_{field.name}", f"{out}_{name}", name] if out else [name]
        )
    return found


def _column(labels: list[Any], names: list[str]) -> Any:
    """The first of these names that is a column."""
    there = next((name for name in names if name in map(str, labels)), names[-1])
    return label_of(there, labels, of="examples=")


def _rows(
    frame: pd.DataFrame, prompt: Any, fields: Mapping[str, Any]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """(a row's messages or a RowError, its answer by key).

    Raises InputError for a missing value.
    """
    from jupyter_batch.frames import frame as frames

    columns = list(dict.fromkeys([*prompt.columns, *fields.values()]))
    frames.used(frame, columns)
    strict = "" in fields  # with a schema, some fields may be null
    asked = prompt.messages()
    for block in frames.blocks(frame, columns):
        at = dict(zip(columns, block.values, strict=True))
        holes = prompt.holes(block.start, [at[label] for label in prompt.columns], block.rows)
        needed = dict.fromkeys([*prompt.needed, *prompt.read, *(fields.values() if strict else ())])
        for row in range(block.rows):
            gone = next((label for label in needed if at[label][row] is None), None)
            if gone is not None:
                raise InputError(
                    f"row {block.start + row} of the examples (counted from 0) has no value in column "
                    f"{gone!r}"
                )
            messages = _filled(asked, {name: values[row] for name, values in holes.items()})
            yield messages, {key: at[label][row] for key, label in fields.items()}


def _filled(asked: Any, row: Mapping[str, Any]) -> Any:
    """The messages of a row, or the reason why there are none."""
    broken = next((value for value in row.values() if isinstance(value, RowError)), None)
    if broken is not None:
        return broken
    if isinstance(asked, Hole):
        return row[asked.name]
    return [
        {
            key: row[value.name] if isinstance(value, Hole) else value
            for key, value in message.items()
        }
        for message in asked
    ]


def _text(answer: Mapping[str, Any]) -> str:
    value = answer[""]
    return (
        value
        if isinstance(value, str)
        else orjson.dumps(value, default=_plain).decode()
        if isinstance(value, dict | list)
        else str(value)
    )


def _json(answer: Mapping[str, Any], schema: Schema) -> str:
    made = {field.key: _of_kind(answer[field.key], field) for field in schema.fields}
    return orjson.dumps(made, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _of_kind(value: Any, field: Field) -> Any:
    """Undo pandas' conversions: floats to integers, and timestamps to dates for date fields."""
    if field.kind in ("int", "category") and isinstance(value, float) and value.is_integer():
        return int(value)
    if field.kind == "date" and hasattr(value, "date"):
        return value.date()
    return value


def _plain(value: Any) -> Any:
    """JSON values of types unknown to orjson: pandas, pydantic, object arrays, enums."""
    for name, arguments in (("model_dump", {"mode": "json"}), ("isoformat", {}), ("tolist", {})):
        if hasattr(value, name):
            return getattr(value, name)(**arguments)
    return str(value)
