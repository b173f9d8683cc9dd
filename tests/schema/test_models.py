"""Answers for a Pydantic class are validated by it, with its validators, aliases and lax numbers; others strictly."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Any, Literal

import pydantic
import pytest

from jupyter_batch.core.request import Result, Status
from jupyter_batch.schema import Parser, read
from jupyter_batch.schema.check import Misfit
from jupyter_batch.schema.models import ModelSchema, mark_of, model_of


class Place(pydantic.BaseModel):
    city: str
    zip: int = 0


class Review(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    label: Literal["good", "bad"]
    score: float = pydantic.Field(alias="theScore")
    stars: int
    why: Annotated[str, pydantic.AfterValidator(str.strip)] = "none"
    day: dt.date | None = None
    place: Place | None = None
    tags: list[str] = []

    @pydantic.field_validator("label", mode="before")
    @classmethod
    def lower(cls, value: Any) -> Any:
        """As models like to shout."""
        return value.lower() if isinstance(value, str) else value

    @pydantic.field_validator("stars", mode="wrap")
    @classmethod
    def limited(cls, value: Any, handler: Any) -> int:
        """At most five."""
        return min(handler(value), 5)

    @pydantic.model_validator(mode="after")
    def consistent(self) -> Review:
        """A bad review has few stars."""
        if self.label == "bad" and self.stars > 3:
            raise ValueError("a bad review with many stars")
        return self


def parser(kind, *, here=True):
    """The parser of a class's answers. here: in a process that has it."""
    schema = read(kind)
    assert isinstance(schema, ModelSchema)
    return Parser(schema, lax=True, model=model_of(schema) if here else None)


def values(found, kind=Review, **more):
    """The values of an answer."""
    return parser(kind, **more).values(json.dumps(found))


def test_validators_aliases_and_lax_numbers():
    """Before, wrap, after and model validators run; a name does for its alias; "2.5" is a float, "3" a whole number."""
    found = values(
        {"label": "GOOD", "theScore": "2.5", "stars": "9", "why": " so ", "day": "2024-02-03"}
    )
    assert found == {
        "label": "good",
        "score": 2.5,
        "stars": 5,
        "why": "so",
        "day": dt.date(2024, 2, 3),
        "place": None,
        "tags": [],
    }
    assert values({"label": "bad", "score": 1, "stars": 3.0})["stars"] == 3
    for score, why in ((10**400, "too large"), ("inf", "too large"), ("nan", "not a number")):
        with pytest.raises(Misfit, match=f"(theScore|score): .*{why}"):
            values({"label": "good", "theScore": score, "stars": 3})
    with pytest.raises(Misfit, match="a bad review with many stars"):
        values({"label": "bad", "score": 1, "stars": 4})


def test_nulls_of_a_strict_mode_are_the_defaults():
    """A provider's strict mode wants every property: null for one that has a default leaves it out, nested too."""
    nulls = {"why": None, "tags": None, "place": {"city": "Ulm", "zip": None}}
    found = values({"label": "good", "score": 1, "stars": 1, **nulls})
    assert (found["why"], found["tags"]) == ("none", [])
    assert found["place"] == {"city": "Ulm", "zip": 0}
    with pytest.raises(Misfit, match="stars: Input should be a valid integer"):
        values({"label": "good", "score": 1, "stars": None})


def test_a_misfit_names_its_field():
    """The reason of a failure is the first error's field and message, with the number of the others."""
    result = parser(Review).one(Result("1", Status.SUCCEEDED, '{"label": "x", "stars": "many"}'))
    assert result.status is Status.FAILED
    assert result.error.startswith("label: Input should be 'good' or 'bad' (and 2 more)")
    assert result.raw == '{"label": "x", "stars": "many"}'


class Odd(pydantic.BaseModel):
    n: Annotated[int, pydantic.AfterValidator(lambda n: n / 2)]
    word: Annotated[str, pydantic.AfterValidator(lambda word: {}[word])] = ""


def test_validators_that_are_wrong():
    """A value that the column can't hold, and an error of the validator's own, are failures with a reason."""
    with pytest.raises(Misfit, match=r"n: the validators made 1\.5"):
        values({"n": 3}, Odd)
    with pytest.raises(Misfit, match="Odd raised KeyError"):
        values({"n": 3, "word": "x"}, Odd)


def test_a_process_without_the_class():
    """There the stored schema decides, with numbers in texts; validators don't run."""
    there = {"label": "good", "theScore": "2.5", "stars": "9"}
    found = values(there, here=False)
    assert (found["score"], found["stars"]) == (2.5, 9)
    with pytest.raises(Misfit, match=r"stars: expected a whole number; got the text '2\.5'"):
        values({**there, "stars": "2.5"}, here=False)


def test_other_schemas_stay_strict():
    """A JSON schema, types and a TypedDict are not read by a class, even where a class has the same schema."""
    for kind in (Review.model_json_schema(by_alias=True), {"score": float}):
        schema = read(kind)
        assert not isinstance(schema, ModelSchema)
    with pytest.raises(Misfit, match=r"expected a number; got the text '2\.5'"):
        Parser(read({"score": float})).values('{"score": "2.5"}')


def test_the_mark_follows_the_source():
    """Kept columns are read again where the class's source is another."""
    assert mark_of(Review) == mark_of(Review) != mark_of(Odd)
