"""Answers find their own rows again, or the merge is refused: never a wrong cell."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_batch.core.errors import AlignmentError
from jupyter_batch.frames.frame import Keys, align, blocks, fill

ZONE = "Europe/Berlin"


def keys_of(frame, columns):
    """The kept columns of a submitted frame, as they come back from the ledger."""
    fingerprints = b"".join(
        b"".join(block.fingerprints) for block in blocks(frame, columns, size=7)
    )
    return Keys.from_bytes(Keys.of(frame.index, fingerprints).to_bytes())


def index_of(kind, rows, draw):
    """An index of this kind, most of them with labels that are there twice."""
    pick = st.lists(st.integers(0, max(rows, 1)), min_size=rows, max_size=rows)
    numbers = draw(pick)
    match kind:
        case "range":
            return pd.RangeIndex(rows)
        case "duplicates":
            return pd.Index([number // 3 for number in numbers])
        case "texts":
            return pd.Index([f"k{number}" for number in numbers])
        case "dates":
            return pd.DatetimeIndex(
                [dt.datetime(2024, 1, 1) + dt.timedelta(days=n) for n in numbers]
            ).tz_localize(ZONE)
        case "mixed":
            return pd.Index(
                [[n, f"k{n}", float(n) + 0.5, None, (n, "t")][n % 5] for n in numbers],
                dtype=object,
                tupleize_cols=False,
            )
        case "levels":
            return pd.MultiIndex.from_arrays(
                [[n % 3 for n in numbers], [f"k{n}" for n in numbers]], names=["a", None]
            )
        case "floats":
            return pd.Index([n / 2 for n in numbers])
        case _:
            return pd.CategoricalIndex([f"k{n % 4}" for n in numbers])


def column_of(kind, rows, draw):
    """Cells of one dtype; often the same ones twice, so that content alone can't tell rows."""
    numbers = draw(st.lists(st.integers(0, max(2 * rows, 1)), min_size=rows, max_size=rows))
    absent = (
        draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        if draw(st.booleans())
        else [False] * rows
    )
    texts = [None if gone else f"text {n}" for n, gone in zip(numbers, absent, strict=True)]
    match kind:
        case "object":
            return pd.Series(texts, dtype=object)
        case "default":
            return pd.Series(texts)
        case "string":
            return pd.Series(texts, dtype="string")
        case "category":
            return pd.Series(texts, dtype=object).astype("category")
        case "Int64":
            return pd.Series(
                [pd.NA if t is None else n for t, n in zip(texts, numbers, strict=True)],
                dtype="Int64",
            )
        case "int":
            return pd.Series(numbers, dtype="int64")
        case "float":
            return pd.Series(
                [np.nan if t is None else n / 4 for t, n in zip(texts, numbers, strict=True)],
                dtype=float,
            )
        case "time":
            return pd.Series(
                [pd.Timestamp("2024-01-01", tz=ZONE) + pd.Timedelta(n, "h") for n in numbers],
                dtype=f"datetime64[ns, {ZONE}]",
            )
        case "lists":
            return pd.Series(
                [t and [n, {"a": t}] for t, n in zip(texts, numbers, strict=True)], dtype=object
            )
        case _:
            return pd.Series(texts, dtype=pd.ArrowDtype(pa_string()))


def pa_string():
    """Arrow's own text type."""
    import pyarrow as pa

    return pa.large_string()


INDEXES = ["range", "duplicates", "texts", "dates", "mixed", "levels", "floats", "category"]
DTYPES = [
    "object",
    "default",
    "string",
    "category",
    "Int64",
    "int",
    "float",
    "time",
    "lists",
    "arrow",
]


@st.composite
def frames(draw):
    """Frames of random length, index and dtypes."""
    rows = draw(st.integers(1, 24))
    index = index_of(draw(st.sampled_from(INDEXES)), rows, draw)
    frame = pd.DataFrame(
        {name: column_of(draw(st.sampled_from(DTYPES)), rows, draw) for name in ["a", 0]}
    )
    frame.index = index
    return frame


def cells(frame):
    """A row's content, in a form to compare: dtype drift (1 -> 1.0) is no other content."""
    return [fingerprint for block in blocks(frame, ["a", 0]) for fingerprint in block.fingerprints]


def sort(frame, random):
    """The rows in another order."""
    return frame.iloc[random.permutation(len(frame))]


def keep(frame, random):
    """Some of the rows."""
    return frame[random.random(len(frame)) < 0.6]


def append(frame, random):
    """More rows, which say what others say."""
    return pd.concat(
        [frame, frame.sample(min(3, len(frame)), random_state=1)],
        ignore_index=bool(random.integers(2)),
    )


def reset(frame, random):
    """New labels from 0 on."""
    return frame.reset_index(drop=True)


def edit(frame, random):
    """One cell that says something else now."""
    frame = frame.copy()
    at = int(random.integers(len(frame))) if len(frame) else None
    if at is not None:
        column = frame["a"].astype(object).to_list()
        column[at] = "edited"
        frame["a"] = pd.Series(column, dtype=object, index=frame.index)
    return frame


