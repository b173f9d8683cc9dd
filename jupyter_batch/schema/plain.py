"""Checks of plain values against a schema (types, enums, texts, numbers), with messages.

Objects and lists are checked for their type only.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, NoReturn, TypeAlias

from jupyter_batch.core.errors import OptionError

Check: TypeAlias = Callable[[Any], None]

_SHOWN = 60


class Misfit(Exception):  # noqa: N818 - not our error: the answer does not match the schema
    """The reason why a value does not match; `path` is its location."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said
        self.path: list[str | int] = []

    def __str__(self) -> str:
        where = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in reversed(self.path)
        )
        return f"{where.lstrip('.')}: {self.said}" if where else self.said


_SAYS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


_IS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "integer": _is_integer,
    "number": lambda value: type(value) is int or type(value) is float,
    "boolean": lambda value: type(value) is bool,
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "null": lambda value: value is None,
}
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "time": time.fromisoformat,
    "uuid": uuid.UUID,
}


def shown(value: Any) -> str:
    """Return a value for a message: short, and with its type where that is unclear."""
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"the text {text}" if isinstance(value, str) else text


def misfit(wanted: str, value: Any) -> NoReturn:
    """Raise Misfit for a value other than the wanted one."""
    raise Misfit(f"{wanted} is asked for, not {shown(value)}")


def same(one: Any, other: Any) -> bool:
    """Whether values are equal in JSON: 1 equals 1.0, and true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def of_type(schema: Mapping[str, Any]) -> Check | None:
    """Return the check of `type`: one, or a list of them."""
    given = schema.get("type")
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or any(name not in _IS for name in names):
        raise OptionError(f"the schema has the type {given!r}: JSON schema knows {', '.join(_IS)}")
    tests = [_IS[name] for name in names]
    wanted = " or ".join(_SAYS[name] for name in names)
    if len(tests) == 1:
        test = tests[0]
        return lambda value: None if test(value) else misfit(wanted, value)
    return lambda value: None if any(test(value) for test in tests) else misfit(wanted, value)


def of_values(schema: Mapping[str, Any], word: str) -> Check | None:
    """Return the check of `const` or `enum`."""
    if word not in schema:
        return None
    allowed = [schema[word]] if word == "const" else schema[word]
    if not isinstance(allowed, list) or not allowed:
        raise OptionError("the schema has an enum without values")
    told = ", ".join(shown(value).removeprefix("the text ") for value in allowed[:8]) + (
        ", …" if allowed[8:] else ""
    )
    wanted = f"one of {told}" if len(allowed) > 1 else told
    texts = frozenset(value for value in allowed if isinstance(value, str))

    def check(value: Any) -> None:
        if type(value) is str:
            if value not in texts:
                misfit(wanted, value)
        elif not any(same(value, one) for one in allowed):
            misfit(wanted, value)

    return check


def of_text(schema: Mapping[str, Any]) -> Check | None:
    """Return the check of `minLength`, `maxLength`, `pattern`, and date, time and UUID formats."""
    low, high = whole(schema, "minLength"), whole(schema, "maxLength")
    pattern = regex(schema["pattern"]) if "pattern" in schema else None
    form = schema.get("format")
    parse = _FORMATS.get(form) if isinstance(form, str) else None
    if low is None and high is None and pattern is None and parse is None:
        return None

    def check(value: Any) -> None:
        if type(value) is not str:
            return
        in_size(len(value), low, high, "characters")
        if pattern is not None and not pattern.search(value):
            misfit(f"a text like {pattern.pattern}", value)
        if parse is not None:
            try:
                parse(value)
            except ValueError:
                misfit(f"a {form}", value)

    return check


def of_number(schema: Mapping[str, Any]) -> Check | None:
    """Return the check of `minimum`, `maximum`, the exclusive ones, and `multipleOf`."""
    low, above = _real(schema, "minimum"), _real(schema, "exclusiveMinimum")
    high, below = _real(schema, "maximum"), _real(schema, "exclusiveMaximum")
    step = _real(schema, "multipleOf")
    if step is not None and step <= 0:
        raise OptionError("the schema has a multipleOf that is not above 0")
    if low is above is high is below is step is None:
        return None

    def check(value: Any) -> None:
        if type(value) is not int and type(value) is not float:
            return
        if low is not None and value < low:
            misfit(f"a number of {low} or more", value)
        if above is not None and value <= above:
            misfit(f"a number above {above}", value)
        if high is not None and value > high:
            misfit(f"a number of {high} or less", value)
        if below is not None and value >= below:
            misfit(f"a number below {below}", value)
        if step is not None and not _multiple(value, step):
            misfit(f"a multiple of {step}", value)

    return check


def _multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        return abs(math.remainder(value, step)) <= abs(value) * 1e-12
    except OverflowError:
        return False


def in_size(size: int, low: float | None, high: float | None, what: str) -> None:
    """Check that a count is within the bounds. Raises Misfit."""
    if low is not None and size < low:
        raise Misfit(f"at least {low:g} {what} are asked for, not {size}")
    if high is not None and size > high:
        raise Misfit(f"at most {high:g} {what} are asked for, not {size}")


# --- schema keywords ------------------------------------------------------------------------------------------------


def _real(schema: Mapping[str, Any], word: str) -> float | None:
    value = schema.get(word)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise OptionError(f"the schema has {word}: {shown(value)}, which is no number")
    return value


def whole(schema: Mapping[str, Any], word: str) -> float | None:
    """Return a count in a schema. Raises OptionError for anything else."""
    value = _real(schema, word)
    if value is not None and (value < 0 or value != int(value)):
        raise OptionError(f"the schema has {word}: {value}, which is no count")
    return value


def regex(pattern: Any) -> re.Pattern[str]:
    """Return a schema's pattern as a Python one. Raises OptionError."""
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as e:
        raise OptionError(
            f"the schema has the pattern {shown(pattern)}, which Python's re can't read: {e}"
        ) from None


def mapping(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    """Return an object in a schema. Raises OptionError for anything else."""
    value = schema.get(word, {})
    if not isinstance(value, Mapping):
        raise OptionError(f"the schema has {word}: {shown(value)}, which is no object")
    return value


def name_list(value: Any) -> list[str]:
    """Return a list of names in a schema. Raises OptionError for anything else."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise OptionError(f"the schema has {shown(value)} where a list of names has to be")
    return value


def schema_list(schema: Mapping[str, Any], word: str) -> Iterable[Any]:
    """Return the subschemas in a schema. Raises OptionError for anything else."""
    value = schema.get(word, [])
    if not isinstance(value, list) or (word in schema and not value):
        raise OptionError(f"the schema has {word}: {shown(value)}, which is no list of schemas")
    return value
