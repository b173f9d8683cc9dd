"""The schema sent to a provider: strict where it can be, nothing that it does not take, never less than was given."""

import json
from typing import Annotated, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib._pydantic import to_strict_json_schema

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.endpoints import check_structured
from jupyter_batch.schema import Parser, read, response_format
from jupyter_batch.server.echo.fill import fill
from jupyter_batch.wire.anthropic.results import Encoder
from jupyter_batch.wire.openai import CHAT


class Inner(pydantic.BaseModel):
    a: int


class Outer(pydantic.BaseModel):
    """Its kind."""

    label: Literal["x", "y"]
    inner: Inner
    inners: list[Inner]
    either: int | str
    said: Inner = pydantic.Field(description="about the inner one")
    perhaps: str | None


class Node(pydantic.BaseModel):
    value: int
    below: list["Node"]


def sent(given, **more):
    """(the schema that is sent, whether strictly)."""
    made = response_format(read(given), **more)
    assert made["type"] == "json_schema"
    return made["json_schema"]["schema"], made["json_schema"]["strict"]


@pytest.mark.parametrize("model", [Outer, Inner])
def test_strict_as_openais_own_library_makes_it(model):
    """Of a model without options and limits of its own the schema is what the openai package sends."""
    made, strict = sent(model)
    assert strict
    assert made == to_strict_json_schema(model)


def test_a_field_that_may_be_left_out_may_be_null():
    """Strict mode wants each field named: the others are given null as a way out, whatever they are."""
    made, strict = sent(
        {
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string"},
                "b": {"type": "string"},
                "c": {"enum": ["x", "y"]},
                "d": {"const": "z"},
                "e": {"$ref": "#/$defs/E"},
                "f": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                "g": {"type": ["integer", "null"]},
                "h": {"$ref": "#/$defs/N"},
            },
            "$defs": {"E": {"type": "boolean"}, "N": {"type": ["boolean", "null"]}},
        }
    )
    assert strict
    assert made["required"] == list("abcdefgh")
    assert made["additionalProperties"] is False
    assert made["properties"] == {
        "a": {"type": "string"},
        "b": {"type": ["string", "null"]},
        "c": {"enum": ["x", "y", None], "type": ["string", "null"]},
        "d": {"anyOf": [{"const": "z", "type": "string"}, {"type": "null"}]},
        "e": {"anyOf": [{"$ref": "#/$defs/E"}, {"type": "null"}]},
        "f": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
        "g": {"type": ["integer", "null"]},
        "h": {"$ref": "#/$defs/N"},
    }


def test_what_strict_mode_does_not_know_is_reported_in_words():
    """Lengths and odd formats go into the description; bounds, which it knows, stay; the answer is held to all."""
    given = {
        "name": Annotated[str, pydantic.Field(min_length=2, max_length=5, description="A name")],
        "site": pydantic.AnyUrl,
        "share": Annotated[float, pydantic.Field(ge=0, le=1)],
        "code": Annotated[str, pydantic.Field(pattern="^[A-Z]+$")],
        "odd": {"pattern": str},
    }
    given["odd"] = Annotated[str, pydantic.Field(json_schema_extra={"pattern": "^(?!x)"})]
    made, strict = sent(given)
    assert strict
    assert made["properties"]["name"] == {
        "type": "string",
        "title": "Name",
        "description": "A name (at least 2 characters; at most 5 characters)",
    }
    assert made["properties"]["site"]["description"] == "(at least 1 characters; format: uri)"
    assert made["properties"]["share"] == {
        "type": "number",
        "title": "Share",
        "minimum": 0,
        "maximum": 1,
    }
    assert made["properties"]["code"]["pattern"] == "^[A-Z]+$"
    assert made["properties"]["odd"]["description"] == "(like the regular expression ^(?!x))"
    assert "minLength" in read(given).json["properties"]["name"]


@pytest.mark.parametrize(
    "field",
    [
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object"},
        {},
        {"type": "array"},
        {"not": {"type": "string"}},
        {"allOf": [{"type": "string"}, {"minLength": 1}]},
        {"enum": [{"a": 1}]},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
    ],
)
def test_what_can_not_be_strict_is_sent_as_it_is(field):
    """Open objects, tuples, negations: the provider gets the schema, not bound by it; we validate the answer."""
    given = {
        "type": "object",
        "properties": {"a": field, "b": {"type": "string"}},
        "required": ["a"],
    }
    made, strict = sent(given)
    assert not strict
    assert made == given


