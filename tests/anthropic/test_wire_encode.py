"""Requests for Anthropic: what stands in each line is what litellm makes of that row alone, and nothing is guessed."""

import copy
import inspect
import json
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.anthropic.results import MAX_TOKENS, MAX_TOKENS_THINKING, Encoder
from jupyter_batch.wire.dialects import ANTHROPIC, encoder
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, Hole

MODEL = "claude-haiku-4-5"
OLD = "claude-3-7-sonnet-20250219"
ADAPTIVE = "claude-opus-4-6"

TEXTS = [
    "plain",
    'quotes " \\ and\nlines\t',
    "ünïcode 🙂 \u2028",
    "%s %b {x}",
    "",
    " ",
    "  edges \n",
    "\u00a0",
    "</s>",
    '{"json": true}',
    "x-anthropic-billing-header: no",
    "null",
]


@pytest.fixture(scope="module")
def litellm():
    """The module as the package loads it."""
    return load_litellm()


def by_litellm(litellm, model, messages, **params):
    """One request as litellm's own `completion` translates it, without any of our code."""
    config = litellm.utils.ProviderConfigManager.get_provider_chat_config(
        model=model, provider=litellm.LlmProviders.ANTHROPIC
    )
    to_system = config.translate_developer_role_to_system_role
    known = {
        "model": model,
        "custom_llm_provider": "anthropic",
        "api_base": None,
        "model_info": None,
    }  # since 1.109
    asked = {name: known[name] for name in inspect.signature(to_system).parameters if name in known}
    messages = to_system(messages=copy.deepcopy(messages), **asked)
    options = litellm.utils.get_optional_params(
        model=model, custom_llm_provider="anthropic", messages=messages, **params
    )
    for name in ("json_mode", "stream"):
        options.pop(name, None)
    return config.transform_request(
        model=model, messages=messages, optional_params=options, litellm_params={}, headers={}
    )


def params_of(line):
    """A line's body, its keys in their order."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    data = json.loads(line)
    assert list(data) == ["custom_id", "params"]
    return data["params"]


def same(line, expected):
    """The very bytes that orjson makes of litellm's request: the same values, in the same order."""
    assert line.partition(b'"params":')[2] == orjson.dumps(expected) + b"}\n"


def turn(role, content):
    """A message."""
    return {"role": role, "content": content}


