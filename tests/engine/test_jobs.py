"""A user's actions with a job, against the embedded server: once, again, wrongly, and after something broke."""

from __future__ import annotations

import asyncio
import copy
import errno
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import (
    AlignmentError,
    ColumnError,
    InputError,
    JobBlockedError,
    JobNotFoundError,
    JupyterBatchError,
    KeyMissingError,
    LedgerCorruptError,
    LedgerFullError,
    ModelError,
    OptionError,
    TemplateError,
)
from tests.ledgers import forget
from tests.messages import messages
from tests.prepared import python
from tests.waiting import wait_for

from .conftest import numbered

ROOT = Path(__file__).parents[2]


def test_the_column_is_there(call, home):
    """A frame with odd labels and a missing value: the answers are on their rows, the rest says why."""
    df = pd.DataFrame(
        {"Customer Feedback": ["good", None, "bad", "good"]}, index=["a", "a", "b", "c"]
    )
    job = df.llm.batch("{Customer Feedback}", out="answer", system="Be brief", **call).wait(60)
    assert df["answer"].tolist()[0::2] == ["good", "bad"]
    assert pd.isna(df["answer"].iloc[1])
    assert job.state == "completed"
    assert job.is_complete
    assert job.is_successful
    counts = job.counts
    assert (counts.total, counts.succeeded, counts.reused, counts.skipped) == (4, 2, 1, 1), (
        "one text is asked once"
    )
    results = job.results()
    assert list(results.index) == ["a", "a", "b", "c"]
    assert results["_status"].tolist() == ["succeeded", "skipped", "succeeded", "reused"]
    assert "Customer Feedback" in results["_error"].iloc[1]
    assert len(job.errors) == 1
    assert job.usage.input_tokens > 0
    assert len(job.batches) == 1


def test_run_again_pays_nothing(server, call, home):
    """The same cell in the same process, in another, and on a sorted frame: one job, one batch, the column is there."""
    df = numbered(50)
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    assert df.llm.batch("{text}", out="out", **call) is job
    forget(home)
    fresh = numbered(50).sort_values("text", ascending=False)
    again = fresh.llm.batch("{text}", out="out", **call).wait(60)
    assert again.id == job.id
    assert (fresh["out"] == fresh["text"]).all()
    renamed = numbered(50)
    assert renamed.llm.batch("{text}", out="other", **call).wait(60).id == job.id
    assert (renamed["other"] == renamed["text"]).all()
    assert server.stats()["batches_created"] == 1


def test_a_job_whose_answers_can_not_land_is_not_taken(server, call, home):
    """The same texts out of another column: the old job could not tell these rows, so there is a new one, and a column.

    And each frame finds its own job again.
    """
    numbered(5).llm.batch("{text}", out="out", **call).wait(60)
    renamed = numbered(5).rename(columns={"text": "words"})
    renamed.llm.batch("{words}", out="out", **call).wait(60)
    assert (renamed["out"] == renamed["words"]).all()
    for df in (numbered(5), renamed):
        df.llm.batch("{" + df.columns[0] + "}", out="out", **call).wait(60)
        assert (df["out"] == df.iloc[:, 0]).all()
    assert server.stats()["batches_created"] == 1, (
        "what was answered is not paid again, whatever its column is called"
    )


def test_results_are_on_the_labels_of_the_frame_that_asks(server, call, home):
    """The same rows under other labels are the same job, and results() pairs each answer with this frame's labels."""
    df = numbered(5).reset_index(drop=True)
    df.loc[2, "text"] = None
    df.llm.batch("{text}", out="out", **call).wait(60)
    turned = df[["text"]].iloc[::-1].reset_index(drop=True)
    results = turned.llm.batch("{text}", out="out", **call).results()
    assert results["out"].fillna("").tolist() == turned["text"].fillna("").tolist()
    assert results["_status"].tolist() == ["succeeded"] * 2 + ["skipped"] + ["succeeded"] * 2
    assert results["_input_tokens"].isna().tolist() == [False, False, True, False, False]
    again = df.llm.batch("{text}", out="out", **call).results()
    assert again["out"].fillna("").tolist() == df["text"].fillna("").tolist()
    assert server.stats()["batches_created"] == 1


