"""The built-in model: its rules for labels, schemas, plain prompts and embeddings."""

from __future__ import annotations

import base64
import math
from array import array

import pytest

from jupyter_batch.server.echo import model as echo
from jupyter_batch.server.echo.fill import fill
from jupyter_batch.server.echo.labels import offered


def say(prompt: str, **more) -> str:
    """Echo's answer to a prompt."""
    return echo.answer_text({"messages": [{"role": "user", "content": prompt}], **more})


@pytest.mark.parametrize(
    "prompt",
    [
        "hello",
        "",
        "row 17: (a/b) or c?",
        '{"a": [1, 2]}',
        "Summarize: the one, the other",
        "Ünïcode ⚙ \u2028",
        "Which is bigger, 9.9 or 9.11?",
        "a/b/c",
        "Label: " + "word " * 30 + "red, green or blue",
        "x (1, 2, 3)",
        "Translate to French: good morning",
    ],
)
def test_a_plain_prompt_is_answered_with_itself(prompt):
    """Where no choice is asked for, the answer is the prompt, letter for letter."""
    assert say(prompt) == prompt


@pytest.mark.parametrize(
    ("feedback", "label"),
    [
        ("I love it, works great!", "positive"),
        ("Terrible. It broke after a day.", "negative"),
        ("Not good at all", "negative"),
        ("It isn't bad", "positive"),
        ("Arrived on Tuesday.", "neutral"),
        ("Nice screen, but the battery is awful", "negative"),
        ("I don’t like it", "negative"),
        ("", "neutral"),
    ],
)
def test_sentiment_is_read_off_the_words(feedback, label):
    """The three labels of a sentiment prompt come out as a reader would expect."""
    assert say(f"Classify the sentiment (positive/negative/neutral): {feedback}") == label
    assert say(
        f"Is this positive, negative or neutral? Answer with one word.\n{feedback}", n=1
    ) in ("positive", "negative", "neutral")


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("Classify (a/b/c): x", ["a", "b", "c"]),
        ("Classify (a | b): x", ["a", "b"]),
        ("Label this [spam, ham]: x", ["spam", "ham"]),
        ("Answer with one of: yes, no, maybe.\nText: x", ["yes", "no", "maybe"]),
        ("Choose 'billing', 'shipping' or 'other'. x", ["billing", "shipping", "other"]),
        ("Classify as positive, negative, or neutral: x", ["positive", "negative", "neutral"]),
        ("Categories: food, travel\nPick one for: x", ["food", "travel"]),
        ("Sentiment, positive/negative: x", ["positive", "negative"]),
        ("Rate this review (1, 2, 3, 4, 5): x", ["1", "2", "3", "4", "5"]),
    ],
)
def test_labels_are_found_in_the_forms_people_write(prompt, labels):
    """Each form of a list of labels is found, if the prompt asks for a choice."""
    found = offered(prompt)
    assert found is not None
    assert list(found[0]) == labels
    assert say(prompt) in labels


def test_a_label_is_chosen_by_the_texts_words():
    """Labels that are no sentiment go by whether the text has the word."""
    prompt = "Choose one of: billing, shipping, returns.\nText: my shipping label is late"
    assert say(prompt) == "shipping"


def test_labels_in_the_system_message_count():
    """The choice may be asked for in the system message."""
    messages = [
        {"role": "system", "content": "Classify the sentiment (positive/negative/neutral)."},
        {"role": "user", "content": "I hate this"},
    ]
    assert echo.answer_text({"messages": messages}) == "negative"


