"""Citations of a structured answer name the field whose value they are in; others stay as they came."""

from __future__ import annotations

import json

import pytest

from jupyter_batch.wire.kept import kept

ANSWER = '{"label": "good", "why": "it [1] says", "n": 3}'
START = ANSWER.index("[1]")
URL = {"start_index": START, "end_index": START + 3, "url": "https://a.example", "title": "A"}


def chat(text, annotations):
    """A chat completion's line."""
    message = {"role": "assistant", "content": text, "annotations": annotations}
    body = {"choices": [{"index": 0, "message": message}]}
    return {"custom_id": "a", "response": {"status_code": 200, "body": body}}


def response(text, annotations):
    """A line of /v1/responses."""
    part = {"type": "output_text", "text": text, "annotations": annotations}
    body = {"output": [{"type": "message", "content": [part]}]}
    return {"custom_id": "a", "response": {"status_code": 200, "body": body}}


def anthropic(*blocks):
    """A line of Anthropic's, of (text, citations)."""
    content = [{"type": "text", "text": text, "citations": cited} for text, cited in blocks]
    return {"custom_id": "a", "result": {"type": "succeeded", "message": {"content": content}}}


CITED = {"type": "char_location", "cited_text": "it says", "document_title": "B"}


@pytest.mark.parametrize(
    ("line", "citations"),
    [
        (
            chat(ANSWER, [{"type": "url_citation", "url_citation": URL}]),
            [{"type": "url_citation", "url_citation": URL, "field": "why"}],
        ),
        (
            response(ANSWER, [{"type": "url_citation", **URL}]),
            [{"type": "url_citation", **URL, "field": "why"}],
        ),
        (
            anthropic(('{"label": "good", "why": "', None), ("it says", [CITED]), ('"}', None)),
            [{**CITED, "field": "why"}],
        ),
        (anthropic(("it says", [CITED])), [CITED]),
        (chat("it [1] says", [{"type": "url_citation", "url_citation": URL}]), None),
        (chat('{"label": ', [{"type": "url_citation", "url_citation": URL}]), None),
    ],
)
def test_a_citation_has_its_field(line, citations):
    """By its span in the answer, or by the part of the answer that it belongs to."""
    found = kept(json.dumps(line).encode())
    unchanged = [{"type": "url_citation", "url_citation": URL}]
    assert found["citations"] == (unchanged if citations is None else citations)
