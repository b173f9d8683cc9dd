"""Data sets, jobs whose id the caller chooses, accounts, and published responses of Fireworks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from jupyter_batch.core.errors import AuthenticationError, BadRequestError, OptionError
from jupyter_batch.core.status import State, Step
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.failures import by_status
from jupyter_batch.providers.fireworks_ai.record import for_inference, full_name, root_of
from jupyter_batch.wire.openai import CHAT, decode
from tests.messages import messages
from tests.providers.conftest import make
from tests.providers.fakes.fireworks_ai import ACCOUNT
from tests.providers.fakes.host import Fault

SEEN = json.loads((Path(__file__).parents[1] / "payloads" / "fireworks_ai.json").read_text())


@pytest.fixture
def fireworks(tmp_path):
    """A harness for Fireworks."""
    yield from make("fireworks_ai", tmp_path)


@pytest.mark.parametrize(
    ("name", "status", "counts", "output"),
    [
        ("created", "validating", (0, 0, 0), None),
        ("running", "in_progress", (0, 0, 0), None),
        ("completed", "completed", (3, 3, 0), "accounts/a/datasets/bij-1"),
        ("failed", "failed", (0, 0, 0), None),
        ("deleted", "cancelled", (0, 0, 0), None),
    ],
)
def test_published_jobs(fireworks, name, status, counts, output):
    """States, counts above the declared one, times, and the reason; a failed job has no data set of results."""
    view = fireworks.provider()._view(SEEN["jobs"][name])
    assert (view.status, (view.total, view.completed, view.failed)) == (status, counts)
    assert view.output_file_id == output
    assert ("invalid role bananas" in view.errors) == (name == "failed")
    assert (view.expires_at is not None) == (name == "created")
    assert (view.ended_at is not None) == (name in ("completed", "failed"))


def test_a_published_line_and_a_refused_key():
    """An answer without OpenAI's envelope, with its cached tokens; a wrong key is a 403."""
    answer = decode(json.dumps(SEEN["line"]).encode(), CHAT)
    assert (answer.custom_id, answer.value) == ("r-2", "4")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (47, 2)
    assert answer.usage.cached_tokens == 29
    refused = by_status(403, json.dumps(SEEN["refused_key"]))
    assert isinstance(refused, AuthenticationError)


def test_a_repeated_create_is_the_first_job(fireworks):
    """The response was lost: the same id is refused the second time, and the job that is there is taken."""
    fireworks.fake.faults["create"] = [Fault(after=True)]
    fireworks.fake.faults["list"] = [Fault(500)] * 2
    job = fireworks.plan()

    async def way():
        await fireworks.step()
        provider = fireworks.provider()
        file = fireworks.shard(job).file_id
        (there,) = fireworks.fake.batches.values()
        view = await provider._create(file, {"jupyter_batch": f"{job}/0"})
        assert view.id == there.id
        there.ending, there.reason = "failed", "no"
        view = await provider._create(file, {"jupyter_batch": f"{job}/0"})
        assert view.id == f"{there.id}-2", "a job that failed without an answer is not it"
        there.errors = {"x": "no"}
        assert (await provider._create(file, {})).id == there.id

    fireworks.play(way())


def test_the_account(fireworks, monkeypatch):
    """It is the key's only one, or the one in the environment; with several the message says what to set."""

    async def way():
        provider = fireworks.provider()
        fireworks.fake.accounts = [ACCOUNT, "accounts/other"]
        with pytest.raises(BadRequestError, match=r"2 Fireworks accounts.*FIREWORKS_ACCOUNT_ID"):
            await provider.listed(0)
        monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "the-team")
        assert await provider.listed(0) == []

    fireworks.play(way())


def test_a_data_set_that_is_not_ready_is_waited_for(fireworks):
    """It is UPLOADING for a while: the job is created once it is READY, from the same upload."""
    fireworks.fake.ready = False
    job = fireworks.plan()

    async def way():
        await fireworks.step()
        assert fireworks.shard(job).step is Step.WAITING
        assert fireworks.fake.batches == {}
        fireworks.fake.ready = True
        await fireworks.step(400)
        fireworks.fake.end()
        await fireworks.to_the_end(job)

    fireworks.play(way())
    assert fireworks.fake.asked["upload"] == 1
    assert fireworks.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_cancelled_job_goes_on_and_says_why(fireworks):
    """There is no call for it: the note says so, for hours, and the answers come at the end."""
    job = fireworks.plan()

    async def way():
        await fireworks.step()
        fireworks.ledger.cancel(job, fireworks.now)
        await fireworks.step(5)
        for _ in range(8):
            await fireworks.step(3600)
        assert "can't cancel a batch" in messages(fireworks.snapshot(job))
        fireworks.fake.end()
        await fireworks.to_the_end(job)

    fireworks.play(way())
    assert fireworks.snapshot(job).state is State.COMPLETED
    assert fireworks.outcomes(job).answers == ["A", "B", "C", "D"]
    assert "delete" not in fireworks.fake.asked


def test_the_requests_of_a_job(fireworks):
    """The data set that was uploaded is read back, with the model of the job."""
    fireworks.plan()

    async def way():
        await fireworks.step()
        provider = fireworks.provider()
        held = []
        (batch,) = await provider.listed(0)
        await provider.requests(batch, held.append)
        lines = [json.loads(line) for line in b"".join(held).splitlines()]
        assert [line["body"]["messages"][0]["content"] for line in lines] == list("abcd")
        assert {line["body"]["model"] for line in lines} == {"accounts/fireworks/models/the-model"}
        assert (await provider.poll(batch.id.rpartition("/")[2])).id == batch.id

    fireworks.play(way())


def test_names_are_completed_as_litellm_does():
    """Short names, routers and deployments."""
    load_litellm()
    common = pytest.importorskip("litellm.llms.fireworks_ai.common_utils")
    theirs = getattr(common, "resolve_fireworks_resource_name", None)
    if theirs is None:
        pytest.skip("an older litellm has no function for it")
    for name in ("llama-v3p1-8b", "accounts/x/models/y", "models/y", "routers/r", "m#accounts/a/d"):
        assert full_name(name) == theirs(name)


def test_addresses():
    """Batches and inference are below different paths of one host."""
    for base in ("https://h", "https://h/", "https://h/v1", "https://h/inference/v1"):
        assert root_of(base) == "https://h/v1"
        assert for_inference(base) == "https://h/inference/v1"


@pytest.mark.parametrize("model", ["fireworks_ai/m", "openrouter/a/m"])
def test_a_deadline_that_can_not_be_kept_is_refused(model):
    """A late batch can't be cancelled there: its open rows would be paid twice."""
    with pytest.raises(OptionError, match=r"no call that cancels a batch.*realtime"):
        pd.DataFrame({"t": ["a"]}).llm.batch("{t}", model=model, api_key="k", deadline="2h")
