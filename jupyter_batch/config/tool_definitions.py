"""Tools: user definitions converted to OpenAI's format, and functions that can be called locally.

A typed function's schema comes from pydantic and its signature, its descriptions from the
docstring.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from jupyter_batch.core.errors import OptionError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Function = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # OpenAI API reference, tools: function.name
_WORDS = ("auto", "none", "required")
_FORM = (
    'an OpenAI definition such as {"type": "function", "function": {"name": ..., "parameters": {...}}}, a '
    "Python function with type hints, or a Pydantic class"
)


class Tools(NamedTuple):
    """The value of tools=: the definitions as they are sent, and their functions by name."""

    definitions: list[dict[str, Any]]
    functions: dict[str, Function]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools that have one."""
        return names_of(self.definitions)


def read(tools: Any) -> Tools:
    """Parse a list of definitions, functions and Pydantic classes, one of them, or a dict. Raises OptionError.

    A class has no function: the fields of a call are the answer, unless `run_tools` is given one of its name.
    """
    functions: dict[str, Function] = {}
    definitions: list[dict[str, Any]] = []
    for name, one in _each(tools):
        if _is_function(one):
            definition = define(one, name)
            functions[definition["function"]["name"]] = one
        elif _is_model(one):
            definition = _of_model(one, name)
        else:
            definition = _definition(one)
        definitions.append(definition)
    if not definitions:
        raise OptionError(f"`tools` is empty: give {_FORM}")
    names = names_of(definitions)
    if len(set(names)) < len(names):
        raise OptionError(
            f"two tools are called {next(name for name in names if names.count(name) > 1)!r}: a model "
            "could not tell them apart"
        )
    return Tools(definitions, functions)


def functions_of(tools: Any) -> dict[str, Function]:
    """Return `run_tools`' functions by the names that a model uses. Raises OptionError."""
    functions: dict[str, Function] = {}
    for name, one in _each(tools):
        if not callable(one):
            raise OptionError(
                f"run_tools takes functions, or a dict of them by their names, not {_shown(one)}"
            )
        functions[name or str(getattr(one, "__name__", type(one).__name__))] = one
    return functions


def choice(tool_choice: Any, tools: Tools | None) -> Any:
    """Return tool_choice= as it is sent. Raises OptionError."""
    if tools is None:
        raise OptionError("`tool_choice` chooses among tools, and there are none: give tools= too")
    if isinstance(tool_choice, Mapping):
        held = tool_choice.get("function")
        named = held.get("name") if isinstance(held, Mapping) else tool_choice.get("name")
        if named is None:
            return dict(tool_choice)
    elif tool_choice in _WORDS:
        return tool_choice
    else:
        named = (
            tool_choice.__name__
            if _is_function(tool_choice) or _is_model(tool_choice)
            else tool_choice
        )
    if named not in tools.names:
        known = ", ".join(map(repr, tools.names))
        raise OptionError(
            f"`tool_choice` takes one of {', '.join(map(repr, _WORDS))}, or a tool's name: there is no "
            f"tool {named!r} (there is {known})"
        )
    return {"type": "function", "function": {"name": named}}


def choice_by_row(tool_choice: Any) -> Any:
    """Return tool_choice= where each row has its own tools, which may lack one of a name. Raises OptionError."""
    if tool_choice is None or (isinstance(tool_choice, str) and tool_choice in _WORDS):
        return tool_choice
    raise OptionError(
        f"`tool_choice` takes one of {', '.join(map(repr, _WORDS))} where a column has the rows' tools, not "
        f"{_shown(tool_choice)}"
    )


def names_of(definitions: Any) -> tuple[str, ...]:
    """Return the tool names in a request's `tools`, which may be malformed."""
    held = definitions if isinstance(definitions, list | tuple) else ()
    functions = (one.get("function", one) for one in held if isinstance(one, Mapping))
    return tuple(
        str(one["name"]) for one in functions if isinstance(one, Mapping) and one.get("name")
    )


