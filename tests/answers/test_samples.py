"""`n=` asks each row several times: durable, reused one by one, the cell a list."""

from __future__ import annotations

import itertools
import warnings

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.core.errors import OptionError
from jupyter_batch.monitor.view import view
from jupyter_batch.server.embedded import Embedded
from tests.answers.test_keep import call
from tests.ledgers import lose
from tests.realtime.realtime_endpoint import HANG, Endpoint
from tests.waiting import wait_for

__all__ = ["call"]


def saying(content, finish="stop"):
    """A chat completion."""
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


@pytest.fixture
def model():
    """A chat endpoint whose answers say which call they are, by the text that was asked."""
    with Endpoint(lambda text, before: saying(f"{text} {before}")) as running:
        yield running


def frame():
    """Two rows, and one with nothing to ask."""
    return pd.DataFrame({"text": ["sky", "sea", None]}, index=list("abc"))


def answers(text, *numbers):
    """The model's replies to so many calls, which come in any order."""
    return {f"{text} {number}" for number in numbers}


def test_the_cell_is_a_list(call, home, model):
    """N requests a row, each with an answer of its own, in the frame and in results(); counts are of requests."""
    df = frame()
    job = df.llm.batch("{text}", out="said", n=3, **call).wait(60)
    assert set(df["said"]["a"]) == answers("sky", 0, 1, 2)
    assert set(df["said"]["b"]) == answers("sea", 0, 1, 2)
    assert pd.isna(df["said"]["c"])
    assert (len(model.sent), job.counts.total, job.counts.succeeded) == (6, 9, 6)
    results = job.results()
    assert results.index.tolist() == list("abc")
    assert results["said"]["a"] == df["said"]["a"]
    assert results["_status"].tolist() == ["succeeded", "succeeded", "skipped"]
    assert results["_output_tokens"].tolist()[:2] == [6, 6]
    assert job.is_successful
    assert "2 of 3 rows have their answer" in job.snapshot().merged
    assert "answers" in view(job.snapshot()).share
    opened = jupyter_batch.open(job.id)
    assert opened.results()["said"]["b"] == df["said"]["b"]


def test_the_same_cell_pays_nothing(call, home, model):
    """Run again, also on a new frame with its rows in another order, it attaches; equal rows share their list."""
    df = frame()
    job = df.llm.batch("{text}", out="said", n=2, **call).wait(60)
    asked = len(model.sent)
    again = frame().iloc[::-1].copy()
    same = again.llm.batch("{text}", out="said", n=2, **call).wait(60)
    assert (same.id, len(model.sent)) == (job.id, asked)
    assert again["said"]["a"] == df["said"]["a"]
    grown = pd.concat([frame(), pd.DataFrame({"text": ["sky", "new"]}, index=["d", "e"])])
    grown.llm.batch("{text}", out="said", n=2, **call).wait(60)
    assert grown["said"]["a"] == grown["said"]["d"] == df["said"]["a"]
    assert set(grown["said"]["e"]) == answers("new", 0, 1)
    assert len(model.sent) == asked + 2


def test_from_one_to_three_two_more_are_paid(call, home, model):
    """The first answer is that of n=1, whichever was asked first; a column that n=1 filled is ours."""
    df = frame()
    df.llm.batch("{text}", out="said", **call).wait(60)
    first = df["said"]["a"]
    job = df.llm.batch("{text}", out="said", n=3, **call).wait(60)
    assert df["said"]["a"][0] == first == "sky 0"
    assert set(df["said"]["a"]) == answers("sky", 0, 1, 2)
    assert len(model.sent) == 6
    assert (job.counts.reused, job.counts.succeeded) == (2, 4)
    df.llm.batch("{text}", out="said", n=2, **call).wait(60)
    assert (len(df["said"]["a"]), len(model.sent)) == (2, 6)
    df.llm.batch("{text}", out="said", **call).wait(60)
    assert (df["said"]["a"], len(model.sent)) == ("sky 0", 6)


def test_what_is_missing_is_none_and_only_that_is_sent_again(call, home, model):
    """A partial list with its reason; retry sends the missing request alone, into the same list."""
    calls = itertools.count()
    model.decide = lambda text, before: (
        400 if text == "sky" and next(calls) == 1 else saying(f"{text} {before}")
    )
    df = frame()
    job = df.llm.batch("{text}", out="said", n=3, **call).wait(60)
    assert sum(one is None for one in df["said"]["a"]) == 1
    results = job.results().loc["a"]
    assert results["_status"] == "failed"
    assert results["_error"].startswith("1 of 3 answers is missing: ")
    assert (job.counts.failed, job.counts.succeeded, job.is_successful) == (1, 5, False)
    assert job.errors.index.tolist() == ["a", "c"]
    kept = [one for one in df["said"]["a"] if one is not None]
    sent = len(model.sent)
    again = job.retry().wait(60)
    assert len(model.sent) == sent + 1
    assert None not in df["said"]["a"]
    assert [one for one in df["said"]["a"] if one in kept] == kept
    assert again.is_successful


