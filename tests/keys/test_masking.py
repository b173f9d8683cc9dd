"""No form of a secret is left in a text from outside."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core import secrets
from jupyter_batch.core.errors import OptionError, ProviderDownError
from jupyter_batch.core.secrets import clean, known, mask
from jupyter_batch.process.log import logger

KEY = "sk-pr/oj+4A=x9Zq~7Lm%2B8w"

FORMS = {
    "raw": KEY,
    "header": f"Authorization: Bearer {KEY}",
    "illegal header": f"Illegal header value {f'Bearer {KEY}'.encode() + bytes([10])!r}",
    "line break": f"key {KEY}\n was refused",
    "python": repr({"api_key": KEY}),
    "json": json.dumps({"key": KEY}),
    "json in json": json.dumps(json.dumps({"key": KEY})),
    "url": f"https://host/v1?k={quote(KEY, safe='')}",
    "path": f"https://host/{quote(KEY)}/x",
    "form": quote_plus(KEY),
    "lower-case url": quote(KEY, safe="").lower().replace(KEY.lower(), KEY),
    "basic": f"Basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}",
    "basic without a user": base64.b64encode(f":{KEY}".encode()).decode(),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "hexadecimal": KEY.encode().hex(),
    "beginning": f"the key {KEY[:10]} is wrong",
    "end": f"the key ending in {KEY[-9:]} is wrong",
    "stars": f"Incorrect API key provided: {KEY[:5]}*******{KEY[-4:]}. You can find it",
    "dots": f"Incorrect API key: {KEY[:6]}...{KEY[-4:]}",
    "ellipsis": f"Incorrect API key: {KEY[:6]}…{KEY[-4:]}",
    "assignment": f"key={KEY[:6]}****",
    "cut": f"{'word ' * 10}{KEY[:12]}...",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_known_secret_is_masked(form):
    """Nothing of six characters in a row that is the key's, in any writing, is left."""
    message = mask(FORMS[form], [KEY])
    assert "***" in message or form == "lower-case url"
    data = KEY.encode()
    whole = [data.hex(), base64.b64encode(data).decode()[:12], quote(KEY, safe="")]
    parts = [KEY[at : at + 6] for at in range(len(KEY) - 5)]
    assert [part for part in (*whole, *parts) if part in message] == []


@pytest.mark.parametrize(
    "text",
    [
        "no connection to https://api.openai.com/v1: Connection refused",
        "the model `gpt-4.1-mini` does not exist",
        "Bearer authentication is required",
        "max_tokens is too large: 100000... use at most 16384",
        "**bold** text, wait... for it",
        "Key: value pairs; the key must be a string",
        "https://host/v1/batches?limit=100&after=batch_123",
    ],
)
def test_what_is_no_secret_stays(text):
    """Sentences stay sentences."""
    assert mask(text, [KEY]) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://h/v1?key=abc123&x=1", "https://h/v1?key=***&x=1"),
        ("https://h/v1?api_key=abc", "https://h/v1?api_key=***"),
        ("https://s/b?X-Amz-Signature=0a1b&e=2", "https://s/b?X-Amz-Signature=***&e=2"),
        ("https://s/b?sv=1&sig=abc%3D", "https://s/b?sv=1&sig=***"),
        ("http://me:pass@proxy:3128", "http://***@proxy:3128"),
        ("Bearer abcdef123456", "Bearer ***"),
        ("Incorrect API key provided: gsk_abcdefgh12345678", "Incorrect API key provided: ***"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "***"),
        ("'x-api-key': 'abcdef123456'", "'x-api-key': '***'"),
    ],
)
def test_keys_that_nobody_here_knows_are_reported_by_their_shape(text, left):
    """A key that is not this process's own is masked too."""
    assert mask(text, []) == left


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=16))
def test_any_key_is_masked_in_any_writing(key):
    """For keys of any characters."""
    for text in (key, repr(key), json.dumps(key), quote(key, safe=""), f"Bearer {key}"):
        assert key not in mask(f"<{text}>", [key])


def test_keys_of_the_environment_are_known():
    """By the names of the variables that hold them; a path or an id is none."""
    environ = {
        "OPENAI_API_KEY": "one-secret\n",
        "AWS_SECRET_ACCESS_KEY": "another/secret",
        "AWS_SESSION_TOKEN": "a-third-one",
        "SSH_KEY_PATH": "/home/me/.ssh/key",
        "EDITOR": "an-editor",
    }
    found = known(environ)
    assert {"one-secret\n", "another/secret", "a-third-one"} <= set(found)
    assert not {"/home/me/.ssh/key", "an-editor"} & set(found)


def test_each_error_of_the_tree_is_masked(monkeypatch):
    """Where a text becomes an error of ours, and where a record is logged."""
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert KEY not in str(ProviderDownError(f"it said {KEY}"))
    assert KEY not in repr(OptionError(f"it said {KEY}"))


def test_log_records_and_their_tracebacks_are_masked(monkeypatch, caplog):
    """A traceback from below quotes the header."""
    monkeypatch.setenv("SOME_API_KEY", KEY)
    with caplog.at_level(logging.DEBUG, "jupyter_batch"):
        try:
            raise ValueError(f"Illegal header value b'Bearer {KEY}\\n'")
        except ValueError:
            logger().exception("a pass failed: %s", KEY)
    assert "ValueError: Illegal header value" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "text", ["sk-1234\n", "  sk-1234", '"sk-1234"', "'sk-1234'\n", "\tsk-1234"]
)
def test_what_stands_around_a_key_is_taken_off(text):
    """A mounted secret ends with a line break, an .env file's has quotes."""
    assert clean(text) == "sk-1234"


@pytest.mark.parametrize(
    "text",
    ["", " ", "''", "sk 1234", "sk-\n1234", "sk-\x00", "sk-é1234", "sk-…", "AN_API_KEY=sk-1234"],
)
def test_what_is_no_key_is_refused_without_repeating_it(text):
    """A character that no header can carry is reported by its position."""
    with pytest.raises(ValueError, match=r"is empty|holds|begins") as caught:
        clean(text)
    assert "1234" not in str(caught.value)


def test_placeholders_are_no_secrets():
    """The word "no-key" and other words are not masked."""
    secrets.remember("no-key")
    assert mask("no-key and token", ["no-key", "token", "abc"]) == "no-key and token"
