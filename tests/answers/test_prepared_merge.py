"""A merge that the worker has prepared: it only attaches columns, and never those of other rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jupyter_batch.frames.watched import WatchedFrame
from jupyter_batch.results.columns import Columns, Texts
from jupyter_batch.results.values import Values

CHANGES = {
    "a cell": lambda df: df.__setitem__("t", ["x", "b", "c"]),
    "a cell in place": lambda df: df.isetitem(0, ["a", "b", "x"]),
    "one cell": lambda df: df.loc.__setitem__((1, "t"), "x"),
    "one number": lambda df: df.loc.__setitem__((1, "n"), 7),
    "a number in its array": lambda df: df["n"].array.__setitem__(0, 7),
    "a text in its array": lambda df: df["t"].array.__setitem__(0, "x"),
    "the order": lambda df: df.sort_values("n", ascending=False),
    "the labels": lambda df: df.__setattr__("index", [5, 6, 7]),
    "the rows": lambda df: df.drop(index=1),
    "the columns": lambda df: df.__delitem__("t"),
}


def frame():
    """Three rows."""
    return pd.DataFrame({"t": ["a", "b", "c"], "n": [1, 2, 3], "o": [[1], [2], [3]]})


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_frame_is_noticed(change):
    """Any change of the rows, their order or their labels after the look; not another column."""
    df = frame()
    watched = WatchedFrame.of(df, ["t", "n"])
    if watched is None:
        pytest.skip("this pandas has no copy-on-write")
    assert watched.is_same(df)
    df["more"] = 1
    assert watched.is_same(df)
    changed = CHANGES[change](df)
    assert not watched.is_same(df if changed is None else changed)
    assert watched.frame["t"].tolist() == ["a", "b", "c"]


def test_objects_are_not_watched():
    """Cells that can change in themselves are compared when the answers are merged."""
    assert WatchedFrame.of(frame(), ["t", "o"]) is None


def columns(*texts):
    """The columns of a file."""
    made = Columns(len(texts))
    made.values = Texts.of(texts)
    return made


def test_answers_as_an_arrow_array():
    """They are those of the rows one by one: empty and missing ones, of files in turns and mixed."""
    pytest.importorskip("pyarrow")
    values = Values(9)
    values.put(np.array([3, 0, 1]), columns("d", None, "", "a"), np.array([0, 3, 2]))
    values.put(np.array([5, 7, 2]), columns("ü", "h", "c"), np.array([0, 1, 2]))
    values.copy(np.array([8]), np.array([3]))
    wanted = ["a", "", "c", "d", None, "ü", None, "h", "d"]
    assert list(values) == wanted
    assert values.arrow.to_pylist() == wanted
    assert (list(values), values[-1], values[2:4]) == (wanted, "d", ["c", "d"])  # of the array now
    assert Values(2).arrow.to_pylist() == [None, None]
    assert Values(0).arrow.to_pylist() == list(Values(0)) == []


def test_texts_of_any_length_are_copied():
    """Each text of 0 to 4,100 bytes is copied whole, also a file's first and last, and not a byte of its neighbours."""
    pytest.importorskip("pyarrow")
    texts = [chr(97 + size % 26) * size for size in range(4101)]
    order = np.random.default_rng(0).permutation(len(texts))
    values = Values(len(texts) + 1)
    values.put(order, columns(*texts), np.arange(len(texts)))
    wanted = [*np.array(texts, dtype=object)[np.argsort(order)], None]
    assert values.arrow.to_pylist() == wanted
    values.arrow.validate(full=True)


def test_a_prepared_merge_looks_at_no_row(call, home, monkeypatch):
    """The merge uses the rows that the worker found; it finds them again if the frame has changed since."""
    from jupyter_batch.merging import target
    from jupyter_batch.merging.rendered import Rendered

    del home
    df = pd.DataFrame({"text": ["b", "c", "a"]})
    job = df.llm.batch("{text}", out="answer", **call).wait(60)
    answers = df["answer"].tolist()
    looked = []
    find = Rendered.find
    monkeypatch.setattr(Rendered, "find", lambda self, df: looked.append(df) or find(self, df))
    for bound in job._answers.targets:
        bound.merged = False
    job._answers.prepare()
    assert target.WatchedFrame.of(df, ["text"]) is None or len(looked) == 1
    seen = len(looked)
    assert list(job._answers.merge())
    assert len(looked) == 1
    assert df["answer"].tolist() == answers
    assert not job._answers.outcomes().has_figures, "a column needs neither tokens nor costs"
    merged = job._answers.outcomes().answers
    assert (job.results()["_input_tokens"] > 0).all()
    assert job._answers.outcomes().answers is merged, "the answers are in memory once"
    del df["answer"]
    df["text"] = sorted(df["text"])
    df.index = [2, 0, 1]
    for bound in job._answers.targets:
        bound.merged = False
    assert list(job._answers.merge())
    assert (len(looked), seen) in {(2, 1), (2, 0)}
    assert df.sort_index()["answer"].tolist() == answers


def test_a_merge_lets_go_of_the_frame_as_it_was(call, home):
    """The rows that the worker found are of a copy, whose columns would stay in memory after a change."""
    del home
    df = pd.DataFrame({"text": ["b", "c"]})
    job = df.llm.batch("{text}", out="answer", **call).wait(60)
    assert df["answer"].notna().all()
    (bound,) = job._answers.targets
    assert bound._found is None


def test_a_number_in_an_array_that_the_frame_shares_is_noticed():
    """The frame was made of an array without a copy, and the array is changed."""
    held = np.array([[1, 2], [3, 4]])
    df = pd.DataFrame(held, columns=["n", "m"], copy=False)
    watched = WatchedFrame.of(df, ["n"])
    if watched is None:
        pytest.skip("this pandas has no copy-on-write")
    assert watched.is_same(df)
    held[0, 0] = 9
    assert not watched.is_same(df)


def test_answers_of_files_in_turns_are_one_piece():
    """Every second row from another file: one chunk, not one a row, with the same answers."""
    pytest.importorskip("pyarrow")
    rows = 6000
    values = Values(rows)
    for first in (0, 1):
        at = np.arange(first, rows - 3, 2)
        values.put(at, columns(*[f"{row}" for row in at]), np.arange(len(at)))
    assert values.arrow.to_pylist() == list(values)
    assert values.arrow[1].as_py() == "1"
    assert getattr(values.arrow, "num_chunks", 1) == 1


class Guarded(pd.DataFrame):
    """A frame that can't be read while the worker prepares the merge."""

    def copy(self, deep=True):
        """As a frame that its user's thread changes at this moment."""
        raise RuntimeError("the frame is being changed")


def test_a_preparation_that_fails_loses_no_answer(call, home):
    """The answers are merged whatever happens in it."""
    del home
    df = Guarded({"text": ["b", "c", "a"]})
    job = df.llm.batch("{text}", out="answer", **call).wait(60)
    assert job.is_successful
    assert df["answer"].notna().all()


def test_the_end_is_announced_when_the_merge_is_prepared(call, home, monkeypatch):
    """A cell that is run upon the announcement finds the merge queued, not the rows being looked for."""
    from jupyter_batch.job_state import JobState
    from jupyter_batch.merging.bound_frames import Answers

    del home
    came = []
    for owner, name in ((Answers, "prepare"), (JobState, "_announce_end")):
        former = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda self, n=name, f=former: came.append(n) or f(self))
    df = pd.DataFrame({"text": ["b", "c", "a"]})
    df.llm.batch("{text}", out="answer", **call).wait(60)
    assert came == ["prepare", "_announce_end"]