STEPS = [sort, keep, append, reset, edit]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.lists(st.sampled_from(STEPS), max_size=4), st.integers(0, 2**32 - 1))
def test_each_answer_is_on_a_row_with_its_own_content_or_the_merge_is_refused(frame, steps, seed):
    """Sorting, filtering, growing, resetting or editing the frame first: right cells or AlignmentError."""
    keys, asked = keys_of(frame, ["a", 0]), cells(frame)
    random = np.random.default_rng(seed)
    now = frame
    for step in steps:
        now = step(now, random)
    try:
        positions = align(now, ["a", 0], keys)
    except AlignmentError:
        assert steps, "a frame as it was is never refused"
        return
    values = cells(now)
    for place, position in enumerate(positions):
        assert position == -1 or values[place] == asked[position]
    taken = positions[positions >= 0]
    assert len(set(taken.tolist())) == len(taken), "no answer is given twice"
    assert not any(isinstance(cell, str) and cell == "edited" for cell in now["a"][positions >= 0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.sampled_from([sort, keep]), st.integers(0, 2**32 - 1))
def test_a_sorted_or_filtered_frame_with_telling_labels_is_aligned_fully(frame, step, seed):
    """With labels that tell rows apart no answer is lost and each echo lands on the row that it came from."""
    frame = frame.copy()
    frame.index = pd.Index([f"row {n}" for n in range(len(frame))])
    frame["key"] = range(len(frame))
    keys = keys_of(frame, ["a", 0])
    now = step(frame, np.random.default_rng(seed))
    positions = align(now, ["a", 0], keys)
    assert positions.tolist() == now["key"].tolist()


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_rows_with_telling_content_are_found_after_a_reset_of_the_index(order, count):
    """Content alone is enough where no two rows read the same."""
    frame = pd.DataFrame({"t": [f"text {n}" for n in range(12)]})
    keys = keys_of(frame, ["t"])
    now = frame.iloc[list(order)[:count]].reset_index(drop=True)
    assert align(now, ["t"], keys).tolist() == list(order)[:count]


def test_equal_rows_under_new_labels_are_refused_with_their_number():
    """Where the labels were renumbered, rows with the same text can't be distinguished: all of them are counted."""
    frame = pd.DataFrame({"t": ["A", "A", "B", "C"]})
    keys = keys_of(frame, ["t"])
    with pytest.raises(AlignmentError, match=r"2 of 4 rows .*2 moved.*job\.merge\(df\)"):
        align(frame.iloc[[2, 0, 1, 3]].reset_index(drop=True), ["t"], keys)


def test_a_row_that_only_seems_to_be_where_it_was_is_refused_with_the_others():
    """Filtered and reset, row 1 stands at label 0, where another row with the same text was: it is ambiguous."""
    frame = pd.DataFrame({"t": ["A", "A", "B"]})
    keys = keys_of(frame, ["t"])
    with pytest.raises(AlignmentError, match="1 of 2 rows"):
        align(frame.iloc[1:].reset_index(drop=True), ["t"], keys)


def test_a_collision_of_hashes_is_no_match():
    """The sum of a label's and a text's hash may agree by chance: each is looked at by itself."""
    frame = pd.DataFrame({"t": ["A", "B"]}, index=["x", "y"])
    keys, change = keys_of(frame, ["t"]), np.uint64(1 << 40)
    forged = Keys(
        keys.labels ^ change,
        keys.fingerprints ^ np.array([change, 0], dtype=np.uint64),
        keys.skipped,
    )
    with pytest.raises(AlignmentError, match="none of"):
        align(frame, ["t"], forged)


def test_changed_rows_are_refused_with_their_number():
    """An edited cell is no longer the question that was answered."""
    frame = pd.DataFrame({"t": ["A", "B", "C"]}, index=["x", "y", "z"])
    keys = keys_of(frame, ["t"])
    frame.loc["y", "t"] = "Z"
    with pytest.raises(AlignmentError, match=r"1 of 3 rows .*1 changed"):
        align(frame, ["t"], keys)


def test_a_grown_frame_keeps_its_new_rows_missing():
    """New labels are new rows: -1, with their own index or a continued one; equal content does not make them old."""
    frame = pd.DataFrame({"t": ["A", "B"]})
    keys = keys_of(frame, ["t"])
    more = pd.DataFrame({"t": ["C", "A"]})
    assert align(pd.concat([frame, more], ignore_index=True), ["t"], keys).tolist() == [
        0,
        1,
        -1,
        -1,
    ]
    assert align(pd.concat([frame, more]), ["t"], keys).tolist() == [0, 1, -1, -1]


def test_new_labels_on_the_same_rows_do_not_matter():
    """`df.set_index(...)` in place after the submission."""
    frame = pd.DataFrame({"t": ["A", "A", "B"]})
    keys = keys_of(frame, ["t"])
    frame.index = pd.Index(["x", "y", "z"])
    assert align(frame, ["t"], keys).tolist() == [0, 1, 2]


def test_another_frame_is_refused():
    """None of its rows was submitted."""
    keys = keys_of(pd.DataFrame({"t": ["A", "B"]}), ["t"])
    with pytest.raises(AlignmentError, match="none of the frame's 1 rows"):
        align(pd.DataFrame({"t": ["Q"]}, index=["new"]), ["t"], keys)
    with pytest.raises(AlignmentError, match="no column 't'"):
        align(pd.DataFrame({"u": ["A", "B"]}), ["t"], keys)


def test_labels_keep_their_hash_next_to_labels_of_another_kind():
    """Whole numbers become objects, or floats, when a label of another kind is appended: the old rows are found."""
    frame = pd.DataFrame({"t": ["A", "A", "B"]}, index=[3, 4, 5])
    keys = keys_of(frame, ["t"])
    for label in ["new", 7.5, None, pd.Timestamp("2024-01-01")]:
        more = pd.DataFrame({"t": ["X"]}, index=pd.Index([label], dtype=object))
        grown = pd.concat([more, frame.iloc[::-1]])
        assert align(grown, ["t"], keys).tolist() == [-1, 2, 1, 0]


def test_numbers_that_become_floats_are_the_same_content():
    """A missing value in an appended row turns a column of whole numbers into floats."""
    frame = pd.DataFrame({"n": [1, 2]})
    keys = keys_of(frame, ["n"])
    grown = pd.concat([frame, pd.DataFrame({"n": [None]}, dtype=float)], ignore_index=True)
    assert grown["n"].dtype == float
    assert align(grown, ["n"], keys).tolist() == [0, 1, -1]


def test_cells_and_their_limits_are_part_of_the_fingerprint():
    """("a", "bc") is not ("ab", "c"), and a missing value is no empty text."""
    rows = [("a", "bc"), ("ab", "c"), ("", "abc"), (None, "abc"), ("abc", None), ("abc", "")]
    frame = pd.DataFrame(rows, columns=["x", "y"], dtype=object)
    assert len(
        {fingerprint for block in blocks(frame, ["x", "y"]) for fingerprint in block.fingerprints}
    ) == len(rows)


PROGRAM = """
import sys, numpy as np, pandas as pd
sys.path.insert(0, {path!r})
from jupyter_batch.frames.frame import Keys, blocks
index = pd.Index(["a", 1, None, 2.5, ("t", 1), pd.Timestamp("2024-01-01", tz="UTC")], dtype=object, tupleize_cols=False)
frame = pd.DataFrame({{"t": ["x", {{"b", "a", "c"}}, {{"k": 1, "j": 2}}, np.arange(3), None, 1.5]}}, index=index)
fingerprints = b"".join(b"".join(block.fingerprints) for block in blocks(frame, ["t"]))
print(Keys.of(index, fingerprints, [1]).to_bytes().hex())
"""


def test_keys_are_the_same_in_every_process():
    """For each of Python's hash seeds."""
    here = str(Path(__file__).parents[1])
    output = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(path=here)],
            check=True,
            timeout=120,
            text=True,
            stdout=subprocess.PIPE,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(output) == 1
    assert len(output.pop()) > 100


