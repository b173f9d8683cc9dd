"""Types of option values: their description, validation, and conversion from a command line."""

from __future__ import annotations

import json
import keyword
import math
import numbers
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from jupyter_batch.core.cost import KINDS
from jupyter_batch.core.schema import PARTS
from jupyter_batch.core.secrets import clean, remember

MOST_TAGS = 12
"""OpenAI accepts 16 metadata pairs a batch; four are reserved for tags that identify it."""
MOST_ANSWERS = 128


class Kind(NamedTuple):
    """Description, validation and command-line conversion of a type of value.

    check: returns the converted value, or raises TypeError or ValueError. from_text: text ->
    `check`'s input.
    """

    says: str
    check: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str
    metavar: str = ""
    many: bool = False


def is_name(text: str) -> bool:
    """Whether a variable can have this name."""
    return text.isidentifier() and not keyword.iskeyword(text)


def plain(value: Any) -> Any:
    """Return a scalar of numpy as Python's own."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def of(kind: Any, then: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], Any]:
    """Return a check by msgspec, which converts no text to a number, followed by `then`."""
    return lambda value: then(_converted(plain(value), kind))


def _converted(value: Any, kind: Any) -> Any:
    """Return the value as that type. Raises ValueError: before 0.21, msgspec's errors are not."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as e:
        raise ValueError(str(e)) from None


_text = of(Annotated[str, Meta(pattern=r"\S")], str)
_line = of(Annotated[str, Meta(pattern=r"\A[^\n]*\S[^\n]*\Z")], str)
_window = of(Annotated[str, Meta(pattern=r"\A[1-9][0-9]*[mhd]\Z")], str)


def _key(value: Any) -> str:
    """Return a key as a header can carry it; keys from the environment are read alike."""
    key = clean(_text(value))
    remember(key)
    return key


def _number(value: Any, low: float = -math.inf) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not math.isfinite(value)
        or value < low
    ):
        raise ValueError
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)
    return int(number) if number.is_integer() else number  # 0 and 0.0 have the same request hash


def _whole(value: Any, low: float = -math.inf, high: float = math.inf) -> int:
    if not isinstance(value, numbers.Integral) or int(value) > high:
        raise TypeError
    return int(_number(value, low))


def _share(value: Any) -> float:
    if _number(value, 0) > 1:
        raise ValueError
    return _number(value)


