"""Several models over the same rows: one column each, one thing to hold, and a table that compares them."""

from __future__ import annotations

import asyncio
from typing import Literal

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.cli import main
from jupyter_batch.core.errors import InputError, JobNotFoundError, OptionError
from jupyter_batch.results.agreement import agreements
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget
from tests.messages import messages

from .conftest import numbered

MODELS = ["openai/echo", "hosted_vllm/echo"]


@pytest.fixture
def several(call):
    """The options that ask two models of the server."""
    return {**call, "model": MODELS}


def test_each_model_has_its_column(server, several, home):
    """One call, a column for each model; run again, and in another process, it is the same group and pays nothing."""
    df = numbered(5)
    group = df.llm.batch("{text}", out="answer", **several).wait(60)
    assert df.columns.tolist() == ["text", "answer_openai/echo", "answer_hosted_vllm/echo"]
    assert (df["answer_openai/echo"] == df["text"]).all()
    assert (df["answer_hosted_vllm/echo"] == df["text"]).all()
    assert group.is_successful
    assert group.state == "completed"
    assert (group.counts.total, group.counts.succeeded) == (10, 10)
    assert len(group.batches) == 2
    assert group.usage.input_tokens > 0
    forget(home)
    again = numbered(5)
    assert again.llm.batch("{text}", out="answer", **several).wait(60).id == group.id
    assert (again["answer_hosted_vllm/echo"] == again["text"]).all()
    assert jupyter_batch.open(group.id).results().columns.tolist()[:2] == df.columns.tolist()[1:]
    assert [one.id for one in jupyter_batch.jobs()] == [group.id], "the person sees one"
    assert server.stats()["batches_created"] == 2


def test_the_comparison(several):
    """A row for each model; two that say the same agree."""
    df = numbered(4)
    table = df.llm.batch("{text}", out="answer", **several).wait(60).compare()
    assert table.index.tolist() == MODELS
    assert table["answered"].tolist() == [4, 4]
    assert table["agreement"].tolist() == [1.0, 1.0]
    assert table["failed"].tolist() == [0, 0]
    shown = table._repr_html_()
    assert "row number 3" in shown
    assert "0 of 4 rows have different answers" in shown
    assert "<script>" not in shown
    assert "<iframe" not in shown, "a page is for a front end alone"
    assert type(table.sort_values("cost")) is pd.DataFrame


def test_agreement_is_a_share_of_what_both_answered():
    """A row that one of them has not answered does not count, and blanks and case do not matter."""
    assert agreements([["Yes", "no", None], ["yes ", "yes", "no"]]) == [0.5, 0.5]
    assert agreements([["a"], [None]]) == [None, None]
    assert agreements([[{"x": 1, "y": 2}], [{"y": 2, "x": 1}]]) == [1.0, 1.0]


def test_one_model_that_can_not_be_used_sends_nothing(server, several, home):
    """All models are checked before the first job is kept."""
    with pytest.raises(OptionError, match="api_base"):
        numbered(2).llm.batch(
            "{text}", **{**several, "api_base": None, "api_key": "k", "model": MODELS}
        )
    with pytest.raises(OptionError, match="different"):
        numbered(2).llm.batch("{text}", **{**several, "model": ["openai/echo"] * 2})
    assert not (home / "jobs").exists()
    assert server.stats()["batches_created"] == 0


def test_a_schema_gives_each_model_its_fields(several):
    """The fields' columns end with the model's name."""
    df = numbered(2)
    df.llm.batch("{text}", schema={"label": str}, **several).wait(60)
    assert set(df.columns) == {"text", *(f"label_{model}" for model in MODELS)}


def test_fields_are_compared_by_their_own_names(several):
    """Two models that say the same with a schema agree; `abatch` and iteration name fields as one model's would."""
    schema, text = (
        {"label": Literal["positive", "negative"]},
        [{"label": "positive"}, {"label": "negative"}],
    )
    df = pd.DataFrame({"text": ["I love it", "It is awful"]})
    group = df.llm.batch("{text}", schema=schema, **several).wait(60)
    assert group.compare()["agreement"].tolist() == [1.0, 1.0]

    async def values():
        return [result.value async for result in group]

    assert sorted(map(str, asyncio.run(values()))) == sorted(map(str, text * 2))
    answers = asyncio.run(jupyter_batch.abatch(df["text"].tolist(), schema=schema, **several))
    assert answers == [dict.fromkeys(MODELS, one) for one in text]


