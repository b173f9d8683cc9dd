"""The part of the package that a row passes through, from `df.llm.batch` to its cell: limits that only fall."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pandas as pd

import jupyter_batch

PACKAGE = str(Path(jupyter_batch.__file__).parent)
FRAMES = 8
"""At most so many frames of ours are on the stack when a block of rows is encoded."""
FILES = 95
"""At most so many files of ours have a function that runs for a job of three rows.

86 were measured on a loaded machine; the goal is 60.
"""


class Way:
    """Records the files whose functions run, and the stack at the first call of an encoder."""

    def __init__(self):
        self.files = set()
        self.stack = []

    def __call__(self, frame, event, _):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        if code.co_name == "<module>" or not code.co_flags & 2:  # an import, or a class's body
            return
        name = code.co_filename[len(PACKAGE) + 1 :]
        self.files.add(name)
        if code.co_name == "encode" and name.startswith("wire/") and not self.stack:
            while frame is not None:
                if frame.f_code.co_filename.startswith(PACKAGE):
                    self.stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
                frame = frame.f_back

    def __enter__(self):
        threading.setprofile(self)
        sys.setprofile(self)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_row_passes_few_frames_and_few_files(tmp_path, monkeypatch):
    """Three rows, from the accessor to the merged column: few frames to the encoder, and no more files than before."""
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path))
    answered(["x", "y", "z"])  # what runs at the first use, and at imports, is not counted
    with Way() as way:
        answered(["a", "b", "c"])
    assert len(way.stack) <= FRAMES, way.stack
    assert len(way.files) <= FILES, sorted(way.files)


def answered(texts):
    """A job of these rows, waited for."""
    df = pd.DataFrame({"text": texts})
    df.llm.batch("{text}", model="local/echo", out="out").wait(60)
    assert df["out"].tolist() == texts
