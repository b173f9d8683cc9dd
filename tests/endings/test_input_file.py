"""An uploaded file that the provider does not know yet, or has not processed, when its batch is created."""

from __future__ import annotations

import pytest
from aiohttp import web

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.runner.refusals.same_file import UPLOADS
from tests.endings.remote import remote_provider
from tests.messages import messages
from tests.providers.fakes.host import Fault

UNKNOWN = {
    "openai": (400, "Input file not found"),
    "azure": (404, "The file 'file-1' could not be found."),
    "mistral": (404, "File not found"),
}


def uploads(remote):
    """The number of files uploaded."""
    return sum(verb == "upload" for verb, _ in remote.log)


def job_of(harness):
    """The record of the first shard of the only job, as a process that starts now would find it."""
    ledger = Ledger(harness.home)
    try:
        return ledger.shards(ledger.jobs()[0].id)[0]
    finally:
        ledger.close()


def answered(harness, remote, job):
    """Let the job's batch be answered, to its end."""
    harness.until(lambda: remote.sent)
    remote.answer_all()
    harness.until(lambda: job.is_complete)
    assert job.wait(60).is_successful


@pytest.mark.parametrize("provider", UNKNOWN)
@pytest.mark.parametrize("status", [400, 404])
def test_the_same_file_is_tried_again(provider, status, harness):
    """A file that is unknown just after its upload is tried again as it is, and uploaded once."""
    with remote_provider(provider, harness.clock) as remote:
        remote.fake.faults["create"] = [Fault(status, message=UNKNOWN[provider][1])] * 4
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: len(remote.sent) == 1, skip=10.0)
        assert uploads(remote) == 1
        answered(harness, remote, job)
        assert frame["out"].tolist() == list("ABCD")
        assert len(remote.sent) == 1


def test_a_file_that_is_never_found_ends_the_job(harness):
    """After minutes the file is uploaded again, a few times; then the job has failed, with the server's reason."""
    with remote_provider("openai", harness.clock) as remote:
        remote.fake.faults["create"] = [Fault(404, message="Input file not found")] * 10_000
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: job.is_complete, skip=60.0)
        assert job.state == "failed"
        assert uploads(remote) == UPLOADS
        assert job.errors["_error"].str.contains("Input file not found").all()


def test_a_batch_that_fails_for_its_file_is_created_again(harness):
    """Where the refusal comes as a failed batch, the same file gets another batch."""
    with remote_provider("openai", harness.clock) as remote:
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        batch = next(iter(remote.fake.batches.values()))
        batch.reason, batch.bad_lines, batch.ending = "Input file not found", (None,), "failed"
        harness.until(lambda: len(remote.sent) == 2, skip=10.0)
        assert uploads(remote) == 1
        answered(harness, remote, job)
        assert frame["out"].tolist() == list("ABCD")


def test_azure_is_asked_whether_the_file_is_processed(harness):
    """No batch is created before Azure has processed the file, and the file is uploaded once."""
    asked, sent_then = [], []
    with remote_provider("azure", harness.clock) as remote:

        async def status(request):
            asked.append(request.match_info["id"])
            sent_then.append(job_of(harness).create_sent)
            state = "pending" if len(asked) < 4 else "processed"
            return web.json_response(
                {
                    "id": asked[-1],
                    "object": "file",
                    "bytes": 1,
                    "created_at": 1,
                    "filename": "f",
                    "purpose": "batch",
                    "status": state,
                }
            )

        remote.fake.file_status = status
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: asked and job._shards()[0].step is Step.WAITING, skip=0.0)
        assert not remote.sent
        assert "not processed" in messages(job.snapshot())
        harness.until(lambda: remote.sent, skip=10.0)
        assert len(asked) == 4
        answered(harness, remote, job)
        assert uploads(remote) == 1
        assert [verb for verb, _ in remote.log].count("create") == 1
        assert sent_then == [False] * 4, "C1: a process that is killed now has sent no create"


def test_a_create_that_is_refused_because_the_file_is_not_processed(harness):
    """Such a refusal ends nothing: the create is sent again with the same file, also after many minutes."""
    with remote_provider("azure", harness.clock) as remote:
        refused = Fault(400, message="The file is still being processed. Please try again later.")
        remote.fake.faults["create"] = [refused] * 12
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent, skip=60.0)
        answered(harness, remote, job)
        assert uploads(remote) == 1
        assert frame["out"].tolist() == list("ABCD")
