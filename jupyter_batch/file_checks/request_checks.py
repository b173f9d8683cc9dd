"""Checks of request files before upload or reading, and their repair from the cell's requests.

A damaged file is never sent in part: its shard ends with a reason, and nothing of it was billed.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from jupyter_batch.core.errors import LedgerCorruptError, LedgerError
from jupyter_batch.core.request import custom_id, position_of
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.row_files.checksums import file_sum
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.row_columns import places_of

if TYPE_CHECKING:
    from jupyter_batch.ledger.store import Ledger

REMEDY = "run the job's cell again, which writes it again, or put it back from a backup"


def is_damaged(folder: JobFolder, shard: ShardRecord) -> bool:
    """Whether a shard's request file differs from the planned one, or is unreadable."""
    path = folder.requests(shard.number)
    try:
        if shard.crc is not None:
            return file_sum(path)[1] != shard.crc
        return len(list(_rows(path, shard.job))) != shard.requests
    except (OSError, LedgerError):
        return True


def reason(folder: JobFolder, shard: ShardRecord) -> str:
    """Why a shard with a damaged request file was not sent, and how to fix it."""
    return (
        f"the request file {folder.requests(shard.number)} is damaged or gone, and its requests were not sent: "
        f"{REMEDY}; then job.retry() sends them"
    )


def restore(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    draft: JobFolder,
    drafted: Iterable[Path],
    name: str,
) -> None:
    """Rewrite a job's damaged request files from the requests that its cell has just rendered.

    drafted: request files of the job `name`, in order; other lines were put aside in its folder. A
    file is replaced only if the new one is byte-identical to the planned one.
    """
    folder = ledger.folders.of(job.id)
    damaged = [
        shard
        for shard in shards
        if shard.crc is not None and not shard.joins and is_damaged(folder, shard)
    ]
    if not damaged:
        return
    paths = list(drafted)
    aside = [draft.aside] if draft.aside.exists() else []
    with contextlib.suppress(LedgerError, OSError):
        places = places_of(job, shards, folder).array.tolist()
        for shard in damaged:
            each = (
                itertools.chain.from_iterable(lines_of(path, name) for path in some)
                for some in (paths, aside)
            )
            _restore(folder, job, shard, heapq.merge(*each, key=itemgetter(0)), places)


def _restore(
    folder: JobFolder,
    job: JobRecord,
    shard: ShardRecord,
    drafted: Iterable[tuple[int, bytes]],
    places: list[int],
) -> None:
    path = folder.requests(shard.number)
    again = path.with_name(f"{path.name}.again")
    check = 0
    try:
        with written(again) as file:
            for row, rest in drafted:
                if row < len(places) and places[row] == shard.number:
                    line = b'{"custom_id":"%b"%b' % (custom_id(job.id, row).encode(), rest)
                    check = crc32(line, check)
                    file.write(line)
        if check == shard.crc:
            again.replace(path)
    finally:
        again.unlink(missing_ok=True)


def lines_of(path: Path, job: str) -> Iterator[tuple[int, bytes]]:
    """(row, rest of the line after its id) of a request file.

    Raises LedgerError for a line without an id.
    """
    with opened(path, REMEDY) as file:
        for line in file:
            found = REQUEST_ID.match(line)
            position = position_of(job, found[1].decode("utf-8", "replace")) if found else None
            if found is None or position is None or not line.endswith(b"\n"):
                raise LedgerCorruptError(f"the request file {path} is damaged: {REMEDY}")
            yield position, line[found.end() :]


def _rows(path: Path, job: str) -> Iterator[int]:
    return (row for row, _ in lines_of(path, job))


def check_whole(folder: JobFolder, shards: Iterable[ShardRecord]) -> None:
    """Raise LedgerCorruptError where the request file of one of these shards is damaged."""
    for shard in shards:
        if is_damaged(folder, shard):
            path = folder.requests(shard.number)
            raise LedgerCorruptError(f"the request file {path} is damaged or gone: {REMEDY}")


def check_all_found(wanted: int, found: int, job: JobRecord, folder: JobFolder) -> None:
    """Raise LedgerCorruptError where requests to be sent again are in none of the job's files."""
    if found < wanted:
        raise LedgerCorruptError(
            f"{wanted - found:,} of {wanted:,} requests of job {job.id} that are to be sent again are in none of its "
            f"request files: one in {folder.path} is damaged or gone. Nothing was sent: {REMEDY}"
        )
