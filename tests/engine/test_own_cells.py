"""A user's value in a column stays, unless overwrite=True: it is compared cell by cell with our own values."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from jupyter_batch.core.errors import ColumnError
from jupyter_batch.frames.cells import same

from .conftest import numbered


def sent(server):
    """The number of requests that reached the server's batches."""
    return sum(batch["request_counts"]["total"] for batch in server.batches())


def test_a_hand_made_column_is_kept_though_another_job_asked_the_same(server, call):
    """Some job of the ledger filled a column of that name for the same texts: that is no consent."""
    numbered(4).llm.batch("{text}", out="label", **call).wait(60)
    gold = numbered(4).assign(label=["a", "row number 1", "b", None])
    before = gold.copy()
    with pytest.raises(
        ColumnError,
        match=r"2 cells of 'label' were not written by this job \(rows k0, k2\).*'label2'",
    ):
        gold.llm.batch("{text}", out="label", **call)
    pd.testing.assert_frame_equal(gold, before)
    assert sent(server) == 4
    gold.llm.batch("{text}", out="label", overwrite=True, **call).wait(60)
    assert (gold["label"] == gold["text"]).all()


@pytest.mark.parametrize("schema", [None, {"label": str, "n": int}])
def test_a_correction_stays(server, call, schema):
    """One answer is corrected by hand, and the cell run again: reported, not overwritten, nothing is paid."""
    df = numbered(5)
    ask = {"out": "label"} if schema is None else {"schema": schema}
    df.llm.batch("{text}", **ask, **call).wait(60)
    df.loc["k2", "label"] = "by hand"
    before = df.copy()
    with pytest.raises(
        ColumnError,
        match=r"1 cell of 'label' was not written by this job \(row k2\): overwrite=True",
    ):
        df.llm.batch("{text}", **ask, **call)
    pd.testing.assert_frame_equal(df, before)
    assert sent(server) == 5


def test_a_correction_made_while_the_job_runs_stays_and_the_rest_is_filled(server, call):
    """A later merge leaves it alone, and says so; merge asks for overwrite=True."""
    df = numbered(4)
    df.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("latency=0.3")
    job = df.llm.batch("Say {text}", out="out", **call)
    df.loc["k1", "out"] = "by hand"
    job.wait(60)
    assert df["out"].tolist() == [
        "Say row number 0",
        "by hand",
        "Say row number 2",
        "Say row number 3",
    ]
    assert "1 cell of 'out' was not written by this job (row k1)" in job.snapshot().merged
    with pytest.raises(ColumnError, match="overwrite=True"):
        job.merge(df)
    assert df.loc["k1", "out"] == "by hand"
    job.merge(df, overwrite=True)
    assert df.loc["k1", "out"] == "Say row number 1"


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_answers_that_went_through_a_file_are_still_ours(server, call, kind):
    """After a round trip through a file the column is refreshed without asking, and nothing is paid."""
    df = numbered(6).assign(text=["1", "2.50", "true", "x", "2024-05-01", "[1, 2]"])
    ask = {"schema": {"label": str, "tags": list[str], "n": int, "f": float}}
    df.llm.batch("{text}", **ask, **call).wait(60)
    df.llm.batch("{text}", out="out", **call).wait(60)
    data = io.BytesIO()
    if kind == "csv":
        df.to_csv(data)
        again = pd.read_csv(io.BytesIO(data.getvalue()), index_col=0, dtype={"text": str})
    elif kind == "parquet":
        df.to_parquet(data)
        again = pd.read_parquet(io.BytesIO(data.getvalue()))
    else:
        df.to_json(data)
        again = pd.read_json(io.BytesIO(data.getvalue()), dtype={"text": str})
    paid = sent(server)
    again.llm.batch("{text}", **ask, **call).wait(60)
    again.llm.batch("{text}", out="out", **call).wait(60)
    assert sent(server) == paid
    again.loc["k0", "out"] = "by hand"
    with pytest.raises(ColumnError, match="1 cell of 'out'"):
        again.llm.batch("{text}", out="out", **call)


