"""Columns that a prompt function reads from the frame itself, found without calling it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any


def frame_reads(prompt: Any, frame: Any, columns: Iterable[str]) -> list[str]:
    """The columns named in the function's code, where it refers to this very frame.

    The frame is searched in the function's closure, defaults and globals, and in those of functions
    it calls by name in the same module. A column counts where its name is in the code, as in
    `df["m"]` or `df.m`.
    """
    held: list[Any] = []
    while isinstance(prompt, partial):
        held += [*prompt.args, *prompt.keywords.values()]
        prompt = prompt.func
    functions = list(_functions(prompt))
    held += [value for one in functions for value in _values(one)]
    if not any(value is frame for value in held):
        return []
    words = {word for one in functions for word in _words(one.__code__)}
    return [column for column in columns if column in words]


def _functions(prompt: Any) -> Iterator[FunctionType]:
    """The function behind a callable, and those of its module that it refers to."""
    start = prompt if isinstance(prompt, FunctionType) else getattr(prompt, "__func__", None)
    left, seen = [start], set[int]()
    while left:
        one = left.pop()
        if not isinstance(one, FunctionType) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [
            value
            for value in _values(one)
            if isinstance(value, FunctionType) and value.__globals__ is one.__globals__
        ]


def _values(function: FunctionType) -> Iterator[Any]:
    """The objects that a function refers to: closure, defaults, globals.

    Empty cells are left out.
    """
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for code in _codes(function.__code__):
        for name in code.co_names:
            if name in function.__globals__:
                yield function.__globals__[name]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _words(code: CodeType) -> Iterator[str]:
    """Attribute names and strings, also those inside constant tuples."""
    for one in _codes(code):
        yield from one.co_names
        for constant in one.co_consts:
            parts = constant if isinstance(constant, tuple) else (constant,)
            yield from (part for part in parts if isinstance(part, str))
