"""An index in another process: JSON, no pickle, the same labels."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.frames.frame import index_from_bytes, index_to_bytes

EXACT = [
    pd.RangeIndex(3, 9, 2, name="r"),
    pd.Index([3, 1, 1]),
    pd.Index([3, 1], dtype="uint8"),
    pd.Index([2**64 - 1], dtype="uint64"),
    pd.Index([1.5, np.nan, np.inf, -0.0, 1e300]),
    pd.Index([True, False]),
    pd.Index(["a", None, "é\u2028\x00\n", "a"], dtype=object),
    pd.Index(["a", "b"]),
    pd.Index(["a", pd.NA], dtype="string"),
    pd.Index([1, pd.NA], dtype="Int64"),
    pd.Index(
        [
            "a",
            1,
            None,
            2.5,
            True,
            ("t", 1, (2.5, None)),
            10**30,
            pd.NaT,
            pd.Timestamp("2024-01-01", tz="UTC"),
            pd.Timedelta(5, "s"),
        ],
        dtype=object,
        tupleize_cols=False,
    ),
    pd.DatetimeIndex(["2024-01-01 00:00:00.123456789", None]),
    pd.DatetimeIndex(["2024-03-31 02:30:00", "2024-10-27"])
    .as_unit("s")
    .tz_localize("UTC")
    .tz_convert("Europe/Berlin"),
    pd.DatetimeIndex(["2024-01-01"]).tz_localize(dt.timezone(dt.timedelta(hours=5, minutes=30))),
    pd.DatetimeIndex(["2024-01-01"]).tz_localize("UTC"),
    pd.DatetimeIndex(np.array(["0001-01-01"], dtype="M8[us]")),
    pd.TimedeltaIndex(["1 days", None, "00:00:00.000000001"]),
    pd.PeriodIndex(["2024-01", "2024-02"], freq="M"),
    pd.PeriodIndex(["2024Q1", None], freq="Q-DEC"),
    pd.CategoricalIndex(["b", None, "a"], categories=["b", "a"], ordered=True, name="c"),
    pd.CategoricalIndex([2, 1]),
    pd.interval_range(0, 3, closed="left"),
    pd.interval_range(pd.Timestamp("2024-01-01"), periods=2),
    pd.MultiIndex.from_tuples([("a", 1), ("b", None), ("a", 1)], names=["x", None]),
    pd.MultiIndex.from_product(
        [pd.date_range("2024", periods=2, tz="UTC"), pd.Categorical(["u", "v"])]
    ),
    pd.Index([], dtype=object),
    pd.RangeIndex(0),
    pd.Index(["a"], name=("tuple", 1)),
    pd.Index([1], name=0),
]


@pytest.mark.parametrize("index", EXACT, ids=lambda index: f"{type(index).__name__}-{index.dtype}")
def test_an_index_comes_back_as_it_was(index):
    """Kind, labels, dtype, zone, unit, names."""
    back = index_from_bytes(index_to_bytes(index))
    pd.testing.assert_index_equal(back, index, exact=True)
    assert list(back.names) == list(index.names)


def test_a_zone_comes_back_by_its_name():
    """Whichever of the zone libraries this pandas prefers."""
    index = pd.DatetimeIndex(["2024-01-01"]).tz_localize(ZoneInfo("Asia/Tokyo"))
    back = index_from_bytes(index_to_bytes(index))
    assert str(back.dtype) == str(index.dtype)
    assert back[0] == index[0]


def test_labels_of_an_unknown_kind_come_back_as_their_text():
    """No pickle: other values are given by their text."""
    back = index_from_bytes(index_to_bytes(pd.Index([dt.date(2024, 1, 2), b"x", 1j], dtype=object)))
    assert back.tolist() == ["2024-01-02", "b'x'", "1j"]


@given(
    st.lists(
        st.one_of(
            st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.tuples(st.text())
        )
    )
)
def test_any_labels_survive(labels):
    """Surrogates, huge numbers and all; a bool stays a bool among numbers."""
    index = pd.Index(
        np.fromiter(labels, dtype=object, count=len(labels)), dtype=object, tupleize_cols=False
    )
    back = index_from_bytes(index_to_bytes(index)).tolist()
    assert [repr(label) for label in back] == [repr(label) for label in index.tolist()]


def test_foreign_bytes_are_refused():
    """With a ValueError, whatever they are."""
    for data in (b"", b"{}", b"[1]", b'{"names": [null], "index": {"kind": "range"}}', b"\xff"):
        with pytest.raises(ValueError, match="no stored index"):
            index_from_bytes(data)
