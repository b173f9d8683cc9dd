"""Values against schemas: as the reference implementation validates them, except for the stated differences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_batch.schema.check import Misfit, compiled

NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", "a", "bb", "true", "1", "üü"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.0]) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SMALL = st.integers(0, 3)


def parts(inner):
    """Every word that is checked, each perhaps there."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                [
                    "string",
                    "integer",
                    "number",
                    "boolean",
                    "null",
                    "array",
                    "object",
                    ["string", "null"],
                    ["integer", "array"],
                ]
            ),
            "enum": st.lists(SCALARS, min_size=1, max_size=3),
            "const": SCALARS,
            "minimum": SMALL,
            "maximum": SMALL,
            "exclusiveMinimum": SMALL,
            "exclusiveMaximum": SMALL,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": SMALL,
            "maxLength": SMALL,
            "pattern": st.sampled_from(["^a", "b$", "u"]),
            "minItems": SMALL,
            "maxItems": SMALL,
            "uniqueItems": st.booleans(),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minContains": SMALL,
            "maxContains": SMALL,
            "minProperties": SMALL,
            "maxProperties": SMALL,
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "required": st.lists(NAMES, max_size=3, unique=True),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "c"]), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "propertyNames": inner,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "unevaluatedProperties": st.booleans() | inner,
            "unevaluatedItems": st.booleans() | inner,
            "dependentSchemas": st.dictionaries(NAMES, inner, max_size=1),
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=1), max_size=1),
        },
    )


SCHEMAS = st.recursive(
    st.booleans() | st.just({}),
    lambda inner: parts(inner).map(lambda schema: dict(list(schema.items())[:4])) | parts(inner),
    max_leaves=6,
)


def fits(schema, value):
    """Whether our check takes it."""
    try:
        compiled(schema if isinstance(schema, dict) else {"allOf": [schema]})(value)
    except Misfit:
        return False
    return True


def nulls_left_out(schema, value):
    """Whether somewhere a null stands for a property that is not required: where we go our own way."""
    if isinstance(value, dict):
        return None in value.values() or any(
            nulls_left_out(schema, item) for item in value.values()
        )
    return isinstance(value, list) and any(nulls_left_out(schema, item) for item in value)


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, VALUES)
def test_as_the_reference_says(schema, value):
    """Each word of JSON Schema 2020-12 that we check means what jsonschema says it means."""
    import jsonschema  # three seconds of CPU, of the process that comes here alone

    if nulls_left_out(schema, value):
        return
    assert fits(schema, value) == jsonschema.Draft202012Validator(schema).is_valid(value)


def test_a_null_is_a_property_left_out():
    """Where it need not be there; the provider's strict mode asks for each."""
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
    assert fits(schema, {"a": "x", "b": None})
    assert fits(schema, {"a": "x"})
    assert not fits(schema, {"a": None})
    assert fits({"properties": {"in": schema}}, {"in": {"a": "x", "b": None}})


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-02-29T10:00:00Z", "yesterday"),
        ("time", "10:00:00", "25:00"),
        ("uuid", "00000000-0000-4000-8000-000000000000", "no"),
        ("email", "a@b.c", None),
    ],
)
def test_formats(form, good, bad):
    """Dates, times and UUIDs are what they are called; other formats are taken as they come."""
    assert fits({"type": "string", "format": form}, good)
    assert bad is None or not fits({"type": "string", "format": form}, bad)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"items": [{"type": "string"}], "additionalItems": False}, ["a"], ["a", 1]),
        ({"items": []}, [1, "a"], None),
        (
            {"definitions": {"N": {"type": "integer"}}, "items": {"$ref": "#/definitions/N"}},
            [1],
            ["a"],
        ),
        (
            {"properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}},
            {"a": None, "b": "x"},
            {"b": 1},
        ),
        (
            {"properties": {"a": {"type": "string"}}, "items": {"$ref": "#/properties/a"}},
            ["a"],
            [None],
        ),
    ],
)
def test_references_and_lists_of_draft_7(schema, good, bad):
    """`items` may be a list, `$defs` may be `definitions`, and a pointer may lead into a property."""
    assert fits(schema, good)
    assert bad is None or not fits(schema, bad)


def test_a_schema_that_holds_itself():
    """As deep as the value goes."""
    schema = {
        "$ref": "#/$defs/N",
        "$defs": {
            "N": {
                "type": "object",
                "required": ["v"],
                "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/N"}},
            }
        },
    }
    check = compiled(schema)
    check({"v": 1, "next": {"v": 2, "next": {"v": 3}}})
    with pytest.raises(Misfit, match=r"^next\.next\.v: expected a whole number; got the text 'x'$"):
        check({"v": 1, "next": {"v": 2, "next": {"v": "x"}}})


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        (
            {"properties": {"a": {"type": "number"}}},
            {"a": "1"},
            "a: expected a number; got the text '1'",
        ),
        (
            {"properties": {"a": {"type": "boolean"}}},
            {"a": 1},
            "a: expected true or false; got 1",
        ),
        (
            {"properties": {"a": {"enum": ["x", "y"]}}},
            {"a": "z"},
            "a: expected one of 'x', 'y'; got the text 'z'",
        ),
        (
            {"properties": {"a": {"items": {"type": "object", "required": ["b"]}}}},
            {"a": [{"b": 1}, {}]},
            "a[1]: 'b' is missing",
        ),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"b": 1},
            "'b' is not in the schema",
        ),
        (
            {"properties": {"a": {"maxLength": 2}}},
            {"a": "abc"},
            "a: expected at most 2 characters; got 3",
        ),
        (
            {"properties": {"a": {"minimum": 0}}},
            {"a": -1},
            "a: expected a number of 0 or more; got -1",
        ),
        (
            {
                "properties": {
                    "a": {
                        "anyOf": [
                            {"type": "integer"},
                            {"type": "object", "properties": {"b": {"const": 1}}},
                        ]
                    }
                }
            },
            {"a": {"b": 2}},
            "a.b: expected 1; got 2",
        ),
    ],
)
def test_the_reason_says_where_and_what(schema, value, says):
    """The path to the value, what is asked for, and what is there."""
    with pytest.raises(Misfit) as raised:
        compiled(schema)(value)
    assert str(raised.value).startswith(says)
