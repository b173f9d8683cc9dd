"""`/v1/messages` in real time, by echo and through an upstream of OpenAI's shape, with Anthropic's own SDK."""

from __future__ import annotations

import json

import pytest
from messages_asking import IMAGE, RESULT, USE, WEATHER, anthropic, client_of, turns
from server_asking import until


def ask(client, content="hello", **params):
    """A message from echo."""
    params = {"model": "echo", "max_tokens": 100, **params}
    messages = params.pop("messages", [{"role": "user", "content": content}])
    return client.messages.create(messages=messages, **params)


def test_a_message(client):
    """Text in, text out, with an id, the stop reason and the usage."""
    message = ask(client, "good morning", system="Be polite.")
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", "echo")
    assert [(one.type, one.text) for one in message.content] == [("text", "good morning")]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens == 3 + 3
    assert message.usage.output_tokens == 3
    assert message.usage.service_tier == "standard"


def test_the_reasons_to_stop(client):
    """`max_tokens` and `stop_sequences` cut, and the message says which of them did."""
    cut = ask(client, "one two three four", max_tokens=2)
    assert (cut.stop_reason, cut.stop_sequence, cut.content[0].text) == (
        "max_tokens",
        None,
        "one two ",
    )
    stopped = ask(client, "one two three", stop_sequences=["three", "two"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "two")
    assert stopped.content[0].text == "one "
    whole = ask(client, "one two three", stop_sequences=["four"])
    assert (whole.stop_reason, whole.stop_sequence) == ("end_turn", None)


def test_content_blocks(client):
    """Texts, an image and a document of a user's turn reach the model."""
    document = {
        "type": "document",
        "title": "Notes",
        "source": {"type": "text", "media_type": "text/plain", "data": "inside"},
    }
    message = ask(client, [{"type": "text", "text": "look"}, IMAGE, document])
    assert message.content[0].text == "look\n[image png 2x3]\nNotes\ninside"


def test_a_tool_and_its_result(client):
    """A forced tool call comes as `tool_use`; with its `tool_result` the next turn answers."""
    called = ask(client, "Oslo", tools=[WEATHER], tool_choice={"type": "any"})
    assert called.stop_reason == "tool_use"
    (use,) = called.content
    assert (use.type, use.name, use.input) == ("tool_use", "weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Rain"}
    final = ask(
        client,
        tools=[WEATHER],
        messages=[
            {"role": "user", "content": "Oslo"},
            {"role": "assistant", "content": [use.model_dump(exclude_none=True)]},
            {"role": "user", "content": [result]},
        ],
    )
    assert (final.stop_reason, final.content[0].text) == ("end_turn", "Rain")
    none = ask(client, 'weather({"city": "Rome"})', tools=[WEATHER], tool_choice={"type": "none"})
    assert none.stop_reason == "end_turn"


def test_a_schema(client):
    """`output_config.format` gives an object that fits the schema."""
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["good", "bad"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "schema": schema}
    message = ask(client, "what a good day", output_config={"format": form})
    assert json.loads(message.content[0].text) == {"label": "good"}


@pytest.mark.parametrize("tools", [False, True])
def test_a_stream(client, tools):
    """The SDK's stream puts together the same message that the call without a stream returns."""
    options = {"tools": [WEATHER], "tool_choice": {"type": "any"}} if tools else {}
    question = {"role": "user", "content": "a longer text that comes in several pieces"}
    whole = ask(client, messages=[question], **options)
    with client.messages.stream(
        model="echo", max_tokens=100, messages=[question], **options
    ) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"
    fields = ("type", "text", "name", "input")
    assert [[getattr(one, name, None) for name in fields] for one in streamed.content] == [
        [getattr(one, name, None) for name in fields] for one in whole.content
    ]
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (
        whole.stop_reason,
        whole.usage.output_tokens,
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 9.5}, "max_tokens: Input should be a valid integer"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": turns(("tool", "x"))}, 'messages.0.role: Unexpected role "tool"'),
        ({"messages": turns(("user", ""))}, "messages.0: all messages must have non-empty content"),
        ({"messages": turns(("user", 5))}, "messages.0.content: Input should be a valid string or"),
        (
            {"messages": turns(("user", [{"type": "txt", "text": "x"}]))},
            "messages.0.content.0: Input tag 'txt' found using 'type' does not match any of the",
        ),
        (
            {"messages": turns(("user", [{"type": "image", "source": {"type": "file"}}]))},
            "messages.0.content.0.image.source: Input tag 'file'",
        ),
        (
            {"messages": turns(("user", "x"), ("assistant", [USE]), ("user", "y"))},
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1",
        ),
        (
            {"messages": turns(("user", [RESULT]))},
            "messages.0: unexpected `tool_use_id` found in `tool_result` blocks: t1",
        ),
        (
            {"messages": turns(("user", "x"), ("assistant", "The "))},
            "messages: final assistant content cannot end with trailing whitespace",
        ),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-white"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.custom.name: String should"),
        ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [WEATHER, WEATHER]}, "tools: Tool names must be unique."),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "tools.0: 'web_search_20250305' runs at Anthropic",
        ),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "clock"}},
            "tool_choice: Tool 'clock' not found in provided tools",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice: Tool choice may only be specified while"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.enabled.budget_tokens"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        ({"extra_body": {"mcp_servers": []}}, "mcp_servers: not supported by this server"),
        ({"extra_body": {"n": 2}}, "n: Extra inputs are not permitted"),
        ({"extra_body": {"top_p": 2}}, "top_p: Input should be less than or equal to 1"),
    ],
)
def test_a_request_that_is_refused(client, params, message):
    """The first problem is named by its path, in the SDK's BadRequestError."""
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, **params)
    assert message in refused.value.body["error"]["message"]
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_an_unknown_model(client):
    """A model that is not here is a `not_found_error`, as at Anthropic."""
    with pytest.raises(anthropic.NotFoundError) as refused:
        ask(client, model="claude-nobody")
    assert refused.value.body["error"] == {
        "type": "not_found_error",
        "message": "model: claude-nobody",
    }


