"""The declaration of an option: its type, default, help and constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, get_args, get_type_hints

from jupyter_batch.config.types import TEXT, Kind


@dataclass(frozen=True)
class Col:
    """A chat parameter whose value is taken from each row's column `name`."""

    name: Any


def col(name: Any) -> Col:
    """Take a chat parameter from the row: `df.llm.batch(..., max_tokens=col("budget"))`."""
    return Col(name)


class Option(NamedTuple):
    """An option of a call: with its kind, metadata of its type in a TypedDict of options.py.

    by_name: given as a variable's name on a command line. suggested: values for completion; others
    are accepted, too. kind, name and type: set by `declared`.
    """

    help: str
    default: Any = None
    short: str = ""
    by_name: bool = False
    suggested: tuple[str, ...] = ()
    kind: Kind = TEXT
    name: str = ""
    type: Any = Any

    @property
    def by_row(self) -> bool:
        """Whether `col(...)` can take it from a column."""
        return Col in get_args(self.type)

    @property
    def flag(self) -> str:
        """The option's command-line form."""
        return "--" + self.name.replace("_", "-")


def declared(*groups: type) -> tuple[Option, ...]:
    """Return the options that TypedDicts declare, in their order."""
    found: dict[str, Option] = {}
    for group in groups:
        for name, hint in get_type_hints(group, include_extras=True).items():
            plain, kind, option = get_args(hint)
            found[name] = option._replace(kind=kind, name=name, type=plain)
    return tuple(found.values())
