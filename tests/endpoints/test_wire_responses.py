"""Request lines for /v1/responses: litellm's own translation, row by row, made once for all rows."""

from __future__ import annotations

import copy
import types

import msgspec
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import encoder
from jupyter_batch.wire.openai import RESPONSES, Hole
from jupyter_batch.wire.responses import LEAST_TOKENS

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "strict": True,
        "parameters": {"type": "object", "properties": {}},
    },
}
MODEL = "o3-pro"


def lines(body, rows, holes):
    """The bodies of the lines of so many rows."""
    made = encoder("openai", RESPONSES, {"model": MODEL, **body}, load_litellm)
    out = made.encode([f"jb-{n}" for n in range(rows)], holes)
    return [line if isinstance(line, RowError) else msgspec.json.decode(line) for line in out]


def litellms_own(messages, params):
    """The request of litellm's chat call to a model that speaks /v1/responses: its own steps, one by one.

    (That call itself wants a package that litellm does not bring.)
    """
    litellm = load_litellm()
    from litellm.completion_extras.litellm_responses_transformation.transformation import (
        LiteLLMResponsesTransformationHandler,
    )
    from litellm.responses.utils import ResponsesAPIRequestUtils
    from litellm.types.router import GenericLiteLLMParams

    given = litellm.utils.get_optional_params(
        model=MODEL, custom_llm_provider="openai", **copy.deepcopy(params)
    )
    asked = LiteLLMResponsesTransformationHandler().transform_request(
        model=MODEL,
        messages=copy.deepcopy(messages),
        optional_params=given,
        litellm_params={},
        headers={},
        litellm_logging_obj=types.SimpleNamespace(),
    )
    config = litellm.utils.ProviderConfigManager.get_provider_responses_api_config(
        model=MODEL, provider=litellm.LlmProviders.OPENAI
    )
    known = ResponsesAPIRequestUtils.get_requested_response_api_optional_param(dict(asked))
    known = ResponsesAPIRequestUtils.get_optional_params_responses_api(
        model=MODEL, responses_api_provider_config=config, response_api_optional_params=known
    )
    made = config.transform_responses_api_request(
        model=MODEL,
        input=asked["input"],
        response_api_optional_request_params=known,
        litellm_params=GenericLiteLLMParams(),
        headers={},
    )
    if "max_output_tokens" in made:  # litellm 1.106 does so by itself, 1.84 not yet
        made["max_output_tokens"] = max(made["max_output_tokens"], LEAST_TOKENS)
    return {
        name: value for name, value in made.items() if name != "stream"
    }  # False: its call sends none


IMAGE = {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}}
MESSAGES = {
    "a prompt": [{"role": "user", "content": "{}"}],
    "a system text and a prompt": [
        {"role": "system", "content": "{}"},
        {"role": "user", "content": "{}"},
    ],
    "a constant system text": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "{}"},
    ],
    "two system texts": [
        {"role": "system", "content": "{}"},
        {"role": "system", "content": "{}"},
        {"role": "user", "content": "{}"},
    ],
    "turns": [
        {"role": "developer", "content": "{}"},
        {"role": "user", "content": "{}"},
        {"role": "assistant", "content": "{}"},
        {"role": "user", "content": "{}"},
    ],
    "an image": [{"role": "user", "content": [{"type": "text", "text": "{}"}, IMAGE]}],
    "a text twice": [
        {"role": "user", "content": "{}"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "{}"},
    ],
    "a late system text": [{"role": "user", "content": "{}"}, {"role": "system", "content": "{}"}],
}
PARAMS = {
    "none": {},
    "a limit": {"max_tokens": 500},
    "a small limit": {"max_completion_tokens": 3},
    "effort": {"reasoning_effort": "low", "user": "u" * 70},
    "a schema": {"response_format": FORM},
    "a tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "more": {"store": False, "service_tier": "flex"},
}
TEXTS = [
    "hello",
    "100 %b %s %% {x}",
    "",
    "  spaces  ",
    'q"uo\\te\n',
    "ünï ⚙ \u2028",
    "x-anthropic-beta",
]


