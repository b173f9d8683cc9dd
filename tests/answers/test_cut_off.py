"""Answers that were cut off: kept, marked, counted apart, and shown on every screen."""

from __future__ import annotations

import json

import pandas as pd

import jupyter_batch
from jupyter_batch.cli import main
from jupyter_batch.core.request import all_cuts
from jupyter_batch.core.status import Counts, Snapshot, State
from jupyter_batch.lab.listing import Listing
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor import html, table, text
from jupyter_batch.monitor.view import view

LONG = "a text of more words than three tokens can hold"


def frame():
    """Four rows: two long ones that are alike, a short one, and nothing to ask."""
    return pd.DataFrame({"text": [LONG, "ok", None, LONG]}, index=list("abcd"))


def test_an_answer_that_was_cut_off_is_kept_marked_and_counted(call, home):
    """The text is in its cell, `_finish` says why it ended, and the job is not successful."""
    df = frame()
    job = df.llm.batch("{text}", out="said", max_tokens=3, **call).wait(60)
    results = job.results()
    assert LONG.startswith(df["said"]["a"])
    assert df["said"]["a"] == df["said"]["d"]
    assert results["_finish"].dropna().tolist() == ["length", "stop", "length"]
    assert results["_finish"].isna().tolist() == [False, False, True, False]
    assert results["_status"].tolist() == ["succeeded", "succeeded", "skipped", "reused"]
    assert (job.is_complete, job.is_successful, job.cut_off) == (True, False, 2)
    assert job.counts.total == 4
    assert job.counts.succeeded + job.counts.reused == 3
    assert jupyter_batch.open(job.id).cut_off == 2


def test_another_job_that_takes_the_answers_over_counts_them_too(call, home):
    """Reused answers that were cut off are counted as such, equal rows included."""
    frame().iloc[:2].llm.batch("{text}", out="said", max_tokens=3, **call).wait(60)
    df = pd.concat([frame(), frame().iloc[:1], pd.DataFrame({"text": ["new"]})], ignore_index=True)
    job = df.llm.batch("{text}", out="said", max_tokens=3, **call).wait(60)
    assert job.counts.succeeded == 1
    assert job.cut_off == 3


def test_a_group_sums_its_models(call, home):
    """A group counts those of all its models."""
    call = {**call, "model": ["openai/echo", "openai/local/echo"]}
    group = frame().llm.batch("{text}", max_tokens=3, **call).wait(60)
    assert (group.cut_off, group.is_successful) == (4, False)
    assert group.results()["_finish_openai/echo"].tolist()[0] == "length"


def shot(*cuts, **more):
    """A finished job with these cuts."""
    fields = {
        "id": "jb1",
        "name": None,
        "state": State.COMPLETED,
        "counts": Counts(succeeded=10),
        "model": "openai/m",
        "provider": "openai",
        "out": "o",
        "created_at": 0.0,
        "now": 10.0,
        "finished_at": 9.0,
        "collected": True,
        "cuts": cuts,
    }
    return Snapshot(**fields | more)


def test_every_screen_says_how_many_and_what_helps():
    """The wording goes by the cause: a filter is not helped by more tokens."""
    seen = view(shot(("length", 3)))
    assert seen.colour == "warn"
    assert "3 answers were cut off: allow more (max_tokens)" in seen.lines[0]
    assert "job.retry(max_tokens=...) sends them again" in seen.lines[0]
    assert "retry" not in view(shot(("length", 3), state=State.RUNNING, collected=False)).lines[0]
    assert "3 cut off" in text.line(seen)
    assert "3 cut off" in html.card(seen)["text/html"]
    assert "3 cut off" in table.text([shot(("length", 3))])
    assert "3 cut off" in seen.counts
    assert table.frame([shot(("length", 3))])["cut_off"].tolist() == [3]
    filtered = view(shot(("content_filter", 1)))
    assert filtered.lines[0].startswith("1 answer was cut off: the provider's filter")
    assert not any("max_tokens" in line for line in filtered.lines)
    assert view(shot()).cut_off == ""
    assert view(shot()).colour == "good"


def test_counts_of_several_shards_are_one():
    """By finish reason, the most frequent first."""
    assert all_cuts([(("length", 1),), (("content_filter", 5), ("length", 1))]) == (
        ("content_filter", 5),
        ("length", 2),
    )


def test_the_command_line_and_the_lab_say_it(call, home, capsys):
    """`jupyter batch list` and `show`, and JupyterLab's list."""
    job = frame().llm.batch("{text}", out="said", max_tokens=3, **call).wait(60)
    main(["list"])
    main(["show", job.id])
    printed = capsys.readouterr().out
    assert printed.count("2 cut off") >= 2
    listed = json.loads(Listing(Ledger(home)).json())["jobs"][0]
    assert "2 cut off" in listed["counts"]
    assert any("cut off: allow more" in line for line in listed["lines"])