def test_a_finished_job_merges_at_once(call, home):
    """The cell run again on a finished job fills the column before it returns, without a wait."""
    job = numbered(5).llm.batch("{text}", out="out", **call).wait(60)
    fresh = numbered(5)
    assert fresh.llm.batch("{text}", out="out", **call) is job
    assert (fresh["out"] == fresh["text"]).all()


class Counted:
    """A ledger that counts what is asked of it."""

    def __init__(self, ledger):
        self.ledger, self.asked = ledger, Counter()

    def __getattr__(self, name):
        self.asked[name] += 1
        return getattr(self.ledger, name)


def test_a_script_that_asks_whether_it_is_complete_has_the_column_then(call, home):
    """Without cells there is no later moment; in a notebook the next cell has it."""
    df = pd.DataFrame({"t": ["polled"]})
    job = df.llm.batch("Say {t}", out="o", **call)
    end, still = time.monotonic() + 60, threading.Event()
    while not job.is_complete:
        assert time.monotonic() < end, job
        still.wait(0.02)
    assert list(df["o"]) == ["Say polled"]


def test_a_wait_leaves_the_random_sequence_and_needs_no_stdout(call, home, monkeypatch):
    """Polls take no numbers of the user's own `random`; a process without standard output can wait."""
    monkeypatch.setattr(sys, "stdout", None)
    random.seed(1)
    first = random.random()
    random.seed(1)
    job = pd.DataFrame({"t": ["quiet"]}).llm.batch("Say {t}", **call).wait(60)
    assert job.is_successful
    assert random.random() == first


def test_a_copy_and_a_pickle_of_a_job_are_opened_by_its_id(call, home):
    """Another process gets the job itself; names of other libraries are answered with ours; waits take seconds."""
    job = pd.DataFrame({"t": ["x"]}).llm.batch("Say {t}", **call).wait(60)
    for other in (pickle.loads(pickle.dumps(job)), copy.deepcopy(job), jupyter_batch.open(job)):
        assert list(other.results()["response"]) == list(job.results()["response"])
    with pytest.raises(AttributeError, match=r"no attribute 'status': job\.state has it"):
        job.status  # noqa: B018
    with pytest.raises(OptionError, match=r"timeout.* takes seconds"):
        job.wait(timeout="5s")


def test_a_look_reads_the_job_once(call, home):
    """A snapshot, and so each drawing of a screen, reads the job and its batches once."""
    job = numbered(3).llm.batch("{text}", **call).wait(60)
    job._here.ledger = ledger = Counted(job._here.ledger)
    assert job.snapshot().is_complete
    assert (ledger.asked["job"], ledger.asked["shards"]) == (1, 1)
    assert job.is_complete
    assert (ledger.asked["job"], ledger.asked["shards"], ledger.asked["news"]) == (2, 2, 1)


def test_each_frame_and_column_gets_its_answers(server, call, home):
    """One job asked for from several frames, and for two columns of one: all of them are filled, and paid for once."""
    frames = [numbered(5) for _ in range(3)]
    for df in frames:
        job = df.llm.batch("{text}", out="a", **call)
    frames[0].llm.batch("{text}", out="b", **call)
    job.wait(60)
    assert [list(df.columns) for df in frames] == [["text", "a", "b"], ["text", "a"], ["text", "a"]]
    frames[1].llm.batch("{text}", out="c", **call).merge(frames[1])
    assert list(frames[1].columns) == ["text", "a", "c"]
    assert all((df[name] == df["text"]).all() for df in frames for name in df.columns)
    assert server.stats()["batches_created"] == 1


