"""The files of a run: cancelled, torn, full, read by two, continued by another."""

from __future__ import annotations

import asyncio
import os

import pytest
from realtime_endpoint import HANG, Endpoint
from realtime_harness import begin, ended, provider, requests, results, run, texts, until

from jupyter_batch.core.errors import (
    LedgerFullError,
    NotFoundError,
)
from jupyter_batch.core.status import State
from jupyter_batch.providers.protocol import TAG
from jupyter_batch.realtime import journal


def test_cancel_keeps_what_is_under_way_and_starts_nothing(tmp_path):
    """Answers that are being made are waited for and kept; the rest was never asked."""
    with Endpoint(lambda text, before: HANG) as endpoint:

        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(50)))
            await until(lambda: endpoint.busy == 8)
            view = await real.cancel("realtime-jb-0")
            assert (view.status, view.ending) == ("cancelling", None)
            assert (await real.poll(view.id)).ending is None
            endpoint.release()
            view = await ended(real)
            again = await real.cancel(view.id)
            found = await results(real, view)
            await real.aclose()
            return view, again, found

        view, again, found = asyncio.run(cycle())
    assert (view.ending, view.total, view.completed, view.failed) == (State.CANCELLED, 50, 8, 0)
    assert again == view
    assert len(found) == 8
    assert sum(endpoint.asked.values()) == 8


def test_a_process_that_ends_in_order_is_gone_on_with(tmp_path, capfd):
    """Hanging calls are dropped at aclose; a later object with the id alone asks the unanswered ones."""
    with Endpoint(
        lambda text, before: HANG if int(text[4:]) >= 10 and not before else None
    ) as endpoint:

        async def first():
            real = provider(tmp_path, endpoint.base, concurrency=4)
            await begin(real, requests(tmp_path, texts(30)))
            await until(lambda: endpoint.answered == 10 and endpoint.hanging == 4)
            await real.aclose()

        async def second():
            real = provider(tmp_path, endpoint.base, concurrency=4)
            (view,) = await real.find({TAG: "jb/0"}, since=0.0)
            assert view.ending is None
            assert view.tag == {"team": "a", TAG: "jb/0"}
            endpoint.release()
            view = await ended(real, view.id)
            found = await results(real, view)
            assert await real.find({TAG: "jb/1"}, since=0.0) == []
            assert await real.find({TAG: "jb/0", "team": "b"}, since=0.0) == []
            await real.aclose()
            return view, found

        asyncio.run(first())
        view, found = asyncio.run(second())
    assert (view.completed, view.failed, len(found)) == (30, 0, 30)
    assert [endpoint.asked[f"row {n}"] for n in range(10)] == [1] * 10
    assert sum(endpoint.asked.values()) <= 34
    assert capfd.readouterr().err == ""


def test_a_torn_line_is_dropped_and_its_row_asked_again(tmp_path):
    """The torn end of a line after a kill is cut off; the lines before it stay."""
    with Endpoint() as endpoint:
        path = requests(tmp_path, texts(10))
        run(provider(tmp_path, endpoint.base), path)
        output = tmp_path / "realtime-jb-0.output.jsonl"
        whole = output.read_bytes()
        lines = whole.splitlines(keepends=True)
        torn = lines[-1]
        for rest in (torn[:1], torn[:-1], torn[:-1] + b"\0" * 100_000):
            output.write_bytes(b"".join(lines[:-1]) + rest)
            endpoint.asked.clear()
            _, found = run(provider(tmp_path, endpoint.base), path)
            assert len(found) == 10
            assert sum(endpoint.asked.values()) == 1
            assert output.read_bytes().startswith(b"".join(lines[:-1]))


def test_two_at_the_same_run_ask_each_row_once(tmp_path):
    """Another object (another process whose lease came too early) only looks on, and takes over when the first ends."""
    with Endpoint(lambda text, before: HANG) as endpoint:

        async def cycle():
            one, two = provider(tmp_path, endpoint.base), provider(tmp_path, endpoint.base)
            path = requests(tmp_path, texts(20))
            await begin(one, path)
            await until(lambda: endpoint.busy == 8)
            await begin(two, path)
            await until(lambda: not two._runs["realtime-jb-0"].busy)
            endpoint.release()
            views = await ended(two), await ended(one)
            await asyncio.gather(one.aclose(), two.aclose())
            return views

        views = asyncio.run(cycle())
    assert views[0] == views[1]
    assert views[0].completed == 20
    assert set(endpoint.asked.values()) == {1}


def test_a_full_disk_loses_no_answer(tmp_path, monkeypatch):
    """When the disk is full the run stops and says so; answers that came since are written when there is space."""
    real_write, full = os.write, []

    def write(fd, data):
        if full:
            raise OSError(28, "No space left on device")
        return real_write(fd, data)

    monkeypatch.setattr(journal.os, "write", write)
    with Endpoint(lambda text, before: HANG) as endpoint:

        async def cycle():
            real = provider(tmp_path, endpoint.base)
            await begin(real, requests(tmp_path, texts(30)))
            await until(lambda: endpoint.busy == 8)
            full.append(True)
            endpoint.release()
            for _ in range(2):
                with pytest.raises(LedgerFullError, match="free some space"):
                    await ended(real)
            full.clear()
            view = await ended(real)
            found = await results(real, view)
            await real.aclose()
            return view, found

        view, found = asyncio.run(cycle())
    assert (view.completed, len(found)) == (30, 30)
    assert set(endpoint.asked.values()) == {1}


def test_an_unknown_run_or_file_is_not_found(tmp_path):
    """An id that this folder does not hold, or that tries to leave it, is NotFound."""

    async def cycle():
        real = provider(tmp_path, "http://127.0.0.1:9/v1")
        for name in ("realtime-nothing", "../../etc/passwd", "realtime-../x"):
            with pytest.raises(NotFoundError):
                await real.poll(name)
            with pytest.raises(NotFoundError):
                await real.fetch(f"{name}-output", print)
        await real.aclose()

    asyncio.run(cycle())
