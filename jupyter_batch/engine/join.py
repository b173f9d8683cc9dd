"""A shard whose rows another job has asked for: it waits for that one's answers, and asks for what is missing then.

It knows the ledger and the jobs' folders; no provider.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jupyter_batch.core.errors import JobNotFoundError
from jupyter_batch.core.request import position_of
from jupyter_batch.core.result import Status
from jupyter_batch.core.status import State, Step
from jupyter_batch.engine.carry import carry, onto
from jupyter_batch.engine.gather import CODES, Outcomes, decoded, places_of
from jupyter_batch.engine.places import NOWHERE
from jupyter_batch.engine.requests import REQUEST_ID
from jupyter_batch.engine.reuse import matches, prints_array
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger

if TYPE_CHECKING:
    from jupyter_batch.engine.tick import Mover

LOOK_SECONDS = 2.0
"""How often it is looked whether the other job is done. It is a look at our own disk."""


def join(mover: Mover, shard: ShardRecord) -> ShardRecord:
    """Take the other job's answers, if it has all that there will be; else come back.

    May be killed anywhere: all of it is done again then, and comes to the same.
    """
    ledger, job = mover.ledger, mover.job
    folder = ledger.folders.of(job.id)
    try:
        other = ledger.job(shard.joins)
    except JobNotFoundError:  # forgotten meanwhile: what was taken of it before is all
        taken: Sequence[int] = _taken(folder, job, shard)
    else:
        if (heir := ledger.child(other.id)) is not None:  # it has the answers, and asks for what is missing
            return mover.put(shard, Step.WAITING, joins=heir.id, due_at=0.0, note="")
        leaving = other.rush_at and not other.finished_at  # what it missed is about to be asked in real time
        wanted = None if leaving else _wanted(ledger, job, shard, other)
        if wanted is None:
            return mover.put(shard, Step.WAITING, due_at=mover.clock() + LOOK_SECONDS,
                             note=f"waiting for job {shard.joins}, which has asked the same")
        taken = carry(other, ledger.shards(other.id), ledger.folders.of(other.id), wanted, job.id,
                      lambda dialect: folder.joined(shard.number, dialect))
    left = _drop(folder.requests(shard.number), job.id, set(taken))
    if left:
        return mover.put(shard, Step.WAITING, joins="", waited=True, joined=len(taken), requests=left, due_at=0.0,
                         note="")
    return mover.put(shard, Step.ENDED, ending=State.COMPLETED, joins="", joined=len(taken), requests=0, due_at=0.0,
                     note="", ended_at=mover.clock())


def _wanted(ledger: Ledger, job: JobRecord, shard: ShardRecord, other: JobRecord) -> array[int] | None:
    """For each row there the row here that asks the same, or -1; None while the other job has more to come."""
    folder, theirs = ledger.folders.of(job.id), ledger.folders.of(other.id)
    shards = ledger.shards(other.id)
    places = places_of(job, ledger.shards(job.id), folder)
    rows = np.flatnonzero(places.array == shard.number)
    here, there = matches(prints_array(folder.prints.read_bytes()), rows, prints_array(theirs.prints.read_bytes()))
    asking = set(places_of(other, shards, theirs).array[there].tolist()) - {NOWHERE}
    if any(one.step is not Step.COLLECTED for one in shards if one.number in asking):
        return None
    return onto(other.rows, there, here)


def _taken(folder: JobFolder, job: JobRecord, shard: ShardRecord) -> list[int]:
    found = Outcomes(shard.first, shard.last, values=False)
    for dialect, path in folder.taken_over(shard.number):
        found.take(job.id, decoded(path, job, dialect), paid=False)
    return [shard.first + at for at, code in enumerate(found.status) if CODES[code:code + 1] == (Status.REUSED,)]


def _drop(path: Path, job: str, taken: set[int]) -> int:
    """Leave the taken rows' lines out of a request file; how many lines are left."""
    left = 0
    with path.open("rb") as file, written(path) as kept:
        for line in file:
            found = REQUEST_ID.match(line)
            if found is None or position_of(job, found[1].decode()) not in taken:
                kept.write(line)
                left += 1
    return left
