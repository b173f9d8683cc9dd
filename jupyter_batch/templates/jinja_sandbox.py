"""A Jinja sandbox in which no expression can create unbounded texts or numbers."""

from __future__ import annotations

import functools
from typing import Any

from jupyter_batch.core.limits import FIELD_WIDTH, TEXT_CHARS, is_too_wide

_EXPONENT = 10_000
_PADDING = ("format", "center", "indent", "wordwrap", "truncate", "round", "slice", "batch")
"""Jinja filters with a length argument."""


@functools.cache
def environment_class() -> Any:
    """Return the environment class, made at its first use so that Jinja is imported late."""
    from jinja2.exceptions import SecurityError
    from jinja2.filters import FILTERS
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def bounded(name: str) -> Any:
        inner = FILTERS[name]

        @functools.wraps(inner)
        def checked(*args: Any, **more: Any) -> Any:
            _check_numbers((*args, *more.values()), SecurityError)
            if name == "format" and args:
                _check_format(str(args[0]), SecurityError)
            return inner(*args, **more)

        return checked

    class Bounded(ImmutableSandboxedEnvironment):
        """A sandbox in which repetition, powers, padding and formats are bounded."""

        intercepted_binops = frozenset(["*", "**", "%", "+"])

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.filters.update({name: bounded(name) for name in _PADDING})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_operation(operator, left, right, SecurityError)
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
            if isinstance(getattr(called, "__self__", None), str | bytes | int):
                _check_numbers((*args, *kwargs.values()), SecurityError)
            return super().call(context, called, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            """Wrap a template's `str.format`, with bounded widths."""
            wrapped = super().wrap_str_format(value)
            if wrapped is None:
                return None
            text = str(value.__self__)

            def checked(*args: Any, **kwargs: Any) -> Any:
                _check_format(text, SecurityError)
                return wrapped(*args, **kwargs)

            return functools.update_wrapper(checked, wrapped)

    return Bounded


def _check_operation(operator: str, left: Any, right: Any, error: type[Exception]) -> None:
    if operator == "*" and (_size(left) > 1 or _size(right) > 1):
        times = left if isinstance(left, int) else right
        length = max(_size(left), _size(right))
        if isinstance(times, int) and times * length > TEXT_CHARS:
            raise error(f"a repetition to more than {TEXT_CHARS:,} characters")
    if operator == "**" and _is_large(left) and isinstance(right, int) and right > _EXPONENT:
        raise error(f"a power above {_EXPONENT:,}")
    if operator == "%" and isinstance(left, str):
        _check_format(left, error)
    if operator == "+" and _size(left) + _size(right) > TEXT_CHARS:
        raise error(f"a text of more than {TEXT_CHARS:,} characters")


def _check_format(text: str, error: type[Exception]) -> None:
    if is_too_wide(text):
        raise error(f"a format with a number above {FIELD_WIDTH:,}")


def _check_numbers(values: tuple[Any, ...], error: type[Exception]) -> None:
    if any(isinstance(value, int) and abs(value) > FIELD_WIDTH for value in values):
        raise error(f"a length above {FIELD_WIDTH:,}")


def _is_large(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > 1


def _size(value: Any) -> int:
    """Return a repeated value's length; 1 for a single item, so that the count is bounded."""
    return max(len(value), 2) if isinstance(value, str | bytes | list | tuple) else 0