def _each(tools: Any) -> Iterable[tuple[str | None, Any]]:
    if _is_function(tools) or _is_model(tools):
        return [(None, tools)]
    if isinstance(tools, Mapping):
        by_name = bool(tools) and all(map(callable, tools.values()))
        return [(str(name), one) for name, one in tools.items()] if by_name else [(None, tools)]
    if isinstance(tools, Iterable) and not isinstance(tools, str | bytes):
        return [(None, one) for one in tools]
    raise OptionError(f"a tool is {_FORM}, not {_shown(tools)}")


def _is_function(one: Any) -> bool:
    return isinstance(one, types.FunctionType | types.MethodType | functools.partial)


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and hasattr(one, "model_json_schema")


def _of_model(model: Any, name: str | None) -> dict[str, Any]:
    """A Pydantic class as a tool: its docstring, and its fields as the parameters."""
    from pydantic.errors import PydanticUserError

    name = name or str(model.__name__)
    _check_name(name)
    try:
        schema = model.model_json_schema()
    except (PydanticUserError, NameError) as e:
        raise _no_json(name, e) from None
    about = str(schema.pop("description", ""))
    return _function(name, about, _as_object(schema))


def _definition(one: Any) -> dict[str, Any]:
    """Return a user's definition, including the Responses API's flat form, provider tools."""
    if not isinstance(one, Mapping):
        raise OptionError(f"a tool is {_FORM}, not {_shown(one)}")
    made = dict(one)
    if made.get("type", "function") != "function":  # a provider's tool, such as its web search
        if not isinstance(made["type"], str):
            raise OptionError(f"a tool's type is a text, not {_shown(made['type'])}")
        return _as_json(made)
    if "function" not in made:
        made = {"function": {key: value for key, value in made.items() if key != "type"}}
    function = made["function"]
    if (
        not isinstance(function, Mapping)
        or not isinstance(function.get("name"), str)
        or not function["name"]
    ):
        raise OptionError(f"a tool has no name: give {_FORM}")
    if not isinstance(function.get("parameters", {}), Mapping):
        raise OptionError(
            f"the tool {function['name']!r}: its parameters are a JSON schema (a dict), not "
            f"{_shown(function['parameters'])}"
        )
    return _as_json({"type": "function", **made})


def _as_json(made: dict[str, Any]) -> dict[str, Any]:
    try:
        copy: dict[str, Any] = orjson.loads(orjson.dumps(made))
    except TypeError as e:
        raise OptionError(f"a tool's definition can't be sent as JSON: {e}") from None
    return copy


# --- a function's own definition ------------------------------------------------------------------------------------


def define(function: Function, name: str | None = None) -> dict[str, Any]:
    """Return a typed function as OpenAI's definition. Raises OptionError where impossible."""
    inner = _inner(function)
    name = name or str(getattr(inner, "__name__", ""))
    _check_name(name)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise OptionError(
                f"the tool {name!r}: a model names each argument, so that {parameter} can't be given"
            )
        if parameter.annotation is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise OptionError(
                f"the tool {name!r}: its parameter {parameter.name!r} has no type hint, which the model "
                "needs to choose its value"
            )
    schema = _schema(function, name)
    about, texts = documented(inspect.getdoc(inner) or "")
    for key, text in texts.items():
        held = schema.get("properties", {}).get(key)
        if held is not None:
            held.setdefault("description", text)
    return _function(name, about, schema)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"a tool's name has letters, digits, _ and - alone, at most 64 of them; this is {name!r}: "
            'give a def, or a name with it, tools={"name": function}'
        )


def _function(name: str, about: str, parameters: dict[str, Any]) -> dict[str, Any]:
    made = {"name": name, "description": about, "parameters": parameters}
    return {
        "type": "function",
        "function": {key: value for key, value in made.items() if value != ""},
    }


