"""Tools and response formats of the row: each row's request is the one that its own values make alone."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pandas as pd
import pytest

from jupyter_batch import col
from jupyter_batch.core.errors import ColumnError, OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.ask import route_to
from jupyter_batch.prompts.row_params import RowParams
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import ANTHROPIC, BEDROCK, OPENAI, VERTEX, encoder, tools_in
from jupyter_batch.wire.openai import CHAT, RESPONSES, Hole
from tests.params.test_real_time_bodies import _real_time, base  # noqa: F401  a fixture


def tool(name, **fields):
    """A definition."""
    schema = {"type": "object", "properties": fields or {"n": {"type": "integer"}}}
    return {
        "type": "function",
        "function": {"name": name, "description": "a tool", "parameters": schema},
    }


def answer_of(**fields):
    """A response format with these fields, in this order."""
    schema = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


TOOLS = [[tool("f")], None, [tool("g", x={"type": "string"}), tool("f")], [tool("f")]]
FORMATS = [
    answer_of(z={"type": "string"}, a={"type": "integer"}),
    None,
    {"type": "json_object"},
    answer_of(b={"type": "boolean"}),
]
PLACES = {
    "openai": (OPENAI, CHAT, route_to("openai", "gpt-4.1-mini")),
    "responses": (OPENAI, RESPONSES, route_to("openai", "gpt-5-mini")),
    "mistral": (OPENAI, CHAT, route_to("mistral", "mistral-small-latest")),
    "anthropic": (ANTHROPIC, CHAT, route_to("anthropic", "claude-sonnet-4-5")),
    "gemini": ("gemini", CHAT, route_to("gemini", "gemini-2.5-flash")),
    "vertex": (VERTEX, CHAT, route_to("vertex_ai", "gemini-2.5-flash")),
    "bedrock": (BEDROCK, CHAT, route_to("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0")),
    "real time": (OPENAI, CHAT, route_to("anthropic", "claude-sonnet-4-5", as_given=True)),
}
IDS = ["j-0", "j-1", "j-2", "j-3"]


def encoded(place, values=None, ids=IDS, **params):
    """Request lines at a place; values: of the holes."""
    dialect, endpoint, route = PLACES[place]
    body = {"model": route.model, "messages": [{"role": "user", "content": "x"}], **params}
    return encoder(dialect, endpoint, body, load_litellm, route=route).encode(ids, values or {})


@pytest.mark.parametrize("place", PLACES)
def test_the_tools_of_a_row(place):
    """Each row has its own, in the provider's words; a row without any has no choice among them either."""
    rows = encoded(place, {"param tools": TOOLS}, tools=Hole("param tools"), tool_choice="required")
    for number, (line, tools) in enumerate(zip(rows, TOOLS, strict=True)):
        given = {} if tools is None else {"tools": tools, "tool_choice": "required"}
        (alone,) = encoded(place, ids=IDS[number : number + 1], **given)
        assert line == alone
        assert b"tool_choice" not in line or tools
        body = next(v for k, v in orjson.loads(line).items() if isinstance(v, dict))
        assert tools_in(body) == [one["function"]["name"] for one in tools or ()]


@pytest.mark.parametrize("place", PLACES)
def test_the_response_format_of_a_row(place):
    """Each row has its own, with its fields in their order; a row without one has none; one is refused by itself."""
    rows = encoded(
        place, {"param response_format": FORMATS}, response_format=Hole("param response_format")
    )
    for number, (line, form) in enumerate(zip(rows, FORMATS, strict=True)):
        given = {} if form is None else {"response_format": form}
        if place in ("anthropic", "real time", "bedrock") and form == {"type": "json_object"}:
            with pytest.raises(OptionError) as refused:  # these have schemas alone
                encoded(place, **given)
            assert isinstance(line, RowError)
            assert line.reason in str(refused.value)
        else:
            (alone,) = encoded(place, ids=IDS[number : number + 1], **given)
            assert line == alone
    if place not in ("bedrock", "gemini", "vertex"):
        assert rows[0].index(b'"z"') < rows[0].index(b'"a"')


@pytest.mark.parametrize(
    "model",
    ["openai/gpt-4.1-mini", "openai/gpt-5-mini", "mistral/mistral-small-latest", "xai/grok-4"],
)
def test_the_bodies_are_what_litellm_sends(model, base):  # noqa: F811
    """Over real HTTP, for each row by itself."""
    provider, _, name = model.partition("/")
    messages = [{"role": "user", "content": "x"}]
    route = route_to(provider, name, f"{base}/v1")
    for param, values in (("tools", TOOLS), ("response_format", FORMATS)):
        hole = f"param {param}"
        body = {"model": name, "messages": messages, param: Hole(hole)}
        rows = encoder(OPENAI, CHAT, body, load_litellm, route=route).encode(IDS, {hole: values})
        for line, value in zip(rows, values, strict=True):
            given = {} if value is None else {param: value}
            assert orjson.loads(line)["body"] == _real_time(model, messages, given, base)


def look_up(n: int) -> str:
    """Look a thing up."""
    return f"thing {n}"


def test_the_forms_of_a_cell():
    """Lists, one tool, JSON, the arrays of parquet, functions; none for a blank or empty cell; else a reason."""
    definition = tool("f")
    made = RowParams()
    same = [
        [definition],
        definition,
        json.dumps([definition]),
        json.dumps(definition),
        np.array([definition], dtype=object),
        ({**definition["function"]},),
    ]
    for read in made.read("param tools", same):
        assert read == [definition]
    assert made.read("param tools", [None, "", "  ", [], "[]", np.array([])]) == [None] * 6
    (functions,) = made.read("param tools", [[look_up]])
    assert functions[0]["function"]["name"] == "look_up"
    assert made.tool_names == ("f", "look_up")
    for wrong in made.read("param tools", ["f", 7, [7], "{", [definition, definition], [{}]]):
        assert isinstance(wrong, RowError)
        assert "tool" in wrong.reason


def test_what_is_refused_before_anything_is_sent(mapped, home):
    """A column that is not there, two functions of one name, and a tool's name as the choice."""
    df = pd.DataFrame({"t": ["a", "b"], "tools": [[look_up], [look_up]]})
    with pytest.raises(ColumnError, match="'tool'"):
        df.llm.batch("{t}", tools=col("tool"), **mapped)
    with pytest.raises(OptionError, match=r"response_format=col"):
        df.llm.batch("{t}", schema=col("tools"), **mapped)
    with pytest.raises(OptionError, match=r"'auto', 'none', 'required'"):
        df.llm.batch("{t}", tools=col("tools"), tool_choice="look_up", **mapped)

    def another(n: int) -> str:
        """Another one of the same name."""
        return str(n)

    another.__name__ = "look_up"
    df["tools"] = [[look_up], [another]]
    with pytest.raises(OptionError, match="different functions called 'look_up'"):
        df.llm.batch("{t}", tools=col("tools"), **mapped)
    assert not (home / "jobs").exists()
