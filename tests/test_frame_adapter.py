"""A frame library is an adapter: the package touches frames through it alone."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.config.magic_line import frame_named
from jupyter_batch.core.errors import AlignmentError, InputError
from jupyter_batch.frames import adapter
from jupyter_batch.server.embedded import Embedded

PACKAGE = Path(jupyter_batch.__file__).parent
HOLD_FRAMES = {"frame", "_frame", "df", "witness"}
OURS = {"cli/actions.py", "demo.py", "merging/labelled.py"}
"""Modules whose frames are tables of this package: pandas' own."""


class Columns(dict):
    """The toy library's frame: a dict of lists."""


class ToyFrames:
    """The adapter of the toy library."""

    def accepts(self, value):
        return isinstance(value, Columns)

    def row_labels(self, frame):
        return pd.RangeIndex(len(next(iter(frame.values()), [])))

    def column_labels(self, frame):
        return pd.Index(list(frame), dtype=object)

    def column(self, frame, place):
        return pd.Series(list(frame.values())[place], dtype=object)

    def fill(self, frame, place, label, cells):
        frame[label if place is None else list(frame)[place]] = [
            None if pd.isna(cell) else cell for cell in np.asarray(cells, dtype=object)
        ]

    def copy(self, frame):
        return Columns({label: list(cells) for label, cells in frame.items()})

    def take(self, frame, rows):
        return Columns({label: [cells[row] for row in rows] for label, cells in frame.items()})


@pytest.fixture
def toy(monkeypatch):
    """The toy library, registered for this test."""
    monkeypatch.setattr(adapter, "_ADAPTERS", [*adapter._ADAPTERS])
    adapter.register(ToyFrames())


@pytest.fixture
def call(tmp_path, home):
    """An echo server's model."""
    with Embedded(tmp_path / "server") as server:
        yield {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}


def test_a_job_fills_a_frame_of_a_library_from_outside(toy, call):
    """The column is there, also where the rows were reordered in the meantime."""
    frame = Columns(text=["one", None, "three"], other=[1, 2, 3])
    job = jupyter_batch.batch(frame, "{text}", out="said", **call).wait(60)
    assert frame["said"] == ["one", None, "three"]
    assert list(frame) == ["text", "other", "said"]
    again = Columns(text=["three", "one"], other=[3, 1])
    job.merge(again)
    assert again["said"] == ["three", "one"]


def test_a_rerun_of_the_cell_finds_the_job(toy, call):
    """The frame made once more is filled by the same job, and nothing is sent."""
    first = jupyter_batch.batch(Columns(text=["one", "two"]), "{text}", out="said", **call)
    first.wait(60)
    frame = Columns(text=["one", "two"])
    job = jupyter_batch.batch(frame, "{text}", out="said", **call).wait(60)
    assert job.id == first.id
    assert frame["said"] == ["one", "two"]


def test_changed_rows_and_own_cells_are_safe(toy, call):
    """A row with another text is refused; a user's own value is not overwritten."""
    frame = Columns(text=["one", "two"])
    job = jupyter_batch.batch(frame, "{text}", out="said", **call).wait(60)
    other = Columns(text=["one", "changed"])
    with pytest.raises(AlignmentError):
        job.merge(other)
    assert "said" not in other
    frame["said"][0] = "mine"
    with pytest.raises(InputError, match="1 cell of 'said' was not written by this job"):
        job.merge(frame)
    assert frame["said"] == ["mine", "two"]


def test_a_sample_is_a_frame_of_the_library(toy, call):
    """The rows are taken, and filled, through the adapter."""
    part = jobs.sample(Columns(text=["one", "two", "three"]), "{text}", 2, **call)
    assert isinstance(part, Columns)
    assert part["response"] == part["text"]


def test_a_magic_finds_it_by_name(toy):
    """`%%llm_batch frame` reads the user's names."""
    frame = Columns(text=["one"])
    assert frame_named("frame", {"frame": frame, "other": 3}) is frame


def test_without_its_adapter_it_is_refused(call):
    """Nothing is guessed about an unknown type."""
    with pytest.raises(InputError, match="not a Columns"):
        jupyter_batch.batch(Columns(text=["one"]), "{text}", **call)


def touched(tree):
    """The line of each use of a frame's own attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"index", "columns", "iloc", "loc"}:
            name = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if name in HOLD_FRAMES:
                yield node.lineno
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in {"isinstance", "len"}
            and node.args
        ):
            first, *rest = node.args
            of_frame = getattr(first, "attr", getattr(first, "id", "")) in HOLD_FRAMES
            if (node.func.id == "len" and of_frame) or any(
                getattr(kind, "attr", "") == "DataFrame" for kind in rest
            ):
                yield node.lineno


def test_nothing_else_touches_a_frame():
    """No module outside frames/ reads the index, the columns, the type or the length of a frame."""
    found = {
        path.relative_to(PACKAGE).as_posix(): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "frames" and path.relative_to(PACKAGE).as_posix() not in OURS
        if (lines := list(touched(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}
