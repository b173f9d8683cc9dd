"""The body of a batch is the body that litellm itself sends in real time, taken down by a server on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.ask import route_to
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import ANTHROPIC, OPENAI, encoder
from jupyter_batch.wire.message_parts import in_chat_form
from jupyter_batch.wire.openai import CHAT, Hole
from jupyter_batch.wire.openai_requests import is_identity
from jupyter_batch.wire.whole import Refused

MODELS = [
    "openai/gpt-4.1-mini",
    "openai/gpt-5-mini",
    "openai/o3",
    "openai/llama-3",
    "azure/gpt-5-mini",
    "azure/my-deployment",
    "mistral/mistral-small-latest",
    "xai/grok-4",
    "groq/llama-3.3-70b-versatile",
    "hosted_vllm/some",
    "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
    "openrouter/openai/gpt-4o-mini",
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "deepinfra/meta-llama/Llama-3.3-70B-Instruct",
    "dashscope/qwen-plus",
    "moonshot/kimi-k2-0905-preview",
]
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
PARAMS = [
    {},
    {"max_tokens": 50},
    {"max_completion_tokens": 50},
    {"temperature": 0},
    {"top_p": 0.5},
    {"seed": 1},
    {"stop": ["x"]},
    {"logprobs": True},
    {"reasoning_effort": "low"},
    {"tools": [TOOL], "tool_choice": "required"},
    {"response_format": {"type": "json_object"}},
    {"frequency_penalty": 0.1},
    {"parallel_tool_calls": False, "tools": [TOOL]},
    {"service_tier": "flex"},
    {"extra_body": {"mine": 1}},
]


class _Recorder(BaseHTTPRequestHandler):
    bodies: list[dict] = []

    def do_POST(self):
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": "ok"}
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "service_tier": "default",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def base():
    """The address of a server that takes down what it is sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _real_time(model, messages, params, base):
    """The request of litellm, or "unsupported"."""
    litellm = load_litellm()
    _Recorder.bodies.clear()
    place = base if model.startswith("azure/") else f"{base}/v1"
    version = {"api_version": "2024-10-21"} if model.startswith("azure/") else {}
    with quiet():
        try:
            litellm.completion(
                model=model,
                messages=messages,
                api_base=place,
                api_key="k",
                max_retries=0,
                **version,
                **json.loads(json.dumps(params)),
            )
        except litellm.UnsupportedParamsError:
            return "unsupported"
    return _Recorder.bodies[-1]


def _batch(model, messages, params, base):
    provider, _, name = model.partition("/")
    place = base if provider == "azure" else f"{base}/v1"
    version = "2024-10-21" if provider == "azure" else None
    rest = {key: value for key, value in params.items() if key != "extra_body"}
    body = {"model": name, "messages": messages, **rest}
    try:
        made = encoder(
            OPENAI,
            CHAT,
            body,
            load_litellm,
            route=route_to(provider, name, place, version),
            extra=params.get("extra_body"),
        )
    except OptionError as e:
        return "unsupported" if "extra_body" in str(e) else str(e)  # the way to insist is named
    return orjson.loads(made.encode(["j-0"], {})[0])["body"]


@pytest.mark.parametrize("model", MODELS)
def test_the_body_is_what_litellm_sends(model, base):
    """Over real HTTP, for models of each provider of OpenAI's shape and many parameters; refused alike."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    for params in PARAMS:
        assert _batch(model, messages, params, base) == _real_time(model, messages, params, base), (
            params
        )


def test_max_tokens_of_gpt_5():
    """`max_tokens` goes out under the name that gpt-5 takes; templates stay holes, filled per row."""
    body = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": Hole("t")}],
        "max_tokens": 50,
    }
    made = encoder(OPENAI, CHAT, body, load_litellm, route=route_to("openai", "gpt-5-mini"))
    lines = [orjson.loads(line)["body"] for line in made.encode(["j-0", "j-1"], {"t": ["a", "b"]})]
    assert [line["max_completion_tokens"] for line in lines] == [50, 50]
    assert [line["messages"][0]["content"] for line in lines] == ["a", "b"]
    assert "max_tokens" not in lines[0]


def test_what_is_taken_as_it_is_is_what_litellm_makes():
    """The rule that leaves litellm out agrees with litellm for each chat model of OpenAI's in its list."""
    litellm = load_litellm()
    values = {"temperature": 0.5, "top_p": 0.5, "max_tokens": 5, "seed": 1, "presence_penalty": 0.1}
    light = [
        name
        for name in sorted(litellm.open_ai_chat_completion_models)
        if is_identity(route_to("openai", name), values)
    ]
    assert len(light) > 20
    for name in light:
        made = litellm.utils.get_optional_params(model=name, custom_llm_provider="openai", **values)
        assert {
            key: value for key, value in made.items() if value not in ({}, None, False)
        } == values, name


