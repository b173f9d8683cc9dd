"""A prompt function that reads the column it fills from the frame itself, not from the row it is given."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest

from jupyter_batch.core.errors import ColumnError
from jupyter_batch.prompts.frame_reads import frame_reads


def frame():
    """A prompt's column and a number to look it up by."""
    return pd.DataFrame({"m": ["a", "b"], "k": [0, 1]})


def test_a_closure_over_the_frame_is_refused(server, call):
    """The input would be replaced by its answers; nothing is sent."""
    df = frame()
    with pytest.raises(ColumnError, match=r"reads the column 'm'.*out="):
        df.llm.batch(lambda row: df["m"].iloc[row["k"]], out="m", overwrite=True, **call)
    assert df["m"].tolist() == ["a", "b"]
    assert not server.batches()


def test_another_column_of_the_frame_may_be_read(server, call):
    """A function that reads other columns of its frame fills a column as any other does."""
    df = frame().assign(out="old")
    df.llm.batch(lambda row: df["m"].iloc[row["k"]], out="out", overwrite=True, **call).wait(60)
    assert df["out"].tolist() == ["a", "b"]


def test_ways_to_the_frame():
    """An attribute, a default, a partial, a nested function and one that is called by name are seen."""
    df, other = frame(), frame()

    def inner(row):
        return df.m.iloc[row["k"]]

    def by_default(row, held=df):
        return held.loc[row["k"], "m"]

    def by_argument(row, held):
        return held["m"].iloc[row["k"]]

    reading = [
        inner,
        by_default,
        partial(by_argument, held=df),
        lambda row: f"{inner(row)}!",
        lambda row: " ".join(df["m"] for _ in row),
    ]
    assert [frame_reads(one, df, ["m", "x"]) for one in reading] == [["m"]] * len(reading)
    for harmless in (lambda row: other["m"], lambda row: row["m"], str, "{m}", None):
        assert frame_reads(harmless, df, ["m"]) == []
