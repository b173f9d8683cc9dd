"""Answers of an upstream as OpenAI's document has them, text completions, and an upstream for embeddings alone."""

from __future__ import annotations

import copy
import gc
import json
import warnings

import pytest
from server_asking import jsonl, line

from jupyter_batch.server.translate import conform

NULLS = {
    "id": None,
    "created": 1.5,
    "model": None,
    "object": "chat.completion",
    "system_fingerprint": None,
    "service_tier": "on_demand",
    "provider_specific_fields": {},
    "citations": None,
    "vertex_ai_grounding_metadata": [],
    "_hidden": 1,
    "choices": [
        {
            "finish_reason": "eos",
            "index": 7,
            "logprobs": None,
            "provider_specific_fields": {},
            "message": {
                "content": "yes",
                "role": "model",
                "tool_calls": None,
                "function_call": None,
                "audio": None,
                "annotations": None,
                "images": None,
                "reasoning_content": "hm",
                "provider_specific_fields": {},
            },
        }
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": None,
        "total_tokens": 3,
        "cost": None,
        "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": None, "text_tokens": 2},
        "completion_tokens_details": None,
    },
}


def nulls(value: object, path: str = "") -> list[str]:
    """The paths of all nulls."""
    if value is None:
        return [path]
    if isinstance(value, dict):
        return [found for name, one in value.items() for found in nulls(one, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for one in value for found in nulls(one, f"{path}[]")]
    return []


def test_a_chat_dump_is_a_documented_completion():
    """Nulls only where the document has them, none of litellm's own fields, known finish reasons and tiers."""
    before = copy.deepcopy(NULLS)
    body = conform.chat_completion(NULLS)
    assert before == NULLS
    assert sorted(nulls(body)) == [".choices[].logprobs", ".choices[].message.refusal"]
    assert "provider_specific_fields" not in json.dumps(body)
    assert set(body) == {"id", "object", "created", "model", "choices", "usage"}
    assert isinstance(body["created"], int)
    assert body["choices"][0]["index"] == 0
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "yes",
        "refusal": None,
        "reasoning_content": "hm",
    }
    assert body["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 0,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1, "text_tokens": 2},
    }


def test_what_a_dump_has_is_kept():
    """Tool calls, a function call, annotations, audio, logprobs, citations and a stop sequence stay, made whole."""
    citation = {"start_index": 1, "end_index": 2, "url": "u", "title": None, "x": None}
    content = {
        "choices": [
            {
                "finish_reason": "tool_calls",
                "provider_specific_fields": {"stop_reason": "END"},
                "logprobs": {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": None}]},
                "message": {
                    "content": None,
                    "tool_calls": [
                        {"id": None, "index": 0, "function": {"name": "f", "arguments": None}}
                    ],
                    "function_call": {"name": "f", "arguments": "{}"},
                    "annotations": [{"type": "url_citation", "url_citation": citation}, {}],
                    "audio": {"id": "a", "data": "d", "transcript": None},
                },
            }
        ],
        "citations": ["https://a.example"],
    }
    body = conform.chat_completion(content)
    choice, message = body["choices"][0], body["choices"][0]["message"]
    call = message["tool_calls"][0]
    assert (call["type"], call["function"]) == ("function", {"name": "f", "arguments": ""})
    assert call["id"].startswith("call_")
    assert message["function_call"] == {"name": "f", "arguments": "{}"}
    assert message["annotations"][0]["url_citation"] == {
        "start_index": 1,
        "end_index": 2,
        "url": "u",
        "title": "",
    }
    assert message["audio"] == {"id": "a", "data": "d", "transcript": "", "expires_at": 0}
    assert choice["logprobs"] == {
        "content": [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}],
        "refusal": None,
    }
    assert (choice["stop_reason"], body["citations"]) == ("END", ["https://a.example"])


def test_other_dumps_are_documented_objects():
    """A text completion and embeddings have the document's fields alone."""
    text = conform.text_completion({"choices": [{"text": None, "finish_reason": "tool_calls"}]})
    assert text["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    vectors = conform.embeddings(
        {"data": [{"embedding": [1.0], "index": None}], "usage": {"prompt_tokens": 2, "x": None}}
    )
    assert vectors == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}],
        "model": "",
        "usage": {"prompt_tokens": 2, "total_tokens": 0},
    }


