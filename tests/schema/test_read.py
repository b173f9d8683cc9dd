"""The forms of a schema: each gives the same fields, and an invalid one is refused in a sentence."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import typing
import uuid
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.schema import Schema, columns, listed
from jupyter_batch.schema import read


class Tone(enum.Enum):
    WARM = "warm"
    COLD = "cold"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd:
    """Nothing that JSON has."""


class Place(pydantic.BaseModel):
    city: str
    zip: int | None = None


class Model(pydantic.BaseModel):
    label: Literal["positive", "negative"]
    score: float
    stars: int
    sure: bool
    why: str
    tone: Tone
    when: dt.datetime
    day: dt.date
    tags: list[str]
    place: Place


class Dict(TypedDict):
    label: Literal["positive", "negative"]
    score: float
    stars: int
    sure: bool
    why: str
    tone: Tone
    when: dt.datetime
    day: dt.date
    tags: list[str]
    place: Place


Plain = {
    "label": Literal["positive", "negative"],
    "score": float,
    "stars": int,
    "sure": bool,
    "why": str,
    "tone": Tone,
    "when": dt.datetime,
    "day": dt.date,
    "tags": list[str],
    "place": Place,
}
Data = dataclasses.make_dataclass("Data", list(Plain.items()))
KINDS = [
    "category",
    "float",
    "int",
    "bool",
    "text",
    "category",
    "datetime",
    "date",
    "object",
    "object",
]


def kinds(given):
    """Each field's kind, by its name."""
    return {field.name: field.kind for field in read(given).fields}


@pytest.mark.parametrize(
    "given",
    [Model, Dict, Plain, Data, Model.model_json_schema()],
    ids=["pydantic", "typeddict", "dict", "dataclass", "json"],
)
def test_each_form_says_the_same(given):
    """A model, a TypedDict, {name: type}, a dataclass and a JSON schema give the same fields, in their order."""
    schema = read(given)
    assert [(field.name, field.kind) for field in schema.fields] == list(
        zip(Plain, KINDS, strict=True)
    )
    assert schema.fields[0].categories == ("positive", "negative")
    assert schema.fields[5].categories == ("warm", "cold")
    assert schema.json["required"] == list(Plain)


@pytest.mark.parametrize(
    ("given", "kind", "categories"),
    [
        (typing.Optional[int], "int", ()),  # noqa: UP045
        (int | None, "int", ()),
        (int | float, "float", ()),
        (str | int, "object", ()),
        (Literal["a", "b"] | None, "category", ("a", "b")),
        (Literal["a", None], "category", ("a",)),  # noqa: PYI061 - it is written
        (Literal["only"], "category", ("only",)),
        (Literal[1, 2], "category", (1, 2)),
        (Level, "category", (1, 2)),
        (Literal["b", "a"], "category", ("b", "a")),
        (Literal[True, 1], "object", ()),
        (Literal["a"] | Tone, "category", ("a", "warm", "cold")),
        (dt.date | None, "date", ()),
        (dt.date | dt.datetime, "datetime", ()),
        (dt.time, "text", ()),
        (dt.timedelta, "text", ()),
        (uuid.UUID, "text", ()),
        (decimal.Decimal, "object", ()),
        (Any, "object", ()),
        (object, "object", ()),
        (dict[str, int], "object", ()),
        (tuple[int, str], "object", ()),
        (set[str], "object", ()),
        (Place | None, "object", ()),
        (None, "object", ()),
        (Annotated[int, pydantic.Field(ge=1)], "int", ()),
        (list, "object", ()),
        (pydantic.AnyUrl, "text", ()),
        (Literal["a"] | int, "object", ()),
    ],
)
def test_kinds_of_types(given, kind, categories):
    """Each type of Python's own comes to the column that people expect."""
    (field,) = read({"x": given}).fields
    assert (field.kind, field.categories) == (kind, categories)


def test_a_typed_dict_of_this_python_works_whatever_it_holds():
    """Nested TypedDicts, optional keys, in lists and unions; Pydantic alone refuses them before Python 3.12."""

    class Item(TypedDict, total=False):
        name: typing.Required[str]
        price: Annotated[float, pydantic.Field(ge=0)]

    class Order(TypedDict):
        items: list[Item]
        first: Item | None
        note: NotRequired[str]

    schema = read(Order)
    assert kinds(Order) == {"items": "object", "first": "object", "note": "text"}
    assert schema.name == "Order"
    assert schema.json["required"] == ["items", "first"]
    item = schema.json["$defs"]["Item"]
    assert item["required"] == ["name"]
    assert item["properties"]["price"]["minimum"] == 0


def test_an_alias_is_the_key_and_the_name_the_column():
    """The JSON has Pydantic's alias, the column the name in Python."""

    class Person(pydantic.BaseModel):
        full_name: str = pydantic.Field(alias="fullName")
        age: int = pydantic.Field(validation_alias=pydantic.AliasChoices("years", "age"))

    assert [(field.name, field.key) for field in read(Person).fields] == [
        ("full_name", "fullName"),
        ("age", "years"),
    ]


def test_an_empty_default_is_kept():
    """Of a factory, too, where it is one that makes the same each time."""

    class Tagged(pydantic.BaseModel):
        tags: list[str] = pydantic.Field(default_factory=list)
        notes: dict[str, str] = pydantic.Field(default_factory=dict, alias="remarks")
        when: dt.datetime = pydantic.Field(default_factory=dt.datetime.now)

    @dataclasses.dataclass
    class Listed:
        tags: list[str] = dataclasses.field(default_factory=list)

    assert [field.default for field in read(Tagged).fields] == [[], {}, None]
    assert [field.default for field in read(Listed).fields] == [[]]


