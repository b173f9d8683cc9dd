"""Waits that only the user can end: a server without batches, a used-up quota, a batch that the key does not show."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

import jupyter_batch
from jupyter_batch.core.errors import (
    JobBlockedError,
    KeyMissingError,
    NotFoundError,
    OptionError,
    RateLimitError,
)
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.monitor.view import view
from jupyter_batch.runner.refusals.blocking import UNSEEN_TRIES
from jupyter_batch.testing.scripted import FACTS

from .conftest import numbered
from .test_steps import ScriptedHarness, play, to_the_end

SPENT = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
FILE = {"id": "file-1", "object": "file", "purpose": "batch"}


@pytest.fixture
def harness(tmp_path):
    """One harness, its ledger closed at the end."""
    made = ScriptedHarness(tmp_path / "home")
    yield made
    made.ledger.close()


@contextmanager
def serving(answer):
    """A server whose every answer is `answer(method, path)`: (status, body); and how often each was asked."""
    asked = Counter()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            asked[self.command, self.path.partition("?")[0]] += 1
            status, body = answer(self.command, self.path.partition("?")[0])
            raw = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815 - the library's names

        def log_message(self, *_):
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def submitted(base, rows=4, **more):
    """A job at that address."""
    call = {"model": "openai/m", "api_base": base, "api_key": "sk-k", **more}
    return numbered(rows).llm.batch("{text}", out="out", **call)


NO_FILES = [
    (404, {"detail": "Not Found"}),
    (404, "404 page not found\n"),
    (404, "<html><head><title>404 Not Found</title></head></html>"),
    (404, {"error": {"message": "Unknown request URL: POST /files", "code": "unknown_url"}}),
    (404, {"error": {"message": "something of its own"}}),
    (405, {"detail": "Method Not Allowed"}),
    (501, "Not Implemented"),
    (200, "<!DOCTYPE html><html><title>Welcome</title></html>"),
]


@pytest.mark.parametrize(("status", "body"), NO_FILES)
def test_a_server_without_a_batch_api_is_named_in_seconds(home, status, body):
    """The upload of any such answer blocks the job; the causes and ways out are named, and nothing is repeated."""
    with serving(lambda *_: (status, body)) as (base, asked):
        job = submitted(f"{base}/v1")
        with pytest.raises(JobBlockedError, match="no batch API") as raised:
            job.wait(120)
        for way in ("/v1", 'mode="realtime"', "jupyter batch serve", "resume"):
            assert way in str(raised.value)
        assert (job.blocked, str(job.state)) == ("no batch API", "waiting")
        assert asked["POST", "/v1/files"] <= 3


def test_each_batch_of_a_job_waits_with_the_first(home):
    """Of many batches not each is uploaded to learn the same, and each door says so."""
    with serving(lambda *_: (404, {"detail": "Not Found"})) as (base, asked):
        job = submitted(f"{base}/v1", rows=40, shard_size=1)
        with pytest.raises(JobBlockedError):
            asyncio.run(_awaited(job))
        assert asked["POST", "/v1/files"] <= 8
        embedding = numbered(2).llm.embed(
            "text", out="v", model="openai/m", api_base=f"{base}/v1", api_key="sk-k"
        )
        with pytest.raises(JobBlockedError, match="no batch API"):
            embedding.wait(120)


async def _awaited(job):
    await job


def test_a_server_that_takes_files_and_has_no_batches(home):
    """Refused at the create; corrected on the server, `resume()` sends it with the same file."""
    there = {"batches": False}

    def answer(method, path):
        if path.endswith("/files"):
            return 200, FILE
        if not there["batches"]:
            return 404, {"detail": "Not Found"}
        return 200, {"id": "batch_1", "object": "batch", "status": "in_progress", "created_at": 1}

    with serving(answer) as (base, asked):
        job = submitted(f"{base}/v1")
        with pytest.raises(JobBlockedError, match="no batch API"):
            job.wait(120)
        there["batches"] = True
        job.resume()
        while not job.batches:
            job.wait(0.05)
        assert asked["POST", "/v1/files"] == 1


@pytest.mark.parametrize(
    "path",
    ["chat/completions", "v1/chat/completions", "v1/completions/", "v1/embeddings", "v1/responses"],
)
def test_a_call_s_path_is_refused_as_a_base(home, path):
    """Before anything is planned, in batches and in real time."""
    for mode in ("batch", "realtime"):
        with pytest.raises(OptionError, match=r"is a call and no base.*https://host/v1"):
            submitted(f"http://127.0.0.1:9/{path}", mode=mode)
    assert len(jupyter_batch.jobs()) == 0


@pytest.mark.parametrize("at", ["upload", "create", "batch"])
def test_a_used_up_quota_blocks_and_resume_goes_on(harness, at):
    """Refused at once or after the batch was created: blocked, the others wait with it, tried again by itself."""
    spent = RateLimitError("insufficient_quota: pay first", status=429)
    spent.spent = True
    if at != "batch":
        harness.provider.faults[at] = [spent, spent]
    job = harness.plan(shard_size=2)

    async def way():
        await harness.step()
        if at == "batch":
            for batch in harness.provider.batches.values():
                harness.provider.batches[batch.id] = msgspec.structs.replace(
                    batch,
                    status="failed",
                    ending=State.FAILED,
                    errors="insufficient_quota: pay first",
                    quota=True,
                    spent=True,
                )
            await harness.step(10)
        await harness.step(1)
        seen = harness.snapshot(job)
        assert (seen.blocked, seen.state) == (Block.QUOTA, State.WAITING)
        assert "Add credit" in view(seen).blocked[0]
        assert "pay first" in view(seen).blocked[0]
        harness.ledger.resume(job)
        assert harness.snapshot(job).blocked is None
        await to_the_end(harness, job, pause=600)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


def test_a_used_up_quota_is_tried_again_by_itself(harness):
    """The user has paid since: nothing need be called."""
    spent = RateLimitError("pay first", status=402)
    spent.spent = True
    harness.provider.faults["create"] = [spent] * 3
    job = harness.plan(shard_size=2)
    play(to_the_end(harness, job, pause=600))
    assert harness.provider.asked["upload"] == 2


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_a_wait_for_a_used_up_quota_raises(home, mode):
    """From the wire, in batches and in real time; every screen has the sentence."""
    with serving(lambda *_: (429, SPENT)) as (base, _):
        job = submitted(f"{base}/v1", mode=mode)
        with pytest.raises(JobBlockedError, match=r"quota is used up.*exceeded your current quota"):
            job.wait(60)
        assert (job.blocked, str(job.state)) == ("quota", "waiting")
        assert "quota is used up" in repr(job)
        job.cancel()


def not_found():
    """A provider's refusal for a batch of another organization."""
    return NotFoundError("No batch found with id 'batch-2'. (HTTP 404)", status=404)


