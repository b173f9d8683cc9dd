"""Nothing is paid twice: creates without an answer, batches without metadata, ledgers and files that are damaged."""

from __future__ import annotations

import shutil
from zlib import crc32

import msgspec
import pytest

from jupyter_batch.core.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InputError,
    ProviderDownError,
    ProviderTimeoutError,
)
from jupyter_batch.core.status import Block, State, Step
from jupyter_batch.file_checks import stored
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.retry import plan_again
from jupyter_batch.providers.protocol import SETTLE_SECONDS
from jupyter_batch.providers.table import facts_of
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.testing.scripted import Scripted

from .test_steps import harness, play, to_the_end  # noqa: F401 - a fixture


class Slow(Scripted):
    """Accepts a create some seconds after its sender is gone, and loses metadata."""

    def __init__(self, place, seconds):
        super().__init__(lambda body: body["messages"][-1]["content"].upper())
        self._desk, self._seconds, self._from = place, seconds, {}

    async def submit(self, *args, **named):
        """Take it, answer nothing."""
        view = await super().submit(*args, **named)
        self.batches[view.id] = msgspec.structs.replace(view, tag={})
        self._from[view.id] = self._desk.now + self._seconds
        raise ProviderTimeoutError("no answer")

    async def find(self, *args, **named):
        """The batches accepted by now."""
        return [
            view
            for view in await super().find(*args, **named)
            if self._from[view.id] <= self._desk.now
        ]


@pytest.mark.parametrize("seconds", [0.5, 1.5, 22.0, 30.0, 59.0, 300.0])
def test_a_create_that_is_accepted_late_is_taken(harness, seconds):  # noqa: F811
    """A create is accepted late, and its metadata are lost: it is found by its file, and never sent again."""
    harness.provider = Slow(harness, seconds)
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job, pause=3.0))
    assert harness.provider.asked["create"] == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:9/v1", "http://localhost:9/v1", None, "https://far.example/v1"]
)
def test_the_time_to_settle_is_no_fact_of_the_address(base):
    """A loopback address may be a tunnel: only our own embedded server answers surely, and soon."""
    facts = facts_of("openai", base)
    assert (facts.settle, facts.sure) == (SETTLE_SECONDS, False)
    ours = facts_of("local", None)
    assert (ours.settle, ours.sure) == (1.0, True)


def test_a_connection_that_was_refused_is_tried_again(harness):  # noqa: F811
    """Nothing left this machine, so nothing can arrive: the create is sent again, without asking."""
    refused = ConnectionFailedError("refused")
    refused.not_sent = True
    harness.provider.faults["create"] = [refused] * 3
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert len(harness.provider.batches) == 1
    assert harness.provider.asked["find"] == 0


def test_a_server_that_answered_with_its_own_error_is_asked_again(harness):  # noqa: F811
    """After a 500 or a 503 of the server's own, and a list that does not show the batch, it is sent again."""
    harness.provider.faults["create"] = [ProviderDownError("overloaded", status=503)]
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    assert len(harness.provider.batches) == 1
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]


@pytest.mark.parametrize("status", [408, 502, 504, 524])
def test_a_gateway_that_gave_up_says_nothing(harness, status):  # noqa: F811
    """A gateway's answer for a silent server is no refusal: the user is asked, nothing is sent again."""
    harness.provider.faults["create"] = [ProviderDownError("gateway", status=status)]
    job = harness.plan(shard_size=4)

    async def way():
        for _ in range(10):
            await harness.step(60)

    play(way())
    assert harness.provider.asked["create"] == 1
    assert harness.shard(job).blocked_by is Block.UNKNOWN_CREATE
    harness.ledger.rush(job, harness.now)
    play(way())
    assert harness.shard(job).step is Step.SUBMITTING, "finish() does not pay for what may be there"


def test_cancelled_while_submitting_with_a_refused_key(harness):  # noqa: F811
    """The process died at the create, the key is refused now: the user's cancel ends the job, as unsure."""
    harness.provider.faults["create"] = [ProviderTimeoutError("slow")]
    harness.provider.faults["find"] = [AuthenticationError("bad key", status=401)] * 99
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        harness.ledger.cancel(job, harness.now)
        await to_the_end(harness, job, pause=70)

    play(way())
    assert harness.snapshot(job).state is State.CANCELLED
    assert harness.snapshot(job).cost is None


def test_a_checksum_of_an_older_version_finds_a_flipped_bit(harness, monkeypatch):  # noqa: F811
    """A CRC-32, as before version 0.2: the file is kept while it is whole, and fetched again when it is not."""
    with monkeypatch.context() as before:
        before.setattr(stored, "file_hash", file_sum)
        job = harness.plan(shard_size=4)
        play(to_the_end(harness, job))
    path = harness.ledger.folders.of(job).output(0)
    whole = path.read_bytes()
    assert harness.shard(job).kept == ((path.name, len(whole), crc32(whole)),)
    record, shards = harness.ledger.job(job), harness.ledger.shards(job)
    assert not reopen(harness.ledger, record, shards, now=harness.now, forced=True)
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    at = whole.index(b"A")
    path.write_bytes(whole[:at] + b"C" + whole[at + 1 :])
    assert reopen(harness.ledger, record, shards, now=harness.now)
    play(to_the_end(harness, job))
    assert path.read_bytes() == whole
    assert harness.provider.asked["create"] == 1


