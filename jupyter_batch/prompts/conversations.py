"""Conversations: validation of lists of chat messages, and a column of them as the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.core.errors import InputError
from jupyter_batch.templates.values import RowError, raised
from jupyter_batch.wire.openai import Hole

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FIRST = ("system", "developer")
"""The roles of messages before the conversation proper."""


def conversation(content: Any, what: str) -> list[dict[str, Any]]:
    """Return a text or a list of messages as messages. Raises InputError that names the fault."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    if not isinstance(content, list) or not content:
        raise InputError(f"{what} is {_kind(content)}: it has to be a text or a list of messages")
    for message in content:
        if (
            not isinstance(message, dict)
            or message.get("role") not in ROLES
            or "content" not in message
        ):
            raise InputError(
                f'{what} holds {_kind(message)}: each message is {{"role": ..., "content": ...}} with a '
                f"role out of {', '.join(ROLES)}"
            )
    return content


_FIRST_FIELDS = ("role", "content", "type", "id", "text", "name")


def _by_name(item: tuple[Any, Any]) -> str:
    return str(item[0])


def plain(value: Any) -> Any:
    """Return lists and dicts from the arrays and structs of parquet and arrow.

    A field that is None is dropped, as structs have the fields of all messages; a message's content
    is not. Fields are in a fixed order, so that the request does not depend on the storage format.
    """
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        kept = {
            key: plain(item)
            for key, item in value.items()
            if item is not None or (key == "content" and "role" in value)
        }
        return {
            **{key: kept[key] for key in _FIRST_FIELDS if key in kept},
            **dict(sorted(kept.items(), key=_by_name)),
        }
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def started(messages: Sequence[Any]) -> int:
    """The number of system messages at the beginning."""
    return next((at for at, one in enumerate(messages) if one["role"] not in FIRST), len(messages))


class Spoken:
    """A column of conversations as the prompt: each cell is a list of messages or a text.

    Nothing is a template. A Prompt (prompt.py). A cell that is no conversation fails its row.
    """

    def __init__(self, label: Any, system: Any) -> None:
        """`system`: a Written (prompt.py) of one system message, or None."""
        self._system = system
        self.columns: tuple[Any, ...] = tuple(
            dict.fromkeys([label, *(system.columns if system is not None else ())])
        )
        self.needed = self.read = self.columns

    def messages(self) -> Any:
        """One hole, as all messages differ by row."""
        return Hole("messages")

    def holes(
        self, start: int, columns: Sequence[Sequence[Any]], rows: int
    ) -> dict[str, list[Any]]:
        """Each cell's messages, after the system message."""
        content = [_messages(cell) for cell in columns[0]]
        if self._system is None:
            return {"messages": content}
        at = {label: n for n, label in enumerate(self.columns)}
        first = self._system.holes(
            start, [columns[at[label]] for label in self._system.columns], rows
        )["text0"]
        return {
            "messages": [
                _after(text, messages) for text, messages in zip(first, content, strict=True)
            ]
        }


def _after(
    system: str | RowError, messages: list[dict[str, Any]] | RowError
) -> list[dict[str, Any]] | RowError:
    if isinstance(system, RowError) or isinstance(messages, RowError):
        return system if isinstance(system, RowError) else messages
    return [{"role": "system", "content": system}, *messages]


def _messages(cell: Any) -> list[dict[str, Any]] | RowError:
    try:
        content = "" if cell is None else plain(cell)
        if isinstance(content, str):
            content = _written(content) or content
        return conversation(content, "the conversation")
    except InputError as e:
        return RowError(str(e))
    except Exception as e:  # a value's own methods may raise anything
        return RowError(f"the conversation can't be read: {raised(e)}")


def _written(text: str) -> list[Any] | None:
    """The messages of a conversation written as JSON, as in CSV files; None for any other text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    is_conversation = (
        isinstance(found, list)
        and found
        and all(isinstance(one, dict) and {"role", "content"} <= one.keys() for one in found)
    )
    return plain(found) if is_conversation else None


def _kind(value: Any) -> str:
    is_empty = isinstance(value, list) and not value
    return "an empty list" if is_empty else f"a {type(value).__name__} ({str(value)[:40]!r})"
