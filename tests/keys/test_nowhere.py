"""The fixture that looks for keys after each test finds them, in all their forms."""

from __future__ import annotations

import base64

import pytest

from jupyter_batch.core import secrets
from tests.nowhere import found, since

KEY = "sk-of-the-fixture-0123456789"


@pytest.mark.parametrize(
    "form", [KEY, base64.b64encode(f"u:{KEY}".encode()).decode(), KEY.encode().hex()]
)
def test_a_key_on_disk_or_on_a_screen_is_found(form, tmp_path):
    """A4: in a file of any kind, and in what was printed."""
    path = tmp_path / "deep" / "output-0.jsonl"
    path.parent.mkdir()
    path.write_text(f'{{"said": "{form}"}}')
    assert found([KEY], tmp_path) == [f"a key is in {path}"]
    assert found([KEY], tmp_path / "none", f"printed {form}") == ["a key was printed or logged"]
    assert found([KEY], tmp_path / "none", "nothing") == []


def test_keys_of_the_test_are_known():
    """A4: those that were given since it began."""
    before = secrets.known({})
    secrets.remember("sk-given-now-0123456789")
    assert since(before) == ["sk-given-now-0123456789"]