def test_a_batch_that_the_key_does_not_show_names_the_other_key(harness):
    """Not found again and again: blocked for its key, with the ways out; another key goes on."""
    harness.provider.faults["poll"] = [not_found() for _ in range(UNSEEN_TRIES + 1)]
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        for _ in range(UNSEEN_TRIES - 1):
            await harness.step(120)
        assert harness.snapshot(job).blocked is None, "just after a create that passes"
        await harness.step(300)
        seen = harness.snapshot(job)
        assert (seen.blocked, seen.state) == (Block.KEY, State.WAITING)
        shown = view(seen).blocked[0]
        for way_out in ("organization or project", "resume(api_key=", "cancel()", "finish()"):
            assert way_out in shown
        harness.ledger.resume(job)
        await to_the_end(harness, job, pause=600)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1


@pytest.mark.parametrize("how", ["finish", "deadline", "cancel"])
def test_the_end_of_a_batch_that_the_key_does_not_show(harness, how):
    """Finish, a deadline and cancel give it up; the first two ask its rows in real time."""
    missing = [not_found() for _ in range(50)]
    harness.provider.faults["poll"] = missing
    harness.provider.faults["cancel"] = [not_found() for _ in range(50)]
    job = harness.plan(shard_size=4)
    if how == "deadline":
        harness.ledger.amend(job, deadline=harness.now + 3000)

    async def way():
        await harness.step()
        for _ in range(6):
            await harness.step(300)
        if how == "finish":
            harness.ledger.rush(job, harness.now)
        if how == "cancel":
            harness.ledger.cancel(job, harness.now)
        for _ in range(12):
            await harness.step(300)
            if harness.ledger.job(job).finished_at:
                return

    play(way())
    assert harness.snapshot(job).state is State.CANCELLED
    assert "not found under this key" in harness.shard(job).why
    child = harness.ledger.child(job)
    assert (child is not None) == (how != "cancel")