def test_the_last_user_message_is_the_prompt_and_parts_are_joined():
    """Of several messages the last of the user's is answered; text parts are joined, a picture is described."""
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "two"},
    ]
    assert (
        echo.answer_text(
            {
                "messages": [
                    {"role": "user", "content": "old"},
                    {"role": "assistant", "content": "x"},
                    {"role": "user", "content": parts},
                ]
            }
        )
        == "one\n[image x]\ntwo"
    )


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "label": {"type": "string", "enum": ["positive", "negative"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "keywords": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "author": {"$ref": "#/$defs/person"},
        "reply": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]},
        "day": {"type": ["string", "null"], "format": "date"},
        "ok": {"type": "boolean"},
        "kind": {"const": "review"},
    },
    "required": ["label", "score", "stars", "keywords", "author", "reply", "day", "ok", "kind"],
    "$defs": {
        "person": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "boss": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]},
            },
            "required": ["name", "boss"],
        }
    },
}


def test_a_schema_is_filled_so_that_it_fits():
    """Every type, enum, bound, $ref (recursive too) and anyOf is kept to; sentiment decides label, score and stars."""
    import jsonschema

    for text, label, good in (
        ("What a wonderful phone", "positive", True),
        ("It broke, awful", "negative", False),
    ):
        value = fill(SCHEMA, text)
        jsonschema.validate(value, SCHEMA)
        assert (value["label"], value["score"] > 0.5, value["stars"] > 3, value["ok"]) == (
            label,
            good,
            good,
            good,
        )
        assert value == fill(SCHEMA, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "number", "multipleOf": 0.5},
        {"type": "string", "minLength": 30},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
            ]
        },
        {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
        {"enum": [1, None, "a"]},
        {},
        {"type": "null"},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object"},
    ],
)
def test_odd_schemas_are_filled_too(schema):
    """Bounds that exclude, steps, lengths, tuples, merged and empty schemas."""
    import jsonschema

    jsonschema.validate(fill(schema, "some text with 7 words in it"), schema)


def test_max_tokens_and_stop_cut_the_answer():
    """Four characters are a token; a cut by length says so; a stop text is not part of the answer."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "abcdefghij"}]}
    cut = echo.chat({**body, "max_tokens": 2}, id_="x", created=1)
    assert (cut["choices"][0]["message"]["content"], cut["choices"][0]["finish_reason"]) == (
        "abcdefgh",
        "length",
    )
    assert cut["usage"]["completion_tokens"] == 2
    stopped = echo.chat({**body, "stop": ["ef"], "n": 2}, id_="x", created=1)
    assert [one["message"]["content"] for one in stopped["choices"]] == ["abcd", "abcd"]
    assert stopped["usage"] == {
        **stopped["usage"],
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
    }


def test_embeddings_are_unit_vectors_of_the_text():
    """The same text has the same unit vector, another text another; base64 holds the same floats."""
    body = {"model": "echo", "input": ["a", "b", "a"], "dimensions": 32}
    one, two, three = (row["embedding"] for row in echo.embeddings(body)["data"])
    assert one == three != two
    assert math.fsum(x * x for x in one) == pytest.approx(1, abs=1e-6)
    packed = echo.embeddings({**body, "encoding_format": "base64"})["data"][0]["embedding"]
    assert array("f", base64.b64decode(packed)).tolist() == one
    assert len(echo.embeddings({"model": "echo", "input": [1, 2, 3]})["data"]) == 1


def test_the_sdk_talks_to_it_in_real_time(ask):
    """Chat, streamed chat, JSON and embeddings through the official SDK; the model says that it is none."""
    messages = [{"role": "user", "content": "hello there, a text of some length"}]
    whole = ask.sdk.chat.completions.create(model="local/echo", messages=messages)
    assert whole.choices[0].message.content == messages[0]["content"]
    pieces = list(
        ask.sdk.chat.completions.create(
            model="echo", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        == messages[0]["content"]
    )
    assert pieces[-1].usage.total_tokens == whole.usage.total_tokens
    assert pieces[-2].choices[0].finish_reason == "stop"
    assert (
        len(ask.sdk.embeddings.create(model="local/echo", input="x").data[0].embedding)
        == echo.DIMENSIONS
    )
    models = {model.id: model.owned_by for model in ask.sdk.models.list()}
    assert set(models) == {"local/echo", "echo"}
    assert "no language model" in models["local/echo"]
    assert ask.sdk.models.retrieve("local/echo").object == "model"