@pytest.mark.parametrize("how", ["deleted", "cut", "damaged"])
def test_a_result_file_that_is_gone_is_fetched_again(harness, how):  # noqa: F811
    """It is reported as such, counts agree, nothing is paid, and the provider's copy is fetched again."""
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    path = harness.ledger.folders.of(job).output(0)
    whole = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[: whole.index(b"\n") + 9] if how == "cut" else b"\0" * len(whole))
    with pytest.raises(InputError, match="fetched again"):
        plan_again(
            harness.ledger, harness.ledger.job(job), harness.ledger.shards(job), now=harness.now
        )
    outcomes, counts = harness.outcomes(job), harness.snapshot(job).counts
    lost = 3 if how == "cut" else 4
    assert sum("output-0.jsonl" in reason for reason in outcomes.reasons.values()) == lost
    assert (counts.failed, counts.succeeded, counts.total) == (lost, 4 - lost, 4)
    play(to_the_end(harness, job))
    assert path.read_bytes() == whole
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1


def test_a_file_that_stayed_short_is_fetched_again_later(harness):  # noqa: F811
    """Half the lines for hours: a named failure after minutes, and the whole file at the next request."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        whole = harness.provider.files[str(view.output_file_id)]
        harness.provider.files[str(view.output_file_id)] = b"".join(whole.splitlines(True)[:2])
        began = harness.now
        await to_the_end(harness, job)
        assert harness.now - began >= 600
        assert harness.snapshot(job).counts.failed == 2
        harness.provider.files[str(view.output_file_id)] = whole
        harness.now += 3600
        record = harness.ledger.job(job)
        assert reopen(harness.ledger, record, harness.ledger.shards(job), now=harness.now)
        await to_the_end(harness, job)

    play(way())
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1


def test_an_error_file_that_was_empty_at_first(harness):  # noqa: F811
    """No row succeeded, and the error file is empty for a while: it is fetched again, as output files are."""
    job = harness.plan(shard_size=4)

    async def way():
        await harness.step()
        view = harness.provider.finish(str(harness.shard(job).batch_id))
        lines = harness.provider.files.pop(str(view.output_file_id))
        harness.provider.files["errors"] = b""
        harness.provider.batches[view.id] = msgspec.structs.replace(
            view, output_file_id=None, error_file_id="errors", completed=0, failed=4
        )
        await harness.step(400)
        assert harness.shard(job).step is Step.ENDED
        harness.provider.files["errors"] = lines.replace(b'"status_code":200', b'"status_code":500')
        await to_the_end(harness, job)

    play(way())
    assert harness.snapshot(job).counts.failed == 4
    assert harness.provider.asked["create"] == 1


@pytest.mark.parametrize("when", ["running", "collected"])
@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_lost_database_is_recovered_from_the_folders(harness, how, when, caplog):  # noqa: F811
    """The database is gone or empty, the folders are there: the same cell pays nothing, and it is reported."""
    job = harness.plan(shard_size=4)
    play(harness.step() if when == "running" else to_the_end(harness, job))
    harness.ledger.close()
    for path in harness.ledger.home.glob("ledger.sqlite3*"):
        path.unlink()
    if how == "empty":
        harness.ledger.path.touch()
    harness.ledger = Ledger(harness.ledger.home)
    harness.worker = harness.another_process()
    assert harness.plan(shard_size=4) == job
    assert "recovered from their folders" in caplog.text
    play(to_the_end(harness, job))
    assert harness.outcomes(job).answers == ["A", "B", "C", "D"]
    assert harness.provider.asked["create"] == 1


def test_a_database_that_is_an_old_copy(harness, caplog):  # noqa: F811
    """A backup of the database from before the job was put back: the job is recovered from its folder."""
    first = harness.plan(shard_size=4)
    play(to_the_end(harness, first))
    harness.ledger.close()
    backup = harness.ledger.path.read_bytes()
    second = harness.plan(shard_size=4, params={"max_tokens": 7})
    play(harness.step())
    harness.ledger.close()
    for path in harness.ledger.home.glob("ledger.sqlite3*"):
        path.unlink()
    harness.ledger.path.write_bytes(backup)
    harness.ledger = Ledger(harness.ledger.home)
    harness.worker = harness.another_process()
    assert harness.plan(shard_size=4, params={"max_tokens": 7}) == second
    assert "recovered from their folders" in caplog.text
    play(to_the_end(harness, second))
    assert harness.provider.asked["create"] == 2


def test_a_job_without_its_folder_is_not_paid_again(harness):  # noqa: F811
    """The folder is gone, the database is there: the same cell is refused, and names the ways out."""
    job = harness.plan(shard_size=4)
    play(to_the_end(harness, job))
    shutil.rmtree(harness.ledger.folders.of(job).path)
    with pytest.raises(InputError, match=r"adopt.*reuse=False"):
        harness.plan(shard_size=4)
    assert harness.provider.asked["create"] == 1
