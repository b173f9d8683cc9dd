"""Prompt forms: a request's constant body with holes, and the values for them by block of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import InputError, TemplateError
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.prompts.conversations import Spoken, conversation
from jupyter_batch.templates.template import Template, parse
from jupyter_batch.templates.values import PLAIN, RowError, UnstableError, raised, stable
from jupyter_batch.wire.openai import Hole

Columns = Sequence[Sequence[Any]]


class Prompt(Protocol):
    """The content of the requests, by row."""

    @property
    def columns(self) -> tuple[Any, ...]:
        """The labels of the columns that it reads."""

    @property
    def needed(self) -> tuple[Any, ...]:
        """The columns whose missing values exclude a row; row functions handle their own."""

    @property
    def read(self) -> tuple[Any, ...]:
        """The columns used by the rows rendered so far."""

    def messages(self) -> Any:
        """The request's messages, with a Hole for each part that differs by row."""

    def holes(self, start: int, columns: Columns, rows: int) -> dict[str, list[Any]]:
        """A value or RowError a row for each hole; `columns` are lists in `.columns` order."""


class Written:
    """Templates: one text, or messages whose contents are templates.

    texts: the role and the template of each message. kind: braces or jinja.
    """

    def __init__(self, texts: Sequence[tuple[str, str]], columns: Sequence[Any], kind: str) -> None:
        self.texts, self.kind = tuple(texts), kind
        self._templates: list[Template] = [parse(text, columns, kind) for _, text in texts]
        self.columns: tuple[Any, ...] = _united(t.columns for t in self._templates)
        self.needed = self.read = self.columns

    def messages(self) -> Any:
        """One message for each template."""
        return [
            {"role": role, "content": Hole(f"text{n}")} for n, (role, _) in enumerate(self.texts)
        ]

    def pieces(self) -> dict[str, list[str | int]] | None:
        """By hole: constants and places in `columns`; None where a text has other parts."""
        made: dict[str, list[str | int]] = {}
        for n, template in enumerate(self._templates):
            found = template.pieces()
            if found is None:
                return None
            at = [self.columns.index(label) for label in template.columns]
            made[f"text{n}"] = [at[one] if isinstance(one, int) else one for one in found]
        return made

    def holes(self, start: int, columns: Columns, rows: int) -> dict[str, list[Any]]:
        """Each template rendered over the block."""
        del start
        at = {label: n for n, label in enumerate(self.columns)}
        return {
            f"text{n}": list(
                template.render([columns[at[label]] for label in template.columns], rows)
            )
            for n, template in enumerate(self._templates)
        }


class Called:
    """A row function that returns a text or a list of messages.

    It may read any column; missing values are None.
    """

    def __init__(
        self,
        function: Callable[[Mapping[Any, Any]], Any],
        columns: Sequence[Any],
        system: Written | None,
        fills: Sequence[str] = (),
    ) -> None:
        """`fills`: the columns that the answers will fill, which it must not read."""
        self._fills = frozenset(fills)
        self._function = function
        self._system = system
        self.needed = system.needed if system is not None else ()
        self.columns = tuple(columns)
        self._read: set[Any] = set(self.needed)

    @property
    def read(self) -> tuple[Any, ...]:
        """The columns read in the rows so far, which identify a row."""
        return tuple(label for label in self.columns if label in self._read)

    def messages(self) -> Any:
        """One hole, as all messages differ by row."""
        return Hole("messages")

    def holes(self, start: int, columns: Columns, rows: int) -> dict[str, list[Any]]:
        """Call it for each row; an error, or an invalid prompt, fails that row."""
        del start
        at = {label: n for n, label in enumerate(self.columns)}
        system: list[Any] = [None] * rows
        if self._system is not None:
            used = [columns[at[label]] for label in self._system.columns]
            system = self._system.holes(0, used, rows)["text0"]
        cells = zip(*columns, strict=True) if columns else iter([()] * rows)
        return {"messages": [self._one(row, system[n]) for n, row in enumerate(cells)]}

    def _one(self, row: tuple[Any, ...], system: Any) -> Any:
        if isinstance(system, RowError):
            return system
        cells = _Row(dict(zip(self.columns, row, strict=True)), self._read, self._fills)
        try:
            messages = conversation(self._function(cells), "the prompt function's answer")
            check_addresses(messages, row)
        except (InputError, UnstableError) as e:
            return RowError(str(e))
        except _NoColumnError as e:
            names = ", ".join(map(str, self.columns[:20]))
            return RowError(
                f"the prompt function reads {e.args[0]!r}, and the row has no such column. Columns: {names} "
                "(.reset_index() makes columns of the index)"
            )
        except Exception as e:  # the user's own function may raise anything
            return RowError(f"the prompt function failed: {raised(e)}")
        return messages if system is None else [{"role": "system", "content": system}, *messages]


