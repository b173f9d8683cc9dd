"""Recovery of a shard's row positions and requests from the provider's files, without a ledger."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from jupyter_batch.adoption.find import MOST_ROWS, Orphan
from jupyter_batch.core.errors import BadRequestError, InputError, NotFoundError
from jupyter_batch.core.request import position_of
from jupyter_batch.http.streams import bounded, result_file
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.protocol import Listed, Provider
from jupyter_batch.row_files.request_files import REQUEST_ID, sent_hash
from jupyter_batch.wire.dialects import decode_lines
from jupyter_batch.wire.openai import BLOCK_BYTES, whole_lines

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')


class Searched(Provider, Listed, Protocol):
    """A provider that can be searched for batches unknown to this ledger."""


class Part(msgspec.Struct, kw_only=True):
    """The known data of a shard. positions: of its rows, in order. hashes: 16 bytes each, or none.

    exact: these are its rows, no others; else they are those between its first and its last. model:
    the provider's name of it. url: the endpoint of its requests.
    """

    orphan: Orphan
    number: int
    positions: array[int]
    hashes: bytearray
    size: int = 0
    exact: bool = True
    model: str | None = None
    url: str | None = None


async def learn(
    provider: Searched,
    place: JobRecord,
    orphan: Orphan,
    number: int,
    there: JobFolder,
    draft: JobFolder,
) -> Part:
    """Read the shard's request file, fetched if it is not in the job's folder; else its results.

    Raises InputError where there are neither (yet), and ProviderError.
    """
    path = there.requests(number)
    if not path.exists():
        path = draft.requests(number)
        try:
            with written(path) as file, bounded(file.write) as write:
                await provider.requests(orphan.batch, write)
        except (
            NotFoundError,
            BadRequestError,
        ):  # removed, or this provider never returns it
            if orphan.first is not None and orphan.last is not None:
                return Part(
                    orphan=orphan,
                    number=number,
                    hashes=bytearray(),
                    exact=False,
                    positions=array("q", range(orphan.first, orphan.last + 1)),
                )
            return await _by_results(provider, place, orphan, number, draft)
    return _by_requests(orphan, number, path, place.hashing)


def _by_requests(orphan: Orphan, number: int, path: Path, hashing: str) -> Part:
    part = Part(
        orphan=orphan,
        number=number,
        positions=array("q"),
        hashes=bytearray(),
        size=path.stat().st_size,
    )
    with path.open("rb") as file:
        for line in file:
            found = REQUEST_ID.match(line)
            position = (
                position_of(orphan.job, found[1].decode("utf-8", "replace")) if found else None
            )
            before = part.positions[-1] if part.positions else -1
            if position is None or not before < position < (orphan.rows or MOST_ROWS):
                raise InputError(
                    f"the request file of {orphan.batch.id} holds what job {orphan.job} never asked: "
                    "it was not taken up; the batch's own id adopts it with the custom ids of its requests"
                )
            if not part.positions:
                part.url, part.model = _target_of(line)
            part.positions.append(position)
            part.hashes += sent_hash(line, hashing, position % orphan.samples)
    if not part.positions:
        raise InputError(f"the request file of {orphan.batch.id} is empty: it was not taken up")
    return part


async def _by_results(
    provider: Searched, place: JobRecord, orphan: Orphan, number: int, draft: JobFolder
) -> Part:
    view = orphan.batch
    if view.ending is None:
        raise InputError(
            f"which rows are in {view.id} is known only once it has ended, since its requests can't be "
            "fetched: adopt it then"
        )
    found: set[int] = set()
    model = None
    for file_id, path in (
        (view.output_file_id, draft.output(number)),
        (view.error_file_id, draft.errors(number)),
    ):
        if file_id is None:
            continue
        with written(path) as file, result_file(file.write) as write:
            await provider.fetch(file_id, write)
        for block in _blocks(path):
            model = model or _MODEL.search(block)
            for result in decode_lines(place.dialect, block, place.endpoint, {}):
                position = position_of(orphan.job, result.custom_id)
                if position is not None and position < MOST_ROWS:
                    found.add(position)
    if not found:
        raise InputError(
            f"{view.id} has no result, and its requests can't be fetched: there is nothing to take up"
        )
    return Part(
        orphan=orphan,
        number=number,
        positions=array("q", sorted(found)),
        hashes=bytearray(),
        model=model[1].decode("utf-8", "replace") if model else None,
    )


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from whole_lines(iter(lambda: file.read(BLOCK_BYTES), b""))


class _Body(msgspec.Struct):
    model: str | None = None


class _Line(msgspec.Struct):
    url: str | None = None
    body: _Body | None = None


def _target_of(line: bytes) -> tuple[str | None, str | None]:
    """(url, model) of a request line."""
    try:
        read = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError:
        return None, None
    return read.url, read.body.model if read.body is not None else None
