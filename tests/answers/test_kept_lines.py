"""The fields of an answer other than its text, in the shapes that providers and servers send."""

from __future__ import annotations

import json

import pytest

from jupyter_batch.wire import openai
from jupyter_batch.wire.kept import kept

TOKENS = [{"token": "hi", "logprob": -0.1, "top_logprobs": []}]
CITED = [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]
SOURCE = {"type": "char_location", "cited_text": "grass", "document_index": 0}
WEB = {"web": {"uri": "https://a.example", "title": "A"}}


def chat(message, choice=(), **body):
    """A chat completion's line."""
    text = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi", **message},
        **dict(choice),
    }
    return {"response": {"status_code": 200, "body": {"choices": [text], **body}}}


def responses(*output):
    """A line of /v1/responses."""
    return {"response": {"status_code": 200, "body": {"status": "completed", "output": output}}}


def part(**more):
    """A message of a response."""
    return {"type": "message", "content": [{"type": "output_text", "text": "hi", **more}]}


def claude(*content):
    """A line of Anthropic's."""
    return {"result": {"type": "succeeded", "message": {"content": content}}}


def gemini(*parts, **candidate):
    """A line of Gemini's."""
    return {"response": {"candidates": [{"content": {"parts": parts}, **candidate}]}}


def converse(*content):
    """A line of Bedrock's."""
    return {"modelOutput": {"output": {"message": {"content": content}}}}


SUMMARY = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "first"}]}
THOUGHT = {
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "short"}],
    "content": [{"type": "reasoning_text", "text": "second"}],
}
REASONING = {
    "litellm, DeepSeek, xAI": (chat({"reasoning_content": "why"}), "why"),
    "OpenRouter, vLLM, Groq": (chat({"reasoning": "why"}), "why"),
    "OpenRouter's details": (
        chat({"reasoning_details": [{"type": "reasoning.text", "text": "why"}]}),
        "why",
    ),
    "litellm's blocks": (
        chat({"thinking_blocks": [{"type": "thinking", "thinking": "why"}]}),
        "why",
    ),
    "Mistral": (
        chat(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                    {"type": "text", "text": "hi"},
                ]
            }
        ),
        "why",
    ),
    "tags in the text": (chat({"content": "<think>\nwhy\n</think>hi"}), "why"),
    "none": (chat({"reasoning_content": None}), None),
    "responses": (responses(SUMMARY, THOUGHT, part()), "first\n\nsecond"),
    "Anthropic": (
        claude(
            {"type": "thinking", "thinking": "why", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "hi"},
        ),
        "why",
    ),
    "Gemini": (gemini({"text": "why", "thought": True}, {"text": "hi"}), "why"),
    "Bedrock": (
        converse({"reasoningContent": {"reasoningText": {"text": "why"}}}, {"text": "hi"}),
        "why",
    ),
}
LOGPROBS = {
    "chat": (chat({}, {"logprobs": {"content": TOKENS, "refusal": None}}), TOKENS),
    "none": (chat({}, {"logprobs": {"content": None, "refusal": None}}), None),
    "responses": (responses(part(logprobs=TOKENS)), TOKENS),
    "Gemini": (
        gemini({"text": "hi"}, logprobsResult={"chosenCandidates": TOKENS, "topCandidates": []}),
        TOKENS,
    ),
}
CITATIONS = {
    "chat": (chat({"annotations": CITED}), CITED),
    "Perplexity": (chat({}, citations=["https://a.example"]), ["https://a.example"]),
    "litellm of Anthropic": (
        chat({"provider_specific_fields": {"citations": [[SOURCE], [SOURCE]]}}),
        [SOURCE, SOURCE],
    ),
    "responses": (responses(part(annotations=CITED)), CITED),
    "none": (responses(part(annotations=[])), None),
    "Anthropic": (claude({"type": "text", "text": "hi", "citations": [SOURCE]}), [SOURCE]),
    "Gemini, grounded": (gemini(groundingMetadata={"groundingChunks": [WEB]}), [WEB]),
    "Gemini": (gemini(citationMetadata={"citations": [WEB]}), [WEB]),
    "Bedrock": (
        converse({"citationsContent": {"content": [{"text": "hi"}], "citations": [SOURCE]}}),
        [SOURCE],
    ),
}


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        *(("reasoning", *case) for case in REASONING.values()),
        *(("logprobs", *case) for case in LOGPROBS.values()),
        *(("citations", *case) for case in CITATIONS.values()),
    ],
    ids=[
        *REASONING,
        *(f"{name} logprobs" for name in LOGPROBS),
        *(f"{name} cited" for name in CITATIONS),
    ],
)
def test_what_a_line_holds(name, line, value):
    """The same column, whatever the provider calls it; None where there is nothing."""
    assert kept(json.dumps({"custom_id": "j-0", **line}).encode()).get(name) == value


def test_a_spoken_answer_is_its_transcript():
    """Of an answer that is audio alone the transcript is the text, and a column on request."""
    line = json.dumps(
        {"custom_id": "j-0", **chat({"content": None, "audio": {"id": "a", "transcript": "hello"}})}
    ).encode()
    assert openai.decode(line, openai.CHAT).value == "hello"
    assert kept(line)["transcript"] == "hello"


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{", b'{"result": 3}', b'{"response": {"body": {"choices": [3, {}]}}}', b"\xff"],
)
def test_a_line_that_can_not_be_read_holds_nothing(line):
    """Bytes from outside never raise."""
    assert not any(kept(line).values())
