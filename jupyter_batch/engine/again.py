"""The rows of a job that have no answer, as a job of their own: those alone are sent, the rest is carried over.

It works on files of the ledger, line by line; it renders nothing anew and knows no frame.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import Limits, custom_id, position_of
from jupyter_batch.core.result import Status
from jupyter_batch.core.status import Step
from jupyter_batch.engine.budget import left_of, within
from jupyter_batch.engine.carry import carry
from jupyter_batch.engine.gather import CODES, of_job, places_of
from jupyter_batch.engine.places import NOWHERE, Places
from jupyter_batch.engine.plan import keep, new_id
from jupyter_batch.engine.requests import REQUEST_ID, write_requests
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.wire.dialects import OPENAI
from jupyter_batch.wire.openai import CHAT

_CHAT = "/chat/completions"  # how some providers call it in a batch
MISSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})


def plan_again(ledger: Ledger, job: JobRecord, shards: list[ShardRecord], limits: Limits, *, now: float,
               max_cost: float | None = None, at_once: bool = False) -> JobRecord:
    """The job that sends again what was missed in `job`; the one there is, if that was asked for before.

    at_once: in real time. max_cost: US dollars that it may cost; else what the job has left of its own. Raises
    InputError where the job is not over, or every row that has a request has its answer, and OptionError where it may
    cost more.
    """
    if not job.finished_at and not (at_once and all(shard.step is Step.COLLECTED for shard in shards)):
        raise InputError(f"job {job.id} is not over yet: there is nothing to send again")
    if not job.aligned:
        raise InputError(f"which rows job {job.id} has is not known, since it was adopted without its ledger: run its "
                         "cell again, which sends the rows alone that have no answer")
    if (there := ledger.child(job.id)) is not None:
        return there
    folder = ledger.folders.of(job.id)
    codes = of_job(job, shards, folder, values=False).status
    missed = bytearray(CODES[code] in MISSED for code in codes)
    new = new_id()
    with ledger.folders.drafted(new) as draft:
        sources = [folder.asked] if folder.asked.exists() else []
        foreign = bool(sources) and not at_once  # the requests are in a dialect that real time does not speak
        if foreign:
            with written(draft.asked) as file:
                file.writelines(line for _, line in _asked_again(job, sources, new, missed))
        if foreign or not sources:
            sources = [folder.requests(shard.number) for shard in shards]
        made = write_requests(draft, new, _asked_again(job, sources, new, missed), limits)
        if not made:
            raise InputError(f"in job {job.id} no row is left to be sent again")
        carried = carry(job, shards, folder, array("q", range(job.rows)), new,
                        lambda dialect: draft.reused(job.id, dialect))
        made, places, reused = _placed(places_of(job, shards, folder), missed, made, carried)
        draft.write(draft.places, places.to_bytes())
        for source, target in ((folder.keys, draft.keys), (folder.index, draft.index), (folder.unsent, draft.unsent),
                               (folder.prints, draft.prints)):
            draft.write(target, source.read_bytes())
        record = msgspec.structs.replace(job, id=new, parent=job.id, adopted=False, created_at=now, reused=reused,
                                         max_cost=left_of(job, shards) if max_cost is None else max_cost, most=None,
                                         cancel_at=0.0, deadline=0.0, rush_at=0.0,
                                         finished_at=0.0, message="", holder=None, lease_until=0.0)
        record = live(record) if at_once else record
        record = within(ledger, record, made, draft, hint="; job.retry(max_cost=...) allows more")
        return keep(ledger, draft, record, made, there=lambda: ledger.child(job.id))


def live(record: JobRecord) -> JobRecord:
    """The same job, asked in real time."""
    return msgspec.structs.replace(record, mode=REALTIME, dialect=OPENAI, headers={},
                                   endpoint=CHAT if record.endpoint.endswith(_CHAT) else record.endpoint)


def _placed(was: Places, missed: bytearray, made: list[ShardRecord],
            carried: array[int]) -> tuple[list[ShardRecord], Places, int]:
    """(the shards with their followers, where each row's answer comes from now, how many have theirs already)."""
    import numpy as np

    again = (np.frombuffer(missed, dtype=np.uint8) != 0) & (was.array >= 0)
    places = Places(np.where(was.array < NOWHERE, was.array, NOWHERE))
    for shard in made:
        span = slice(shard.first, shard.last + 1)
        places.array[span][again[span]] = shard.number
    answered = np.zeros(len(again), dtype=bool)
    answered[np.frombuffer(carried, dtype=np.int64)] = True
    reused = int(answered.sum() + answered[places.followers()[1]].sum())
    followed = [msgspec.structs.replace(shard, followers=len(places.followers(shard.number)[0])) for shard in made]
    return followed, places, reused


def _asked_again(job: JobRecord, sources: list[Path], new: str, missed: bytearray) -> Iterator[tuple[int, bytes]]:
    """The request lines of the missed rows, under the new job's ids."""
    for path in sources:
        with path.open("rb") as file:
            for line in file:
                found = REQUEST_ID.match(line)
                position = position_of(job.id, found[1].decode()) if found else None
                if found is not None and position is not None and missed[position]:
                    yield position, b'{"custom_id":"%b"%b' % (custom_id(new, position).encode(), line[found.end():])
