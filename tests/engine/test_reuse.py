"""Reuse by row: what was asked before, is asked elsewhere, or is asked twice in one frame, is sent and paid once."""

from __future__ import annotations

import asyncio
import time
import uuid

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jupyter_batch
from jupyter_batch.cli import main
from jupyter_batch.config import option
from jupyter_batch.config import settings as app
from jupyter_batch.config.magic_line import read_line
from jupyter_batch.core.errors import ColumnError
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.plan import plan_all
from jupyter_batch.planning.resolve import order
from jupyter_batch.runner.process import session
from tests.ledgers import forget

from .conftest import numbered


def sent(server):
    """The number of requests that reached the server's batches."""
    return sum(batch["request_counts"]["total"] for batch in server.batches())


def test_a_frame_that_was_edited_pays_for_the_edited_rows(server, call):
    """1,000 rows edited in 10 places: exactly 10 requests leave, and every answer is on its row."""
    df = numbered(1000)
    df.llm.batch("{text}", out="out", **call).wait(60)
    edited = numbered(1000)
    edited.loc[edited.index[::100], "text"] += " edited"
    job = edited.llm.batch("{text}", out="out", **call).wait(60)
    assert (edited["out"] == edited["text"]).all()
    assert sent(server) == 1010
    assert (job.counts.succeeded, job.counts.reused, job.counts.total) == (10, 990, 1000)
    assert job.results()["_status"].value_counts().to_dict() == {"reused": 990, "succeeded": 10}
    assert job.is_successful


@pytest.mark.parametrize(
    "given", [{"out": "out"}, {"schema": {"label": str, "n": int}}], ids=["text", "schema"]
)
def test_a_frame_that_has_its_column_grows_and_is_edited(server, call, given):
    """In a notebook the column is there already: the cell is run again as it is, over and over, with no `overwrite`."""
    df = numbered(20)
    df.llm.batch("{text}", **given, **call).wait(60)
    df.loc["k3", "text"] = "edited"
    job = df.llm.batch("{text}", **given, **call).wait(60)
    assert (job.counts.succeeded, job.counts.reused) == (1, 19)
    df = pd.concat([df, numbered(23).iloc[20:]], ignore_index=True).iloc[::-1]
    df.iloc[5, 0] = "edited too"
    assert df.llm.preview("{text}", **given, **call).requests == 4
    df.llm.batch("{text}", **given, **call).wait(60)
    column = "out" if "out" in given else "label"
    assert (df[column] == df["text"]).all()
    assert sent(server) == 25
    parts = [numbered(30).iloc[part].copy() for part in (slice(15), slice(15, 30))]
    for part in parts:
        part.llm.batch("{text}", **given, **call).wait(60)
    whole = pd.concat(parts)
    whole.llm.batch("{text}", **given, **call).wait(60)
    assert (whole[column] == whole["text"]).all()
    assert sent(server) == 25 + 7


def test_a_row_is_edited_into_what_another_one_asks(server, call):
    """Its column holds what its own text was answered: rows of classes that are alike are edited as any other."""
    df = pd.DataFrame({"text": ["q", "q", "q", "r", "r", "s"]})
    df.llm.batch("{text}", out="out", **call).wait(60)
    df.loc[[1, 4], "text"] = ["r", "new"]
    df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    df["text"] = df["text"].replace("s", "q")
    df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    assert sent(server) == 4
    df["out"] = None  # as after a run in which all rows failed
    df.assign(text=df["text"].replace("new", "newest")).llm.batch("{text}", out="out", **call).wait(
        60
    )
    df.loc[0, "out"] = "r"
    with pytest.raises(ColumnError, match="overwrite=True"):
        df.assign(text=df["text"].replace("new", "newer")).llm.batch("{text}", out="out", **call)


@pytest.mark.parametrize("change", ["a matched row", "a new row", "none of its rows"])
def test_what_a_person_wrote_into_the_column_is_not_overwritten(server, call, change):
    """An answer that was put right by hand, a value of one's own in a new row, rows that are all others: refused."""
    df = numbered(5)
    df.llm.batch("{text}", out="out", **call).wait(60)
    df = pd.concat([df, numbered(7).iloc[5:]])
    if change == "a matched row":
        df.loc["k2", "out"] = "row number 3"
    elif change == "a new row":
        df.loc["k6", "out"] = "mine"
    else:
        df["text"] += "!"
    before = df.copy()
    with pytest.raises(ColumnError, match="overwrite=True"):
        df.llm.batch("{text}", out="out", **call)
    pd.testing.assert_frame_equal(df, before)
    assert sent(server) == 5