def test_another_question_refreshes_what_the_ledger_wrote(server, call):
    """A changed prompt over a column of answers alone asks for no consent; a value of one's own does."""
    one = numbered(1)
    for prompt in ("{text}", "Say {text}"):
        one.llm.batch(prompt, out="out", **call).wait(60)
    assert one["out"].tolist() == ["Say row number 0"]
    df = numbered(3)
    df.llm.batch("{text}", out="out", **call).wait(60)
    df.llm.batch("Say {text}", out="out", **call).wait(60)
    assert df["out"].tolist() == ["Say " + text for text in df["text"]]
    kept = df["out"].tolist()
    df.loc["k0", "out"] = "mine"
    with pytest.raises(ColumnError, match="1 cell"):
        df.llm.batch("Shout {text}", out="out", **call)
    assert df["out"].tolist() == ["mine", *kept[1:]]


def test_attach_and_merge_keep_what_the_user_wrote(server, call):
    """On a frame that was not submitted."""
    job = numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    other = numbered(3).assign(out=["mine", None, "row number 2"])
    before = other.copy()
    with pytest.raises(ColumnError, match=r"1 cell of 'out' .*row k0"):
        other.llm.attach(job.id)
    with pytest.raises(ColumnError, match=r"1 cell of 'out' .*row k0"):
        job.merge(other)
    pd.testing.assert_frame_equal(other, before)
    other.llm.attach(job.id, overwrite=True)
    assert (other["out"] == other["text"]).all()


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (1, "1", True),
        (1.0, 1, True),
        (2.5, "2.50", True),
        (True, "true", True),
        (False, 0, False),
        ("x", 1, False),
        (None, "a", False),
        ("a", None, False),
        (np.array(["a", "b"], dtype=object), ["a", "b"], True),
        ("['a', 'b']", ["a", "b"], True),
        ('["a", "c"]', ["a", "b"], False),
        ({"a": 1, "b": None}, {"a": 1}, True),
        (np.array([0.1, 0.2]), np.array([0.1, 0.2], dtype=np.float32), True),
        (["2.0", "2"], ["2", "2"], False),
        (["NaN"], ["nan"], False),
        (np.array(["007"], dtype=object), ["7"], False),
        ([16777217, 1], [16777216, 1], False),
        ([True], [1], False),
        (np.array([1.0, np.nan]), [1, None], True),
        ([0.1234567890], [0.12345678901234], True),
        ("[0.5, null]", [0.5, None], True),
        ("a, b", ["a", "b"], False),
        ({"a": ["1"]}, {"a": ["1.0"]}, False),
        ([["a"], ["b", "c"]], [["a"], ["b", "c"]], True),
        ("2024-05-01", pd.Timestamp("2024-05-01"), True),
        (pd.Timestamp("2024-05-02"), pd.Timestamp("2024-05-01"), False),
    ],
)
def test_values_that_are_the_same(mine, theirs, expected):
    """The forms that a file gives an answer, and other values."""
    assert same(mine, theirs) is expected


def test_a_correction_in_a_list_of_answers_stays(server, call):
    """Lists are compared item by item: the text "2.0" is not the text "2"."""
    df = pd.DataFrame({"text": ["1", "2", "3"]})
    df.llm.batch("{text}", out="out", n=2, **call).wait(60)
    df["out"] = [["1", "1"], ["2.0", "2"], ["3", "3"]]
    with pytest.raises(ColumnError, match=r"1 cell of 'out' was not written by this job \(row 1\)"):
        df.llm.batch("{text}", out="out", n=2, **call)
    assert df["out"].tolist() == [["1", "1"], ["2.0", "2"], ["3", "3"]]
    assert sent(server) == 6


def test_a_group_proposes_one_name_for_all_its_columns(server, call):
    """The proposed name is what the user would write as out=, without a model's suffix."""
    df = numbered(2).assign(**{"a_openai/echo2": ["by", "hand"]})
    with pytest.raises(ColumnError, match=r"out='a2'"):
        df.llm.batch("{text}", out="a", **{**call, "model": ["openai/echo", "openai/echo2"]})
    numbered(2).llm.batch("{text}", out="a_openai/echo2", **call).wait(60)
    with pytest.raises(ColumnError, match=r"out='a2'"):
        df.llm.batch("{text}", out="a", **{**call, "model": ["openai/echo", "openai/echo2"]})
