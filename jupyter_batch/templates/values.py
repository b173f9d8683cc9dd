"""Texts of values, and their errors, for templates of either kind."""

from __future__ import annotations

import re
from typing import Any

import msgspec


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