def check_addresses(messages: Any, row: tuple[Any, ...]) -> None:
    """Raise UnstableError where the messages contain the memory address of a row's object."""
    objects = [cell for cell in row if type(cell) not in PLAIN]
    if not objects:
        return
    text = str(messages)
    for cell in objects:
        if f"{id(cell):x}" in text.lower():
            stable(cell, f"<a at 0x{id(cell):x}>")


def calls_function(prompt: Any) -> bool:
    """Whether a user's function renders the rows, which may return something else the next time."""
    while not isinstance(prompt, Called):
        prompt = getattr(prompt, "_inner", None)
        if prompt is None:
            return False
    return True


class _NoColumnError(KeyError):
    """A row has no such column; `get` and `in` work as with any mapping."""


class _Row(Mapping[Any, Any]):
    """A row as passed to a prompt function; the labels read are added to `read`."""

    __slots__ = ("_cells", "_fills", "_read")

    def __init__(self, cells: dict[Any, Any], read: set[Any], fills: frozenset[str]) -> None:
        self._cells = cells
        self._read = read
        self._fills = fills

    def __getitem__(self, label: Any) -> Any:
        if label not in self._cells and str(label) in self._fills:
            raise InputError(
                f"it reads {label!r}, a column that the answers fill: give out= another name"
            )
        if label not in self._cells:
            raise _NoColumnError(label)
        value = self._cells[label]
        self._read.add(label)
        if hasattr(value, "__next__"):
            stable(value)  # raises with the remedy
        return value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a row is a mapping: write row[{name!r}] for row.{name}")

    def __iter__(self) -> Iterator[Any]:
        self._read.update(self._cells)
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return repr(dict(self))


class Given:
    """Prompts without a frame: one column of texts or message lists, without templates."""

    def __init__(self, system: str | None) -> None:
        self._system = system
        self.columns: tuple[Any, ...] = ("prompt",)
        self.needed = self.read = self.columns

    def messages(self) -> Any:
        """One hole, as all messages differ by row."""
        return Hole("messages")

    def holes(self, start: int, columns: Columns, rows: int) -> dict[str, list[Any]]:
        """Each prompt's messages."""
        del rows
        first = [] if self._system is None else [{"role": "system", "content": self._system}]
        return {
            "messages": [
                [*first, *conversation("" if cell is None else cell, f"prompt {start + n}")]
                for n, cell in enumerate(columns[0])
            ]
        }


def prompt_of(
    prompt: Any,
    columns: Sequence[Any],
    *,
    system: str | None,
    kind: str,
    fills: Sequence[str] = (),
) -> Prompt:
    """Return the prompt for its form: text, messages, a column, or a function.

    Raises TemplateError.

    fills: the columns that the answers will fill.
    """
    first = [] if system is None else [("system", system)]
    if isinstance(prompt, Col):
        return Spoken(
            label_of(prompt.name, columns), Written(first, columns, kind) if first else None
        )
    if isinstance(prompt, str):
        if not prompt.strip():
            raise TemplateError("the prompt is empty")
        return Written([*first, ("user", prompt)], columns, kind)
    if callable(prompt):
        return Called(prompt, columns, Written(first, columns, kind) if first else None, fills)
    if isinstance(prompt, list | tuple):
        messages = conversation(list(prompt), "the prompt")
        if not all(
            isinstance(m["content"], str) and set(m) == {"role", "content"} for m in messages
        ):
            raise TemplateError(
                'a list of messages as the prompt holds {"role": ..., "content": "a template"} alone: for pictures '
                "give images=, and for other parts a function of the row that returns the messages"
            )
        return Written([*first, *((m["role"], m["content"]) for m in messages)], columns, kind)
    raise TemplateError(
        f"the prompt is a {type(prompt).__name__}: give a text with {{columns}}, a list of "
        '{"role", "content"} messages, col("a column of conversations"), or a function of the row'
    )


def _united(groups: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(label for group in groups for label in group))
