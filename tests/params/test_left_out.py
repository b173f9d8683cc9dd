"""Parameters that litellm leaves out without a word are refused; what insists on them is sent as it is."""

from __future__ import annotations

import orjson
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.ask import route_to
from jupyter_batch.wire.dialects import ANTHROPIC, BEDROCK, OPENAI, VERTEX, encoder, request_in
from jupyter_batch.wire.openai import CHAT
from tests.params.litellm_rules import BRIDGES

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
GEMINI = (VERTEX, route_to("vertex_ai", "gemini-2.5-flash"))
GEMINI_API = ("gemini", route_to("gemini", "gemini-2.5-flash"))
CLAUDE_AT_BEDROCK = (BEDROCK, route_to("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"))
LLAMA_AT_BEDROCK = (BEDROCK, route_to("bedrock", "us.meta.llama3-3-70b-instruct-v1:0"))
OPUS = (ANTHROPIC, route_to("anthropic", "claude-opus-4-7"))
XAI = (OPENAI, route_to("xai", "grok-4"))
MISTRAL = (OPENAI, route_to("mistral", "mistral-small-latest", "http://127.0.0.1:9/v1"))


def request(place, extra=None, **params):
    """The body of a request with these parameters."""
    dialect, route = place
    body = {"model": route.model, "messages": [{"role": "user", "content": "x"}], **params}
    made = encoder(dialect, CHAT, body, load_litellm, route=route, extra=extra)
    (line,) = made.encode(["j-0"], {})
    return request_in(line)


@pytest.mark.parametrize(
    ("place", "params"),
    [
        (GEMINI, {"parallel_tool_calls": False, "tools": [TOOL]}),
        (GEMINI_API, {"parallel_tool_calls": False, "tools": [TOOL]}),
        (CLAUDE_AT_BEDROCK, {"parallel_tool_calls": False, "tools": [TOOL]}),
        pytest.param(XAI, {"web_search_options": {}}, marks=BRIDGES),
        pytest.param(XAI, {"web_search_options": {"search_context_size": "low"}}, marks=BRIDGES),
    ],
)
def test_a_value_that_is_false_or_empty_is_not_left_out(place, params):
    """`False` and `{}` ask for something, too; a parameter may be lost where the request is made of the options."""
    name = next(iter(params))
    with pytest.raises(OptionError, match=f"`{name}`.*extra_body"):
        request(place, **params)


def test_values_of_the_default_may_be_left_out():
    """A rule that holds without the parameter is no reason to refuse."""
    made = request(GEMINI, logprobs=False, presence_penalty=0, frequency_penalty=0)
    assert "contents" in made


@pytest.mark.parametrize("place", [GEMINI, GEMINI_API, LLAMA_AT_BEDROCK, OPUS, MISTRAL])
def test_extra_body_is_sent_whatever_litellm_makes_of_it(place):
    """The way to insist works where litellm has no place for a field (Gemini), or refuses it (Claude's top_k)."""
    made = request(place, extra={"mine": 1, "top_k": 3, "labels_of_mine": {"a": "b"}})
    text = orjson.dumps(made).decode()
    for field in ('"mine":1', '"top_k":3', '"labels_of_mine":{"a":"b"}'):
        assert field in text


def test_a_refusal_at_the_request_names_the_way_to_insist():
    """Without litellm's own advice, which users of this package can't follow."""
    with pytest.raises(OptionError, match=r"prompt_cache_key.*extra_body=") as refused:
        request(MISTRAL, prompt_cache_key="k")
    assert "allowed_openai_params" not in str(refused.value)
    assert "drop_params" not in str(refused.value)
    assert request(MISTRAL, extra={"prompt_cache_key": "k"})["prompt_cache_key"] == "k"
