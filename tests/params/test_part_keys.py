"""Keys inside message parts: misspelled or missing ones are the row's reason, before anything is sent."""

from __future__ import annotations

import pytest

from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.ask import route_to
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import OPENAI, encoder
from jupyter_batch.wire.message_parts import in_chat_form
from jupyter_batch.wire.openai import CHAT, Hole
from jupyter_batch.wire.whole import Refused

PNG = "data:image/png;base64,iVBORw0KGgo="


def message_with(part):
    """A message with this part."""
    return [{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"type": "image_url"}, "has no 'image_url'"),
        ({"type": "image_url", "image_url": {"url": None}}, "no 'url' or 'file_id'"),
        ({"type": "image_url", "image_url": {"urll": PNG}}, "did you mean 'url'"),
        ({"type": "image_url", "image_url": {"url": PNG, "detial": "low"}}, "mean 'detail'"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, "has no 'data'"),
        ({"type": "file", "file": {"filename": "a.pdf"}}, "'file_id' or 'file_data'"),
        ({"type": "text", "txt": "more"}, "did you mean 'text'"),
        ({"type": "input_image", "file_id": "file-1"}, "image_url"),
    ],
)
def test_a_typo_inside_a_part_is_refused(part, word):
    """For every provider."""
    with pytest.raises(Refused, match=word):
        in_chat_form(message_with(part))


def line(part, api_base=None):
    """A request line for OpenAI or a server of its shape."""
    route = route_to("openai", "gpt-4.1-mini", api_base)
    body = {"model": "gpt-4.1-mini", "messages": Hole("messages")}
    made = encoder(OPENAI, CHAT, body, load_litellm, route=route)
    return made.encode(["j-0"], {"messages": [in_chat_form(message_with(part))]})[0]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG}, "uuid": "1"},
        {"type": "image_url", "image_url": {"url": PNG, "pixels": 3}},
        {"type": "text", "text": "hi", "foo": "bar"},
    ],
)
def test_openai_takes_no_other_keys(part):
    """OpenAI refuses each row for them, after a day; other servers have keys of their own."""
    refused = line(part)
    assert isinstance(refused, RowError)
    assert "OpenAI does not take" in refused.reason
    assert isinstance(line(part, "https://other.example/v1"), bytes)


def test_the_detail_of_a_responses_picture_is_kept():
    """`input_image` with a detail; it was left out."""
    part = {"type": "input_image", "image_url": PNG, "detail": "high"}
    assert in_chat_form(message_with(part))[0]["content"][1]["image_url"] == {
        "url": PNG,
        "detail": "high",
    }


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": PNG},
        {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
    ],
)
def test_parts_in_openais_form_are_sent(part):
    """All the forms of its reference, and a picture as a bare address."""
    assert isinstance(line(part), bytes)