def test_a_default_is_kept():
    """A field's default where the answer omits it."""

    class Rated(pydantic.BaseModel):
        stars: int = 3
        note: str | None = None

    assert [field.default for field in read(Rated).fields] == [3, None]


def test_names_that_are_no_names():
    """A column may be called anything; nothing of Pydantic's own names is in the way."""
    given = {
        "model_config": str,
        "schema": int,
        "_x": bool,
        "my field": float,
        "copy": str,
        "class": str,
    }
    assert list(kinds(given)) == list(given)


@pytest.mark.parametrize(
    "given",
    [
        {
            "name": "reply",
            "strict": False,
            "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
        {
            "type": "json_schema",
            "json_schema": {
                "name": "reply",
                "strict": False,
                "schema": {"properties": {"a": {"type": "string"}}},
            },
        },
    ],
)
def test_openais_wrapping_is_taken(given):
    """A whole response_format, or what is inside it, is the schema that it holds."""
    schema = read(given)
    assert (schema.name, schema.strict, [field.name for field in schema.fields]) == (
        "reply",
        False,
        ["a"],
    )


def test_a_root_that_refers():
    """A root that is a reference, as of a model that holds itself, is the object that it refers to."""

    class Node(pydantic.BaseModel):
        value: int
        below: list["Node"] = []

    assert kinds(Node) == {"value": "int", "below": "object"}
    assert kinds(
        {
            "$ref": "#/$defs/A",
            "$defs": {
                "A": {"type": "object", "properties": {"x": {"$ref": "#/$defs/B"}}},
                "B": {"enum": ["u", "v"]},
            },
        }
    ) == {"x": "category"}
    assert kinds({"allOf": [{"type": "object", "properties": {"x": {"type": "integer"}}}]}) == {
        "x": "int"
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "is empty"),
        ([], "takes a Pydantic model.*not a list"),
        (3, "not a int"),
        (str, "not str alone"),
        (Place(city="x"), "give the class Place itself"),
        (list[int], r"not list\[int\] alone: .*'label': list\[int\]"),
        (Literal["a", "b"], r"not Literal\['a', 'b'\] alone"),
        (enum.Enum("Tone", "good bad"), r"not Tone alone"),
        (Odd, "not the class Odd"),
        ({"a": "str"}, "has the text 'str' as the type of 'a'"),
        ({"a": list[Odd]}, "list.*Odd.*of 'a'"),
        ({"a": print}, "as the type of 'a'"),
        ({3: str}, "field 3"),
        ({"": str}, "field ''"),
        ({"type": "array", "items": {"type": "string"}}, "root is 'array'.*a list can be a field"),
        (pydantic.RootModel[list[int]], "root is 'array'"),
        (pydantic.RootModel[Place | int], "choice of several"),
        ({"type": "object"}, "has no fields"),
        ({"type": "object", "properties": {}}, "has no fields"),
        (
            {"type": "object", "properties": {"a": str}},
            "is no JSON schema.*{name: type} holds types alone",
        ),
        (
            {"properties": {"a": {"type": "strin"}}},
            "properties.a.type: expected one of 'array'.*got the text 'strin'",
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/Gone"}}},
            "a target within the schema.*/\\$defs/Gone",
        ),
        (
            {"properties": {"a": {"$ref": "https://x.org/a.json"}}},
            "a target within the schema.*https://x.org/a.json",
        ),
        (
            {"properties": {"a": {"pattern": "("}}},
            "a.pattern: expected a regex; got the text '\\('",
        ),
        ({"properties": {"a": {"enum": []}}}, "enum without values"),
        ({"properties": {"a": 3}}, "properties.a: expected true or false or an object; got 3"),
        ({"properties": {"a": {"minimum": "1"}}}, "a.minimum: expected a number; got the text '1'"),
        (
            {"properties": {"a": {"minItems": -1}}},
            "a.minItems: expected a number of 0 or more; got -1",
        ),
        ({"properties": {"a": {}}, "required": "a"}, "required: expected a list; got the text 'a'"),
        ({"properties": {"a": {"anyOf": []}}}, "anyOf"),
        (
            {"properties": {"a": {"multipleOf": 0}}},
            "a.multipleOf: expected a number above 0; got 0",
        ),
    ],
)
def test_what_can_not_be_a_schema(given, says):
    """One sentence: what is there, and what to give."""
    with pytest.raises(OptionError, match=says):
        read(given)


def test_a_type_that_is_not_defined():
    """A name that no type has is refused by its name."""

    class Broken(pydantic.BaseModel):
        a: "Nowhere"  # noqa: F821

    with pytest.raises(OptionError, match="Nowhere"):
        read(Broken)


def test_it_is_kept_as_json():
    """A job of another day needs no class: the schema goes through JSON and is the same."""
    schema = read(Model)
    again = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    assert again == schema
    assert json.loads(msgspec.json.encode(schema.json)) == schema.json
    assert read(schema) is schema


def test_columns():
    """Named as the fields, or with `out` before them; without a schema `out` itself."""
    schema = read({"label": str, "score": float})
    assert list(columns("", schema)) == ["label", "score"]
    assert list(columns("s", schema)) == ["s_label", "s_score"]
    assert columns("s", None) == {"s": None}
    assert listed("abcdefg") == "a, b, c, d and 3 more"
