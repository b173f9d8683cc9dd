"""Signatures and docstrings of the public calls, made from the declared options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_batch.config.option import declared
from jupyter_batch.config.options import CHAT_PARAMS, EVERY, OPTIONS

_Call = TypeVar("_Call", bound=Callable[..., Any])

_PROMPT = """

prompt: a template such as "Classify: {text}", where {text} is the row's value in that column; or a list of
    {"role", "content"} messages whose contents are templates; or col("messages"), a column of such lists (which are
    no templates); or a callable row -> text or messages; or a signature
    "text -> label, score: float", input columns and typed output columns; or a dspy module of one call.
"""
_RAISES = "\n\nRaises an InputError before anything is sent, if an argument is invalid.\n"


def takes(options: type, *, table: bool = False) -> Callable[[_Call], _Call]:
    """Give a call the signature of a TypedDict of options, and of `model`, for Tab and `?`.

    table: its docstring lists the options, too.
    """

    def described(call: _Call) -> _Call:
        signature = inspect.signature(call)
        own = [
            given
            for given in signature.parameters.values()
            if given.kind is not given.VAR_KEYWORD and given.name != "model"
        ]
        taken = {option.name: option for option in declared(options)}
        names = [name for name in EVERY if name in taken or name == "model"]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
            for name, option in {**{name: EVERY[name] for name in names}, **taken}.items()
        ]
        call.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]  # set on a function
        if table:
            call.__doc__ = f"{call.__doc__}{_PROMPT}{option_table()}{_RAISES}"
        return call

    return described


def option_table() -> str:
    """Return the options for a docstring: name, values, default, help."""
    rows = []
    for option in OPTIONS:
        default = "" if option.default is None else f" (default {option.default!r})"
        rows.append(f"{option.name}: {option.kind.says}{default}\n    {option.help}.")
    names = ", ".join(option.name for option in CHAT_PARAMS)
    rows.append(
        f'chat parameters: {names}\n    As litellm and OpenAI know them; `col("name")` takes one from the row.'
    )
    return "\n".join(rows)
