"""Telemetry of ends: the life of a batch, the rows that it answered, and the whole job."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import State
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.telemetry import meters, spans
from jupyter_batch.telemetry.spans import of_shard, traced

_COST = ("jupyter_batch.cost", "gen_ai.usage.cost", "operation.cost")
"""The cost of a batch, also as Langfuse and Logfire name it; they would infer the price of real time."""


def batch_ended(job: JobRecord, shard: ShardRecord) -> None:
    """Record the life of a batch whose results were counted for the first time, and count its rows.

    A run in real time has no usage here: each of its calls has a span.
    """
    counts, usage, bill = shard.counts, shard.usage, shard.bill
    rows = {} if counts is None else msgspec.to_builtins(counts)
    tokens = {} if usage is None else {"input": usage.input_tokens, "output": usage.output_tokens}
    cost = None if bill is None else bill.cost
    meters.count(rows=rows, tokens=tokens, dollars=cost)
    if not shard.batch_id:
        return
    realtime = job.mode != "batch"
    about: dict[str, Any] = {
        **of_shard(shard),
        "jupyter_batch.ending": str(shard.ending),
        **{f"jupyter_batch.rows.{status}": number for status, number in rows.items() if number},
    }
    if not realtime:
        about |= _of_batch(usage, cost)
    elif cost is not None:
        about["jupyter_batch.cost"] = cost
    spans.past_span(
        "jupyter_batch.run" if realtime else f"{spans.operation_of_job()} {job.body_model}",
        shard.sent_at or job.created_at,
        shard.over_at or shard.ended_at,
        about,
        client=not realtime,
        failed="" if shard.ending is State.COMPLETED else str(shard.ending),
    )


def _of_batch(usage: Usage | None, cost: float | None) -> dict[str, Any]:
    """The attributes of a batch as a call to its model."""
    about = spans.of_call()
    if usage is not None:
        about |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        }
    return about if cost is None else {**about, **dict.fromkeys(_COST, cost)}


def job_ended(job: JobRecord) -> None:
    """Record a span from the job's plan to its end."""
    with spans.of_job(traced(job)):
        about = {"jupyter_batch.rows": job.rows, "jupyter_batch.rows.reused": job.reused}
        spans.past_span("jupyter_batch.job", job.created_at, job.finished_at, about)
