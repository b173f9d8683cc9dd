"""Export of a job's request files and metadata to a folder, and submission of such a folder.

The folder holds everything the job needs; the frame and the prompt are not needed again. Nothing is
sent.
"""

from __future__ import annotations

import contextlib
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import numpy as np

from jupyter_batch.core.errors import InputError, JobNotFoundError
from jupyter_batch.core.request import Limits
from jupyter_batch.frames import frame as frames
from jupyter_batch.ledger.folder import JobFolder, disk_errors, private_folder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.rendered import Rendered
from jupyter_batch.notebook.progress import progress
from jupyter_batch.planning.draft import StaleError, job_draft, limit_costs
from jupyter_batch.planning.files.metadata import Metadata
from jupyter_batch.planning.plan import draft_rows
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.row_columns import RowFiles

if TYPE_CHECKING:
    from jupyter_batch.planning.resolve import Order

METADATA = "metadata.json"
_BUILT = "build.json"
_CRC = "crc32-"


class Built(msgspec.Struct, frozen=True):
    """The folder's record of the job to submit. digests: of each request file, by its name."""

    job: JobRecord
    shards: list[ShardRecord]
    limits: Limits
    reuse: bool
    digests: dict[str, str]


def build(
    ledger: Ledger, asked: Order, place: Path | None, *, now: float
) -> tuple[Path, Rendered | None]:
    """Write the folder at `place`, which must be empty or not exist; return it and the rows.

    Without `place` it is in the ledger's folder. Raises InputError where no row can be sent; then
    there is no folder.
    """
    ask = asked.ask
    with (
        progress(f"Planning {frames.row_count(asked.rows):,} rows"),
        job_draft(ledger, built=True) as draft,
    ):
        with written(draft.folder.path / METADATA) as file:
            about = Metadata(file, ask, draft.id, asked.rows, now)
            draft_rows(draft, ask, asked.rows, now=now, reuse=False, record=about.add)
            about.finish(draft)
        folder = place if place is not None else ledger.home / "builds" / draft.id
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already, and not empty: give another folder")
        with disk_errors(folder):
            private_folder(folder)
            for path in list(draft.folder.path.iterdir()):
                shutil.move(path, folder / path.name)
        digests = {
            path.name: _CRC + f"{shard.crc:08x}-{shard.bytes}"
            for path, shard in zip(_requests(folder, draft.shards), draft.shards, strict=True)
        }
        built = Built(draft.record, draft.shards, ask.limits, asked.reuse, digests)
        JobFolder(folder).write(
            folder / _BUILT, msgspec.json.encode(built)
        )  # last: with it the folder is complete
    return folder, draft.rendered


def read_built(folder: Path) -> Built:
    """Read the record in a folder.

    Raises InputError where the folder was not written by `build`.
    """
    try:
        return msgspec.json.decode((folder / _BUILT).read_bytes(), type=Built)
    except (OSError, msgspec.DecodeError):
        raise InputError(f"{folder} holds no requests that `build` made") from None


def requests_of(folder: Path) -> list[Path]:
    """The request files, as they will be uploaded."""
    return _requests(folder, read_built(folder).shards)


def take(ledger: Ledger, folder: Path, *, now: float) -> JobRecord:
    """Return the job of these files: a new one, or an existing one with the same requests.

    Raises InputError where a file was changed since, and the errors of planning.
    """
    built = read_built(folder)
    changed = [
        name for name, digest in built.digests.items() if _digest(folder / name, digest) != digest
    ]
    if changed:
        raise InputError(
            f"{changed[0]} is not as `build` wrote it: build again with another prompt, rather than "
            "change the file"
        )
    with contextlib.suppress(JobNotFoundError):  # it was never submitted
        return ledger.job(built.job.id)
    with job_draft(ledger, built.job.id) as draft:
        with disk_errors(draft.folder.path):
            for path in folder.iterdir():
                if path.name not in (METADATA, _BUILT):
                    shutil.copy2(path, draft.folder.path / path.name)
        draft.record = record = msgspec.structs.replace(built.job, created_at=now)
        draft.shards = built.shards
        if built.reuse:
            draft.known = ledger.last_number()
            there = ledger.answering(
                record.fingerprint, lambda other: _same_rows(ledger, other, record, draft.folder)
            )
            if there is not None:
                return there
            rows = RowFiles.of(record, draft.folder)
            hashes = np.empty((0, 2), dtype=np.uint64) if rows.hashes is None else rows.hashes
            draft.deduplicate(hashes, built.limits)
            rows.hashes = draft.hashes
            draft.write_rows(rows)
        limit_costs([draft])
        with contextlib.suppress(StaleError):
            return draft.store()
    return take(ledger, folder, now=now)


def _same_rows(ledger: Ledger, other: JobRecord, record: JobRecord, draft: JobFolder) -> bool:
    """Whether another job's rows have the same keys, so that its answers can be used."""
    try:
        same = contents(ledger.folders.of(other.id).keys) == contents(draft.keys)
        same = same and other.hashing == record.hashing
    except (OSError, ValueError):
        return False
    return not other.framed or (same and other.columns == record.columns)


def _requests(folder: Path, shards: list[ShardRecord]) -> list[Path]:
    return [JobFolder(folder).requests(shard.number) for shard in shards]


def _digest(path: Path, known: str) -> str:
    """The digest of a file, of the same kind as the known one: CRC-32 and size, before BLAKE2b."""
    digest, crc, size = blake2b(digest_size=16), 0, 0
    is_crc = known.startswith(_CRC)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                if is_crc:
                    crc, size = crc32(block, crc), size + len(block)
                else:
                    digest.update(block)
    except OSError:
        return ""
    return _CRC + f"{crc:08x}-{size}" if is_crc else digest.hexdigest()