def test_equal_rows_are_one_request(server, call):
    """100,000 equal rows: one request leaves, and every row has the answer."""
    df = pd.DataFrame({"text": ["the same"] * 100_000})
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    assert sent(server) == 1
    assert (df["out"] == "the same").all()
    assert (job.counts.succeeded, job.counts.reused) == (1, 99_999)
    assert job.results()["_input_tokens"].notna().sum() == 1, "it was paid once"


def test_what_was_reused_is_reported(server, call):
    """In a first run nothing was answered before: the rows are equal ones, and every screen says so."""
    job = pd.DataFrame({"text": list("abcaab")}).llm.batch("{text}", out="out", **call).wait(60)
    assert "3 reused (equal rows)" in repr(job)
    assert "reused (equal rows)" in job._repr_mimebundle_()["text/html"]
    grown = pd.DataFrame({"text": list("abcadd")}).llm.batch("{text}", out="out", **call).wait(60)
    assert grown.counts.reused == 5
    assert "5 reused (1 equal row)" in repr(grown)
    assert "reused, took" in repr(
        pd.DataFrame({"text": list("ab")}).llm.batch("{text}", out="out", **call).wait(60)
    )


def test_a_frame_that_was_answered_in_parts_sends_nothing(server, call):
    """Rows of two earlier jobs in one frame: the job is over as soon as it is planned, in this and any process."""
    for part in (slice(0, 5), slice(5, 10)):
        numbered(10).iloc[part].llm.batch("{text}", out="out", **call).wait(60)
    whole = numbered(10)
    job = whole.llm.batch("{text}", out="out", **call)
    assert job.is_complete
    assert (whole["out"] == whole["text"]).all()
    assert job.counts.reused == 10
    assert job.batches == ()
    assert sent(server) == 10
    assert job.id not in [one.id for one in job._here.ledger.jobs(unfinished=True)]
    again = numbered(10)
    assert again.llm.batch("{text}", out="out", **call).id == job.id


def test_reuse_false_pays_on_purpose(server, call):
    """Equal rows are asked one by one then, and what was answered is asked again."""
    df = pd.DataFrame({"text": ["a", "a", "b"]})
    df.llm.batch("{text}", out="out", reuse=False, **call).wait(60)
    assert sent(server) == 3
    df.llm.batch("{text}", out="out", reuse=False, **call).wait(60)
    assert sent(server) == 6


@pytest.mark.parametrize("other", [{"temperature": 0.5}, {"seed": 1}, {"system": "Be brief"}])
def test_another_question_is_another_request(server, call, other):
    """A parameter or a system message that differs is another request."""
    numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    numbered(3).llm.batch("{text}", out="out", **{**call, **other}).wait(60)
    assert sent(server) == 6


def test_the_order_of_the_parameters_does_not_matter(server, call):
    """Requests are compared as what they ask, not as how they were typed."""
    numbered(3).llm.batch("{text}", out="out", temperature=0, max_tokens=9, **call).wait(60)
    numbered(3).llm.batch("{text}", out="other", max_tokens=9, temperature=0, **call).wait(60)
    assert sent(server) == 3


def test_a_number_is_the_same_however_it_is_written(server, call):
    """`temperature=0`, 0.0, and the magic's `--temperature 0` are one request; so are 0 and 0.0 in a column."""
    numbered(3).llm.batch("{text}", out="out", temperature=0, **call).wait(60)
    _, typed = read_line("df --temperature 0", {"df": numbered(3)})
    for zero in (0.0, typed["temperature"]):
        numbered(3).llm.batch("{text}", out="out", temperature=zero, **call).wait(60)
    numbered(3).assign(heat=[0.0] * 3).llm.batch(
        "{text}", out="out", temperature=option.col("heat"), **call
    ).wait(60)
    assert sent(server) == 3


def test_what_is_under_way_is_joined(server, call, home):
    """Rows that another job is still waiting for are not sent again: the grown frame waits for that job's answers."""
    server.set_faults("enqueued_tokens=1")  # nothing gets through
    first, grown = numbered(6), numbered(10)
    one = first.llm.batch("{text}", out="out", **call)
    two = grown.llm.batch("{text}", out="out", **call)
    assert two.id != one.id
    assert two.counts.running == 10
    server.set_faults("")
    one.resume()
    two.resume().wait(60)
    assert (grown["out"] == grown["text"]).all()
    assert sent(server) - refused(server) == 10
    assert (two.counts.succeeded, two.counts.reused, two.counts.total) == (4, 6, 10)
    forget(home)
    results = jupyter_batch.open(two.id).results()
    assert results["out"].tolist() == grown["text"].tolist()
    assert results["_status"].tolist() == ["reused"] * 6 + ["succeeded"] * 4