def test_a_merge_in_the_middle_is_not_the_last(server, call, home):
    """A merge while the job runs is completed by itself when it ends."""
    server.set_faults("latency=0.3")
    df = numbered(40)
    job = df.llm.batch("{text}", out="out", shard_size=10, **call)
    job.merge()
    assert df["out"].isna().any()
    job.wait(60)
    assert (df["out"] == df["text"]).all()


def test_results_as_they_come_end_with_the_column(call, home):
    """`async for` to its end fills the column, as `await` does."""
    df = numbered(5)

    async def stream():
        return [result async for result in df.llm.batch("{text}", out="out", **call)]

    assert len(asyncio.run(stream())) == 5
    assert (df["out"] == df["text"]).all()


def test_a_changed_prompt_is_a_new_job(server, call, home):
    """Another prompt, model parameter or row is another job; reuse=False pays again on purpose."""
    df = numbered(5)
    first = df.llm.batch("{text}", out="a", **call).wait(60)
    ids = {
        first.id,
        df.llm.batch("{text}!", out="b", **call).wait(60).id,
        df.llm.batch("{text}", out="c", temperature=0.5, **call).wait(60).id,
        df.llm.batch("{text}", out="d", reuse=False, **call).wait(60).id,
    }
    assert len(ids) == 4
    assert server.stats()["batches_created"] == 4


def test_a_column_of_the_persons_own_is_not_overwritten(call, home):
    """A column that exists is refused, unless the same job filled it; one that came since is left alone."""
    df = numbered(3)
    df["out"] = "mine"
    with pytest.raises(ColumnError, match="overwrite=True"):
        df.llm.batch("{text}", out="out", **call)
    assert not home.exists()
    job = df.llm.batch("{text}", out="out", overwrite=True, **call).wait(60)
    assert (df["out"] == df["text"]).all()
    df.llm.batch("{text}", out="out", **call)  # the same job filled it: no overwrite needed
    other = numbered(4)
    late = other.llm.batch("{text}", out="out", **call)
    other["out"] = "came meanwhile"
    late.wait(60)
    assert (other["out"] == "came meanwhile").all()
    assert "left alone" in late.snapshot().merged or "left alone" in repr(late.snapshot())
    with pytest.raises(ColumnError, match="4 cells of 'out' were not written by this job"):
        late.merge(other)
    assert (other["out"] == "came meanwhile").all()
    late.merge(other, overwrite=True)
    assert (other["out"] == other["text"]).all()
    assert job.id != late.id


def test_a_changed_frame_is_refused_with_figures(call, home):
    """Rows that changed before the merge: nothing is written, and the refusal says how many."""
    df = numbered(6)
    job = df.llm.batch("{text}", out="out", **call)
    df.loc["k2", "text"] = "another text"
    job.wait(60)
    assert "out" not in df.columns
    assert "1 of 6" in job.snapshot().merged
    with pytest.raises(AlignmentError, match="1 of 6"):
        job.merge(df)
    original = numbered(6).iloc[::-1]
    job.merge(original)
    assert (original["out"] == original["text"]).all()


def test_another_day(server, call, home):
    """In a new process: open by id, results on the index, attach to a frame; without the key too, since all is here."""
    dates = pd.date_range("2026-01-01", periods=4, tz="Europe/Berlin")
    job = (
        pd.DataFrame({"t": list("abcd")}, index=dates)
        .llm.batch("{t}", out="o", name="mail", **call)
        .wait(60)
    )
    forget(home)
    found = jupyter_batch.open("mail")
    assert found.id == job.id
    assert found.results().index.equals(dates)
    df = pd.DataFrame({"t": list("dcba")}, index=dates[::-1])
    df.llm.attach(found)
    assert df["o"].tolist() == list("dcba")
    assert [one.id for one in jupyter_batch.jobs()] == [job.id]
    assert job.id in repr(jupyter_batch.jobs())
    with pytest.raises(JobNotFoundError):
        jupyter_batch.open("nothing")


