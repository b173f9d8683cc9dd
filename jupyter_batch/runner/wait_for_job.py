"""Shards whose rows another job has requested: wait for its answers, then request missing rows."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from jupyter_batch.core.errors import JobNotFoundError, LedgerCorruptError
from jupyter_batch.core.request import Status, position_of
from jupyter_batch.core.status import State, Step
from jupyter_batch.dedup.withheld import withheld, write_failures
from jupyter_batch.file_checks import request_checks
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import RESTORE, opened
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.copy_answers import BILLED, carry, onto
from jupyter_batch.results.outcomes import Outcomes, of_job
from jupyter_batch.results.result_files import columns_of
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.request_hashes import matches
from jupyter_batch.row_files.row_columns import hashes_elsewhere, places_of, request_hashes
from jupyter_batch.row_files.row_sources import NOWHERE
from jupyter_batch.wire.dialects import OPENAI

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array
    from jupyter_batch.runner.context import ShardContext

_TAKEN = [CODES.index(status) for status in (Status.REUSED, Status.FAILED)]
_ANSWERED = (Status.SUCCEEDED, Status.REUSED)

LOOK_SECONDS = 2.0
"""The interval of checks whether the other job is done. They read only the local disk."""


def join(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Take the other job's answers if they are complete; else wait.

    Safe to repeat after a kill at any point.
    """
    ledger, job = context.ledger, context.job
    folder = ledger.folders.of(job.id)
    before = _taken(folder, job, shard, but=shard.joins)
    try:
        other = ledger.job(shard.joins)
    except JobNotFoundError:  # forgotten since: only the answers copied before remain
        taken: Sequence[int] = np.setdiff1d(_taken(folder, job, shard), before).tolist()
    else:
        if (
            heir := ledger.child(other.id)
        ) is not None:  # it has the answers, and requests the missing ones
            return context.put(shard, Step.WAITING, joins=heir.id, due_at=0.0, note="")
        leaving = (
            other.rush_at and not other.finished_at
        )  # its missed rows are about to be sent in realtime
        wanted = None if leaving else _wanted(ledger, job, shard, other, before)
        if wanted is None:
            return _wait(context, shard, other)
        taken = carry(
            other,
            ledger.shards(other.id),
            ledger.folders.of(other.id),
            wanted,
            job.id,
            lambda dialect: folder.joined(shard.number, dialect, other.id),
            takes=BILLED,
        )
        taken = [*taken, *_withheld(ledger, job, shard, other, {*before.tolist(), *taken})]
    done = {*before.tolist(), *taken}
    open_rows = np.setdiff1d(_rows(ledger, job, shard), sorted(done))
    left = _drop(folder.requests(shard.number), job.id, done)
    if left.requests != len(open_rows):
        return context.end(shard, State.FAILED, request_checks.reason(folder, shard), joins="")
    if left.requests:
        further = _further(ledger, job, open_rows)
        return context.put(
            shard,
            Step.WAITING,
            joins=further,
            waited=not further,
            joined=len(done),
            requests=left.requests,
            bytes=left.bytes,
            crc=left.crc,
            due_at=0.0,
            note="",
        )
    return context.end(
        shard, State.COMPLETED, "", joins="", joined=len(done), requests=0, bytes=0, crc=0
    )


def _wait(context: ShardContext, shard: ShardRecord, other: JobRecord) -> ShardRecord:
    """Check again soon; while the other job is blocked, this shard is, for the same cause."""
    shards = context.ledger.shards(other.id)
    note = f"waiting for job {other.id}, which has asked the same"
    changes: dict[str, Any] = {"note": note}
    blocked = other.blocked(shards)
    cause = next((block for block in other.blocks(shards) if block.by is blocked), None)
    if cause is not None:
        why = f"{cause.why}; {note}"
        changes = {"note": why, "blocked_by": cause.by, "key": cause.key}
    return context.put(shard, Step.WAITING, due_at=context.clock() + LOOK_SECONDS, **changes)


def _rows(ledger: Ledger, job: JobRecord, shard: ShardRecord) -> Array:
    """The rows that the shard was to request when the job was planned."""
    places = places_of(job, ledger.shards(job.id), ledger.folders.of(job.id))
    return np.flatnonzero(places.array == shard.number)


