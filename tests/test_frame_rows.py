"""Rows out of a frame: plain values of every dtype, what is missing, and no more than a block in memory."""

import datetime as dt
import tracemalloc
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jupyter_batch.core.errors import ColumnError
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.frame import blocks, missing_reason, used
from jupyter_batch.templates.template import parse

BERLIN = pd.Timestamp("2024-01-01 12:00", tz="Europe/Berlin")


def lists(block):
    """The block's values, a list a column."""
    return block.values  # noqa: PD011 - a Block is no frame


def cells(series):
    """(the values, the offsets of missing ones) of one column."""
    block = next(blocks(pd.DataFrame({"v": series}), ["v"]))
    return lists(block)[0], list(block.missing)


@pytest.mark.parametrize(
    ("series", "values"),
    [
        (pd.Series(["a", None, "", np.nan, pd.NA], dtype=object), ["a", None, "", None, None]),
        (pd.Series(["a", None]), ["a", None]),
        (pd.Series(["a", pd.NA], dtype="string"), ["a", None]),
        (pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())), ["a", None]),
        (pd.Series(["a", None, "a"], dtype=object).astype("category"), ["a", None, "a"]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series([1, 2], dtype="uint8"), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series([1.5, np.nan, np.inf]), [1.5, None, np.inf]),
        (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        (pd.Series([True, False]), [True, False]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series([BERLIN, pd.NaT]), [BERLIN, None]),
        (pd.Series([pd.Timedelta(5, "s"), pd.NaT]), [pd.Timedelta(5, "s"), None]),
        (pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")), [pd.Period("2024-01", "M"), None]),
        (pd.Series(pd.interval_range(0, 2)), [pd.Interval(0, 1), pd.Interval(1, 2)]),
        (pd.Series(pd.arrays.SparseArray([0, 0, 7])), [0, 0, 7]),
        (pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), [[1], None]),
        (
            pd.Series([{"a": 1}, None], dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
            [{"a": 1}, None],
        ),
        (
            pd.Series([1.5, None, float("nan")], dtype=pd.ArrowDtype(pa.float64())),
            [1.5, None, None],
        ),
        (
            pd.Series([Decimal("1.10"), Decimal("NaN"), dt.date(2024, 1, 1), b"x"], dtype=object),
            [Decimal("1.10"), None, dt.date(2024, 1, 1), b"x"],
        ),
        (
            pd.Series(
                [
                    np.int64(3),
                    np.datetime64("2024-01-01", "ns"),
                    np.float64("nan"),
                    np.str_("s"),
                    pd.NaT,
                ],
                dtype=object,
            ),
            [3, pd.Timestamp("2024-01-01"), None, "s", None],
        ),
        (pd.Series([[], {}, [None], (), [np.nan]], dtype=object), [[], {}, [None], (), [np.nan]]),
        (pd.Series([1 + 2j, 0j]), [1 + 2j, 0j]),
    ],
    ids=lambda value: str(getattr(value, "dtype", ""))[:30],
)
def test_every_dtype_gives_plain_values_and_none_for_missing(series, values):
    """Lists, dicts and arrays are values, whatever is in them."""
    text, missing = cells(series)
    assert text == values
    assert [type(value) for value in text] == [type(value) for value in values]
    assert missing == [at for at, value in enumerate(values) if value is None]


def test_an_array_in_a_cell_is_a_value():
    """Neither missing nor ambiguous, nor cut short in its fingerprint."""
    arrays = [np.arange(5000), np.arange(5000), np.array([])]
    arrays[1][2500] = -1
    block = next(blocks(pd.DataFrame({"v": pd.Series(arrays, dtype=object)}), ["v"]))
    assert block.missing == {}
    assert len(set(block.fingerprints)) == 3


def test_blocks_are_all_rows_in_order_whatever_the_size():
    """One pass, in which each row is there once, with the same fingerprint."""
    frame = pd.DataFrame({"t": [f"text {n}" for n in range(1000)], "n": range(1000)})
    whole = [list(blocks(frame, ["t", "n"], size)) for size in (1, 7, 100, 5000)]
    for parts in whole:
        assert [part.start for part in parts] == np.cumsum(
            [0, *(part.rows for part in parts[:-1])]
        ).tolist()
        assert [value for part in parts for value in lists(part)[0]] == frame["t"].tolist()
        assert [value for part in parts for value in lists(part)[1]] == frame["n"].tolist()
    assert len({b"".join(f for part in parts for f in part.fingerprints) for parts in whole}) == 1
    assert max(part.rows for part in whole[1]) == 7


def test_the_first_missing_column_of_a_row_is_reported():
    """By its place in the prompt, for the row's reason."""
    frame = pd.DataFrame({"a": [1, None, None], "b": ["x", None, "y"]})
    block = next(blocks(frame, ["b", "a"]))
    assert block.missing == {1: "b", 2: "a"}
    assert missing_reason("a") == "no value in column 'a'"


def test_a_column_that_is_not_there_or_there_twice_is_an_error():
    """Only where it is used."""
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"])
    used(frame, ["a"])
    with pytest.raises(ColumnError, match="2 columns are called 'b'"):
        used(frame, ["a", "b"])
    with pytest.raises(ColumnError, match=r"no column 'c'\. Columns: a, b, b"):
        next(blocks(frame, ["c"]))


def test_labels_of_any_kind_are_columns():
    """0 is no False, and a tuple is no path into levels."""
    frame = pd.DataFrame(
        [[1, 2, 3, 4]],
        columns=pd.Index(
            [0, False, ("a", "b"), pd.Timestamp("2024")], dtype=object, tupleize_cols=False
        ),
    )
    for at, label in enumerate(frame.columns.tolist()):
        assert lists(next(blocks(frame, [label]))) == [[at + 1]]
    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert lists(next(blocks(levels, [("a", "y")]))) == [[2]]
    assert lists(next(blocks(pd.DataFrame([[5]]), [np.int64(0)]))) == [[5]]


def test_no_columns_and_no_rows():
    """A prompt without holes still has rows; a frame without rows has no blocks."""
    block = next(blocks(pd.DataFrame({"a": [1, 2]}), []))
    assert (block.rows, lists(block), block.missing) == (2, [], {})
    assert list(blocks(pd.DataFrame({"a": []}), ["a"])) == []


def test_missing_is_rendered_as_nothing():
    """The requests of na="send"."""
    frame = pd.DataFrame({"t": ["a", None], "n": [1, None]})
    template = parse("<{t}|{n:.1f}>", frame.columns)
    block = next(blocks(frame, template.columns))
    assert template.render(lists(block), block.rows) == ["<a|1.0>", "<|>"]


def test_memory_stays_bounded_by_the_block_also_with_long_cells():
    """A thousand rows of a hundred thousand characters are never all in memory in addition to the frame."""
    texts = [chr(97 + n % 26) * 100_000 for n in range(1000)]
    frame = pd.DataFrame({"t": pd.Series(texts, dtype=pd.ArrowDtype(pa.large_string()))})
    del texts
    tracemalloc.start()
    try:
        rows = sum(block.rows for block in blocks(frame, ["t"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 1000
    assert peak < 12 * frames.BLOCK_CHARS, f"{peak:,}"