@pytest.mark.parametrize(
    ("source", "prompt", "says"),
    [
        (["a"], "Say {x}", "a list holds the prompts themselves.*DataFrame"),
        ({"x": ["a"]}, "Say {x}", "not a dict: pandas.DataFrame"),
        ("Say it", None, "not a str: put it in a list"),
        (iter(["a"]), None, r"list\(...\) makes one of it"),
    ],
)
def test_a_source_that_is_no_frame_and_no_list_is_refused(call, home, source, prompt, says):
    """The remedy is in the sentence; a prompt that a list can't use is never left out silently."""
    with pytest.raises(InputError, match=says):
        jupyter_batch.batch(source, prompt, **call)


def test_without_a_frame(call, home):
    """A list of prompts, the lazy one-liner, await, and the results as they come."""
    assert asyncio.run(
        jupyter_batch.abatch(["one", "{two}", [{"role": "user", "content": "three"}]], **call)
    ) == ["one", "{two}", "three"]

    async def stream():
        job = jupyter_batch.batch([f"p{n}" for n in range(10)], shard_size=4, **call)
        seen = [result async for result in job]
        assert (await job) is job
        return seen

    seen = asyncio.run(stream())
    assert sorted(result.value for result in seen) == sorted(f"p{n}" for n in range(10))
    assert {str(result.status) for result in seen} == {"succeeded"}


def test_a_list_in_another_order_is_another_job(call, home):
    """The same prompts in another order, or under other labels: the answers come in this list's order, on its index."""
    assert asyncio.run(jupyter_batch.abatch(["one", "two"], **call)) == ["one", "two"]
    assert asyncio.run(jupyter_batch.abatch(["two", "one"], **call)) == ["two", "one"]
    labelled = jupyter_batch.batch(pd.Series(["one", "two"], index=["x", "y"]), **call).wait(60)
    assert labelled.results()["response"].to_dict() == {"x": "one", "y": "two"}
    assert len(jupyter_batch.jobs()) == 3
    assert asyncio.run(jupyter_batch.abatch(["two", "one"], **call)) == ["two", "one"]
    assert len(jupyter_batch.jobs()) == 3, "the same list again is the same job"


@pytest.mark.parametrize(("na", "answers"), [("skip", ["one", None]), ("send", ["one", ""])])
def test_a_list_with_a_missing_prompt(call, home, na, answers):
    """A column of texts with a missing one, given as a list: `na` says what becomes of it, as in a frame."""
    job = jupyter_batch.batch(pd.Series(["one", None]), na=na, **call).wait(60)
    assert [None if pd.isna(one) else one for one in job.results()["response"]] == answers


def test_prompts_of_every_form(call, home):
    """Messages as templates, a function of the row, Jinja, and a parameter from the row's own column."""
    df = pd.DataFrame({"t": ["a", "b"], "n": [3, 1]})
    df.llm.batch(
        [{"role": "system", "content": "{n}"}, {"role": "user", "content": "<{t}>"}],
        out="m",
        **call,
    ).wait(60)
    df.llm.batch(lambda row: row["t"] * row["n"], out="f", **call).wait(60)
    df.llm.batch(
        "{% if n > 1 %}many{% else %}{{ t }}{% endif %}", out="j", template="jinja", **call
    ).wait(60)
    df.llm.batch(
        "one two three four five six seven {t}", out="p", max_tokens=jupyter_batch.col("n"), **call
    ).wait(60)
    assert df["m"].tolist() == ["<a>", "<b>"]
    assert df["f"].tolist() == ["aaa", "b"]
    assert df["j"].tolist() == ["many", "b"]
    assert df["p"].str.len().tolist()[0] > df["p"].str.len().tolist()[1]


def test_the_same_rows_in_new_order_under_new_labels_pay_nothing(server, call, home):
    """Sorted and reset, with rows that read the same: the cell run again finds its job, and each row has an answer."""
    df = pd.DataFrame({"text": ["b", "a", "c", "a", "b"] * 4})
    job = df.llm.batch("{text}", out="out", **call).wait(60)
    renewed = df[["text"]].sort_values("text").reset_index(drop=True)
    assert renewed.llm.batch("{text}", out="out", **call).id == job.id
    assert (renewed["out"] == renewed["text"]).all()
    assert server.stats()["batches_created"] == 1


