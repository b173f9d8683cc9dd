"""The table of jobs: aligned text, HTML, and the frame behind both."""

import re

import pandas as pd
import pytest

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.status import Counts, State
from jupyter_batch.monitor import table

NOTEBOOK = "/home/someone/projects/2026/reviews/sentiment.ipynb"


def test_the_columns_are_aligned(shot, done):
    """Columns start at the same place in each line, wide characters counted as two."""
    lines = table.text([shot(name="名前"), done]).splitlines()
    assert len(lines) == 3
    assert tuple(lines[0].split()) == table.HEADINGS
    assert (
        lines[0].index("state")
        == lines[2].index("completed")
        == lines[1].index("running") + len("名前")
    )
    assert table.text([]) == "No jobs."


def test_below_100_columns_a_job_has_two_lines(shot):
    """Its name, state and rows on the first, its id, age and model on the second; none is wider than the terminal."""
    lines = table.text([shot(id="jbone", name="名前" * 30), shot(model="m/" * 60)], 80).splitlines()
    assert len(lines) == 4
    assert all(table.width(line) <= 80 for line in lines)
    assert lines[0].endswith("  running, 412 of 1,000, 2 failed")
    assert lines[1].startswith("  jbone, 4 min")


def test_a_line_has_notebook_age_state_counts_and_cost(shot, done):
    """Of one that runs also how long it may take yet."""
    over = shot(
        state=State.COMPLETED,
        counts=Counts(succeeded=998, failed=2),
        collected=True,
        notebook=NOTEBOOK,
        finished_at=shot().now,
        now=shot().now + 90_000,
        bill=Bill(known=0.25, standard=0.5),
    )
    first, second = table.text([shot(notebook="a.ipynb"), over], 200).splitlines()[1:]
    assert re.search(
        r"sentiment +running +412 of 1,000 +2 +4 min, 6 min left +openai/gpt-4.1-mini +a.ipynb$",
        first,
    )
    assert re.search(
        r"completed +1,000 of 1,000 +2 +\$0.2500 +1 day 1 h +openai/gpt-4.1-mini", second
    )
    assert second.endswith("sentiment.ipynb")


def test_long_names_are_cut_so_that_a_line_fits_a_terminal(shot):
    """Names and models lose their end, a path its beginning; short ones nothing, wide characters do not overflow."""
    shots = [
        shot(
            notebook=NOTEBOOK,
            name="a very long name that nobody could ever read in full",
            model="m/" * 40,
        ),
        shot(notebook="b.ipynb", name="名前" * 30, model="openai/gpt"),
    ]
    first, second = table.text(shots).splitlines()[1:]
    assert max(map(table.width, (first, second))) <= table.WIDTH
    assert "a very long" in first
    assert first.endswith("sentiment.ipynb")
    assert "…" in first
    assert "/home" not in first
    assert NOTEBOOK in table.text(shots, 300)
    assert second.endswith("b.ipynb")
    assert len({table.width(line.partition("running")[0]) for line in (first, second)}) == 1


def test_nothing_is_cut_where_all_fits(shot):
    """Two short lines are as wide as they need to be."""
    assert "…" not in table.text([shot(notebook="reviews/a.ipynb")])


def test_the_frame_sorts(shot, done):
    """Numbers are numbers, times know their zone, what is not known is missing, and the index is the id."""
    old = shot(
        id="jbold",
        created_at=1_000_000_000.0,
        notebook=NOTEBOOK,
        bill=Bill(known=2.0, standard=4.0),
    )
    costly = shot(
        id="jbcostly",
        name="x",
        bill=Bill(known=10.0, standard=20.0),
        input_tokens=7,
        output_tokens=8,
    )
    unknown = shot(id="jbunknown", bill=Bill(unknown=3, standard=None))
    listing = table.frame([old, costly, unknown, done])
    assert list(listing.index) == ["jbold", "jbcostly", "jbunknown", "jb3f9c2k7a1q"]
    assert listing.index.name == "id"
    assert list(listing.sort_values("cost").index[:2]) == ["jbold", "jbcostly"]
    assert listing["cost"].isna().tolist() == [False, False, True, True]
    assert listing.sort_values("created").index[0] == "jbold"
    assert listing["created"].iloc[0] == pd.Timestamp("2001-09-09 01:46:40", tz="UTC")
    assert listing["ended"].isna().tolist() == [True, True, True, False]
    assert listing["age"].iloc[1] == pd.Timedelta(seconds=250) == listing["elapsed"].iloc[3]
    assert listing["notebook"].tolist()[0] == NOTEBOOK
    assert listing["notebook"].isna().sum() == 3
    assert listing.loc["jbcostly", ["total", "succeeded", "running"]].tolist() == [1000, 400, 588]
    assert listing["input_tokens"].sum() == 7


@pytest.mark.parametrize("count", [0, 1])
def test_the_kinds_do_not_hang_on_what_is_there(shot, count):
    """An empty list has the same columns of the same types as one with a job that has no cost, name or end yet."""
    full = table.frame(
        [
            shot(
                name="x",
                notebook="n",
                finished_at=shot().now,
                bill=Bill(known=1.0, standard=1.0),
                input_tokens=1,
                output_tokens=1,
            )
        ]
    )
    listing = table.frame([shot()] * count)
    assert listing.dtypes.to_dict() == full.dtypes.to_dict()
    for name in table.HEADINGS[1:]:
        assert name in {*full.columns, "rows"}
    assert {str(kind) for kind in full.dtypes} >= {"int64", "Int64", "Float64", "string"}
    assert isinstance(full["created"].dtype, pd.DatetimeTZDtype)


def test_the_frame_has_the_values_as_they_are(shot):
    """A screen cleans a name; a frame that is filtered by it has it as it was given."""
    assert table.frame([shot(name="\x1b[31mred")])["name"].iloc[0] == "\x1b[31mred"


def test_answers_are_not_counted_as_rows(shot):
    """With n=3 the counts are of answers: the cell says so, below a heading that says rows."""
    three = table.cells(shot(samples=3, counts=Counts(succeeded=9)))
    assert three[table.HEADINGS.index("rows")] == "9 of 9 answers"
