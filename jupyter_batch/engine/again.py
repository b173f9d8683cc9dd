"""The rows of a job that have no answer, as a job of their own: those alone are sent, the rest is carried over.

It works on files of the ledger, line by line; it renders nothing anew and knows no frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import Limits, custom_id, position_of
from jupyter_batch.core.result import Status
from jupyter_batch.engine.gather import CODES, Unsent, of_job, read_unsent
from jupyter_batch.engine.plan import keep, new_id, write_requests
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.wire.dialects import decode_lines

_MISSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})
_REQUEST_ID = re.compile(rb'^\{"custom_id":"([^"]*)"')
_RESULT_ID = re.compile(rb'("custom_id"\s*:\s*)"([^"]*)"')


def plan_again(ledger: Ledger, job: JobRecord, shards: list[ShardRecord], limits: Limits, *, now: float) -> JobRecord:
    """The job that sends again what was missed in `job`; the one there is, if that was asked for before.

    Raises InputError where the job is not over, or every row that has a request has its answer.
    """
    if not job.finished_at:
        raise InputError(f"job {job.id} is not over yet: there is nothing to send again")
    folder = ledger.folders.of(job.id)
    codes = of_job(job, shards, folder, values=False).status
    missed = bytearray(CODES[code] in _MISSED for code in codes)
    new = new_id()
    with ledger.folders.drafted(new) as draft:
        made = write_requests(draft, new, _asked_again(job, shards, folder, new, missed), limits)
        if not made:
            raise InputError(f"in job {job.id} no row is left to be sent again")
        carried = _carry_over(job, shards, folder, draft, new)
        unsent = [group for group in read_unsent(folder) if group.status is not Status.REUSED]
        draft.write(draft.unsent, msgspec.json.encode([*unsent, Unsent(Status.REUSED, "", carried)]))
        for source, target in ((folder.keys, draft.keys), (folder.index, draft.index)):
            draft.write(target, source.read_bytes())
        record = msgspec.structs.replace(job, id=new, parent=job.id, created_at=now, reused=len(carried), cancel_at=0.0,
                                         finished_at=0.0, message="", holder=None, lease_until=0.0)
        return keep(ledger, draft, record, made, there=lambda: ledger.child(job.id))


def _asked_again(job: JobRecord, shards: list[ShardRecord], folder: JobFolder, new: str,
                 missed: bytearray) -> Iterator[tuple[int, bytes]]:
    """The request lines of the missed rows, under the new job's ids."""
    for shard in shards:
        with folder.requests(shard.number).open("rb") as file:
            for line in file:
                found = _REQUEST_ID.match(line)
                position = position_of(job.id, found[1].decode()) if found else None
                if found is not None and position is not None and missed[position]:
                    yield position, b'{"custom_id":"%b"%b' % (custom_id(new, position).encode(), line[found.end():])


def _carry_over(job: JobRecord, shards: list[ShardRecord], folder: JobFolder, draft: JobFolder,
                new: str) -> list[int]:
    """Copy the lines of the answered rows, each once, under the new job's ids; their positions."""
    seen = bytearray(job.rows)
    with written(draft.reused) as file:
        for path in (folder.reused, *(folder.output(shard.number) for shard in shards)):
            for line in _lines(path):
                result = next(decode_lines(job.dialect, line, job.endpoint, job.tool_names))
                position = position_of(job.id, result.custom_id)
                if position is None or position >= job.rows or seen[position] or result.status is not Status.SUCCEEDED:
                    continue
                seen[position] = 1
                ours = b'\\1"%b"' % custom_id(new, position).encode()
                file.write(_RESULT_ID.sub(ours, line, count=1) + b"\n")
    return [position for position, answered in enumerate(seen) if answered]


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield line.rstrip(b"\n")
