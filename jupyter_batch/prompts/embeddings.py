"""Embedding prompts: one text a row, and the parameters of an embedding request."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from jupyter_batch.config.options import CHAT_PARAMS, EMBED_PARAMS, TEXT_OPTIONS, VECTOR_OUT
from jupyter_batch.config.settings import checked
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.prompts.prompt import Columns
from jupyter_batch.providers.record import RECORDS, Record
from jupyter_batch.templates.template import Template, parse
from jupyter_batch.templates.values import RowError, UnstableError, raised, stable
from jupyter_batch.wire.openai import Hole

PARAMS = {option.name: option for option in EMBED_PARAMS}
"""The parameters of an embedding request."""
OUT: str = VECTOR_OUT.default
"""The default column to fill."""

_OF_TEXT = frozenset(option.name for option in TEXT_OPTIONS + CHAT_PARAMS) - PARAMS.keys()
_EMPTY = RowError("an empty text has no vector")


class Embed(msgspec.Struct, frozen=True):
    """An embedding prompt. text: a column, or a template; None for a list of texts."""

    text: Any
    params: dict[str, Any]

    def over(self, columns: Sequence[Any], kind: str) -> Texts:
        """The text of each row of a frame with these columns. Raises ColumnError, TemplateError."""
        return Texts("prompt" if self.text is None else self.text, columns, kind)

    def asked(self, provider: str, *, packed: bool) -> dict[str, Any]:
        """The request's parameters for this provider; packed: vectors in base64.

        Raises OptionError.
        """
        record = RECORDS.get(provider)
        if record is not None:
            self._check_names(record)
        return {**self.params, "encoding_format": "base64"} if packed else self.params

    def _check_names(self, record: Record) -> None:
        for name, other in record.renamed.items():
            if name in self.params:
                raise OptionError(
                    f'`{name}` is called otherwise at {record.title}: give extra_body={{"{other}": '
                    f"{self.params[name]}}}"
                )


def take(text: Any, given: Mapping[str, Any]) -> tuple[Embed, dict[str, Any]]:
    """(the prompt, the job's options) from the user's options. Raises OptionError, InputError."""
    if text is not None and callable(text):
        raise InputError(
            "vectors are made of a column, or of a template with {columns}, and not by a function: put "
            "its texts into a column first"
        )
    wrong = next((name for name in given if name in _OF_TEXT and given[name] is not None), None)
    if wrong is not None:
        raise OptionError(
            f"`{wrong}` has no meaning for vectors; in addition to a job's own options there are "
            f"{', '.join(f'`{name}`' for name in PARAMS)}"
        )
    params = {
        name: checked(PARAMS[name], value)
        for name, value in given.items()
        if name in PARAMS and value is not None
    }
    return Embed(text, params), {
        "out": OUT,
        **{name: value for name, value in given.items() if name not in PARAMS},
    }


def without_text_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that requests for vectors have, too."""
    return {name: value for name, value in given.items() if name not in _OF_TEXT}


class Texts:
    """One text a row: a column as it is, or a template. A Prompt (prompt.py)."""

    def __init__(self, text: Any, columns: Sequence[Any], kind: str) -> None:
        self._template: Template | None = None
        found = [label for label in columns if type(label) is type(text) and label == text]
        if not found and isinstance(text, str):
            self._template = parse(text, columns, kind)
            if not self._template.columns:
                near = difflib.get_close_matches(text, list(map(str, columns)), n=1)
                hint = (
                    f"; did you mean {near[0]!r}?"
                    if near
                    else f". Columns: {', '.join(map(str, columns))}"
                )
                raise ColumnError(
                    f"{text!r} is no column, and no template with {{columns}}{hint}", column=text
                )
        elif not found:
            raise ColumnError(
                f"the frame has no column {text!r}. Columns: {', '.join(map(str, columns))}",
                column=text,
            )
        self.columns: tuple[Any, ...] = (
            (found[0],) if self._template is None else self._template.columns
        )
        self.needed = self.read = self.columns

    def messages(self) -> Any:
        """The request's `input`, which differs by row."""
        return Hole("input")

    def holes(self, start: int, columns: Columns, rows: int) -> dict[str, list[Any]]:
        """Each row's text; an empty text, which no provider accepts, fails its row."""
        del start
        if self._template is None:
            texts = [_text(cell) for cell in columns[0]]
        else:
            texts = list(self._template.render(columns, rows))
        return {"input": [_EMPTY if text == "" else text for text in texts]}


def _text(cell: Any) -> str | RowError:
    if isinstance(cell, list | tuple | dict | set | bytes):
        return RowError(f"a {type(cell).__name__} is no text")
    try:
        return "" if cell is None else stable(cell)
    except UnstableError as e:
        return RowError(str(e))
    except Exception as e:  # a value's own __str__ may raise anything
        return RowError(f"a value can't be written as text: {raised(e)}")