def test_keys_come_back_from_bytes_and_foreign_bytes_are_refused():
    """Also the flags of skipped rows."""
    frame = pd.DataFrame({"t": [f"text {n}" for n in range(13)]})
    fingerprints = b"".join(b"".join(block.fingerprints) for block in blocks(frame, ["t"]))
    keys = Keys.from_bytes(Keys.of(frame.index, fingerprints, [3, 12]).to_bytes())
    assert np.flatnonzero(keys.skipped).tolist() == [3, 12]
    assert len(keys) == 13
    assert align(frame, ["t"], keys).tolist() == list(range(13))
    with pytest.raises(ValueError, match="no row keys"):
        Keys.from_bytes(b"other")
    with pytest.raises(ValueError, match="no row keys"):
        Keys.from_bytes(keys.to_bytes()[:-1])


def test_an_empty_frame_is_aligned_to_nothing():
    """No rows, no refusal."""
    frame = pd.DataFrame({"t": ["A"]})
    assert align(frame.iloc[:0], ["t"], keys_of(frame, ["t"])).tolist() == []


def test_the_echo_of_each_row_is_in_its_cell_after_a_shuffle():
    """From keys to cells: the answer to a row's text is in its row."""
    frame = pd.DataFrame(
        {"t": [f"text {n % 5}" for n in range(40)]}, index=[f"r{n % 8}" for n in range(40)]
    )
    keys, answers = keys_of(frame, ["t"]), [f"echo {text}" for text in frame["t"]]
    shuffled = frame.sample(frac=0.7, random_state=3)
    fill(shuffled, "answer", answers, align(shuffled, ["t"], keys))
    assert ("echo " + shuffled["t"] == shuffled["answer"]).all()