def test_strict_false_is_the_persons_word():
    """OpenAI's wrapping with strict: false is sent as it is."""
    made, strict = sent(
        {"name": "x", "strict": False, "schema": {"properties": {"a": {"type": "string"}}}}
    )
    assert not strict
    assert made == {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_schema_that_holds_itself_is_strict_at_openai():
    """OpenAI takes recursion."""
    made, strict = sent(Node)
    assert strict
    assert made["properties"]["below"]["items"] == {"$ref": "#/$defs/Node"}


def nested(levels):
    """Objects in objects."""
    node = {"type": "string"}
    for _ in range(levels):
        node = {"type": "object", "properties": {"a": node}, "required": ["a"]}
    return node


@pytest.mark.parametrize(
    ("fits", "breaks", "says"),
    [
        (nested(10), nested(11), "11 levels of objects.*at most 10"),
        (
            {f"f{n}": int for n in range(5000)},
            {f"f{n}": int for n in range(5001)},
            "5,001 fields.*at most 5,000",
        ),
        (
            {"a": Literal[tuple(range(1000))]},
            {"a": Literal[tuple(range(1001))]},
            "1,001 allowed values.*at most 1,000",
        ),
        (
            {"a": Literal[tuple(f"{n:059}" for n in range(251))]},
            {"a": Literal[tuple(f"{n:060}" for n in range(251))]},
            "15,060 characters in one field.*at most 15,000",
        ),
        ({"x" * 119_999: int}, {"x" * 120_001: int}, "120,001 characters.*at most 120,000"),
    ],
)
def test_openais_limits(fits, breaks, says):
    """A schema that is as large as it may be goes; a larger one is refused, with what it has and what may be."""
    schema = fits if "type" in fits else read(fits)
    sent(schema)
    with pytest.raises(OptionError, match=says):
        sent(breaks if "type" in breaks else read(breaks))


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4",
        "gpt-4-turbo",
        "gpt-4-0613",
        "gpt-3.5-turbo",
        "ft:gpt-3.5-turbo-0125:me::1",
        "o1-mini",
        "gpt-4o-2024-05-13",
        "gpt-4o-audio-preview",
    ],
)
def test_models_without_structured_output(model):
    """They are refused by name; the new ones, and those of other servers, are not."""
    with pytest.raises(OptionError, match=rf"openai/{model} has no structured output"):
        check_structured(f"openai/{model}")
    check_structured(f"hosted_vllm/{model}")
    for new in (
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4.1",
        "gpt-4o-2024-08-06",
        "gpt-5",
        "o1",
        "o3-mini",
        "ft:gpt-4o-mini:me",
    ):
        check_structured(f"openai/{new}")


# --- Anthropic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Node, "holds itself, which Anthropic"),
        ({"a": dict[str, int]}, "names are left open.*Anthropic"),
        ({f"f{n}": int | None for n in range(17)}, "17 fields of more than one type"),
        (
            pydantic.create_model("Many", **{f"f{n}": (int, 1) for n in range(25)}),
            "25 fields that may be left out",
        ),
    ],
)
def test_anthropics_limits(given, says):
    """A schema that Anthropic's structured output refuses is refused here, before anything is sent."""
    with pytest.raises(OptionError, match=says):
        sent(given, limited=True)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-3-haiku-20240307"])
def test_litellm_says_it_to_anthropic(model):
    """As a format of the answer to models that have one, else as a tool; no reference is left that leads nowhere."""
    form = response_format(read(Outer), limited=True)
    lines = Encoder(
        CHAT,
        {"model": model, "messages": [{"role": "user", "content": "x"}], "response_format": form},
        litellm=load_litellm(),
    ).encode(["j-0"], {})
    params = json.loads(lines[0])["params"]
    if "output_format" in params:
        schema = params["output_format"]["schema"]
        assert schema["additionalProperties"] is False
    else:
        (tool,) = params["tools"]
        assert params["tool_choice"] == {"name": "json_tool_call", "type": "tool"}
        schema = tool["input_schema"]
    assert "$ref" not in json.dumps(schema)
    assert schema["properties"]["said"]["properties"] == {"a": {"title": "A", "type": "integer"}}


# --- all of it ------------------------------------------------------------------------------------------------------

KINDS = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        Literal["a", "b"],
        list[str],
        list[Inner],
        Inner,
        int | None,
        Literal["x"] | None,
        int | str,
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list("abcdefg")), KINDS, min_size=1),
    st.text(min_size=1, max_size=20),
)
def test_what_fits_the_sent_schema_fits_the_given_one(fields, text):
    """An answer that keeps to what was sent is read, whatever the types: both sides say the same."""
    import jsonschema  # three seconds of CPU, of the process that comes here alone

    schema = read(fields)
    made, strict = sent(schema)
    assert strict
    answer = fill(made, text)
    jsonschema.validate(answer, made)
    values = Parser(schema).values(json.dumps(answer))
    assert list(values) == list(fields)