def stays(harness, job):
    """A provider whose batch says `cancelling` for ever."""

    async def cancelling(batch_id):
        view = harness.provider._there(batch_id)
        view = msgspec.structs.replace(view, status="cancelling", completed=1)
        harness.provider.batches[batch_id] = view
        return view

    harness.provider.cancel = harness.provider.poll = cancelling


@pytest.mark.parametrize("order", ["finish", "deadline", "cancel", "cancel, then finish"])
def test_a_batch_that_stays_in_cancelling_is_not_waited_for_without_an_end(harness, order):
    """Reported after a minute; given up later, and then its rows are sent where that was wanted."""
    job = harness.plan(shard_size=4)
    stays(harness, job)
    if order == "deadline":
        harness.ledger.amend(job, deadline=harness.now + 5)

    async def way():
        await harness.step()
        await harness.step(10)
        if order == "finish":
            harness.ledger.rush(job, harness.now)
        if order.startswith("cancel"):
            harness.ledger.cancel(job, harness.now)
        if order.endswith("then finish"):
            harness.ledger.rush(job, harness.now, after_cancel=True)
        for _ in range(4):
            await harness.step(60)
        seen = harness.snapshot(job)
        assert seen.state is State.CANCELLING
        assert "has not ended the batch yet" in " ".join(view(seen).lines)
        for _ in range(4):
            await harness.step(FACTS.cancelling / 3)

    play(way())
    assert harness.snapshot(job).state is State.CANCELLED
    assert harness.ledger.job(job).finished_at
    assert "did not end the batch" in harness.shard(job).why
    assert (harness.ledger.child(job) is not None) == (order != "cancel")


def test_what_another_process_lacks_ends_no_wait_here(server, home):
    """A process without a key writes its block just after `resume(api_key=)` here: this wait goes on."""
    job = submitted(server.base_url, model="openai/echo", api_key="sk-wrong")
    with pytest.raises(JobBlockedError):
        job.wait(60)
    follow = job._follow

    def followed(*given):
        follow(*given)
        job._here.ledger.say(job.id, "no API key for openai: set OPENAI_API_KEY", Block.KEY)

    job._follow = followed
    assert job.resume(api_key=server.token).wait(60).is_successful


def test_a_process_without_a_key_raises_all_the_same(harness):
    """The process that lacks it says so, though another has written the same before."""
    job = harness.plan(shard_size=4)

    async def no_key(_):
        raise KeyMissingError("no API key for scripted")

    keyless, other = harness.another_process(), harness.another_process()
    keyless._connect = other._connect = no_key
    seen = []

    async def way():
        await harness.step(worker=keyless)
        other.take(job, seen.append)
        await harness.step(worker=other)
        assert other.lacks_key(job)
        assert seen[-1].blocked is Block.KEY
        assert harness.shard(job).step is Step.PLANNED

    play(way())