def test_two_kernels_that_run_the_same_cell_at_once_get_one_job(server, call, home):
    """The other one plans its job in the moment after this one saw that there was none: one job, which both hold."""
    here, df = session(home), numbered(50)
    opts = app.resolve({**call, "out": "out"}, app.read())
    asked = order(here.ledger, df, "{text}", opts, door="test", notebook=None, versions={})
    others = []

    class Slow(Ledger):
        """This kernel's ledger: after its search for a job, another kernel runs the cell."""

        def answering(self, *asked):
            there = super().answering(*asked)
            if not others:
                assert there is None
                others.append(numbered(50).llm.batch("{text}", out="out", **call))
            return there

    (mine,) = plan_all(Slow(home), [asked], time.time())
    (other,) = others
    assert mine.record.id == other.id
    assert len(jupyter_batch.jobs()) == 1
    other.wait(60)
    assert sent(server) == 50


def test_what_the_other_job_left_unanswered_is_asked(server, call):
    """The job that was joined is cancelled: its rows are sent by the job that waited for them, once."""
    server.set_faults("enqueued_tokens=1")
    one = numbered(6).llm.batch("{text}", out="out", **call)
    grown = pd.concat([numbered(10), numbered(10)], ignore_index=True)
    two = grown.llm.batch("{text}", out="out", **call)
    one.cancel().wait(60)
    server.set_faults("")
    two.resume().wait(60)
    assert (grown["out"] == grown["text"]).all()
    assert sent(server) - refused(server) == 10
    assert (two.counts.succeeded, two.counts.reused) == (10, 10)


def test_failed_rows_are_followed_and_sent_again_once(server, call):
    """Equal rows whose one request failed have all failed, for its reason; a retry sends that one request."""
    server.set_faults("row_errors=1")
    df = pd.DataFrame({"text": ["a", "b", "a", "a"]})
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    assert job.counts.failed == 4
    assert job.errors["_error"].notna().all()
    server.set_faults("")
    again = job.retry().wait(60)
    assert df["out"].tolist() == ["a", "b", "a", "a"]
    assert (again.counts.succeeded, again.counts.reused) == (2, 2)
    assert sent(server) == 4


def test_results_as_they_come_tell_of_each_row(server, call):
    """`async for` gives one Result for each row, those that followed another included."""
    df = pd.DataFrame({"text": ["a", "b", "a"]})
    job = df.llm.batch("{text}", out="out", **call).wait(60)

    async def read():
        return [result async for result in job]

    shown = {
        result.custom_id.rpartition("-")[2]: (result.status, result.value)
        for result in asyncio.run(read())
    }
    assert shown == {"0": ("succeeded", "a"), "1": ("succeeded", "b"), "2": ("reused", "a")}


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=4))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_frames_after_each_other(server, call, frames):
    """Any frames one after another: each row gets its own answer, and each text was sent once."""
    mark = f"{uuid.uuid4()} "
    before = sent(server)
    for numbers in frames:
        df = pd.DataFrame({"text": [f"{mark}{number}" for number in numbers]})
        df.llm.batch("{text}", out="out", shard_size=2, **call).wait(60)
        assert df["out"].tolist() == df["text"].tolist()
    assert sent(server) - before == len({number for numbers in frames for number in numbers})


def test_what_was_answered_before_comes_first(server, call):
    """`async for` gives the rows that the ledger answered, too."""
    numbered(2).llm.batch("{text}", out="out", **call).wait(60)
    job = numbered(4).llm.batch("{text}", out="out", **call)

    async def read():
        return [str(result.status) async for result in job]

    assert asyncio.run(read()) == ["reused", "reused", "succeeded", "succeeded"]


def refused(server):
    """The number of requests in batches that were refused for quota."""
    return sum(
        batch["request_counts"]["total"]
        for batch in server.batches()
        if batch["status"] == "failed"
    )


def test_what_is_forgotten_is_paid_again(server, call, home, capsys):
    """`jupyter batch forget ID` takes a job's answers out of the ledger and off the disk: they are sent again."""
    job = numbered(3).llm.batch("{text}", out="out", **call).wait(60)
    assert main(["forget", job.id]) == 0
    assert "forgotten" in capsys.readouterr().out
    assert not (home / "jobs" / job.id).exists()
    assert main(["forget", job.id]) == 2
    forget(home)
    df = numbered(3)
    df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    assert sent(server) == 6
    assert [path.name for path in (home / "jobs").iterdir()] == [
        job.id for job in jupyter_batch.jobs()
    ]


def test_an_open_job_is_not_forgotten(server, call, home):
    """A job in progress can't be removed: it would be paid for, and never fetched."""
    server.set_faults("enqueued_tokens=1")
    job = numbered(3).llm.batch("{text}", out="out", **call)
    assert main(["forget", job.id]) == 2
    server.set_faults("")
    assert job.resume().wait(60).is_successful


