"""Batches refused for their size, in requests, in bytes or without a number: cut, and each row is sent once."""

from __future__ import annotations

import pandas as pd
import pytest
from aiohttp import web

from tests.endings.remote import remote_provider

ROWS = 9
LONG = "x" * 20_000
PAGE = "<html><head><title>413 Request Entity Too Large</title></head></html>"


def too_many(remote, most):
    """Its batches take so many requests."""
    lines = remote.fake.lines

    def checked(file_id):
        found = lines(file_id)
        if len(found) > most:
            raise ValueError(
                f"The batch has {len(found)} requests, which exceeds the limit of {most} requests"
            )
        return found

    remote.fake.lines = checked


def too_large(remote, most, *, named):
    """It takes files of so many bytes, and may name the limit."""
    keep_file = remote.fake.keep_file

    async def checked(request, new_id):
        kept = await keep_file(request, new_id)
        if kept[1] > most:
            if named:
                raise ValueError(f"File is too large: the maximum size is {most} bytes")
            raise web.HTTPRequestEntityTooLarge(most, kept[1], text=PAGE)
        return kept

    remote.fake.keep_file = checked


HOW = {
    "requests": (lambda remote: too_many(remote, 4), 3),
    "bytes": (lambda remote: too_large(remote, 3 * 20_500, named=True), 3),
    "no number": (lambda remote: too_large(remote, 60_000, named=False), 5),
}


@pytest.mark.parametrize("how", HOW)
def test_a_batch_that_is_refused_for_its_size_is_cut(how, harness):
    """Cut into batches that fit the limit that is named; by halves where a 413 names none."""
    limit, most_batches = HOW[how]
    with remote_provider("openai", harness.clock) as remote:
        limit(remote)
        frame = pd.DataFrame({"t": [f"{row}{LONG}" for row in range(ROWS)]})
        job = frame.llm.batch("{t}", out="out", **remote.call)

        def answered():
            for batch in list(remote.fake.batches.values()):
                batch.answers = {
                    one: body["messages"][-1]["content"][0] for one, body in batch.requests.items()
                }
                batch.ending = "completed"
            return job.is_complete

        harness.until(answered)
        assert job.wait(30).is_successful
        assert frame["out"].tolist() == [str(row) for row in range(ROWS)]
        sent = "".join(sent for sent in remote.sent).replace("x", "")
        assert sorted(sent) == sorted(map(str, range(ROWS)))
        assert len(remote.sent) <= most_batches


def test_a_small_batch_that_is_refused_as_too_large_fails(harness):
    """A server that refuses every body as too large is not sent a batch for each row."""
    with remote_provider("openai", harness.clock) as remote:
        too_large(remote, 10, named=False)
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: job.is_complete)
        assert job.state == "failed"
        assert remote.fake.asked["upload"] == 1
        assert job.errors["_error"].str.contains("413").all()
