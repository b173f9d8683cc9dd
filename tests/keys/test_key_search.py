"""The fixture that looks for keys after each test finds them, in all their forms."""

from __future__ import annotations

import base64
import logging
import sys

import pandas as pd
import pytest

from jupyter_batch.core import secrets
from tests.key_search import Forms, found, logged, shown, since
from tests.keys.recorder import recording
from tests.keys.waiting import until

PRINTED = "a key was printed, logged or shown"
KEY = "sk-of-the-fixture-0123456789"


@pytest.mark.parametrize(
    "form", [KEY, base64.b64encode(f"u:{KEY}".encode()).decode(), KEY.encode().hex()]
)
def test_a_key_on_disk_or_on_a_screen_is_found(form, tmp_path):
    """In a file of any kind, and in what was printed."""
    path = tmp_path / "deep" / "output-0.jsonl"
    path.parent.mkdir()
    path.write_text(f'{{"said": "{form}"}}')
    assert found([KEY], tmp_path) == [f"a key is in {path}"]
    assert found([KEY], tmp_path / "none", f"printed {form}") == [PRINTED]
    assert found([KEY], tmp_path / "none", "nothing") == []


def test_keys_of_the_test_are_known():
    """Those that were given since it began."""
    before = secrets.known({})
    secrets.remember("sk-given-now-0123456789")
    assert since(before) == ["sk-given-now-0123456789"]


def test_a_short_key_is_found_as_a_word(tmp_path):
    """Eight characters are a key as well; within a longer word they are chance."""
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"\0api_key=hunter-2;\0")
    assert found(["hunter-2"], tmp_path) == [f"a key is in {path}"]
    assert found(["hunter-2"], tmp_path / "none", "hunter-2000") == []


@pytest.mark.parametrize("before", [(1 << 20) - 5, 5_000_000])
def test_a_large_file_is_searched_across_its_blocks(before, tmp_path):
    """Of any size."""
    path = tmp_path / "output-0.jsonl"
    path.write_bytes(b"x" * before + KEY.encode() + b"y" * 3_000_000)
    assert Forms([KEY]).in_file(path)
    path.write_bytes(b"x" * 5_000_000)
    assert not Forms([KEY]).in_file(path)


def test_what_a_test_takes_from_its_capture_is_received(capsys):
    """`capsys.readouterr()` takes the output from pytest's report."""
    with logged() as texts:
        print(f"printed {KEY}")
        sys.stderr.write(f"written {KEY}")
        capsys.readouterr()
    assert len([text for text in texts if KEY in text]) == 2


def test_every_level_of_our_loggers_is_received():
    """Hidden records, too, with traceback; of the others those that their levels let through."""
    with logged() as texts:
        try:
            raise ValueError(KEY)
        except ValueError:
            logging.getLogger("jupyter_batch.anything").debug("failed", exc_info=True)
        logging.getLogger("another").warning("sent %s", KEY)
    assert len([text for text in texts if KEY in text]) == 2


def test_what_is_shown_of_jobs_and_widgets(home):
    """Reprs, HTML and results of each open job, and the state of each widget."""
    from ipywidgets import HTML

    with recording() as server:
        frame = pd.DataFrame({"t": ["first row"]})
        call = {"model": "openai/m", "api_base": f"{server.url}/v1", "api_key": KEY}
        frame.llm.batch("Say {t}", out="shown_column", name="shown name", **call)
        until(lambda: server.calls)
        widget = HTML("in a widget")
        texts = "\n".join(shown())
        widget.close()
    for part in ("text/html", "shown name", "shown_column", "in a widget", "_status"):
        assert part in texts, part
