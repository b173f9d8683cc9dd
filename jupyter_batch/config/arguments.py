"""Checks of the arguments of a class's public methods, by their names, before anything happens."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_batch.config import types as t
from jupyter_batch.config.option import Option
from jupyter_batch.config.options import EVERY, FINISH
from jupyter_batch.config.settings import checked

_OF_OPTIONS = ("api_base", "api_key", "concurrency", "max_cost", "mode", "out", "overwrite")
_KINDS = {
    "by_position": t.FLAG,
    "folder": t.PATH,
    "invalid": t.FLAG,
    "max_rounds": t.COUNT,
    "model": t.LINE,
    "position": t.WHOLE,
    "raise_on_failure": t.FLAG,
    "remote": t.FLAG,
    "rerun": t.FLAG,
    "send_again": t.FLAG,
    "timeout": t.WAIT,
    "wait": t.FLAG,
}
ARGUMENTS = {name: Option("", kind=kind, name=name) for name, kind in _KINDS.items()} | {
    name: EVERY[name] for name in _OF_OPTIONS
}
"""The arguments that are checked wherever a public method has one of this name."""
OF_METHODS = {("finish", "mode"): FINISH[0]}
"""Those that have another meaning in one method."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def argument(name: str, value: Any) -> Any:
    """The checked value of an argument of this name. Raises OptionError."""
    return checked(ARGUMENTS[name], value)


class ChecksArguments:
    """A base of classes whose public methods raise OptionError for an invalid argument."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, method in [*vars(cls).items()]:
            if not name.startswith("_") and inspect.isfunction(method):
                setattr(cls, name, checking(method))


def checking(function: _Function) -> _Function:
    """A function that checks its arguments first. None is an argument that is not given, if it has a default."""
    parameters = inspect.signature(function).parameters
    options: dict[str, Option] = {}
    for name in parameters:
        option = OF_METHODS.get((function.__name__, name)) or ARGUMENTS.get(name)
        if option is not None:
            options[name] = option
    if not options:
        return function
    places = [*parameters]

    def value_of(name: str, value: Any) -> Any:
        if name not in options:
            return value
        default = parameters[name].default
        if value is None and default is not inspect.Parameter.empty:
            return default
        return checked(options[name], value)

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        found = map(value_of, places, args)
        rest = args[len(places) :]
        return function(*found, *rest, **{name: value_of(name, v) for name, v in named.items()})

    return call  # type: ignore[return-value]