def test_answers_that_were_cut_off(call, home, model):
    """The row's finish reason is that of the one that was cut off; another limit sends that one again."""
    model.decide = lambda text, before: saying(
        f"{text} {before}", "length" if (text, before) == ("sky", 1) else "stop"
    )
    df = frame()
    job = df.llm.batch("{text}", out="said", n=2, max_tokens=3, **call).wait(60)
    assert job.results()["_finish"].tolist()[:2] == ["length", "stop"]
    assert job.cut_off == 1
    again = job.retry(max_tokens=50).wait(60)
    assert len(model.sent) == 5
    assert set(df["said"]["a"]) == answers("sky", 0, 2)
    assert again.is_successful


def test_fields_and_what_is_kept_are_lists_too(call, home, model):
    """With a schema a list in each field's column; the same for keep=."""
    model.decide = lambda text, before: {
        **saying(f'{{"word": "{text}{before}"}}'),
    }
    df = frame()
    df.llm.batch("{text}", schema={"word": str}, n=2, keep="reasoning", **call).wait(60)
    assert sorted(df["word"]["a"]) == ["sky0", "sky1"]
    assert df["response_reasoning"].isna().all()


def test_a_row_has_all_of_its_answers(call, home, model):
    """`job.row()` has a list of what each answer has of its own."""
    job = frame().llm.batch("{text}", out="said", n=2, **call).wait(60)
    row = job.row("b")
    assert set(row.answer) == answers("sea", 0, 1)
    assert (row.finish, row.input_tokens) == (["stop", "stop"], 10)
    assert row.prompt[0]["content"] == "sea"
    bodies = [line["response"]["body"] for line in row.raw]
    assert [body["choices"][0]["message"]["content"] for body in bodies] == row.answer


def test_preview_and_a_list_of_prompts(call, home, model):
    """A preview counts rows as rows, and the requests; a list of prompts has lists of answers."""
    seen = frame().llm.preview("{text}", n=3, **call)
    assert (seen.rows, seen.requests, seen.skipped, len(model.sent)) == (3, 6, 1, 0)
    job = jupyter_batch.batch(["sky", "sea"], n=2, **call).wait(60)
    assert [len(cell) for cell in job.results()["response"]] == [2, 2]
    group = frame().llm.batch("{text}", n=2, **{**call, "model": ["openai/m", "openai/k"]})
    results = group.wait(60).results()
    assert [len(results[f"response_openai/{one}"]["a"]) for one in "mk"] == [2, 2]


def test_a_lost_ledger(home, tmp_path):
    """Jobs that are taken up from the provider keep each answer apart: the cell run again pays nothing."""
    with Embedded(tmp_path / "server") as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        job = frame().llm.batch("{text}", out="said", n=3, shard_size=4, **call).wait(60)
        lose(home)
        (taken,) = jobs.adopt(job.id, **call).follow()
        taken.wait(60)
        assert [len(cell) for cell in taken.results()["said"].dropna()] == [3, 3]
        df = frame()
        df.llm.batch("{text}", out="said", n=3, shard_size=4, **call).wait(60)
        assert df["said"]["b"] == ["sea"] * 3
        assert server.stats()["batches_created"] == 2


def test_where_it_makes_no_sense_it_is_refused(call, home):
    """Embeddings, tools, the body's own n, and numbers that are none; before anything is sent."""
    with pytest.raises(OptionError, match="embedding"):
        frame().llm.embed("text", n=2, **call)
    with pytest.raises(OptionError, match="tools"):
        frame().llm.batch("{text}", n=2, tools=[abs_of], **call)
    with pytest.raises(OptionError, match=r"without .* n, not"):
        frame().llm.batch("{text}", extra_body={"n": 2}, **call)
    for wrong in (0, 1.5, 1000):
        with pytest.raises(OptionError, match="from 1 to 128"):
            frame().llm.batch("{text}", n=wrong, **call)


def abs_of(x: int) -> int:
    """The absolute value."""
    return abs(x)


def test_what_is_under_way_is_waited_for(home, model):
    """A larger n while the first is under way pays for what is new alone."""
    model.decide = lambda text, before: HANG if model.hanging < 2 and text == "sky" else None
    call = {"model": "openai/m", "api_base": model.base, "api_key": "k", "mode": "realtime"}
    first, second = pd.DataFrame({"text": ["sky"]}), pd.DataFrame({"text": ["sky", "new"]})
    one = first.llm.batch("{text}", out="said", n=2, **call)
    wait_for(lambda: model.hanging == 2, one)
    two = second.llm.batch("{text}", out="said", n=3, **call)
    wait_for(lambda: model.asked["new"] == 3, two)
    model.release()
    one.wait(60)
    two.wait(60)
    assert (model.asked["sky"], model.asked["new"]) == (3, 3)
    assert second["said"].tolist() == [["SKY"] * 3, ["NEW"] * 3]


@pytest.mark.parametrize("name", ["places", "unsent", "index", "keys"])
def test_a_damaged_file_is_made_again(name, home, tmp_path):
    """A job's record of its rows is read from its other files, as for one answer a row."""
    with Embedded(tmp_path / "server") as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        df = pd.concat([frame(), frame()])
        job = df.llm.batch("{text}", out="said", n=2, **call).wait(60)
        path = getattr(job._folder, name)
        assert path.exists()
        path.write_bytes(b"\x00damaged")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = jupyter_batch.open(job.id).results()["said"]
        assert [cell if isinstance(cell, list) else None for cell in results] == [
            ["sky"] * 2,
            ["sea"] * 2,
            None,
        ] * 2
