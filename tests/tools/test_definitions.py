"""Tools as the user gives them, as a provider gets them, and as they are called."""

from __future__ import annotations

import functools
from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from jupyter_batch.config.tool_definitions import (
    BadArgumentsError,
    callable_with,
    choice,
    define,
    functions_of,
    names_of,
    read,
    result_text,
)
from jupyter_batch.core.errors import OptionError


class Unit(Enum):
    CELSIUS = "c"
    KELVIN = "k"


class Place(BaseModel):
    city: str
    country: str = "CH"


def google(place: Place, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:
    """Tell the weather.

    As it is now.

    Args:
        place: Where, such as
            Paris: or Rome.
        unit (Unit, optional): In which unit.

    Returns:
        words: a sentence.
    """
    return f"{place.city} {unit.value} {days}"


def numpy(place: Place, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:
    """Tell the weather.

    As it is now.

    Parameters
    ----------
    place : Place
        Where, such as
        Paris: or Rome.
    unit : Unit, optional
        In which unit.

    Returns
    -------
    str
        A sentence.
    """
    return google(place, unit, days)


def rest(place: Place, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:
    """Tell the weather.

    As it is now.

    :param place: Where, such as
        Paris: or Rome.
    :param Unit unit: In which unit.
    :returns: A sentence.
    """
    return google(place, unit, days)


@pytest.mark.parametrize("function", [google, numpy, rest], ids=lambda function: function.__name__)
def test_a_typed_function_tells_its_own_definition(function):
    """Types, defaults, nested models and enums by pydantic; the texts by the docstring, in each of three forms."""
    made = define(function)
    assert made["type"] == "function"
    assert made["function"]["name"] == function.__name__
    assert made["function"]["description"] == "Tell the weather.\n\nAs it is now."
    schema = made["function"]["parameters"]
    assert schema["type"] == "object"
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["place"] == {
        "$ref": "#/$defs/Place",
        "description": "Where, such as Paris: or Rome.",
    }
    assert schema["properties"]["unit"] == {
        "$ref": "#/$defs/Unit",
        "default": "c",
        "description": "In which unit.",
    }
    assert schema["properties"]["days"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "default": None,
    }
    assert schema["$defs"]["Place"] == {
        "type": "object",
        "required": ["city"],
        "properties": {"city": {"type": "string"}, "country": {"type": "string", "default": "CH"}},
    }


def test_a_parameter_called_title_keeps_its_name_and_its_own_description():
    """Titles that pydantic makes go; what a person called so stays. A Field's text is before the docstring's."""

    def f(
        title: Annotated[str, Field(description="own")], properties: Literal["title", "x"] = "title"
    ) -> None:
        """F.

        Args:
            title: not this
        """

    assert define(f)["function"]["parameters"]["properties"] == {
        "title": {"type": "string", "description": "own"},
        "properties": {"type": "string", "enum": ["title", "x"], "default": "title"},
    }


def test_a_function_without_words_or_parameters():
    """It has a name and takes nothing."""

    def now() -> str: ...

    assert define(now) == {
        "type": "function",
        "function": {
            "name": "now",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    }


class Odd:
    """Pydantic knows nothing of it."""


def _positional(x: int, /) -> None: ...
def _several(*xs: int) -> None: ...
def _untyped(x) -> None: ...
def _unsayable(x: Odd) -> None: ...
def _umlaut(x: int) -> None: ...


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([_positional], "names each argument"),
        ([_several], "names each argument"),
        ([_untyped], "no type hint"),
        ([_unsayable], "can't be written as JSON"),
        ({"größe": _umlaut}, "letters, digits"),
        ([lambda: 1], "letters, digits"),
        ([], "empty"),
        ([5], "not 5"),
        ("look_up", "not 'look_up'"),
        ({"type": "function"}, "no name"),
        ([{"type": "function", "function": {"name": "f", "parameters": []}}], "JSON schema"),
        (
            [{"type": "function", "function": {"name": "f", "parameters": {"x": object()}}}],
            "sent as JSON",
        ),
        ([google, {"name": "google"}], "two tools"),
        ([print], "not <built-in"),
        ([{"type": 5}], "type is a text"),
    ],
)
def test_what_can_not_be_a_tool_is_refused(tools, words):
    """Before anything is sent, with what to do."""
    with pytest.raises(OptionError, match=words):
        read(tools)


def test_every_form_of_a_definition_is_taken():
    """OpenAI's, the flat one of the Responses API, a provider's own tool, one function, functions by name."""
    nested = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object"}, "strict": True},
    }
    assert read([nested]).definitions == [nested]
    assert read(
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    ).definitions == [nested]
    assert read([{"type": "web_search"}, nested]).names == ("f",)
    assert read(google).functions == {"google": google}
    assert read({"weather": google}).names == ("weather",)
    partial = functools.partial(google, unit=Unit.KELVIN)
    assert (
        read({"weather": partial})
        .definitions[0]["function"]["description"]
        .startswith("Tell the weather.")
    )
    assert names_of("nonsense") == names_of(None) == names_of([5, {"function": 3}]) == ()


def test_a_choice_is_one_of_the_tools():
    """auto, none, required; a tool by its name, itself, or as OpenAI says it."""
    tools = read([google, {"name": "my.tool"}])
    forced = {"type": "function", "function": {"name": "google"}}
    assert [choice(word, tools) for word in ("auto", "none", "required")] == [
        "auto",
        "none",
        "required",
    ]
    assert choice("google", tools) == choice(google, tools) == choice(forced, tools) == forced
    assert choice({"type": "function", "name": "google"}, tools) == forced
    assert choice({"type": "allowed_tools"}, tools) == {"type": "allowed_tools"}
    with pytest.raises(OptionError, match=r"no tool 'gogle' .*'google', 'my\.tool'"):
        choice("gogle", tools)
    with pytest.raises(OptionError, match="give tools="):
        choice("auto", None)


def test_arguments_become_what_the_hints_say():
    """Out of JSON: models, enums; defaults are filled in; a function without a signature gets them as they are."""
    call = callable_with(google)
    assert call({"place": {"city": "Bern"}, "unit": "k", "days": "3"}) == "Bern k 3"
    assert (
        callable_with(functools.partial(google, unit=Unit.KELVIN))({"place": {"city": "Bern"}})
        == "Bern k None"
    )
    assert callable_with(lambda x: x)({"x": {"a": 1}}) == {"a": 1}
    assert callable_with(dict)({"a": 1}) == {"a": 1}

    def odd(x: Odd) -> object:
        return x

    assert callable_with(odd)({"x": 1}) == 1


def test_arguments_that_do_not_fit_are_reported_as_such():
    """All of them at once; and an error of the function's own is not taken for one."""
    with pytest.raises(
        BadArgumentsError, match=r"place\.city: Field required; unit: .*; hours: Unexpected"
    ):
        callable_with(google)({"place": {}, "unit": "f", "hours": 1})

    def breaks(x: int) -> None:
        Place.model_validate({"x": x})

    with pytest.raises(ValueError, match="1 validation error for Place"):
        callable_with(breaks)({"x": 1})


def test_what_a_tool_gives_back_becomes_a_text():
    """A text stays; anything else is JSON as far as it can be."""
    import numpy as np
    import pandas as pd

    assert result_text("as it is") == "as it is"
    assert result_text(None) == "null"
    assert (
        result_text({"n": np.int64(3), "s": {1}, "p": Place(city="B")})
        == '{"n":3,"s":[1],"p":{"city":"B","country":"CH"}}'
    )
    assert result_text(pd.Series([1, 2])) == "[1,2]"
    assert result_text(float("nan")) == "NaN"
    assert result_text("half \ud800") == "half \ufffd"
    assert result_text(Odd()).startswith('"<')


def test_functions_by_their_names():
    """For run_tools: a dict, a list, or one."""
    assert (
        functions_of([google])
        == functions_of(google)
        == functions_of({"google": google})
        == {"google": google}
    )
    assert functions_of({"print": print}) == {"print": print}
    assert functions_of([print]) == {"print": print}
    with pytest.raises(OptionError, match="takes functions"):
        functions_of([{"name": "f"}])


class GetWeather(BaseModel):
    """The weather at a place."""

    place: Place
    unit: Unit = Unit.CELSIUS
    days: int = Field(description="how many")


def test_a_pydantic_class_is_a_tool():
    """Its name, docstring and fields are the definition; it has no function; it can be chosen."""
    tools = read([GetWeather, google])
    definition, _ = tools.definitions
    function = definition["function"]
    assert (function["name"], function["description"]) == ("GetWeather", "The weather at a place.")
    assert list(function["parameters"]["properties"]) == ["place", "unit", "days"]
    assert function["parameters"]["required"] == ["place", "days"]
    assert function["parameters"]["properties"]["days"] == {
        "description": "how many",
        "type": "integer",
    }
    assert list(tools.functions) == ["google"]
    assert read(GetWeather).definitions == [definition]
    assert choice(GetWeather, tools) == {"type": "function", "function": {"name": "GetWeather"}}
    assert read({"weather": GetWeather}).names == ("weather",)