def test_a_function_of_the_row_is_reported_by_what_it_reads(server, call, home):
    """A column that the function never looked at may change: the cell finds its job, and the answers land."""
    df = numbered(6)
    df["aside"] = range(6)

    def ask(row):
        return row["text"]

    job = df.llm.batch(ask, out="out", **call)
    df["aside"] = 0
    job.wait(60)
    assert (df["out"] == df["text"]).all()
    fresh = numbered(6).iloc[::-1]
    fresh["aside"] = "other"
    assert fresh.llm.batch(ask, out="out", **call).id == job.id
    assert (fresh["out"] == fresh["text"]).all()
    fresh.loc["k3", "text"] = "changed"
    whole = fresh.llm.batch(lambda row: str(dict(row)), out="all", **call).wait(60)
    assert whole._record().columns == ["text", "aside", "out"]
    assert server.stats()["batches_created"] == 2


def test_a_parameter_from_the_row_is_checked_like_any_other(call, home):
    """Whole numbers that pandas made floats of are whole again; a value that does not fit is its row's fault."""
    df = pd.DataFrame({"t": ["one two three"] * 3, "n": [2.0, None, -1.0]})
    job = df.llm.batch("{t}", out="out", max_tokens=jupyter_batch.col("n"), **call).wait(60)
    lines = (home / "jobs" / job.id / "requests-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["body"].get("max_tokens") for line in lines] == [2, None]
    assert '"max_tokens":2}' in lines[0] or '"max_tokens":2,' in lines[0]
    results = job.results()
    assert results["_status"].tolist() == ["succeeded", "succeeded", "failed"]
    assert "whole number above 0" in results["_error"].iloc[2]


BAD = {
    "an unknown column": (
        TemplateError,
        lambda df, c: df.llm.batch("{feedbak}", **c),
        "did you mean",
    ),
    "no model": (ModelError, lambda df, c: df.llm.batch("{feedback}", api_key="k"), "model"),
    "a model without a provider": (
        ModelError,
        lambda df, c: df.llm.batch("{feedback}", **{**c, "model": "gpt", "api_base": None}),
        "provider",
    ),
    "a provider without a batch API": (
        ModelError,
        lambda df, c: df.llm.batch("{feedback}", **{**c, "model": "co/x"}),
        "batch API",
    ),
    "no key": (
        KeyMissingError,
        lambda df, c: df.llm.batch("{feedback}", model="openai/x"),
        "OPENAI_API_KEY",
    ),
    "an empty frame": (
        InputError,
        lambda df, c: df.iloc[:0].llm.batch("{feedback}", **c),
        "no rows",
    ),
    "only missing values": (
        InputError,
        lambda df, c: df.llm.batch("{empty}", **c),
        "none of the 2 rows",
    ),
    "a column that is there": (
        ColumnError,
        lambda df, c: df.llm.batch("{feedback}", out="empty", **c),
        "overwrite",
    ),
    "an unknown option": (
        OptionError,
        lambda df, c: df.llm.batch("{feedback}", temprature=1, **c),
        "temperature",
    ),
    "a bad na": (OptionError, lambda df, c: df.llm.batch("{feedback}", na="drop", **c), "skip"),
    "na=raise": (InputError, lambda df, c: df.llm.batch("{some}", na="raise", **c), "row 1"),
    "a bad address": (
        InputError,
        lambda df, c: df.llm.batch("{feedback}", **{**c, "api_base": "ftp://x"}),
        "http",
    ),
    "a secret in the address": (
        OptionError,
        lambda df, c: df.llm.batch(
            "{feedback}", **{**c, "api_base": "http://me:secret@127.0.0.1/v1"}
        ),
        "password",
    ),
    "no prompt": (InputError, lambda df, c: df.llm.batch(None, **c), "prompt"),
    "a function that fails": (
        InputError,
        lambda df, c: df.llm.batch(lambda row: row["nope"], **c),
        "reads 'nope', and the row has no such column. Columns: ",
    ),
    "an empty list": (InputError, lambda df, c: jupyter_batch.batch([], **c), "empty"),
    "no list": (InputError, lambda df, c: jupyter_batch.batch("a text", **c), "list of prompts"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_reported_at_once(name, server, call, home):
    """One clear sentence, before anything is sent, and nothing is left behind: no ledger, no file, no folder."""
    kind, act, words = BAD[name]
    df = pd.DataFrame({"feedback": ["a", "b"], "empty": [None, None], "some": ["a", None]})
    with pytest.raises(kind) as raised:
        act(df, call)
    message = str(raised.value)
    assert words in message
    assert "\n" not in message
    assert "secret" not in message
    assert raised.value._render_traceback_() == [f"{type(raised.value).__name__}: {message}"]
    assert not home.exists(), list(home.rglob("*"))
    assert list(df.columns) == ["feedback", "empty", "some"]
    assert server.stats()["uploads"] == 0


def test_cancel_keeps_what_finished(server, call, home):
    """Cancel: the rows that were answered keep their answers, the others say that they were cancelled."""
    server.set_faults("latency=0.02")
    df = numbered(40)
    job = df.llm.batch("{text}", out="out", **call)
    job.cancel()
    job.wait(60)
    assert job.is_complete
    assert job.state in ("cancelled", "completed")
    counts = job.counts
    assert counts.succeeded + counts.cancelled == 40


def test_a_damaged_ledger_still_gives_what_was_fetched(call, home):
    """The database is gone to pieces: submitting says so in a sentence, and results() still reads the answers."""
    df = numbered(10)
    job = df.llm.batch("{text}", out="out", prices={"input": 1.0, "output": 2.0}, **call).wait(60)
    counts, cost, ended = job.counts, job.cost, job.snapshot().finished_at
    forget(home)
    for path in home.glob("ledger.sqlite3*"):
        path.write_bytes(b"broken" * 1000)
    with pytest.raises(LedgerCorruptError, match="damaged"):
        numbered(11).llm.batch("{text}", out="out", **call)
    found = jupyter_batch.open(job.id)
    assert found.results()["out"].tolist() == df["text"].tolist()
    assert found.is_complete
    assert found.counts == counts, "what is shown of it, too"
    assert found.cost == pytest.approx(cost)
    assert found.snapshot().finished_at == pytest.approx(ended, abs=5)
    with pytest.raises(LedgerCorruptError):
        jupyter_batch.open("jbnothing")


def test_a_disk_that_is_full_at_the_last_byte_is_reported_in_a_sentence(call, home, monkeypatch):
    """No space when the request file is closed: one sentence, and nothing is left behind."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerFullError, match="the disk is full"):
        numbered(3).llm.batch("{text}", out="out", **call)
    assert not home.exists()


def test_nothing_secret_is_kept(server, home, tmp_path, capfd):
    """The key is in no file of the ledger, no repr, no output, no error; also where the server repeats it."""
    secret = "sk-very-secret-0123456789"
    df = numbered(5)
    wrong = df.llm.batch(
        "{text}", out="out", model="openai/echo", api_base=server.base_url, api_key=secret
    )
    with pytest.raises(JobBlockedError, match="key was refused") as reported:
        wrong.wait(60)
    right = df.llm.batch(
        "{text}", out="out", model="openai/echo", api_base=server.base_url, api_key=server.token
    )
    assert right is wrong, "the same cell with a good key goes on with the same job"
    right.wait(60)
    assert right.is_successful
    shown = "".join(
        [
            str(reported.value),
            repr(right),
            repr(right.snapshot()),
            str(right._repr_mimebundle_()),
            repr(vars(right)),
            repr(right._here),
            repr(right._here.worker),
            repr(jupyter_batch.jobs()),
        ]
    )
    out, err = capfd.readouterr()
    for path in home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data, path
            assert server.token.encode() not in data.replace(b"embedded server", b""), path
    assert secret not in shown + out + err


def test_the_environments_key_takes_over_from_one_that_was_refused(server, call, home, monkeypatch):
    """A bad api_key=, then the variable that the message names is set: `resume()` goes on. A good one is kept."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    df = numbered(3)
    job = df.llm.batch("{text}", out="out", **{**call, "api_key": "sk-wrong"})
    remedy = "Set OPENAI_API_KEY and run the cell again, or job.resume()"
    wait_for(lambda: remedy in messages(job.snapshot()), job)
    assert job.state == "waiting"
    with pytest.raises(JobBlockedError):  # nothing has changed
        job.resume().wait(60)
    monkeypatch.setenv("OPENAI_API_KEY", server.token)
    assert job.resume().wait(60).is_successful
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    assert numbered(4).llm.batch("{text}", out="out", **call).resume().wait(60).is_successful


def test_stderr_stays_empty_next_to_the_persons_own_litellm(server, home):
    """In a process whose own loop uses litellm at the same time: no line on stderr, one GET for each result file."""
    script = f"""
import asyncio, os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import jupyter_batch, pandas as pd

async def main():
    df = pd.DataFrame({{"t": [str(n) for n in range(200)]}})
    job = df.llm.batch("{{t}}", out="o", model="openai/echo", api_base="{server.base_url}", shard_size=100,
                       api_key="{server.token}")
    import litellm
    litellm.suppress_debug_info = True
    for n in range(10):
        answer = await litellm.acompletion("openai/echo", messages=[{{"role": "user", "content": "hi"}}],
                                         api_base="{server.base_url}", api_key="{server.token}")
        assert answer.choices[0].message.content == "hi"
    await job
    assert (df["o"] == df["t"]).all()

asyncio.run(main())
"""
    done = subprocess.run(
        [*python(), "-c", script],
        cwd=ROOT,
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    stats = server.stats()
    assert stats["downloads"] == 2, "one GET for each result file"
    assert stats["batches_created"] == 2


def test_a_forked_process_is_another(server, home):
    """A fork in the middle of a job: parent and child wait on leases of their own; each shard is sent once."""
    server.set_faults("latency=0.05")
    script = f"""
import os, sys, pandas as pd
from jupyter_batch.runner import process as session
from tests.messages import messages
call = dict(model="openai/echo", api_base="{server.base_url}", api_key="{server.token}", out="o")
df = pd.DataFrame({{"t": [str(n) for n in range(40)]}})
job = df.llm.batch("{{t}}", shard_size=10, **call)
while not job.batches:
    job.wait(0.05)
here = session.session(next(iter(session._sessions)))
mine = here.worker.holder, here.ledger._connection
child = os.fork()
if child == 0:
    code = 1
    try:
        assert job.wait(60).is_successful
        assert (df["o"] == df["t"]).all()
        assert pd.DataFrame({{"t": ["child"]}}).llm.batch("{{t}}", **call).wait(60).is_successful
        assert here.worker.holder != mine[0]
        assert here.ledger._connection is not mine[1]
        code = 0
    finally:
        os._exit(code)
assert job.wait(60).is_successful
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [*python(), "-c", script],
        cwd=ROOT,
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert server.stats()["batches_created"] == 5


def test_an_error_of_ours_is_one_line_in_a_notebook():
    """Every error of the tree shows as one line."""
    assert JupyterBatchError("what to do")._render_traceback_() == ["JupyterBatchError: what to do"]


def test_the_manifest_says_how_it_was_made(call, home):
    """The job's folder names versions, model and columns; and the index without pickle."""
    job = numbered(2).llm.batch("{text}", out="out", **call).wait(60)
    folder = home / "jobs" / job.id
    reported = json.loads((folder / "job.json").read_text())["job"]
    assert reported["model"] == "openai/echo"
    assert reported["columns"] == ["text"]
    assert {"python", "pandas"} <= set(reported["versions"])
    json.loads((folder / "index.json").read_text())
