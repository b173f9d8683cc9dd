"""Batches refused for their size, in requests, in bytes or without a number: cut, and each row is sent once."""

from __future__ import annotations

import pandas as pd
import pytest
from aiohttp import web

from tests.endings.far import far_side

ROWS = 9
LONG = "x" * 20_000
PAGE = "<html><head><title>413 Request Entity Too Large</title></head></html>"


def too_many(far, most):
    """Its batches take so many requests."""
    lines = far.fake.lines

    def checked(file_id):
        found = lines(file_id)
        if len(found) > most:
            raise ValueError(
                f"The batch has {len(found)} requests, which exceeds the limit of {most} requests"
            )
        return found

    far.fake.lines = checked


def too_large(far, most, *, named):
    """It takes files of so many bytes, and may name the limit."""
    keep_file = far.fake.keep_file

    async def checked(request, new_id):
        kept = await keep_file(request, new_id)
        if kept[1] > most:
            if named:
                raise ValueError(f"File is too large: the maximum size is {most} bytes")
            raise web.HTTPRequestEntityTooLarge(most, kept[1], text=PAGE)
        return kept

    far.fake.keep_file = checked


HOW = {
    "requests": (lambda far: too_many(far, 4), 3),
    "bytes": (lambda far: too_large(far, 3 * 20_500, named=True), 3),
    "no number": (lambda far: too_large(far, 60_000, named=False), 5),
}


@pytest.mark.parametrize("how", HOW)
def test_a_batch_that_is_refused_for_its_size_is_cut(how, desk):
    """D8: cut into batches that fit the limit that is named; by halves where a 413 names none."""
    limit, most_batches = HOW[how]
    with far_side("openai", desk.clock) as far:
        limit(far)
        frame = pd.DataFrame({"t": [f"{row}{LONG}" for row in range(ROWS)]})
        job = frame.llm.batch("{t}", out="out", **far.call)

        def answered():
            for batch in list(far.fake.batches.values()):
                batch.answers = {
                    one: body["messages"][-1]["content"][0] for one, body in batch.requests.items()
                }
                batch.ending = "completed"
            return job.is_complete

        desk.until(answered)
        assert job.wait(30).is_successful
        assert frame["out"].tolist() == [str(row) for row in range(ROWS)]
        sent = "".join(sent for sent in far.sent).replace("x", "")
        assert sorted(sent) == sorted(map(str, range(ROWS)))
        assert len(far.sent) <= most_batches


def test_a_small_batch_that_is_refused_as_too_large_fails(desk):
    """D8: a server that refuses every body as too large is not sent a batch for each row."""
    with far_side("openai", desk.clock) as far:
        too_large(far, 10, named=False)
        job = desk.frame().llm.batch("{t}", out="out", **far.call)
        desk.until(lambda: job.is_complete)
        assert job.state == "failed"
        assert far.fake.asked["upload"] == 1
        assert job.errors["_error"].str.contains("413").all()
