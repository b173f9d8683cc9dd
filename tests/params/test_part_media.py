"""Files by id or address, sound and video: each reaches its model, or is the row's reason."""

from __future__ import annotations

import orjson
import pytest

from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.ask import route_to
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import ANTHROPIC, BEDROCK, OPENAI, VERTEX, encoder
from jupyter_batch.wire.message_parts import in_chat_form
from jupyter_batch.wire.openai import CHAT, RESPONSES, Hole

CLAUDE = (ANTHROPIC, CHAT, route_to("anthropic", "claude-sonnet-4-5"))
GEMINI = (VERTEX, CHAT, route_to("vertex_ai", "gemini-2.5-flash"))
NOVA = (BEDROCK, CHAT, route_to("bedrock", "amazon.nova-lite-v1:0"))
MISTRAL = (OPENAI, CHAT, route_to("mistral", "mistral-small-latest"))
O3 = (OPENAI, RESPONSES, route_to("openai", "o3-pro"))
GPT = (OPENAI, CHAT, route_to("openai", "gpt-4.1-mini"))

AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
PDF = "https://a.example/x.pdf"
FILE_AT = {"type": "file", "file": {"file_id": PDF}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}


def line(place, part):
    """The request line of a row with this part, or its reason."""
    dialect, endpoint, route = place
    message = in_chat_form([{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}])
    body = {"model": route.model, "messages": Hole("messages")}
    made = encoder(dialect, endpoint, body, load_litellm, route=route)
    (made_line,) = made.encode(["j-0"], {"messages": [message]})
    return made_line


@pytest.mark.parametrize(
    ("place", "part"),
    [
        (CLAUDE, AUDIO),
        (CLAUDE, VIDEO),
        (GEMINI, VIDEO),
        (NOVA, AUDIO),
        (NOVA, VIDEO),
        (MISTRAL, AUDIO),
        (MISTRAL, VIDEO),
        (MISTRAL, FILE_AT),
        (NOVA, FILE_AT),
        (GPT, FILE_AT),
        (O3, VIDEO),
        (O3, {"type": "audio_url", "audio_url": {"url": "https://a.example/x.mp3"}}),
    ],
)
def test_what_a_provider_has_no_place_for_is_the_rows_reason(place, part):
    """At /v1/responses a video went out as the Python form of its part, in the text."""
    assert isinstance(line(place, part), RowError)


@pytest.mark.parametrize(
    ("place", "part", "sent"),
    [
        (GPT, AUDIO, "UklGRg=="),
        (GEMINI, AUDIO, "UklGRg=="),
        (GEMINI, FILE_AT, PDF),
        (CLAUDE, FILE_AT, PDF),
        (O3, FILE_AT, f'"file_url":"{PDF}"'),
        (O3, {"type": "file", "file": {"file_id": "file-1"}}, '"file_id":"file-1"'),
    ],
)
def test_what_it_has_a_place_for_is_sent(place, part, sent):
    """A file's address is a `file_url` at /v1/responses, where litellm calls it an id."""
    made = line(place, part)
    assert isinstance(made, bytes), made
    assert sent in made.decode()


@pytest.mark.parametrize("kind", ["image", "document"])
def test_a_file_of_anthropics_is_what_it_was(kind):
    """A picture by its id went to the code execution's container, where the model does not see it."""
    part = {"type": kind, "source": {"type": "file", "file_id": "file_1"}}
    content = orjson.loads(line(CLAUDE, part))["params"]["messages"][0]["content"]
    assert content[1] == part
