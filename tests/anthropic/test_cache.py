"""`cache=`: marks for Anthropic, as litellm translates them; nothing at all for the others; never another request."""

from __future__ import annotations

import orjson
import pandas as pd
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.prompts.additions import marked_body, marked_holes
from jupyter_batch.server.embedded import Embedded
from jupyter_batch.wire.anthropic.results import Encoder
from jupyter_batch.wire.openai import CHAT, Hole
from tests.anthropic.test_wire_encode import MODEL, TEXTS, by_litellm, filled, litellm, same, turn
from tests.engine.test_every_provider import ANTHROPIC_KEY, anthropic

__all__ = ["litellm"]  # a fixture

MARK = {"type": "ephemeral"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
    for name in ("f", "g")
]
SHAPES = {
    "constant": [turn("system", "Be brief."), turn("user", Hole("a"))],
    "of the row": [turn("system", Hole("a")), turn("user", Hole("b"))],
    "developer": [turn("developer", Hole("a")), turn("user", Hole("b"))],
    "two": [turn("system", "One."), turn("system", Hole("a")), turn("user", Hole("b"))],
    "parts": [
        turn("system", [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]),
        turn("user", Hole("a")),
    ],
}


@pytest.mark.parametrize("cache", ["system", "system_and_tools"])
@pytest.mark.parametrize("shape", SHAPES)
def test_marked_requests_are_what_litellm_makes_of_them(litellm, shape, cache):
    """Byte for byte, row by row, for texts of every kind; the mark stands at the system text, and at the last tool."""
    body = marked_body(
        {"model": MODEL, "messages": SHAPES[shape], "max_tokens": 9, "tools": TOOLS}, cache
    )
    encoder = Encoder(CHAT, body, litellm=litellm)
    pairs = [(a, b) for a in TEXTS for b in TEXTS[:3]]
    columns = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    lines = encoder.encode(
        [f"j-{n}" for n in range(len(pairs))], {name: columns[name] for name in encoder.holes}
    )
    marked = 0
    for n, line in enumerate(lines):
        row = {name: values[n] for name, values in columns.items()}
        try:
            expected = by_litellm(
                litellm, MODEL, filled(body["messages"], row), max_tokens=9, tools=body["tools"]
            )
        except Exception:
            assert not isinstance(line, bytes)
            continue
        same(line, expected)
        sent = orjson.loads(line)["params"]
        system = sent.get("system") or [{}]
        marked += system[-1].get("cache_control") == MARK
        assert not any("cache_control" in part for part in system[:-1])
        assert [tool.get("cache_control") for tool in sent["tools"]] == [
            None,
            MARK if cache != "system" else None,
        ]
    assert marked > len(lines) / 2


def test_message_lists_of_the_rows_are_marked():
    """Prompts without a template: each row's own system message; a row without one is left as it is."""
    text = [turn("system", "s"), turn("user", "u")]
    holes = marked_holes({"messages": [text, [turn("user", "u")]]}, "system")
    assert holes["messages"] == [
        [turn("system", [{"type": "text", "text": "s", "cache_control": MARK}]), turn("user", "u")],
        [turn("user", "u")],
    ]
    assert text[0]["content"] == "s", "the person's own list is not touched"


def test_nothing_to_cache_is_reported():
    """cache="system" without a system message is refused; with tools alone, system_and_tools marks them."""
    body = {"model": MODEL, "messages": [turn("user", Hole("a"))]}
    with pytest.raises(OptionError, match="system="):
        marked_body(body, "system")
    with pytest.raises(OptionError, match="system="):
        marked_body(body, "system_and_tools")
    assert (
        marked_body({**body, "tools": TOOLS}, "system_and_tools")["tools"][1]["cache_control"]
        == MARK
    )
    assert "cache_control" not in TOOLS[1]


def test_the_person_s_call(home):
    """df.llm.batch(cache="system"): marked at Anthropic; the same job with and without, since it asks the same."""
    df = pd.DataFrame({"t": ["a", "b"]})
    with anthropic() as fake:
        call = {
            "model": "anthropic/claude-haiku-4-5",
            "api_base": fake.base,
            "api_key": ANTHROPIC_KEY,
            "system": "Be loud",
        }
        job = df.llm.batch("{t}", out="out", cache="system", **call).wait(60)
        (batch,) = fake.batches.values()
        assert [request["params"]["system"] for request in batch["requests"]] == [
            [{"type": "text", "text": "Be loud", "cache_control": MARK}]
        ] * 2
        assert df.llm.batch("{t}", out="out", **call) is job
        with pytest.raises(OptionError, match="cache"):
            df.llm.batch("{t}", out="o2", cache="all", **call)
        with pytest.raises(OptionError, match="system="):
            df.llm.batch("{t}", out="o2", cache="system", **{**call, "system": None})


def test_it_changes_nothing_elsewhere(home, tmp_path):
    """At OpenAI, whose cache needs no mark: accepted, and the request is the same byte for byte."""
    df = pd.DataFrame({"t": ["a", "b"]})
    with Embedded(tmp_path / "server") as server:
        call = {
            "model": "openai/echo",
            "api_base": server.base_url,
            "api_key": server.token,
            "system": "s",
        }
        first = df.llm.batch("{t}", out="out", cache="system_and_tools", reuse=False, **call).wait(
            60
        )
        again = df.llm.batch("{t}", out="out", reuse=False, overwrite=True, **call).wait(60)
        assert first.is_successful
        assert again.id != first.id
        folders = Ledger(home).folders
        one, other = (
            folders.of(job.id).requests(0).read_bytes().replace(job.id.encode(), b"")
            for job in (first, again)
        )
    assert one == other
    assert b"cache_control" not in one
