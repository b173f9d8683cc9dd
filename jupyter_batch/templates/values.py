"""Texts of values, the names of columns, and their errors, for templates of either kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec

from jupyter_batch.core.errors import TemplateError


class RowError(msgspec.Struct, frozen=True):
    """Why a row can't be sent, in place of its text; the other rows are unaffected."""

    reason: str


PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types whose texts are equal in every process."""
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9A-Fa-f]+")
_MOST_NESTED = 20


class UnstableError(ValueError):
    """A value's text changes between processes; the message has the remedy."""


def stable(value: Any, text: str | None = None) -> str:
    """Return the text of a value, or the `text` already made from it.

    Raises UnstableError if it changes between processes, and any error of the value's __str__.
    """
    if hasattr(value, "__next__"):
        raise UnstableError(
            f"a {type(value).__name__} can be read only once: make a list of it, such as list(value)"
        )
    text = str(value) if text is None else text
    if _ADDRESS.search(text) and not _is_plain(value):
        raise UnstableError(
            f"the text of a {type(value).__name__} holds a memory address, which is another one the next time: "
            "put what is to be asked into a column, or give its class a __str__"
        )
    return text


def _is_plain(value: Any, depth: int = 0) -> bool:
    if type(value) in PLAIN:
        return True
    if depth > _MOST_NESTED or not isinstance(value, list | tuple | dict | set | frozenset):
        return False
    held = [*value, *value.values()] if isinstance(value, dict) else list(value)
    return all(_is_plain(item, depth + 1) for item in held)


class Names:
    """The frame's labels by their texts, and error messages for unknown names."""

    def __init__(self, labels: Iterable[Any]) -> None:
        self.by_text: dict[str, Any] = {}
        for label in labels:
            if (
                isinstance(label, str) or str(label) not in self.by_text
            ):  # a text has precedence over an equal number
                self.by_text[str(label)] = label
        self.longest = max(map(len, self.by_text), default=0)

    def close(
        self, word: str, among: Iterable[str] | None = None, cutoff: float = 0.6
    ) -> str | None:
        """Return the nearest name, ignoring case."""
        lower = {
            name.lower(): name for name in reversed(list(self.by_text if among is None else among))
        }
        found = get_close_matches(word.lower(), list(lower), n=1, cutoff=cutoff)
        return lower[found[0]] if found else None

    def unknown(self, shown: str, word: str) -> TemplateError:
        """Return the error for an unknown column name."""
        close = self.close(word)
        hint = f"; did you mean {shown.replace(word, close, 1)}?" if close is not None else "."
        first = list(self.by_text)[:20]
        more = len(self.by_text) - len(first)
        listed = ", ".join(first) + (f" and {more} more" if more else "") if first else "none"
        return TemplateError(
            f"{shown}: no such column{hint} Columns: {listed}. "
            "(For the text itself, double the braces.)"
        )


def raised(error: Exception) -> str:
    """Return the type and message of an error raised by a value's method."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # raised by the message
        return type(error).__name__


def short(value: Any, width: int = 60) -> str:
    """Return the beginning of a text, or of a value's repr."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # raised by the value
        text = f"a {type(value).__name__}"
    if not isinstance(value, str) and _ADDRESS.search(text):
        text = f"a {type(value).__name__}"
    return text if len(text) <= width else text[: width - 1] + "…"