def holed(value, names):
    """The messages with a Hole for each "{}"."""
    if value == "{}":
        names.append(f"t{len(names)}")
        return Hole(names[-1])
    if isinstance(value, dict):
        return {key: holed(item, names) for key, item in value.items()}
    return [holed(item, names) for item in value] if isinstance(value, list) else value


def filled(value, texts):
    """The messages with a text for each "{}", in their order."""
    if value == "{}":
        return next(texts)
    if isinstance(value, dict):
        return {key: filled(item, texts) for key, item in value.items()}
    return [filled(item, texts) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", list(MESSAGES))
@pytest.mark.parametrize("params", list(PARAMS))
def test_each_line_is_what_litellm_sends(kind, params):
    """Row by row the body equals litellm's own, for all kinds of messages, parameters and odd texts."""
    names: list[str] = []
    body = {"messages": holed(MESSAGES[kind], names), **PARAMS[params]}
    rows = len(TEXTS)
    holes = {
        name: [TEXTS[(row + at) % rows] for row in range(rows)] for at, name in enumerate(names)
    }
    for row, line in enumerate(lines(body, rows, holes)):
        texts = iter([holes[name][row] for name in names])
        assert (line["custom_id"], line["method"], line["url"]) == (f"jb-{row}", "POST", RESPONSES)
        assert line["body"] == litellms_own(filled(MESSAGES[kind], texts), PARAMS[params])


def test_messages_and_parameters_of_the_row():
    """Where the messages, or a parameter, come from each row, each line is litellm's too."""
    messages = [
        [{"role": "user", "content": "a"}],
        [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}],
    ]
    made = lines({"messages": Hole("m"), "max_tokens": Hole("p")}, 2, {"m": messages, "p": [30, 5]})
    assert [line["body"] for line in made] == [
        litellms_own(messages[0], {"max_tokens": 30}),
        litellms_own(messages[1], {"max_tokens": 5}),
    ]


def test_a_system_message_alone_is_input():
    """OpenAI refuses an empty input: a system message that stands alone is sent as one."""
    body = lines({"messages": [{"role": "system", "content": Hole("t")}]}, 1, {"t": ["do it"]})[0][
        "body"
    ]
    assert "instructions" not in body
    assert body["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "do it"}]}
    ]


def test_what_no_list_knows_is_sent_as_it_is():
    """Verbosity has its place; a field of extra_body, which litellm drops, is sent under its own name."""
    body = {
        "messages": [{"role": "user", "content": Hole("t")}],
        "verbosity": "low",
        "response_format": FORM,
        "truncation": "auto",
        "brand_new": {"x": 1},
    }
    made = lines(body, 1, {"t": ["hi"]})[0]["body"]
    assert made["text"] == {
        "format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True},
        "verbosity": "low",
    }
    assert (made["truncation"], made["brand_new"]) == ("auto", {"x": 1})


@pytest.mark.parametrize(
    "lost",
    [
        {"stop": ["x"]},
        {"seed": 1},
        {"presence_penalty": 0.5},
        {"logit_bias": {"1": 2}},
        {"logprobs": True},
    ],
)
def test_a_parameter_without_a_place_is_refused(lost):
    """Parameters that /v1/responses lacks, and litellm would silently drop, are refused first."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": Hole("t")}], **lost}
    with pytest.raises(OptionError, match=next(iter(lost))):
        encoder("openai", RESPONSES, body, load_litellm)


def test_a_row_that_can_not_be_sent_leaves_the_others():
    """An error of the template, or half a character, is that row's reason."""
    made = lines(
        {"messages": [{"role": "user", "content": Hole("t")}]},
        3,
        {"t": ["a", RowError("no"), "\ud800"]},
    )
    assert made[0]["body"]["input"][0]["content"][0]["text"] == "a"
    assert made[1] == RowError("no")
    assert "Unicode" in made[2].reason
