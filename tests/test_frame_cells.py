"""Cells in: the column appears in the very frame, whole, with the right dtype, and no warning."""

import numpy as np
import pandas as pd
import pytest

from jupyter_batch.core.errors import ColumnError
from jupyter_batch.frames.frame import fill, has_column

TEXT = pd.Series([""]).dtype


def everywhere(rows):
    """The frame as it was submitted."""
    return np.arange(rows, dtype=np.int64)


def test_texts_get_the_installed_pandas_own_dtype_and_missing_cells_its_missing_value():
    """A dtype for texts in pandas 3, objects in pandas 2; a missing answer is NaN in both, and no "None"."""
    frame = pd.DataFrame({"a": [1, 2, 3]})
    fill(frame, "out", ["x", None, "nan"], everywhere(3))
    assert frame["out"].dtype == TEXT
    assert frame["out"].isna().tolist() == [False, True, False]
    assert isinstance(frame["out"][1], float)
    assert frame["out"][2] == "nan"
    fill(frame, "none", [None, None, None], everywhere(3))
    assert frame["none"].dtype == TEXT
    assert frame["none"].isna().all()


def test_the_frame_that_is_held_elsewhere_gets_the_column():
    """The same object, not a copy of it: what the person's name refers to."""
    frame = pd.DataFrame({"a": [1, 2]})
    held = {"df": frame}
    fill(held["df"], "out", ["x", "y"], everywhere(2))
    assert frame["out"].tolist() == ["x", "y"]
    before = frame["out"]
    fill(frame, "out", ["z", "w"], everywhere(2))
    assert frame["out"].tolist() == ["z", "w"], "no stale cache"
    assert before.tolist() == ["x", "y"], "a column taken out earlier is its own"


def test_a_column_that_is_there_keeps_its_place():
    """For each dtype."""
    frame = pd.DataFrame({"a": [1, 2], "out": [1.5, 2.5], "b": [3, 4]})
    fill(frame, "out", ["x", None], everywhere(2))
    assert list(frame.columns) == ["a", "out", "b"]
    assert frame["out"].isna().tolist() == [False, True]


def test_positions_say_which_answer_and_new_rows_stay_missing():
    """-1 is a row without an answer, also next to the last one."""
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=["x", "x", "y"])
    fill(frame, "out", ["p", "q"], np.array([1, -1, 0]))
    assert frame["out"].iloc[0] == "q"
    assert frame["out"].iloc[2] == "p"
    assert frame["out"].isna().tolist() == [False, True, False]


def test_a_slice_is_filled_without_a_warning_and_its_source_is_left_alone():
    """Warnings are errors in this suite: SettingWithCopy and ChainedAssignment among them."""
    source = pd.DataFrame({"a": range(10), "b": list("abcdefghij")})
    for piece in (source[source["a"] > 6], source.iloc[7:], source.loc[7:, ["a"]], source[7:]):
        fill(piece, "out", ["x", "y", "z"], everywhere(3))
        assert piece["out"].tolist() == ["x", "y", "z"]
        fill(piece, "a", ["x", "y", "z"], everywhere(3))
    assert list(source.columns) == ["a", "b"]
    assert source["a"].tolist() == list(range(10))


def test_a_frame_of_many_columns_is_filled_without_a_warning():
    """By itself pandas warns of fragmented frames; how this one came to be is not our business."""
    frame = pd.DataFrame({"a": [1, 2]})
    for at in range(150):
        frame.isetitem(0, [1, 2]) if at == 0 else fill(frame, f"c{at}", ["x", "y"], everywhere(2))
    assert frame.shape == (2, 150)


def test_columns_of_several_levels():
    """A text becomes the first level, a tuple as much as it says; more levels than there are is an error."""
    frame = pd.DataFrame(
        [[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    )
    assert not has_column(frame, "out")
    fill(frame, "out", ["p", "q"], everywhere(2))
    fill(frame, ("a", "z"), ["r", "s"], everywhere(2))
    fill(frame, ("b",), ["r", "s"], everywhere(2))
    assert list(frame.columns) == [("a", "x"), ("a", "y"), ("out", ""), ("a", "z"), ("b", "")]
    assert frame[("out", "")].tolist() == ["p", "q"]
    assert has_column(frame, "out")
    fill(frame, "out", ["t", "u"], everywhere(2))
    assert frame["out"].tolist() == ["t", "u"]
    assert frame.shape == (2, 5)
    with pytest.raises(ColumnError, match="3 levels"):
        fill(frame, ("a", "b", "c"), ["r", "s"], everywhere(2))


@pytest.mark.parametrize(
    "columns",
    [
        pd.CategoricalIndex(["a", "b"]),
        pd.date_range("2024-01-01", periods=2),
        pd.interval_range(0, 2),
        pd.RangeIndex(2),
        pd.Index([1.5, 2.5]),
        pd.Index([("a", 1), "b"], dtype=object, tupleize_cols=False),
        pd.Index(["b", "b"]),
        pd.period_range("2024", periods=2, freq="Y"),
        pd.Index([True, False]),
    ],
    ids=lambda columns: type(columns).__name__,
)
def test_any_kind_of_column_labels_takes_one_more(columns):
    """Also those that a text does not fit by itself."""
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=columns)
    before = list(columns)
    fill(frame, "out", ["p", "q"], everywhere(2))
    assert list(frame.columns) == [*before, "out"]
    assert frame.iloc[:, 2].tolist() == ["p", "q"]
    assert frame.iloc[:, 0].tolist() == [1, 3]


def test_a_label_that_stands_for_two_columns_can_not_be_filled():
    """Nor is it made a third."""
    frame = pd.DataFrame([[1, 2]], columns=["b", "b"])
    with pytest.raises(ColumnError, match="2 columns are called 'b'"):
        fill(frame, "b", ["x"], everywhere(1))


def test_vectors_and_numbers_are_cells_too():
    """Lists of the same length are no table; numbers with one missing are floats."""
    frame = pd.DataFrame({"a": [1, 2, 3]})
    fill(frame, "vector", [[1.0, 2.0], None, [3.0, 4.0]], everywhere(3))
    assert frame["vector"][0] == [1.0, 2.0]
    assert frame["vector"].isna().tolist() == [False, True, False]
    fill(frame, "n", [1, None, 3], everywhere(3))
    assert frame["n"].dtype == float


def test_a_lone_surrogate_in_an_answer_is_no_crash():
    """Arrow's texts can't hold it: it becomes the replacement character where it has to."""
    frame = pd.DataFrame({"a": [1, 2, 3]})
    fill(frame, "out", ["a\ud800", "y", None], everywhere(3))
    assert frame["out"][0] in ("a\ud800", "a\ufffd")
    assert frame["out"][1] == "y"
    assert frame["out"].isna().tolist() == [False, False, True]


def test_an_empty_frame_gets_an_empty_column():
    """Zero rows, and still the column."""
    frame = pd.DataFrame({"a": []})
    fill(frame, "out", [], everywhere(0))
    assert list(frame.columns) == ["a", "out"]