SHAPES = {
    "user": [turn("user", Hole("a"))],
    "system and user": [turn("system", Hole("a")), turn("user", Hole("b"))],
    "constant system": [turn("system", 'Be %s "brief".'), turn("user", Hole("a"))],
    "constant user": [turn("system", Hole("a")), turn("user", "go on")],
    "developer": [turn("developer", Hole("a")), turn("user", Hole("b"))],
    "two systems": [turn("system", Hole("a")), turn("system", Hole("b")), turn("user", "q")],
    "turns": [turn("user", "one"), turn("assistant", Hole("a")), turn("user", Hole("b"))],
    "prefill": [turn("user", Hole("a")), turn("assistant", Hole("b"))],
    "two users": [turn("user", Hole("a")), turn("user", Hole("b"))],
    "the same twice": [turn("system", Hole("a")), turn("user", Hole("a"))],
    "parts": [
        turn(
            "user",
            [
                {"type": "text", "text": Hole("a")},
                {"type": "text", "text": "fixed"},
                {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
            ],
        )
    ],
    "cached system": [
        turn(
            "system", [{"type": "text", "text": Hole("a"), "cache_control": {"type": "ephemeral"}}]
        ),
        turn("user", Hole("b")),
    ],
    "image of the row": [
        turn(
            "user",
            [
                {"type": "text", "text": Hole("a")},
                {"type": "image_url", "image_url": {"url": Hole("url")}},
            ],
        )
    ],
}
URLS = ["https://example.org/a.png", "data:image/png;base64,aGVsbG8="]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_line_is_byte_for_byte_what_litellm_makes_of_the_row(litellm, shape):
    """Every pair of texts, empty ones and all, in every place that a text of a row can have."""
    messages = SHAPES[shape]
    encoder = Encoder(
        CHAT,
        {"model": MODEL, "messages": messages, "max_tokens": 77, "temperature": 0.5},
        litellm=litellm,
    )
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    columns = {
        "a": [a for a, _ in pairs],
        "b": [b for _, b in pairs],
        "url": [URLS[n % 2] for n in range(len(pairs))],
    }
    ids = [f"jbx-{n}" for n in range(len(pairs))]
    lines = encoder.encode(ids, {name: columns[name] for name in encoder.holes})
    for n, (line, custom_id) in enumerate(zip(lines, ids, strict=True)):
        row = {name: values[n] for name, values in columns.items()}
        try:
            expected = by_litellm(
                litellm, MODEL, filled(messages, row), max_tokens=77, temperature=0.5
            )
        except Exception:
            assert isinstance(line, RowError)
            continue
        assert json.loads(line)["custom_id"] == custom_id
        same(line, expected)


def filled(value, row):
    """The messages of one row."""
    if isinstance(value, Hole):
        return row[value.name]
    if isinstance(value, dict):
        return {key: filled(item, row) for key, item in value.items()}
    return [filled(item, row) for item in value] if isinstance(value, list) else value


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None, max_examples=60)
@given(ANY, ANY, ANY)
def test_any_text_at_all_is_put_in_as_litellm_would(system, user, last):
    """No text can be taken for the mark of a hole, nor change what stands around it."""
    litellm = load_litellm()
    messages = [turn("system", Hole("s")), turn("user", Hole("u")), turn("assistant", Hole("l"))]
    encoder = Encoder(
        CHAT, {"model": MODEL, "messages": messages, "max_tokens": 5}, litellm=litellm
    )
    row = {"s": system, "u": user, "l": last}
    (line,) = encoder.encode(["j-0"], {name: [text] for name, text in row.items()})
    same(line, by_litellm(litellm, MODEL, filled(messages, row), max_tokens=5))