def test_a_missing_parameter_is_left_out_for_its_row():
    """The row is sent without it, and is the request that never had it."""
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]}
    route = route_to("openai", "gpt-4.1")
    varied = encoder(
        OPENAI, CHAT, {**body, "temperature": Hole("param temperature")}, load_litellm, route=route
    )
    lines = varied.encode(["j-0", "j-0"], {"param temperature": [None, 0.5]})
    assert lines[0] == encoder(OPENAI, CHAT, body, load_litellm, route=route).encode(["j-0"], {})[0]
    assert orjson.loads(lines[1])["body"]["temperature"] == 0.5


def test_extra_body_of_the_row():
    """`extra_body=col("x")` merges each row's dict into its body; a row without one has none."""
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]}
    route = route_to("openai", "gpt-4.1")
    made = encoder(OPENAI, CHAT, body, load_litellm, route=route, extra=Hole("param extra_body"))
    lines = made.encode(["a", "b", "c"], {"param extra_body": [{"k": 1}, None, RowError("no")]})
    assert orjson.loads(lines[0])["body"]["k"] == 1
    assert orjson.loads(lines[1])["body"] == body
    assert lines[2] == RowError("no")


CLAUDE = [
    {},
    {"temperature": 0},
    {"stop": ["x"]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"user": "u"},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"seed": 1},
    {"logprobs": True},
    {"extra_body": {"top_k": 3}},
]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-3-haiku-20240307"])
def test_anthropics_body_is_what_litellm_sends(model, base):
    """The same in Anthropic's own bodies; the limit is given, since ours by default is lower."""
    litellm = load_litellm()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    for params in CLAUDE:
        given = {"max_tokens": 2000, **params}
        rest = {key: value for key, value in given.items() if key != "extra_body"}
        _Recorder.bodies.clear()
        with quiet():
            try:
                litellm.completion(
                    model=f"anthropic/{model}",
                    messages=messages,
                    api_base=base,
                    api_key="k",
                    max_retries=0,
                    **{**rest, **given.get("extra_body", {})},
                )
            except litellm.UnsupportedParamsError:
                _Recorder.bodies.append("unsupported")
            except (litellm.APIConnectionError, litellm.InternalServerError):
                pass  # the recorder's answer is no message of Anthropic's
        body = {"model": model, "messages": messages, **rest}
        try:
            made = encoder(ANTHROPIC, CHAT, body, load_litellm, extra=given.get("extra_body"))
            batch = orjson.loads(made.encode(["j-0"], {})[0])["params"]
        except OptionError:
            batch = "unsupported"
        assert batch == _Recorder.bodies[-1], params


@pytest.mark.parametrize(
    ("dialect", "route", "params"),
    [
        (
            ANTHROPIC,
            route_to("anthropic", "claude-haiku-4-5"),
            {"response_format": {"type": "json_object"}},
        ),
        (OPENAI, route_to("mistral", "mistral-small-latest"), {"user": "u"}),
        (OPENAI, route_to("groq", "llama-3.3-70b-versatile", as_given=True), {"user": "u"}),
        ("vertex", route_to("vertex_ai", "gemini-2.5-flash"), {"user": "u"}),
        ("gemini", route_to("gemini", "gemini-2.5-flash"), {"user": "u"}),
        ("bedrock", route_to("bedrock", "amazon.nova-lite-v1:0"), {"user": "u"}),
    ],
)
def test_a_parameter_that_litellm_drops_is_an_error(dialect, route, params):
    """In a batch and in real time, before anything is sent: for all rows, or for the rows that have it."""
    text = {"model": route.model, "messages": [{"role": "user", "content": "x"}]}
    (name,) = params
    with pytest.raises(OptionError, match=f"`{name}`.*extra_body"):
        encoder(dialect, CHAT, {**text, **params}, load_litellm, route=route)
    hole = f"param {name}"
    made = encoder(dialect, CHAT, {**text, name: Hole(hole)}, load_litellm, route=route)
    lines = made.encode(["j-0", "j-1"], {hole: [None, params[name]]})
    assert isinstance(lines[0], bytes)
    assert isinstance(lines[1], RowError)
    assert name in lines[1].reason


