"""Result files that hold the right objects, and not one on each line."""

from __future__ import annotations

import json

import pytest

from tests.engine.test_steps import ScriptedHarness, play, to_the_end


def array(objects):
    """All in one array, on one line."""
    return json.dumps(objects).encode()


def pretty(objects):
    """Each over several lines."""
    return "\n".join(json.dumps(one, indent=2) for one in objects).encode()


def pretty_array(objects):
    """An array over several lines, after a byte order mark."""
    return b"\xef\xbb\xbf" + json.dumps(objects, indent=2).encode()


@pytest.mark.parametrize("form", [array, pretty, pretty_array])
def test_answers_are_read_in_each_form(tmp_path, form):
    """A JSON array, and pretty-printed JSON, are result files: each row has its answer, and one batch is sent."""
    harness = ScriptedHarness(tmp_path / "home")
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        name = str(view.output_file_id)
        lines = harness.provider.files[name].splitlines()
        harness.provider.files[name] = form([json.loads(line) for line in lines])
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.plan(shard_size=4) == job
    assert harness.provider.asked["create"] == 1
    harness.ledger.close()


def test_half_an_array_is_fetched_again(tmp_path):
    """An array that is cut off is no result file yet."""
    harness = ScriptedHarness(tmp_path / "home")
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        name = str(view.output_file_id)
        whole = array([json.loads(line) for line in harness.provider.files[name].splitlines()])
        harness.provider.files[name] = whole[:-30]
        await harness.step(60)
        harness.provider.files[name] = whole
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1
    harness.ledger.close()
