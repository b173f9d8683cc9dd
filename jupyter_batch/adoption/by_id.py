"""Adoption of a batch by its id, whichever software sent it: a job whose rows are its requests.

Nothing is created, changed or removed at the provider. The job's index are the custom ids: of the
request file, where the provider returns it, else of the results, once they are fetched.
"""

from __future__ import annotations

import contextlib
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.adoption.adopt import running
from jupyter_batch.adoption.recover_rows import Searched
from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    InputError,
    JobNotFoundError,
    ModelError,
    NotFoundError,
)
from jupyter_batch.core.request import custom_id
from jupyter_batch.http.streams import bounded
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import write_manifest
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.draft import ID_CHARS, job_draft
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.record import RECORDS, is_cloud
from jupyter_batch.row_files.own_ids import Repeats, index_of
from jupyter_batch.row_files.request_hashes import adopted_kind, hash_array
from jupyter_batch.row_files.row_columns import RowFiles
from jupyter_batch.row_files.row_sources import space_of


class _Sent(msgspec.Struct, kw_only=True):
    """A request line of OpenAI's format, from any software."""

    custom_id: str
    method: str = "POST"
    url: str = ""
    body: dict[str, Any]


class _Requests(msgspec.Struct):
    """What a request file shows: the custom ids in order, request hashes, endpoint and model."""

    repeats: Repeats
    ids: list[str] = []
    hashes: bytearray = msgspec.field(default_factory=bytearray)
    endpoint: str = ""
    model: str = ""
    size: int = 0


async def adopt_batch(
    ledger: Ledger, provider: Searched, place: JobRecord, batch: str, *, now: float
) -> JobRecord:
    """The job of a batch: a new one, or the one of an earlier adoption.

    Raises JobNotFoundError for an unknown batch, InputError where its size is not known yet, and
    ProviderError.
    """
    if is_cloud(place.provider):
        raise ModelError(
            f"batches that other software sent to {RECORDS[place.provider].title} can't be read: "
            "their results do not show the requests' ids"
        )
    try:
        view = await provider.poll(batch)
    except (NotFoundError, BadRequestError) as e:
        raise JobNotFoundError(
            f"{batch!r} is no batch at {place.api_base or 'the embedded server'}, and no job here ({e}); "
            "without an id `adopt` lists our batches that are missing here"
        ) from e
    job = _job_id(place, view.id)
    place = msgspec.structs.replace(place, hashing=adopted_kind(ledger))
    with job_draft(ledger, job) as draft:
        seen = await _requests(provider, view, job, draft.folder.requests(0), place.hashing)
        rows = len(seen.ids) or view.total or await _results(provider, view)
        if not rows:
            raise InputError(
                f"the number of requests in {view.id} is not known yet ({view.status}): adopt it once it has ended"
            )
        draft.record = _record(place, view, seen, job, rows, now)
        shard = ShardRecord(
            job=job, number=0, requests=rows, bytes=seen.size, first=0, last=rows - 1
        )
        draft.shards = [running(shard, view)]
        ids = seen.ids or [custom_id(job, at) for at in range(rows)]  # known with the results
        hashes = hash_array(seen.hashes) if seen.hashes else None
        draft.write_rows(RowFiles([], index=index_of(ids), hashes=hashes))
        write_manifest(draft.folder, draft.record, draft.shards, handles=False)
        draft.take_up()
    return ledger.job(job)


def _job_id(place: JobRecord, batch: str) -> str:
    """The id of a batch's job: the same for each adoption, so that a second one attaches."""
    digest = blake2b(f"{place.space} {batch}".encode(), digest_size=10).digest()
    return "jb" + "".join(ID_CHARS[byte % len(ID_CHARS)] for byte in digest)


async def _requests(
    provider: Searched, view: BatchView, job: str, path: Path, hashing: str
) -> _Requests:
    """Fetch the request file and store it with the job's ids; nothing where it can't be used."""
    held = bytearray()
    try:
        with bounded(held.extend) as write:
            await provider.requests(view, write)
    except (NotFoundError, BadRequestError):  # removed, or this provider never returns it
        return _Requests(Repeats(hashing))
    seen = _Requests(Repeats(hashing))
    try:
        with written(path) as file:
            for line in bytes(held).splitlines():
                file.write(_read(line, job, seen))
    except (ValueError, msgspec.MsgspecError):  # no request file of OpenAI's format
        return _Requests(Repeats(hashing))
    return seen


async def _results(provider: Searched, view: BatchView) -> int:
    """The lines in an ended batch's result files, where neither its counts nor its requests are known."""
    lines, end = 0, b"\n"

    def count(block: bytes) -> None:
        nonlocal lines, end
        lines, end = lines + block.count(b"\n"), block[-1:] or end

    for file in (view.output_file_id, view.error_file_id):
        if file is not None and view.ending is not None:
            with contextlib.suppress(NotFoundError):
                await provider.fetch(file, count)
            lines, end = lines + (end != b"\n"), b"\n"
    return lines


def _read(line: bytes, job: str, seen: _Requests) -> bytes:
    """The request line with the job's id; what it shows is added to `seen`."""
    if not line or line.isspace():
        return b""
    sent = msgspec.json.decode(line, type=_Sent)
    named = msgspec.structs.replace(sent, custom_id=custom_id(job, len(seen.ids)))
    ours = msgspec.json.encode(named) + b"\n"
    seen.ids.append(sent.custom_id)
    seen.hashes += seen.repeats.hash_of(ours)
    seen.endpoint = seen.endpoint or sent.url
    seen.model = seen.model or str(sent.body.get("model") or "")
    seen.size += len(ours)
    return ours


def _record(
    place: JobRecord, view: BatchView, seen: _Requests, job: str, rows: int, now: float
) -> JobRecord:
    endpoint = seen.endpoint or view.endpoint or place.endpoint
    body_model = seen.model or place.body_model
    model = f"{place.provider}/{body_model}"
    return msgspec.structs.replace(
        place,
        id=job,
        fingerprint=f"adopted {job}",
        price=price_of(model, api_base=place.api_base),
        space=space_of(place.space or None, place.provider, endpoint),
        created_at=view.created_at or now,
        model=model,
        body_model=body_model,
        endpoint=endpoint,
        rows=rows,
        framed=False,
        adopted=True,
        own_ids=True,
        aligned=False,
    )
