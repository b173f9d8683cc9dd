"""Jobs that a browser test writes into a ledger, as another notebook's kernel would; and where a page shows them."""

import time

import msgspec

import jupyter_batch
from jupyter_batch.config import settings
from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import this_process
from tests.viewer.finished_jobs import answer, request, written

TOAST = ".Toastify__toast"


def job_in(lab, name):
    """A job's row in the panel."""
    return lab.page.locator(".jb-job").filter(
        has=lab.page.locator(".jb-job-title").get_by_text(name, exact=True)
    )


def plan(ledger, job, *, done, ended=None, followed=True, batch_id=None, **more):
    """A job of a thousand rows, as if another notebook had sent it ten minutes ago."""
    now = time.time()
    record = JobRecord(
        **{
            "id": job,
            "fingerprint": job,
            "created_at": now - 600,
            "model": "openai/gpt-4.1-mini",
            "provider": "openai",
            "dialect": "openai",
            "endpoint": "/v1/chat/completions",
            "body_model": "x",
            "out": job,
            "columns": ["t"],
            "rows": 1000,
            "finished_at": now - 60 if ended else 0.0,
            **more,
        }
    )
    shard = ShardRecord(
        job=job,
        number=0,
        requests=1000,
        bytes=9,
        first=0,
        last=999,
        completed=done,
        step=Step.COLLECTED if ended else Step.RUNNING,
        ending=ended,
        batch_id=f"batch_{job}" if batch_id is None else batch_id,
        sent_at=now - 600,
        due_at=now + 9_999,
    )
    ledger.plan(record, [shard], lambda: None)
    if followed and not ended:
        ledger.lease(job, this_process(), now, 3600)


def end(ledger, job, *, failed):
    """The job is over, as its kernel would write it."""
    [shard] = ledger.shards(job)
    over = msgspec.structs.replace(
        shard, step=Step.COLLECTED, ending=State.COMPLETED, completed=1000 - failed, failed=failed
    )
    with ledger._transaction() as db:
        db.execute(
            "UPDATE shard SET step = ?, ending = ?, facts = ? WHERE job = ?",
            (over.step, over.ending, msgspec.json.encode(over).decode(), job),
        )
        db.execute("UPDATE job SET finished_at = ?, holder = NULL WHERE id = ?", (time.time(), job))


def rows():
    """A finished job of nine rows in this kernel's ledger: its row view, for a cell's last expression."""
    lines = [
        (request("jbrows", n, f"row {n}"), answer("jbrows", n, f"said {n}"), False)
        for n in range(9)
    ]
    written(settings.home(), "jbrows", lines)
    return jupyter_batch.open("jbrows").view()