def test_a_value_that_says_nothing_may_be_left_out():
    """`reasoning_effort="none"` and a text as the response's format are what a model does by itself."""
    body = {
        "model": "claude-haiku-4-5",
        "messages": [{"role": "user", "content": "x"}],
        "reasoning_effort": "none",
        "response_format": {"type": "text"},
    }
    (line,) = encoder(ANTHROPIC, CHAT, body, load_litellm).encode(["j-0"], {})
    assert "thinking" not in orjson.loads(line)["params"]


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"reasoning_effort": "high", "max_tokens": 1000}, "max_tokens"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 2000},
            "max_tokens",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0}, "temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1,024"),
        ({"temperature": 0.5, "top_p": 0.5}, "not both"),
        ({"temperature": 1.5}, "0 to 1"),
        ({"max_tokens": 10_000_000}, "max_tokens"),
    ],
)
def test_anthropic_combinations_are_refused_before_sending(params, word):
    """A parameter that Anthropic refuses row by row is an error at once that names it."""
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "x"}], **params}
    with pytest.raises(OptionError, match=word):
        encoder(ANTHROPIC, CHAT, body, load_litellm)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"temperature": 2.5}, "temperature: OpenAI takes 0 to 2"),
        ({"presence_penalty": -3}, "-2 to 2"),
        ({"logit_bias": {"5": 1000}}, "-100 to 100"),
        ({"logprobs": True, "top_logprobs": 21}, "0 to 20"),
    ],
)
def test_openai_s_bounds_are_checked_before_sending(params, word):
    """A value that OpenAI refuses row by row is an error at once; a compatible server may take it."""
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "x"}], **params}
    with pytest.raises(OptionError, match=word):
        encoder(OPENAI, CHAT, body, load_litellm, route=route_to("openai", "gpt-4.1-mini"))
    there = route_to("openai", "gpt-4.1-mini", "http://127.0.0.1:9/v1")
    encoder(OPENAI, CHAT, body, load_litellm, route=there)


PNG = "iVBORw0KGgo="
FORMS = {
    "anthropic image": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    },
    "gemini": {"inline_data": {"mime_type": "image/png", "data": PNG}},
    "responses": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    "chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize(
    ("dialect", "route"),
    [
        (OPENAI, route_to("openai", "gpt-4.1-mini")),
        (ANTHROPIC, route_to("anthropic", "claude-sonnet-4-5")),
        ("vertex", route_to("vertex_ai", "gemini-2.5-flash")),
        ("gemini", route_to("gemini", "gemini-2.5-flash")),
        ("bedrock", route_to("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0")),
    ],
)
def test_a_picture_of_any_form_is_in_the_request(form, dialect, route):
    """Pictures in Anthropic's, Gemini's and OpenAI's forms reach each dialect."""
    text = in_chat_form(
        [{"role": "user", "content": [{"type": "text", "text": "what?"}, FORMS[form]]}]
    )
    made = encoder(
        dialect,
        CHAT,
        {"model": route.model, "messages": Hole("messages")},
        load_litellm,
        route=route,
    )
    (line,) = made.encode(["j-0"], {"messages": [text]})
    assert not isinstance(line, RowError), line
    assert PNG.encode() in line


def test_tool_calls_in_anthropics_form():
    """`tool_use` and `tool_result` become calls and tools' messages, in their order."""
    text = in_chat_form(
        [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
                    {"type": "text", "text": "so?"},
                ],
            },
        ]
    )
    assert [one["role"] for one in text] == ["assistant", "tool", "user"]
    assert text[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_a_typo_in_a_part_is_its_rows_reason():
    """A part of an unknown type is refused, with the nearest."""
    with pytest.raises(Refused, match="did you mean 'image_url'"):
        in_chat_form(
            [{"role": "user", "content": [{"type": "image_urll", "image_url": {"url": "x"}}]}]
        )


def test_what_a_translation_leaves_out_is_its_rows_reason():
    """A name and an unknown key have no place at Anthropic: the row says so, and is not sent without them."""
    body = {"model": "claude-sonnet-4-5", "messages": Hole("messages")}
    made = encoder(ANTHROPIC, CHAT, body, load_litellm)
    for extra in ({"name": "Berta"}, {"contentt": "more of it"}):
        (line,) = made.encode(["j-0"], {"messages": [[{"role": "user", "content": "x", **extra}]]})
        assert isinstance(line, RowError)
        assert next(iter(extra)) in line.reason
