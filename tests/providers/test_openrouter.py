"""Requests in the create, the batch variant of a model, and batches that are known by their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_batch.providers.protocol import Access, UndecidedError
from tests.providers.conftest import make
from tests.providers.fakes.host import Batch


@pytest.fixture
def openrouter(tmp_path):
    """A harness for OpenRouter."""
    yield from make("openrouter", tmp_path)


def test_the_batch_variant_is_sent(openrouter):
    """The model gets ":batch", unless the name has a variant; no request names a model."""
    openrouter.plan()
    openrouter.play(openrouter.step())
    assert openrouter.fake.only.order["model"] == "the-model:batch"
    assert not any("model" in body for body in openrouter.fake.only.requests.values())
    given = type(openrouter.provider())(
        openrouter.provider().facts,
        Access(api_base=openrouter.fake.url, api_key="k"),
        model="a/m:free",
        requests_of=Path,
    )
    assert given._model == "a/m:free"


def test_a_batch_is_known_by_its_results(openrouter):
    """A running batch of as many rows may be ours: nothing is sent; one with other rows is not ours."""
    job = openrouter.plan()
    tag = {"jupyter_batch": f"{job}/0"}

    def theirs(name, rows, ending):
        requests = {f"{name}-{row}": {"messages": [{"content": "x"}]} for row in range(rows)}
        order = {"endpoint": "/v1/chat/completions", "model": "m:batch"}
        made = Batch(name, "", requests, None, openrouter.now, order, ending)
        made.answers = dict.fromkeys(requests, "X") if ending else {}
        openrouter.fake.batches[name] = made
        return made

    async def way():
        provider = openrouter.provider()
        theirs("small", 3, None)
        theirs("ended", 4, "completed")
        assert await provider.find(tag, since=0) == []
        running = theirs("running", 4, None)
        with pytest.raises(UndecidedError, match=r"OpenRouter has running under way, with 4"):
            await provider.find(tag, since=0)
        running.requests = {
            f"{job}-{row}": body for row, body in enumerate(running.requests.values())
        }
        running.answers = dict.fromkeys(running.requests, "X")
        running.ending = "expired"
        assert [view.id for view in await provider.find(tag, since=0)] == ["running"]
        tagged = await provider.tagged(since=0)
        assert {view.id: view.tag.get("jupyter_batch") for view in tagged} == {
            "running": job,
            "ended": "ended",
            "small": None,
        }

    openrouter.play(way())