def _wanted(
    ledger: Ledger, job: JobRecord, shard: ShardRecord, other: JobRecord, before: Array
) -> array[int] | None:
    """For each row there the equal row here, or -1; None while the other job has more to come.

    before: rows that were taken from yet another job.
    """
    theirs = ledger.folders.of(other.id)
    shards = ledger.shards(other.id)
    rows = np.setdiff1d(_rows(ledger, job, shard), before)
    here, there = matches(*_hashes(ledger, job, rows, other))
    asking = set(places_of(other, shards, theirs).array[there].tolist()) - {NOWHERE}
    if any(one.step is not Step.COLLECTED for one in shards if one.number in asking):
        return None
    return onto(other.rows, there, here)


def _withheld(
    ledger: Ledger, job: JobRecord, shard: ShardRecord, other: JobRecord, done: set[int]
) -> list[int]:
    """Rows that the other job's batch counted but never returned: failures, not sent again."""
    held = withheld(other, ledger.shards(other.id), ledger.folders.of(other.id))
    if not held.any():
        return []
    wanted = np.setdiff1d(_rows(ledger, job, shard), sorted(done))
    here, there = matches(*_hashes(ledger, job, wanted, other))
    rows: list[int] = here[held[there]].tolist()
    if rows:
        folder = ledger.folders.of(job.id)
        target = folder.joined(shard.number, OPENAI, f"{other.id}.withheld")
        write_failures(target, other.id, job.id, rows)
    return rows


def _further(ledger: Ledger, job: JobRecord, rows: Array) -> str:
    """Another job that has answered some of these rows, or has requested them; "" for none.

    The previous one may have been cancelled while it waited itself. Only an older job is waited
    for, so that no two wait for each other.
    """
    mine = ledger.folders.of(job.id)
    for other, folder, theirs in hashes_elsewhere(ledger, job):
        hashes = request_hashes(job, mine, other.hashing)
        if hashes is None:
            continue
        here, there = matches(hashes, rows, theirs)
        if not len(here):
            continue
        shards = ledger.shards(other.id)
        asking = set(places_of(other, shards, folder).array[there].tolist()) - {NOWHERE}
        open_now = any(one.step is not Step.COLLECTED for one in shards if one.number in asking)
        status = of_job(other, shards, folder, values=False).status
        if (open_now and other.created_at < job.created_at) or (
            not open_now and any(CODES[status[row]] in _ANSWERED for row in there.tolist())
        ):
            return other.id
    return ""


def _hashes(
    ledger: Ledger, job: JobRecord, rows: Array, other: JobRecord
) -> tuple[Array, Array, Array]:
    """The hashes of two jobs for `matches`, of the other's kind."""
    found = []
    for one in (job, other):
        folder = ledger.folders.of(one.id)
        hashes = request_hashes(one, folder, other.hashing)
        if hashes is None:
            raise LedgerCorruptError(f"{folder.request_hashes} is gone: {RESTORE}")
        found.append(hashes)
    return found[0], rows, found[1]


def _taken(folder: JobFolder, job: JobRecord, shard: ShardRecord, but: str = "") -> Array:
    """The rows whose answers were taken from other jobs; but: except from that one."""
    found = Outcomes(shard.first, shard.last, values=False)
    for dialect, path in folder.taken_over(shard):
        if not but or path != folder.joined(shard.number, dialect, but):
            for columns in columns_of(path, job, dialect):
                found.add(columns, paid=False)
    codes = np.frombuffer(found.status, dtype=np.uint8)
    return shard.first + np.flatnonzero(np.isin(codes, _TAKEN))


class _Left(NamedTuple):
    """A request file: its lines, its bytes and their CRC-32."""

    requests: int
    bytes: int
    crc: int


def _drop(path: Path, job: str, taken: set[int]) -> _Left:
    """Remove the taken rows' lines from a request file; return the rest's size."""
    left = _Left(0, 0, 0)
    with opened(path) as file, written(path) as kept:
        for line in file:
            found = REQUEST_ID.match(line)
            if found is None or position_of(job, found[1].decode()) not in taken:
                kept.write(line)
                left = _Left(left.requests + 1, left.bytes + len(line), crc32(line, left.crc))
    return left
