"""Snapshots of jobs: of one from its records, of all in a ledger, the progress over time, and the usual wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from itertools import islice

import msgspec

from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.history import Curve, Points, Wait, usual_wait
from jupyter_batch.core.request import all_cuts
from jupyter_batch.core.schema import listed
from jupyter_batch.core.status import Block, Counts, Snapshot, State, Step, job_state
from jupyter_batch.ledger.linked_jobs import Lines
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger

_REASONS = 5


def snapshot_of(
    job: JobRecord, shards: Sequence[ShardRecord], now: float, **more: object
) -> Snapshot:
    """The job at one moment, for display. more: fields that the records lack."""
    shards = list(shards)
    left_out = Counts(skipped=job.skipped, failed=job.unsendable + job.inherited, reused=job.reused)
    counts = sum((shard.row_counts() for shard in shards), left_out)
    usage, blocked = job.usage(shards), job.blocked(shards)
    fields: dict[str, object] = {
        "id": job.id,
        "name": job.name,
        "counts": counts,
        "samples": job.samples,
        "model": job.model,
        "called": job.called,
        "provider": job.provider,
        "out": job.out or listed(job.fills),
        "notebook": job.notebook,
        "created_at": job.created_at,
        "now": now,
        "finished_at": job.finished_at or None,
        "state": _state(job, shards, blocked),
        # Not before the job that finishes it in realtime exists.
        "collected": _all_collected(shards) and bool(job.finished_at or not job.rush_at),
        "expires_at": _expires_at(shards),
        "keeps_until": _kept_until(shards),
        "shards": tuple(shard.view(realtime=job.mode != "batch") for shard in shards),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "bill": job.bill(shards),
        "blocks": job.blocks(shards),
        "blocked": blocked,
        "message": _message(job, counts),
        "reasons": _reasons(shards),
        "cuts": all_cuts([job.cuts, *(shard.cuts for shard in shards)]),
        "mode": job.mode,
        "deadline_mode": job.rush_to,
        "deadline": None if job.cancel_at or job.finished_at else job.deadline or None,
        "most": job.most,
        "equal": sum(max(0, s.counts.reused - s.joined) for s in shards if s.counts is not None),
    }
    return msgspec.convert({**fields, **more}, Snapshot)


def is_complete(job: JobRecord, shards: Sequence[ShardRecord]) -> bool:
    """Whether a job's snapshot would be complete: most often it is not, which a few shards show."""
    return _all_collected(shards) and snapshot_of(job, shards, 0.0).is_complete


def _all_collected(shards: Sequence[ShardRecord]) -> bool:
    return all(shard.step is Step.COLLECTED for shard in shards)


def _state(job: JobRecord, shards: list[ShardRecord], blocked: Block | None) -> State:
    steps = ((shard.step, shard.ending) for shard in shards)
    state = job_state(steps, cancelling=bool(job.cancel_at))
    is_stuck = job.unconnected and state in (State.PLANNED, State.SUBMITTING)
    return State.WAITING if blocked or is_stuck else state


def _message(job: JobRecord, counts: Counts) -> str:
    """The job's message; the cause of a block is shown with the block."""
    if job.message and not job.blocked_by:
        return job.message
    if job.finished_at and not (counts.cancelled or counts.expired):
        return ""
    return job.overdue


def _expires_at(shards: list[ShardRecord]) -> float | None:
    """The first time at which an open batch expires."""
    is_open = (s for s in shards if s.step not in (Step.ENDED, Step.COLLECTED))
    return min((s.expires_at for s in is_open if s.expires_at), default=None)


def _kept_until(shards: list[ShardRecord]) -> float | None:
    """The first time at which the provider deletes results to be fetched; else any results."""
    waiting = [s for s in shards if s.step is Step.ENDED]
    over = waiting or (shards if _all_collected(shards) else [])
    return min((s.keeps_until for s in over if s.keeps_until), default=None)


def _reasons(shards: list[ShardRecord]) -> tuple[tuple[str, int], ...]:
    counted: Counter[str] = Counter()
    for shard in shards:
        counted.update(dict(shard.reasons))
    return tuple(counted.most_common(_REASONS))


OUTSIDE = frozenset({Step.PLANNED, Step.SUBMITTING, Step.WAITING})
"""The batch is not at its provider (yet)."""


class History:
    """A cache of the events read so far. One per job; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = ""
        self._seen = 0
        self._curve = Curve(0.0, 0)

    def look(self, ledger: Ledger, job: JobRecord) -> Points:
        """Rows done over time, from the plan to the last change. Raises LedgerError."""
        with self._lock:
            if job.id != self._job:
                self._job, self._seen = job.id, 0
                self._curve = Curve(job.created_at, job.reused + job.skipped + job.unsendable)
            self._seen, events = ledger.news(job.id, self._seen)
            for at, shard, step, done, _ in events:
                if shard is not None:
                    self._curve.add(at, shard, done, taken=step not in OUTSIDE)
            return self._curve.points()


class Overview:
    """The ledger's content when this was made. now: seconds since the epoch."""

    def __init__(self, ledger: Ledger, now: float) -> None:
        records = ledger.jobs()
        self._ledger, self._now = ledger, now
        self._lines = Lines(records)
        self._shards = ledger.shards_of_all() if records else {}

    def snapshot(self, jobs: Sequence[str], group: str | None = None) -> Snapshot | None:
        """The snapshot of a job, or of a group's jobs as one; None if one is not in the ledger."""
        found = [self._lines.last(job) for job in jobs]
        records = [record for record in found if record is not None]
        damaged = any(record.id in self._ledger.unreadable for record in records)
        if not records or len(records) < len(found) or damaged:
            return None
        is_open = not all(record.finished_at for record in records)
        shots = [self._one(record, with_history=is_open) for record in records]
        return shots[0] if group is None else group_snapshot(group, shots)

    def _one(self, record: JobRecord, *, with_history: bool) -> Snapshot:
        """The snapshot, with history for the remaining time where any remains."""
        history = History().look(self._ledger, record) if with_history else ()
        return snapshot_of(record, self._shards.get(record.id, []), self._now, history=history)


JOBS = 100
"""The most jobs that are read, the newest first."""


def wait_like(ledger: Ledger, job: JobRecord, requests: int, mode: str = "") -> Wait | None:
    """The usual wait for so many requests of a job's model; None without history. Raises LedgerError.

    mode: by default the job's own.
    """
    like = (
        other
        for other in ledger.jobs()
        if other.finished_at
        and other.mode == (mode or job.mode)
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