@pytest.fixture(autouse=True)
def _no_client_of_an_upstream_is_left():
    """A client that litellm keeps of a loop that has ended is collected here, in silence."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=["echo", "upstream"])
def asked(request, started):
    """The client of a server that answers itself, and of one that asks another."""
    if request.param == "echo":
        return started()
    behind = started(token="k").server
    return started(upstream="openai/echo", api_base=behind.base_url, api_key="k")


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("hello", ["hello"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2], ["1 2"]),
        ([[1, 2], [3]], ["1 2", "3"]),
    ],
)
def test_completions_in_every_form_of_a_prompt(asked, prompt, texts):
    """`/v1/completions` answers a text, several, and token numbers, each `n` times, in order."""
    content = asked.sdk.completions.create(model="echo", prompt=prompt, n=2)
    assert [one.text for one in content.choices] == [text for text in texts for _ in range(2)]
    assert [one.index for one in content.choices] == list(range(2 * len(texts)))
    assert content.object == "text_completion"
    assert (
        content.usage.total_tokens
        == content.usage.prompt_tokens + content.usage.completion_tokens
        > 0
    )
    assert {one.finish_reason for one in content.choices} == {"stop"}


def test_completions_are_cut_and_stopped(asked):
    """`max_tokens`, `stop` and streaming are served as in chat."""
    cut = asked.sdk.completions.create(model="echo", prompt="a long text here", max_tokens=2)
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == ("a long t", "length")
    stopped = asked.sdk.completions.create(model="echo", prompt="oneENDtwo", stop="END")
    assert stopped.choices[0].text == "one"
    pieces = list(asked.sdk.completions.create(model="echo", prompt="word " * 20, stream=True))
    assert "".join(one.choices[0].text for one in pieces) == "word " * 20
    assert [one.choices[0].finish_reason for one in pieces][-2:] == [None, "stop"]


def test_completions_run_as_a_batch(asked):
    """`/v1/completions` is an endpoint of batches; a line without a prompt fails the batch with its number."""

    def row(custom_id: str, **body: object) -> dict:
        made = line(custom_id, url="/v1/completions")
        return {**made, "body": {"model": "echo", **body}}

    rows = [row("a", prompt="x"), row("b", prompt=["y", "z"]), row("c", prompt="x", n=0)]
    output, errors = asked.results(asked.run(jsonl(*rows), "/v1/completions"))
    texts = {
        one["custom_id"]: [choice["text"] for choice in one["response"]["body"]["choices"]]
        for one in output
    }
    assert texts == {"a": ["x"], "b": ["y", "z"]}
    assert [one["custom_id"] for one in errors] == ["c"]
    failed = asked.run(jsonl(row("a", prompt="x"), row("b")), "/v1/completions")
    assert [(one["line"], one["param"]) for one in failed["errors"]["data"]] == [(2, "body.prompt")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "best_of": 1, "n": 2}, None),
        ({"prompt": "a", "echo": 1}, "echo"),
        ({"prompt": "a", "suffix": 1}, "suffix"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
    ],
)
def test_bad_completions_are_refused(ask, body, param):
    """400 with the parameter's name."""
    answer = ask.call("POST", "/completions", json={"model": "echo", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_embeddings_have_an_upstream_of_their_own(started):
    """Chat goes to one upstream, embeddings to another, in real time and in batches; `dimensions` is passed on."""
    chat, vectors = started(token="chat-key"), started(token="vector-key")
    front = started(
        upstream="openai/echo",
        api_base=chat.server.base_url,
        api_key="chat-key",
        embeddings_upstream="openai/echo",
        embeddings_api_base=vectors.server.base_url,
        embeddings_api_key="vector-key",
    )
    content = front.sdk.embeddings.create(model="x", input=["a", "b"], dimensions=8)
    assert [len(one.embedding) for one in content.data] == [8, 8]
    rows = jsonl(line("v", url="/v1/embeddings", model="x", dimensions=16))
    output, errors = front.results(front.run(rows, "/v1/embeddings"))
    assert (len(output[0]["response"]["body"]["data"][0]["embedding"]), errors) == (16, [])
    front.run(jsonl(line("c", model="x")))
    asked = [set(one.server.stats()["routes"]) for one in (chat, vectors)]
    assert asked == [{"POST /v1/chat/completions"}, {"POST /v1/embeddings"}]


def test_the_built_in_model_chats_next_to_an_upstream_for_embeddings(started):
    """With `--embeddings-upstream` alone, chat is still echo's, and both are listed."""
    vectors = started(token="k")
    front = started(
        embeddings_upstream="openai/echo",
        embeddings_api_base=vectors.server.base_url,
        embeddings_api_key="k",
    )
    assert front.call("POST", "/chat/completions", json=line()["body"]).status_code == 200
    assert front.call("POST", "/embeddings", json={"model": "any", "input": "x"}).status_code == 200
    assert (
        front.call("POST", "/chat/completions", json=line(model="any")["body"]).status_code == 404
    )
    names = [one["id"] for one in front.call("GET", "/models").json()["data"]]
    assert names == ["local/echo", "echo", "openai/echo"]
    assert list(vectors.server.stats()["routes"]) == ["POST /v1/embeddings"]


def test_a_key_is_not_shared_with_another_provider(started):
    """The address and the key of --upstream go to the model for embeddings only at the same provider."""
    behind = started(token="k")
    base = {"upstream": "openai/echo", "api_base": behind.server.base_url, "api_key": "k"}
    same = started(**base, embeddings_upstream="openai/other")
    other = started(**base, embeddings_upstream="hosted_vllm/other")
    asked = {"model": "x", "input": "x"}
    assert same.call("POST", "/embeddings", json=asked).status_code in (200, 404)
    received = behind.server.stats()["routes"]["POST /v1/embeddings"]["received"]
    assert received == 1
    assert other.call("POST", "/embeddings", json=asked).status_code == 400
    assert behind.server.stats()["routes"]["POST /v1/embeddings"]["received"] == received


RESPONSE = {
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "metadata": {},
    "text": {"format": {"type": "text"}},
}


def test_a_response_has_no_null_that_the_document_lacks(asked):
    """A response shows defaults where the request had nothing, and functions with `strict`."""
    body = asked.call("POST", "/responses", json={"model": "echo", "input": "x"}).json()
    assert {name: body[name] for name in RESPONSE} == RESPONSE
    assert "user" not in body
    assert body["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    body = asked.call("POST", "/responses", json={"model": "echo", "input": "x", "tools": [tool]})
    assert body.json()["tools"] == [{**tool, "strict": True}]