def test_a_sample_at_once_is_an_answer_for_the_batch(server, call):
    """Rows sent in real time are not sent again in the batch."""
    df = numbered(6)
    df.head(2).copy().llm.batch("{text}", out="out", mode="realtime", **call).wait(60)
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    assert (df["out"] == df["text"]).all()
    assert (job.counts.succeeded, job.counts.reused) == (4, 2)


def test_a_retry_pays_no_row_that_another_job_asked_for(server, call, home):
    """Rows that a grown frame got answered are taken from there, and those that it waits for are waited for."""
    server.set_faults("row_errors=1")
    few = pd.DataFrame({"text": ["a", "b", "a", "c"]})
    one = few.llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("")
    pd.DataFrame({"text": ["b", "d"]}).llm.batch("{text}", out="out", **call).wait(60)
    server.set_faults("enqueued_tokens=1")
    more = pd.DataFrame({"text": ["c", "e"]})
    two = more.llm.batch("{text}", out="out", **call)
    again = one.retry()
    assert again.counts.total == 4
    server.set_faults("")
    two.resume()
    again.resume().wait(60)
    assert few["out"].tolist() == few["text"].tolist()
    assert (again.counts.succeeded, again.counts.reused) == (1, 3)
    assert again.results()["_status"].tolist() == ["succeeded", "reused", "reused", "reused"]
    assert two.wait(60).is_successful
    assert sent(server) - refused(server) == 3 + 2 + 1 + 2, "of the retry only `a` was sent"


def test_a_retry_keeps_to_the_size_of_the_batches(server, call):
    """`shard_size` counts for what is sent again too, however often."""
    server.set_faults("row_errors=1")
    job = numbered(5).llm.batch("{text}", out="out", shard_size=2, **call).wait(60)
    again = job.retry().wait(60)
    server.set_faults("")
    third = again.retry().wait(60)
    for one in (again, third):
        assert [shard.requests for shard in one._here.ledger.shards(one.id)] == [2, 2, 1]
    assert third.is_successful


def test_a_retry_of_what_others_answered_is_over_at_once(server, call):
    """Nothing is sent; what was to be paid again on purpose is sent all the same."""
    server.set_faults("row_errors=1")
    df = numbered(3)
    one = df.llm.batch("{text}", out="out", **call).wait(60)
    own = numbered(3).llm.batch("{text}", out="out", reuse=False, **call).wait(60)
    server.set_faults("")
    numbered(4).llm.batch("{text}", out="out", **call).wait(60)
    before = sent(server)
    again = one.retry()
    assert again.is_complete
    assert again._record().finished_at
    assert again.counts.reused == 3
    assert (df["out"] == df["text"]).all()
    assert sent(server) == before
    assert own.retry().wait(60).counts.succeeded == 3
    assert sent(server) == before + 3


def test_one_in_the_middle_that_is_cancelled_makes_nobody_ask_twice(server, call):
    """A job that waited for it waits for the job that it waited for, and takes its answers from others."""
    server.set_faults("open_batches=0")
    first = numbered(4).llm.batch("{text}", out="out", **call)
    middle = numbered(6).llm.batch("{text}", out="out", **call)
    df = numbered(8)
    last = df.llm.batch("{text}", out="out", **call)
    middle.cancel().wait(60)
    ledger = last._here.ledger
    while middle.id in {shard.joins for shard in ledger.shards(last.id)}:
        last.wait(0.05)
    assert last.counts.total == 8
    server.set_faults("")
    first.resume().wait(60)
    last.resume().wait(60)
    assert (df["out"] == df["text"]).all()
    assert (last.counts.succeeded, last.counts.reused) == (4, 4)
    assert sent(server) - refused(server) == 8


def test_a_retry_of_rows_that_were_waited_for_and_of_others(server, call, home):
    """Their request files are interleaved row by row: each row is sent again, once, and filled."""
    server.set_faults("enqueued_tokens=1")
    one = numbered(9).iloc[::3].llm.batch("{text}", out="out", **call)
    df = pd.concat([numbered(9), numbered(4)])
    two = df.llm.batch("{text}", out="out", shard_size=4, **call)
    assert len(two._here.ledger.shards(two.id)) == 3
    two.cancel().wait(60)
    one.cancel().wait(60)
    server.set_faults("")
    before = sent(server)
    again = two.retry()
    assert (again.counts.running, again.counts.total) == (13, 13)
    again.wait(60)
    assert (df["out"] == df["text"]).all()
    assert (again.counts.succeeded, again.counts.reused, sent(server) - before) == (9, 4, 9)
