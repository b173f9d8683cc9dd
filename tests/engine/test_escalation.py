"""Rows without an answer go to another model, or are asked again with their error: linked jobs, the same column."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import NothingToRetryError, OptionError
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.ledgers import forget
from tests.providers.fakes.azure import Azure
from tests.waiting import wait_for

from .conftest import numbered
from .test_every_provider import anthropic
from .test_submit_file import uploads


@pytest.fixture
def azure():
    """(a fake of OpenAI's shape whose answers a test chooses, the options that send a job there)."""
    with Azure(time.time) as fake:
        yield (
            fake,
            {
                "model": "azure/first",
                "api_base": fake.url,
                "api_key": fake.key,
                "api_version": "2024-10-21",
            },
        )


def answered(fake, answers):
    """End the newest batch with these answers in order; None for an error. Returns its requests' bodies."""
    batch = list(fake.batches.values())[-1]
    pairs = list(zip(batch.requests, answers, strict=True))
    batch.answers = {one: text for one, text in pairs if text is not None}
    batch.errors = {one: "the model fell over" for one, text in pairs if text is None}
    batch.ending = "completed"
    return list(batch.requests.values())


def sent(fake, job, batches):
    """The job, once so many batches are at the fake."""
    wait_for(lambda: len(fake.batches) == batches, job)
    return job


def test_failed_rows_go_to_another_model(azure, home):
    """Only they are sent, under the other model's name; the column is whole, the second call sends nothing."""
    fake, call = azure
    df = numbered(3)
    job = sent(fake, df.llm.batch("{text}", out="said", temperature=0.5, **call), 1)
    answered(fake, ["A", None, None])
    job.wait(60)
    again = sent(fake, job.retry(model="azure/better"), 2)
    bodies = answered(fake, ["B", "C"])
    assert again.wait(60).is_successful
    assert df["said"].tolist() == ["A", "B", "C"]
    assert [body["model"] for body in bodies] == ["better", "better"]
    assert [body["temperature"] for body in bodies] == [0.5, 0.5]
    assert [body["messages"][0]["content"] for body in bodies] == df["text"].tolist()[1:]
    assert again.snapshot().model == "azure/better"
    assert job.retry(model="azure/better") is again
    forget(home)
    fresh = numbered(3)
    assert fresh.llm.batch("{text}", out="said", temperature=0.5, **call).wait(60).is_successful
    assert fresh["said"].tolist() == ["A", "B", "C"]
    assert fake.asked["create"] == 2
    with pytest.raises(NothingToRetryError):
        again.retry(model="azure/best")


def test_to_another_provider_and_back(server, call, home):
    """The requests are translated for the other provider, whose key alone is sent there."""
    with anthropic() as fake:
        df = pd.DataFrame({"t": ["a", "b", "c"]})
        server.set_faults("row_errors=1")
        job = df.llm.batch("{t}", out="out", system="Be loud", max_tokens=9, **call).wait(60)
        assert job.counts.failed == 3
        fake.add([])  # the first batch there has a failure
        other = job.retry(
            model="anthropic/claude-haiku-4-5", api_base=fake.base, api_key=ANTHROPIC_KEY
        ).wait(60)
        assert df["out"].tolist() == ["A", "B", "C"]
        assert other.is_successful
        *_, batch = fake.batches.values()
        assert batch["requests"][0]["params"]["max_tokens"] == 9
        assert "Be loud" in json.dumps(batch["requests"][0]["params"]["system"])


def test_from_another_format(server, call, home):
    """A failed row of Anthropic's goes to a server of OpenAI's API, from the requests as they were given."""
    with anthropic() as fake:
        df = pd.DataFrame({"t": ["a", "b", "c"]})
        job = df.llm.batch(
            "{t}",
            out="out",
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
        ).wait(60)
        assert job.counts.failed == 1
        again = job.retry(max_tokens=7, **call).wait(60)
        assert again.is_successful
        assert df["out"].tolist() == ["A", "B", "c"]
        ((sent,),) = uploads(server)
        assert sent["body"] == {
            "model": "echo",
            "messages": [{"role": "user", "content": "c"}],
            "max_tokens": 7,
        }


SCORE = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}


def test_a_misfit_is_asked_again_with_its_error(azure, home):
    """The conversation has the answer and what is wrong with it; a fitting answer is not sent again."""
    fake, call = azure
    df = pd.DataFrame({"t": ["a", "b"]})
    job = sent(fake, df.llm.batch("{t}", schema=SCORE, **call), 1)
    answered(fake, ['{"score": 1}', '{"score": "many"}'])
    job.wait(60)
    assert (job.counts.succeeded, job.counts.failed) == (1, 1)
    again = sent(fake, job.retry(invalid=True), 2)
    (body,) = answered(fake, ['{"score": "some"}'])
    asked, answer, error = body["messages"]
    assert asked == {"role": "user", "content": "b"}
    assert answer == {"role": "assistant", "content": '{"score": "many"}'}
    assert error["role"] == "user"
    assert "score: expected a whole number; got the text 'many'" in error["content"]
    assert body["response_format"]["type"] == "json_schema"
    assert again.wait(60).counts.failed == 1
    assert job.retry(invalid=True) is again
    other = sent(fake, again.retry(invalid=True, model="azure/better"), 3)
    (body,) = answered(fake, ['{"score": 2}'])
    assert body["model"] == "better"
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert other.wait(60).is_successful
    assert df["score"].tolist() == [1, 2]


def test_what_a_retry_refuses(server, call, home, tmp_path):
    """invalid= without a schema, an address without a model, vectors at another model."""
    server.set_faults("row_errors=1")
    job = numbered(2).llm.batch("{text}", **call).wait(60)
    with pytest.raises(OptionError, match="no schema"):
        job.retry(invalid=True)
    with pytest.raises(OptionError, match="give model="):
        job.retry(api_base="http://127.0.0.1:1")
    vectors = numbered(2).llm.embed("text", **call).wait(60)
    with pytest.raises(OptionError, match="only chat requests"):
        vectors.retry(model="openai/better")
    assert server.stats()["batches_created"] == 2


def test_a_group_and_its_frame(server, call, home):
    """The failed rows of each job of a group go to the other model; frame() has the source and all columns."""
    server.set_faults("row_errors=1")
    df = numbered(4)
    group = df.llm.batch("{text}", out="said", **{**call, "model": [call["model"]]}).wait(60)
    (column,) = [name for name in df.columns if name.startswith("said")]
    assert group.frame()[column].isna().any()
    server.set_faults("")
    again = group.retry(model=call["model"], max_cost=None).wait(60)
    assert again.frame().columns.tolist() == ["text", column]
    assert again.frame()[column].tolist() == df["text"].tolist()
    (job,) = again.jobs
    assert job.frame().equals(again.frame())
    forget(home)
    assert jupyter_batch.open(job.id).frame().columns.tolist() == [job._record().out]