CONVERSATIONS = [
    [turn("user", "hello")],
    [turn("system", "s"), turn("user", "u"), turn("assistant", "{ ")],
    [
        turn(
            "user",
            [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": URLS[1]}}],
        )
    ],
    [
        turn("user", "u"),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "my.tool", "arguments": '{"x": 1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ],
    [turn("user", "u"), turn("system", "later"), turn("user", "v")],
]
TOOL = {
    "type": "function",
    "function": {"name": "my.tool", "parameters": {"type": "object", "properties": {}}},
}


def test_whole_message_lists_are_translated_row_by_row(litellm):
    """A function of the row gives tools, images, turns; each is litellm's own, and none changes the next."""
    params = {"max_tokens": 9, "tools": [TOOL]}
    encoder = Encoder(
        CHAT, {"model": MODEL, "messages": Hole("messages"), **params}, litellm=litellm
    )
    given_ = copy.deepcopy(CONVERSATIONS)
    lines = encoder.encode([f"j-{n}" for n in range(len(given_))], {"messages": given_})
    assert given_ == CONVERSATIONS, "the person's own lists are left as they are"
    for line, messages in zip(lines, CONVERSATIONS, strict=True):
        same(line, by_litellm(litellm, MODEL, messages, **copy.deepcopy(params)))


def test_parameters_of_the_row_are_translated_with_their_row(litellm):
    """Each in Anthropic's words, as litellm translates that value; a missing one is as if it were not given."""
    body = {
        "model": MODEL,
        "messages": [turn("user", Hole("t"))],
        "max_tokens": Hole("m"),
        "stop": Hole("s"),
        "reasoning_effort": Hole("r"),
        "temperature": Hole("h"),
        "user": "u",
    }
    encoder = Encoder(CHAT, body, litellm=litellm)
    assert encoder.holes == ("t", "m", "s", "r", "h")
    rows = [
        ("a", 5000, "X", None, 0.1),
        ("b ", 6000, ["X", "Y"], "low", 1),
        ("c", 50, None, None, None),
        ("", 7, "X", None, 0),
    ]
    lines = encoder.encode(
        [f"j-{n}" for n in range(4)],
        dict(zip(encoder.holes, map(list, zip(*rows, strict=True)), strict=True)),
    )
    for line, (text, most, stop, effort, heat) in zip(lines, rows, strict=True):
        same(
            line,
            by_litellm(
                litellm,
                MODEL,
                [turn("user", text)],
                max_tokens=most,
                stop=stop,
                reasoning_effort=effort,
                temperature=heat,
                user="u",
            ),
        )


def test_messages_that_are_the_same_in_all_rows_are_sent_as_they_are(litellm):
    """Nothing in them is taken for the place of a text."""
    tool = {"type": "function", "function": {**TOOL["function"], "name": "f", "description": ""}}
    messages = [turn("system", "()"), turn("user", "%b")]
    encoder = Encoder(
        CHAT,
        {"model": MODEL, "messages": messages, "tools": [tool], "max_tokens": Hole("m")},
        litellm=litellm,
    )
    for line, most in zip(encoder.encode(["j-0", "j-1"], {"m": [5, 6]}), (5, 6), strict=True):
        same(
            line, by_litellm(litellm, MODEL, messages, max_tokens=most, tools=[copy.deepcopy(tool)])
        )
        assert b'""' in line


def test_max_tokens_is_always_set(litellm):
    """The person's, in either word; else a moderate one; with a thinking budget that and room for an answer."""

    def of(model=MODEL, **params):
        encoder = Encoder(
            CHAT, {"model": model, "messages": [turn("user", Hole("t"))], **params}, litellm=litellm
        )
        return params_of(encoder.encode(["j-0"], {"t": ["x"]})[0])["max_tokens"]

    assert of() == MAX_TOKENS == 4096
    assert of(max_tokens=17) == of(max_completion_tokens=17) == 17
    assert of("claude-of-tomorrow") == 4096
    assert of("claude-3-haiku-20240307") == 4096
    assert of(reasoning_effort="low") == 1024 + 4096
    assert of(ADAPTIVE, reasoning_effort="low") == MAX_TOKENS_THINKING


def test_the_default_of_max_tokens_may_be_given(litellm):
    """The number that is sent without it is no sign that litellm leaves it out."""
    messages = [turn("user", Hole("a"))]
    plain = Encoder(CHAT, {"model": MODEL, "messages": messages}, litellm=litellm)
    body = {"model": MODEL, "messages": messages, "max_tokens": MAX_TOKENS}
    made = Encoder(CHAT, body, litellm=litellm)
    assert made.encode(["j"], {"a": ["x"]}) == plain.encode(["j"], {"a": ["x"]})


def test_what_anthropic_does_not_take_is_refused_before_any_row(litellm):
    """By its name, at once; so is a value that litellm can't translate, and a request without anything to answer."""
    messages = [turn("user", Hole("t"))]
    for params, words in (
        ({"seed": 5}, "seed"),
        ({"logprobs": True, "n": 2}, "logprobs"),
        ({"reasoning_effort": "banana"}, "banana"),
        ({"extra_headers": {"x-key": "secret"}}, "header"),
        ({"top_k": object()}, "JSON"),
    ):
        with pytest.raises(OptionError, match=words) as refused:
            Encoder(CHAT, {"model": MODEL, "messages": messages, **params}, litellm=litellm)
        assert "litellm" not in str(refused.value)
        assert "secret" not in str(refused.value)
    with pytest.raises(OptionError, match="at least one non-system message"):
        Encoder(CHAT, {"model": MODEL, "messages": [turn("system", Hole("t"))]}, litellm=litellm)
    with pytest.raises(OptionError, match="embeddings"):
        Encoder(EMBEDDINGS, {"model": MODEL, "messages": messages}, litellm=litellm)


def test_a_parameter_of_the_row_that_anthropic_does_not_take_is_refused_at_the_first_row(litellm):
    """It is wrong for all of them, and nothing was sent."""
    encoder = Encoder(
        CHAT, {"model": MODEL, "messages": [turn("user", "x")], "seed": Hole("s")}, litellm=litellm
    )
    with pytest.raises(OptionError, match="seed"):
        encoder.encode(["j-0"], {"s": [5]})


def test_a_row_that_can_not_be_sent_is_its_own_reason(litellm):
    """A lone surrogate, a RowError from the template, a bad value: the other rows are encoded."""
    encoder = Encoder(
        CHAT,
        {"model": MODEL, "messages": [turn("user", Hole("t"))], "reasoning_effort": Hole("r")},
        litellm=litellm,
    )
    lines = encoder.encode(
        [f"j-{n}" for n in range(5)],
        {
            "t": ["fine", "half \ud800", RowError("no value"), "odd", "last"],
            "r": [None, None, None, "banana", "low"],
        },
    )
    assert params_of(lines[0])["messages"] == [turn("user", [{"type": "text", "text": "fine"}])]
    assert "Unicode" in lines[1].reason
    assert lines[2] == RowError("no value")
    assert "banana" in lines[3].reason
    assert params_of(lines[4])["thinking"]["budget_tokens"] == 1024


def test_betas_are_united_and_tool_names_kept(litellm):
    """Headers that litellm would send with a row go with the batch, and a name it had to change is known."""
    schema = {
        "type": "json_schema",
        "json_schema": {
            "name": "n",
            "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
    }
    body = {
        "model": ADAPTIVE,
        "messages": Hole("messages"),
        "tools": [TOOL],
        "response_format": schema,
        "extra_headers": {"anthropic-beta": "mine-2025-01-01, files-api-2025-04-14"},
    }
    encoder = Encoder(CHAT, body, litellm=litellm)
    assert "files-api-2025-04-14" in encoder.headers["anthropic-beta"].split(",")
    (line,) = encoder.encode(["j-0"], {"messages": [CONVERSATIONS[0]]})
    betas = encoder.headers["anthropic-beta"].split(",")
    assert betas == sorted(set(betas))
    assert "mine-2025-01-01" in betas
    params = params_of(line)
    assert "extra_headers" not in params
    structured = [beta for beta in betas if beta.startswith("structured-outputs")]
    assert bool(structured) == (
        "output_format" in params or "format" in params.get("output_config", {})
    )
    plain = Encoder(CHAT, {"model": MODEL, "messages": [turn("user", "x")]}, litellm=litellm)
    assert plain.headers == {}
    sent = params["tools"][0]["name"]
    assert encoder.tool_names == ({} if sent == "my.tool" else {sent: "my.tool"})


@pytest.mark.parametrize(
    ("model", "most", "beta"),
    [
        ("claude-sonnet-4-6", 128_000, False),
        ("claude-sonnet-4-6", 128_001, True),
        ("claude-sonnet-4-6", 300_000, True),
        ("claude-sonnet-4-6", 300_001, None),
        ("claude-haiku-4-5", 64_001, None),
        ("claude-fable-5", 128_001, None),
    ],
)
def test_long_outputs_have_their_beta(litellm, model, most, beta):
    """Above a model's maximum, up to 300,000 in batches: its beta is sent, and only then; None: refused."""
    if litellm.model_cost.get(model, {}).get("max_output_tokens") is None:
        pytest.skip("an older litellm does not know the model")
    body = {"model": model, "messages": [turn("user", Hole("t"))], "max_tokens": most}
    if beta is None:
        with pytest.raises(OptionError, match="is above the"):
            Encoder(CHAT, body, litellm=litellm)
        return
    made = encoder(ANTHROPIC, CHAT, body, lambda: litellm)
    (line,) = made.encode(["j-0"], {"t": ["x"]})
    assert params_of(line)["max_tokens"] == most
    assert ("output-300k" in made.headers.get("anthropic-beta", "")) == beta


def test_translation_is_done_once_for_what_is_the_same(litellm):
    """20,000 plain rows take a small part of what litellm takes for each row by itself."""
    messages = [turn("system", "Classify."), turn("user", Hole("t"))]
    encoder = Encoder(CHAT, {"model": MODEL, "messages": messages}, litellm=litellm)
    began = time.process_time()
    for n in range(200):
        by_litellm(litellm, MODEL, filled(messages, {"t": f"text {n}"}))
    each = (time.process_time() - began) / 200
    texts = [f"text {n}" for n in range(20_000)]
    began = time.process_time()
    encoder.encode([f"j-{n}" for n in range(20_000)], {"t": texts})
    assert (time.process_time() - began) / 20_000 < each / 5
