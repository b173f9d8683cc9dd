"""Slow work of a call is named while it runs, and an interrupt of it loses nothing."""

from __future__ import annotations

import json
import signal
import threading

import pytest

from benchmarks.public import litellm_imported
from jupyter_batch.http import litellm as loading
from jupyter_batch.merging.target import MergeTarget
from tests.engine.conftest import numbered
from tests.terminal_stream import Terminal

SECONDS = 60
HELD = 100  # milliseconds


def test_a_first_preview_names_the_import_and_can_be_interrupted(monkeypatch, call, home):
    """The line is there before the import begins; an interrupt leaves no draft, and the import goes on."""
    terminal, go, seen = Terminal(), threading.Event(), []

    def imported():
        seen.append(terminal.getvalue())
        signal.raise_signal(signal.SIGINT)  # the main thread waits
        assert go.wait(SECONDS)
        return real

    real = loading.load_litellm()
    monkeypatch.setattr(loading, "_litellm", None)
    monkeypatch.setattr(loading, "_import", None)
    monkeypatch.setattr(loading, "_imported", imported)
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(KeyboardInterrupt):
        numbered(3).llm.preview("Echo {text}", **call)
    go.set()
    assert "Importing litellm" in seen[0]
    assert not [path for path in home.rglob("*.jsonl") if "server" not in path.parts]
    assert numbered(3).llm.preview("Echo {text}", **call).requests == 3


@pytest.mark.heavy
def test_litellm_s_import_does_not_hold_the_kernel(tmp_path):
    """The importing thread never takes 100 ms of CPU between two ticks of the main thread, in one of three runs."""
    assert any(litellm_imported(0, tmp_path)["held"] < HELD for _ in range(3))


def test_only_files_of_the_import_are_parsed_otherwise(tmp_path):
    """Another thread's `json.load`, and one with options, are json's own; after the import all are."""
    path = tmp_path / "numbers.json"
    path.write_text('{"n": NaN, "x": [1, 2]}')
    plain, texts = json.load, []
    with loading._quick_parses():
        with path.open() as file:
            assert json.load(file)["x"] == [1, 2]
        with path.open() as file:
            assert json.load(file, parse_constant=texts.append)["n"] is None
        assert json.load is not plain
    assert texts == ["NaN"]
    assert json.load is plain


def test_a_merge_is_named_and_can_be_interrupted(monkeypatch, call):
    """The line counts the answers; after an interrupt the next merge fills the column."""
    terminal, tries, merge = Terminal(), [], MergeTarget.merge

    def slow(self, *args, **kwargs):
        if not tries:
            tries.append(True)
            terminal.written.clear()
            assert terminal.written.wait(SECONDS)
            raise KeyboardInterrupt
        return merge(self, *args, **kwargs)

    frame = numbered(3)
    job = frame.llm.batch("Echo {text}", out="answer", **call)
    monkeypatch.setattr(MergeTarget, "merge", slow)
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(KeyboardInterrupt):
        job.wait(SECONDS)
    assert "Merging 3 answers" in terminal.getvalue()
    job.merge()
    assert frame["answer"].notna().all()