def _above_zero(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError
    return _number(value)


def _duration(value: Any) -> float:
    """Return the seconds of a number, a text such as "90m", or a timedelta."""
    if isinstance(value, str):
        return int(_window(value)[:-1]) * {"m": 60.0, "h": 3600.0, "d": 86400.0}[value[-1]]
    return _above_zero(value.total_seconds() if hasattr(value, "total_seconds") else value)


def _patience(value: Any) -> float | None:
    """Return seconds; 0 for a time that has passed, None for an infinite one."""
    if isinstance(value, numbers.Real) and float(value) == math.inf:
        return None
    return max(0.0, _number(value))


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _json_object(value: Any) -> dict[str, Any]:
    """Return a JSON object; whole-number keys (token ids) are converted to texts, as JSON does."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str | int) for key in value):
        raise ValueError
    made = {str(key): entry for key, entry in value.items()}
    json.dumps(made, allow_nan=False)  # a TypeError or ValueError where JSON can't hold it
    return made


_OF_SCHEMAS = ("object", "array", "string", "number", "integer", "boolean", "null")


def _response_format(value: Any) -> dict[str, Any]:
    """Return a format of OpenAI's; a bare JSON schema would fail in every row."""
    made = _json_object(value)
    if not isinstance(made.get("type"), str) or made["type"] in _OF_SCHEMAS:
        raise ValueError
    return made


_NOT_IN_A_BODY = frozenset(
    {"n", "api_key", "api_base", "base_url", "extra_headers", "headers", "default_headers"}
)
"""`n` is an option instead: further choices of a request are billed, but only one would be read."""


def _body(value: Any) -> dict[str, Any]:
    """Return extra body fields, which are written to disk: no key or address of the call."""
    made = _json_object(value)
    if _NOT_IN_A_BODY & {key.lower() for key in made}:
        raise ValueError
    return made


_OF_A_MODE = ("realtime", "flex")
"""The keys of prices in another mode than the job's."""


def _prices(value: Any) -> dict[str, dict[str, Any]]:
    """Return prices by model; under "" where one price is given for any model."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError
    if {*KINDS, *_OF_A_MODE} >= set(value):
        value = {"": value}
    return {_line(model) if model else "": _price(rates) for model, rates in value.items()}


def _price(rates: Any, *, live: bool = True) -> dict[str, Any]:
    if not isinstance(rates, Mapping) or not {"input", "output"} & set(rates):
        raise ValueError
    made: dict[str, Any] = {}
    for kind, rate in rates.items():
        if kind in _OF_A_MODE and live:
            made[kind] = _price(rate, live=False)
        elif kind in KINDS:
            made[kind] = _number(rate, 0)
        else:
            raise ValueError
    return made


def _columns(value: Any) -> Any:
    """Return a label or several; the frame decides which of both a tuple is."""
    if value is None or value in ("", [], ()) or isinstance(value, Mapping):
        raise ValueError
    return list(value) if isinstance(value, list) else value


def _keep(value: Any) -> dict[str, str]:
    """Return the names to keep, from a list or comma-separated; a mapping gives column suffixes."""
    if isinstance(value, Mapping):
        made = {str(end): name for end, name in value.items()}
    else:
        texts = [value] if isinstance(value, str) else list(value)
        names = [name.strip() for text in texts for name in text.split(",")]
        made = {name: name for name in names if name}
    if not set(made.values()) <= set(PARTS):
        raise ValueError
    return made


_Word = Annotated[str, Meta(min_length=1)]
_Tags = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], str | int | float | bool],
    Meta(max_length=MOST_TAGS),
]
_TagTexts = dict[str, Annotated[str, Meta(max_length=512)]]


def _tags(value: Any) -> dict[str, str]:
    """Return provider tags within OpenAI's limits, 64 characters a key and 512 a value."""
    tags = _converted({key: plain(entry) for key, entry in dict(value).items()}, _Tags)
    texts: dict[str, str] = _converted({key: str(entry) for key, entry in tags.items()}, _TagTexts)
    return texts


def _tag_from_text(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError
    return key, value


def _credentials(value: Any) -> str:
    return json.dumps(_json_object(value)) if isinstance(value, Mapping) else _text(str(value))


def choice(words: Any) -> Kind:
    """Return the kind for one of the words of a Literal."""
    names = get_args(words)
    says = "one of " + ", ".join(f'"{name}"' for name in names)
    return Kind(says, of(words), metavar=f"{{{','.join(names)}}}")


_PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


def _endpoint(value: Any) -> str:
    """Return the name of an endpoint, which may be given by its path."""
    return next(name for name, path in _PATHS.items() if value in (name, path))


ENDPOINT = Kind(
    f"one of {', '.join(_PATHS)}, or its path, such as {_PATHS['embeddings']}",
    of(Literal[tuple(word for item in _PATHS.items() for word in item)], _endpoint),
    metavar=f"{{{','.join(_PATHS)}}}",
)
KEY = Kind(
    "a key: a text without white space, quotes or characters outside ASCII", _key, metavar="TEXT"
)
TEXT = Kind("a text", _text, metavar="TEXT")
LINE = Kind("a text of one line", _line, metavar="TEXT")
FLAG = Kind("True or False", of(bool))
WHOLE = Kind("a whole number", _whole, int, "N")
COUNT = Kind("a whole number, 0 or more", lambda value: _whole(value, 0), int, "N")
SOME = Kind("a whole number above 0", lambda value: _whole(value, 1), int, "N")
MANY = Kind(
    f"a whole number from 1 to {MOST_ANSWERS}",
    lambda value: _whole(value, 1, MOST_ANSWERS),
    int,
    "N",
)
NUMBER = Kind("a number", _number, float, "X")
TEMPERATURE = Kind("a number, 0 or more", lambda value: _number(value, 0), float, "X")
SHARE = Kind("a number from 0 to 1", _share, float, "X")
SECONDS = Kind("seconds: a number, 0 or more", lambda value: _number(value, 0), float, "SECONDS")
WAIT = Kind("seconds: a number", _patience)
PATH = Kind("a path", lambda value: Path(_text(os.fspath(value))), metavar="PATH")
PACE = Kind("seconds: a number above 0", _above_zero, float, "SECONDS")
PACE_A_MINUTE = Kind("a number above 0", _above_zero, float, "N")
DEADLINE = Kind(
    'a duration such as "2h" or "90m", or seconds', _duration, _number_or_text, "DURATION"
)
WINDOW = Kind('a duration such as "24h" or "7d"', _window, metavar="DURATION")
OBJECT = Kind("a dict that JSON can hold", _json_object, json.loads, "JSON")
RESPONSE_FORMAT = Kind(
    'a dict such as {"type": "json_object"} (`schema` takes a Pydantic class or a JSON schema)',
    _response_format,
    json.loads,
    "JSON",
)
BODY = Kind(
    f"a dict that JSON can hold, without {', '.join(sorted(_NOT_IN_A_BODY))}",
    _body,
    json.loads,
    "JSON",
)
STOPS = Kind(
    "a text, or a list of texts",
    of(_Word | Annotated[list[_Word], Meta(min_length=1)]),
    metavar="TEXT",
    many=True,
)
KEEP = Kind(
    f"a name, or a list of names, out of {', '.join(PARTS)}",
    _keep,
    str,
    f"{{{','.join(PARTS)}}}",
    many=True,
)
TAGS = Kind(
    f"a dict of texts (at most {MOST_TAGS}; keys to 64 characters, values to 512)",
    _tags,
    _tag_from_text,
    "KEY=VALUE",
    many=True,
)
DOLLARS = Kind("US dollars: a number, 0 or more", lambda value: _number(value, 0), float, "DOLLARS")
PRICES = Kind(
    'a dict such as {"openai/my-model": {"input": 0.2, "output": 0.8}}, in US dollars per million tokens',
    _prices,
    json.loads,
    "PRICES",
)
CREDENTIALS = Kind("the path of a credentials file, or what is in it", _credentials, metavar="TEXT")
SCHEMA = Kind(
    "a Pydantic model, a TypedDict, {name: type}, or a JSON schema",
    lambda value: value,
    metavar="NAME",
)
"""Parsed as a whole by schema/read.py; on a line it is a variable's name."""
TOOLS = Kind(
    "OpenAI tool definitions, Python functions with type hints, or Pydantic classes",
    lambda value: value,
    metavar="NAME",
)
"""Parsed as a whole by tool_definitions.py; on a line: names of tools or of a list of them."""
COLUMNS = Kind("a column, or a list of columns", _columns, str, "COLUMN", many=True)
EXAMPLES = Kind("a DataFrame", lambda value: value, metavar="NAME")
"""Parsed by prompts/few_shot.py; on a line it is a variable's name."""
TOOL_CHOICE = Kind('"auto", "none", "required", or a tool', lambda value: value, metavar="CHOICE")
URL = Kind(
    "an address that begins with http:// or https://",
    of(Annotated[str, Meta(pattern=r"\Ahttps?://[^\s/]+\S*\Z")], lambda value: value.rstrip("/")),
    metavar="URL",
)
