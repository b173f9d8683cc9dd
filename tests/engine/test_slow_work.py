"""Slow work of a call is named while it runs, and an interrupt of it loses nothing."""

from __future__ import annotations

import signal
import threading

import pytest

from jupyter_batch.http import litellm as loading
from jupyter_batch.merging.target import MergeTarget
from tests.engine.conftest import numbered
from tests.terminal_stream import Terminal

SECONDS = 60


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