def test_a_model_that_was_asked_alone_is_not_asked_again(server, several):
    """The columns' names are no part of what is asked: in both orders only what is new is paid."""
    options = {**several, "schema": {"label": str, "n": int}}
    df = numbered(3)
    df.llm.batch("{text}", **{**options, "model": MODELS[0]}).wait(60)
    group = df.llm.batch("{text}", **options).wait(60)
    assert server.stats()["batches_created"] == 2
    assert group.is_successful
    df.llm.batch("{text}", **{**options, "model": MODELS[1]}, out="other").wait(60)
    assert server.stats()["batches_created"] == 2
    assert df.columns.tolist() == [
        "text",
        "label",
        "n",
        *(f"{field}_{model}" for model in MODELS for field in ("label", "n")),
        "other_label",
        "other_n",
    ]
    for field in ("label", "n"):
        assert all((df[field] == df[f"{field}_{model}"]).all() for model in MODELS)
        assert (df[field] == df[f"other_{field}"]).all()


def test_retry_sends_what_each_missed(server, several):
    """Rows that failed are sent again for the models that missed them, into the same columns."""
    server.set_faults("row_errors=1")
    df = numbered(3)
    group = df.llm.batch("{text}", out="answer", **several).wait(60)
    assert len(group.errors) == 6
    server.set_faults("")
    assert group.retry().wait(60).is_successful
    assert (df["answer_hosted_vllm/echo"] == df["text"]).all()


def test_a_retry_s_limit_is_of_all_models_together(server, several):
    """`retry(max_cost=)`: what each misses is within it, both are not: none is kept; a higher one sends both."""
    options = {**several, "prices": PRICES, "max_tokens": 100, "out": "answer"}
    server.set_faults("row_errors=1")
    df = numbered(20)
    group = df.llm.batch("{text}", **options).wait(60)
    server.set_faults("")
    each = (
        numbered(20).llm.preview("{text}", reuse=False, **{**options, "model": MODELS[0]}).cost.high
    )
    with pytest.raises(OptionError, match=r"together.*job\.retry\(max_cost=\.\.\.\) allows more"):
        group.retry(max_cost=1.5 * each)
    assert all(job._here.ledger.child(job.id) is None for job in group.jobs)
    again = group.retry(max_cost=2.5 * each).wait(60)
    assert again.is_successful
    assert (df["answer_hosted_vllm/echo"] == df["text"]).all()
    assert sum(job._record().max_cost for job in again.jobs) == pytest.approx(2.5 * each)
    assert again.cost <= 2.5 * each
    with pytest.raises(InputError, match="no row is left"):
        again.retry(max_cost=1)


def test_a_group_is_sent_again_and_forgotten_by_its_id(server, several, capsys, home):
    """The list shows a group as one, so `jupyter batch retry` and `forget` take it as one."""
    server.set_faults("row_errors=1")
    group = numbered(3).llm.batch("{text}", out="answer", **several).wait(60)
    server.set_faults("")
    assert main(["retry", group.id]) == 0
    assert len(jupyter_batch.jobs()) == 2
    again = next(one for one in jupyter_batch.jobs() if one.id != group.id).wait(60)
    assert again.is_successful
    assert main(["forget", group.id, again.id]) == 0
    assert f"{again.id} is forgotten" in capsys.readouterr().out
    assert len(jupyter_batch.jobs()) == 0
    assert not list((home / "jobs").iterdir())
    with pytest.raises(JobNotFoundError):
        jupyter_batch.open(group.id)


def test_a_group_is_opened_as_a_job_is(several):
    """By its id, a beginning of it, or the name that was given; a job of that name that came later is what is meant."""
    group = numbered(3).llm.batch("{text}", out="answer", name="my reviews", **several).wait(60)
    for name in (group.id, group.id[:6], "my reviews"):
        assert jupyter_batch.open(name).id == group.id
    assert jupyter_batch.open(group.jobs[0].id).id == group.jobs[0].id
    later = (
        numbered(4)
        .llm.batch("{text}", name="my reviews", **{**several, "model": MODELS[0]})
        .wait(60)
    )
    assert jupyter_batch.open("my reviews").id == later.id
    jobs.forget(later.id)
    assert jobs.forget("my reviews") == group.id
    assert len(jupyter_batch.jobs()) == 0


def test_an_open_group_is_not_forgotten_in_part(server, several):
    """One of its jobs is over, the other is not: nothing is removed."""
    server.set_faults("enqueued_tokens=1")
    group = numbered(3).llm.batch("{text}", out="answer", **several)
    group.jobs[0].cancel().wait(60)
    with pytest.raises(InputError, match="not over"):
        jobs.forget(group.id)
    assert len(jupyter_batch.open(group.id).jobs) == 2
    server.set_faults("")
    group.jobs[1].resume().wait(60)


def test_a_group_of_another_day_comes_onto_a_frame(several, home):
    """`df.llm.attach(group)`, or its id: each model fills its column; one `out` for several is refused."""
    group = numbered(3).llm.batch("{text}", out="answer", **several).wait(60)
    forget(home)
    df, other = numbered(3)[::-1], numbered(3)
    reported = messages(jupyter_batch.open(group.id).snapshot())
    assert reported.count("df.llm.attach") == 1, "once, for all of them"
    assert f'df.llm.attach("{group.id}") puts the answers onto a frame' in reported
    assert df.llm.attach(group.id).id == group.id
    other.llm.attach(jupyter_batch.open(group.id))
    for frame in (df, other):
        assert all((frame[f"answer_{model}"] == frame["text"]).all() for model in MODELS)
    with pytest.raises(InputError, match="is a group"):
        df.llm.attach(group.id, out="mine")


