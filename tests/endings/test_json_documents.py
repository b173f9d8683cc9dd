"""Result files that hold the right objects, and not one on each line."""

from __future__ import annotations

import json

import pytest

from tests.engine.test_tick import ScriptedDesk, play, to_the_end


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
    """C3: a JSON array, and pretty-printed JSON, are result files: each row has its answer, and one batch is sent."""
    desk = ScriptedDesk(tmp_path / "home")
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        view = desk.provider.finish(str(desk.shard(job).batch_id))
        name = str(view.output_file_id)
        lines = desk.provider.files[name].splitlines()
        desk.provider.files[name] = form([json.loads(line) for line in lines])
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.plan(shard_size=4) == job
    assert desk.provider.asked["create"] == 1
    desk.ledger.close()


def test_half_an_array_is_fetched_again(tmp_path):
    """C3: an array that is cut off is no result file yet."""
    desk = ScriptedDesk(tmp_path / "home")
    job = desk.plan(shard_size=4)

    async def way():
        await desk.step()
        view = desk.provider.finish(str(desk.shard(job).batch_id))
        name = str(view.output_file_id)
        whole = array([json.loads(line) for line in desk.provider.files[name].splitlines()])
        desk.provider.files[name] = whole[:-30]
        await desk.step(60)
        desk.provider.files[name] = whole
        await to_the_end(desk, job)

    play(way())
    assert desk.told(job).answers == ["A", "B", "C", "D"]
    assert desk.provider.asked["create"] == 1
    desk.ledger.close()