def _adapter(function: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(function)  # functions are supported too, despite the annotation


def _schema(function: Function, name: str) -> dict[str, Any]:
    from pydantic.errors import PydanticUserError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a default that JSON can't hold is omitted, as intended
            schema = _adapter(_bound(function)).json_schema()
    except (PydanticUserError, NameError) as e:
        raise _no_json(name, e) from None
    return _as_object(schema)


def _no_json(name: str, error: Exception) -> OptionError:
    why = str(error).partition("\n")[0]
    return OptionError(f"the tool {name!r}: its parameters can't be written as JSON ({why})")


def _as_object(schema: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = _untitled(schema)
    return {"type": "object", **made, "properties": made.get("properties", {})}


def _untitled(schema: Any, *, names: bool = False) -> Any:
    """Remove pydantic's generated titles. names: the keys are user names, not keywords."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in ("default", "enum", "const", "examples") and not names
        else _untitled(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key != "title" or not isinstance(value, str)
    }


def documented(doc: str) -> tuple[str, dict[str, str]]:
    """Return (description, parameter descriptions) of a Google, NumPy, reST or Epydoc docstring."""
    import docstring_parser

    try:
        parsed = docstring_parser.parse(doc)
    except docstring_parser.ParseError:
        return doc.strip(), {}
    texts = {
        name: " ".join(parameter.description.split())
        for parameter in parsed.params
        for name in re.findall(r"\w+", parameter.arg_name)
        if parameter.description
    }
    return (parsed.description or "").strip(), texts


# --- calling --------------------------------------------------------------------------------------------------------


class BadArgumentsError(Exception):
    """A model's arguments do not fit the function; the message is for the model."""


def callable_with(function: Function) -> Callable[[dict[str, Any]], Any]:
    """Return the function with a dict (from JSON) as its argument, converted by its type hints.

    The return value may have to be awaited. Raises BadArgumentsError before the function starts,
    and the function's own errors.
    """
    from pydantic import ValidationError
    from pydantic.errors import PydanticUserError
    from pydantic_core import ArgsKwargs

    try:
        adapter = _adapter(_bound(function))
    except (
        PydanticUserError,
        NameError,
        TypeError,
        ValueError,
    ):  # without a signature, or with unusable hints
        return lambda arguments: function(**arguments)

    def call(arguments: dict[str, Any]) -> Any:
        try:
            bound = adapter.validate_python(ArgsKwargs((), arguments))
        except ValidationError as e:
            raise BadArgumentsError(
                "; ".join(_misfit(dict(one)) for one in e.errors(include_url=False))
            ) from None
        return function(*bound.args, **bound.kwargs)

    return call


def _bound(function: Function) -> Function:
    """Return a function of the same signature that returns its arguments (isolates errors)."""
    signature = inspect.signature(function)

    @functools.wraps(_inner(function))  # for the lookup of its hints
    def given(*args: Any, **kwargs: Any) -> inspect.BoundArguments:
        return signature.bind(*args, **kwargs)

    given.__signature__ = signature  # type: ignore[attr-defined]  # functions may have one
    return given


def _inner(function: Function) -> Function:
    return function.func if isinstance(function, functools.partial) else function


def _misfit(error: dict[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def result_text(value: Any) -> str:
    """Return a tool's return value for the model: a text unchanged, anything else as JSON."""
    from pydantic_core import to_json

    text = (
        value
        if isinstance(value, str)
        else to_json(value, fallback=_plain, inf_nan_mode="constants").decode()
    )
    return text.encode("utf-16", "surrogatepass").decode(
        "utf-16", "replace"
    )  # a lone surrogate can't be sent


def _plain(value: Any) -> Any:
    for way in ("tolist", "to_dict"):  # of numpy and pandas
        if callable(getattr(value, way, None)):
            return getattr(value, way)()
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"  # noqa: PLR2004
