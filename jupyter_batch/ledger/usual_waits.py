"""Usual waits: how long batches like the planned ones took, from this ledger's own history."""

from __future__ import annotations

from itertools import islice

from jupyter_batch.core.history import Wait, usual_wait
from jupyter_batch.core.status import State
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger

JOBS = 100
"""The most jobs that are read, the newest first."""


def wait_like(ledger: Ledger, job: JobRecord, requests: int) -> Wait | None:
    """The usual wait for a batch of so many requests of a job's model; None without history. Raises LedgerError."""
    if job.mode != "batch":
        return None
    like = (
        other
        for other in ledger.jobs()
        if other.finished_at
        and other.mode == job.mode
        and (other.provider, other.body_model, other.api_base, other.endpoint)
        == (job.provider, job.body_model, job.api_base, job.endpoint)
    )
    took = [
        (shard.requests, (shard.over_at or shard.ended_at) - shard.sent_at)
        for other in islice(like, JOBS)
        for shard in ledger.shards(other.id)
        if shard.ending is State.COMPLETED and shard.batch_id and shard.sent_at
    ]
    return usual_wait(took, requests)
