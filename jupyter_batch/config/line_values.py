"""Conversion of the texts typed for options, on a magic's line or in a terminal, to the accessor's values."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_batch.config.option import Col, Option
from jupyter_batch.config.types import (
    BODY,
    EXAMPLES,
    OBJECT,
    PRICES,
    RESPONSE_FORMAT,
    SCHEMA,
    TAGS,
    TOOLS,
)
from jupyter_batch.core.errors import OptionError

_COLUMN = re.compile(r"col\(\s*(['\"]?)(.+?)\1\s*\)|col:(.+)")
"""The value of an option that is taken from each row's column; a shell needs no quotes for the second form."""
_VARIABLE = re.compile(r"\{\w+\}|\$[A-Za-z_]\w*")
"""What IPython would expand in the line of another magic."""
_DICTS = (BODY, OBJECT, PRICES, RESPONSE_FORMAT, TAGS)
"""Kinds whose value is typed as JSON or pairs, or is the name of a dict."""


def values(
    asked: argparse.Namespace, options: Iterable[Option], names: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of those options that were typed. Raises OptionError."""
    return {
        option.name: column(option, held := getattr(asked, option.name))
        or value(option, held, names)
        for option in options
        if hasattr(asked, option.name)
    }


def column(option: Option, text: Any) -> Col | None:
    """The column that `col(NAME)` or `col:NAME` names, for an option that may differ by row."""
    words = text if isinstance(text, list) else [text]
    found = _COLUMN.fullmatch(str(words[0])) if option.by_row and len(words) == 1 else None
    return None if found is None else Col(found[2] or found[3])


def value(option: Option, text: Any, names: Mapping[str, Any]) -> Any:
    """Convert an option's typed text to the accessor's value. Raises OptionError."""
    if isinstance(text, bool):
        return text
    if option.by_name:
        held = names.get(text, os.environ.get(text))
        if not isinstance(held, str):  # never quote it: it may be the secret itself
            raise OptionError(
                f"{option.flag} takes the name of a Python or environment variable that holds the value, "
                "so that no secret stays in the notebook"
            )
        return held
    if option.kind is TOOLS and "," in text:
        return [value(option, name.strip(), names) for name in text.split(",")]
    if option.kind in (SCHEMA, TOOLS, EXAMPLES):
        return _object(option, text, names)
    word = text[0] if isinstance(text, list) else text
    if option.kind in _DICTS and isinstance(names.get(word), Mapping):
        return names[word]
    if option.kind not in _DICTS and option.name != "system" and _VARIABLE.fullmatch(word):
        raise OptionError(
            f"{option.flag}: nothing in the line is expanded; write the value itself in the place of {word}, "
            "or call df.llm.batch(...), which takes variables"
        )
    return _read(option, text, word)


def _object(option: Option, text: str, names: Mapping[str, Any]) -> Any:
    """The object of a name; a JSON schema may be typed itself."""
    if option.kind is SCHEMA and text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise OptionError(
                f"{option.flag} takes the name of {option.kind.says}; {text!r} is no JSON{_quotes(text)}"
            ) from None
    if text not in names:
        raise OptionError(
            f"{option.flag} takes the name of {option.kind.says}; {text!r} is not defined here"
        )
    return names[text]


def _read(option: Option, text: Any, word: str) -> Any:
    kind = option.kind
    try:
        read = [kind.from_text(one) for one in text] if kind.many else kind.from_text(text)
    except ValueError:
        typed = kind.metavar if kind is TAGS else "JSON"
        says = f"{typed}, or the name of a dict" if kind in _DICTS else kind.says
        raise OptionError(f"{option.flag} takes {says}, not {word!r}{_quotes(word)}") from None
    return dict(read) if kind is TAGS else read


def _quotes(text: str) -> str:
    if text.startswith(("{", "[")) and '"' not in text:
        return "; put it in single quotes, or the double quotes in it are lost"
    return ""