@pytest.fixture
def pair(started):
    """(client of the server in front, the server behind it): the front one answers through litellm."""
    behind = started(token="behind-key").server
    front = started(
        upstream="openai/echo", api_base=behind.base_url, api_key="behind-key", concurrency=4
    ).server
    with client_of(front) as client:
        yield client, behind


def test_counted_tokens(client):
    """`count_tokens` counts as the message's usage does, and tools on top."""
    question = {"model": "echo", "messages": [{"role": "user", "content": "good morning"}]}
    counted = client.messages.count_tokens(**question, system="Be polite.").input_tokens
    assert counted == ask(client, "good morning", system="Be polite.").usage.input_tokens
    assert client.messages.count_tokens(**question, tools=[WEATHER]).input_tokens > counted
    with pytest.raises(anthropic.BadRequestError):
        client.messages.count_tokens(model="echo", messages=[])


def test_an_upstream_in_real_time(pair):
    """Any model name goes to the upstream; its answer, tool calls and refusals come in Anthropic's shape."""
    client, behind = pair
    message = ask(client, "good morning", model="claude-any", system="Be polite.")
    assert message.content[0].text == "good morning"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 3)
    called = ask(client, "Oslo", tools=[WEATHER], tool_choice={"type": "any"})
    assert (called.stop_reason, called.content[0].input) == ("tool_use", {"city": "Oslo"})
    assert behind.stats()["routes"]["POST /v1/chat/completions"]["received"] == 2


def test_an_upstream_in_a_batch(pair):
    """A batch for any model is answered by the upstream, row by row, also with temperature and a stop sequence."""
    client, behind = pair
    behind.set_faults("seed=2,429=0.2,retry_after=0")

    def request(index):
        params = {
            "model": "claude-any",
            "max_tokens": 50,
            "temperature": 0,
            "stop_sequences": ["END"],
            "messages": turns(("user", f"text {index}END and more")),
        }
        return {"custom_id": f"r-{index}", "params": params}

    made = client.messages.batches.create(requests=[request(i) for i in range(20)])
    done = until(
        lambda: (
            (found := client.messages.batches.retrieve(made.id)).processing_status == "ended"
            and found
        )
    )
    assert done.request_counts.succeeded == 20
    found = {
        line.custom_id: line.result.message.content[0].text
        for line in client.messages.batches.results(made.id)
    }
    assert found == {f"r-{i}": f"text {i}" for i in range(20)}