def test_awaited_and_without_a_frame(several):
    """`await abatch` gives a dict for each prompt."""
    answers = asyncio.run(jupyter_batch.abatch(["a", "b"], **several))
    assert answers == [dict.fromkeys(MODELS, "a"), dict.fromkeys(MODELS, "b")]


def test_it_shows_itself(several):
    """Text and HTML tell of all its models."""
    group = pd.DataFrame({"text": ["x"]}).llm.batch("{text}", out="answer", **several).wait(60)
    assert "hosted_vllm/echo" in repr(group)
    assert "openai/echo" in group._repr_mimebundle_()["text/html"]


PRICES = {model: {"input": 2.0, "output": 8.0} for model in MODELS}


def test_max_cost_is_of_all_models_together(server, several, home):
    """Each alone is within it, both are not: refused, for each, and nothing is kept or sent."""
    options = {**several, "prices": PRICES, "max_tokens": 100, "out": "answer"}
    each = numbered(50).llm.preview("{text}", **{**options, "model": MODELS[0]}).cost.high
    with pytest.raises(
        OptionError, match=r"hosted_vllm/echo: it may cost up to \$0\.\d+; \$0\.\d+ together"
    ) as caught:
        numbered(50).llm.batch("{text}", max_cost=1.5 * each, **options)
    assert "openai/echo: it may" in str(caught.value)
    assert "Nothing was sent" in str(caught.value)
    assert not (home / "jobs").exists()
    assert len(jupyter_batch.jobs()) == 0
    looks = numbered(50).llm.preview("{text}", max_cost=1.5 * each, **options)
    assert looks.fits is False
    assert looks.cost.high == pytest.approx(2 * each)
    assert "it would be refused" in repr(looks)
    assert "together" in looks._repr_html_()
    group = numbered(50).llm.batch("{text}", max_cost=2.5 * each, **options).wait(60)
    assert group.is_successful
    shares = [job._record().max_cost for job in group.jobs]
    assert sum(shares) == pytest.approx(2.5 * each), "each stops by itself at its share"
    assert [share >= job._record().most for share, job in zip(shares, group.jobs, strict=True)] == [
        True,
        True,
    ]
    assert server.stats()["batches_created"] == 2


def test_what_is_there_already_does_not_count(several):
    """A model that was asked before, and one that is free: the limit is for what is still to be paid."""
    options = {**several, "prices": PRICES, "max_tokens": 100, "out": "answer"}
    df = numbered(50)
    df.llm.batch("{text}", **{**options, "model": MODELS[:1]}).wait(60)
    each = numbered(50).llm.preview("{text}", **{**options, "model": MODELS[1]}).cost.high
    assert numbered(50).llm.batch("{text}", max_cost=1.5 * each, **options).wait(60).is_successful


def test_a_later_models_refusal_keeps_none(server, several, home):
    """The price of the second is not known: no job of the first is left in the ledger, to be sent by a later kernel."""
    options = {
        **several,
        "model": MODELS[::-1],
        "prices": {MODELS[1]: PRICES[MODELS[1]]},
        "max_tokens": 100,
    }
    with pytest.raises(OptionError, match="what openai/echo costs is not known"):
        numbered(3).llm.batch("{text}", max_cost=5, **options)
    assert not (home / "jobs").exists()
    assert len(jupyter_batch.jobs()) == 0
    assert server.stats()["batches_created"] == 0


def test_the_deadline_of_a_group(tmp_path, several):
    """Each job goes on in real time, the group ends with them, and the person still sees one."""
    with Embedded(tmp_path / "slow", pace=3600.0) as slow:
        where = {**several, "api_base": slow.base_url, "poll_interval": 0.05}
        df = numbered(3)
        group = df.llm.batch("{text}", out="answer", deadline=0.2, **where)
        group.wait(60)
        assert group.is_successful
        assert (df["answer_hosted_vllm/echo"] == df["text"]).all(), (
            "the wait was over when all was there"
        )
        assert [one.id for one in jupyter_batch.jobs()] == [group.id]


def test_the_rest_of_a_group_now(tmp_path, several):
    """`finish()` is for all of its models."""
    with Embedded(tmp_path / "slow", pace=3600.0) as slow:
        df = numbered(3)
        group = df.llm.batch(
            "{text}", out="answer", **{**several, "api_base": slow.base_url, "poll_interval": 0.05}
        )
        assert group.finish() is group
        assert group.wait(60).is_successful
        assert (df["answer_openai/echo"] == df["text"]).all()
