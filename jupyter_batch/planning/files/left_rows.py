"""Unanswered rows that a retry of chosen rows does not send: their reasons, and their requests for a later retry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from jupyter_batch.core.errors import NothingToRetryError
from jupyter_batch.core.request import CUT, Status
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.draft import JobDraft
from jupyter_batch.planning.resent_lines import in_row_order, lines_again, named, sources_of
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.row_files.row_columns import RowFiles, Unsent, places_of, request_hashes
from jupyter_batch.row_files.row_sources import NOWHERE, Places

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array


MISSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})


class Parted(NamedTuple):
    """The rows that a retry sends, and the unanswered ones that it leaves."""

    sent: Array
    left: Array


def parts_of(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    was: Places,
    rows: Sequence[int] | None,
    *,
    cut_off: bool,
) -> Parted:
    """Part the missed rows by the chosen positions, None for all; of a duplicate its original is meant.

    cut_off: send rows whose answers were cut off, too. Raises NothingToRetryError where no row can be left.
    """
    unanswered = missed_rows(job, shards, folder, was)
    missed = missed_rows(job, shards, folder, was, cut_off=True) if cut_off else unanswered
    if rows is None:
        return Parted(missed, np.zeros_like(missed))
    wanted = np.zeros(len(missed), dtype=bool)
    wanted[np.asarray(rows, dtype=np.int64)] = True
    duplicates, originals = was.followers()
    wanted[originals[wanted[duplicates]]] = True
    parts = Parted(missed & wanted, unanswered & ~wanted)
    is_known = request_hashes(job, folder) is not None
    if parts.left.any() and not (is_known and not any(shard.withholds for shard in shards)):
        raise NothingToRetryError(
            f"the rows of job {job.id} can't be sent again one by one: job.retry() sends all that "
            "have no answer"
        )
    return parts


def rows_to_send(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    rows: Sequence[int] | None,
    *,
    cut_off: bool,
) -> Array:
    """The positions that a retry of chosen rows sends; none where the job is not over."""
    if not job.finished_at:
        return np.zeros(0, dtype=np.int64)
    folder = ledger.folders.of(job.id)
    was = places_of(job, shards, folder)
    return np.flatnonzero(parts_of(job, shards, folder, was, rows, cut_off=cut_off).sent)


def missed_rows(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    was: Places,
    *,
    cut_off: bool = False,
) -> Array:
    """1 for each row that had its own request and has no answer, else 0.

    cut_off: or a cut off one.
    """
    bad = [code for code, status in enumerate(CODES) if status in MISSED]
    found = of_job(job, shards, folder, values=False)
    codes = np.frombuffer(found.status, dtype=np.uint8)
    asked = was.array >= 0
    if job.inherited:  # billed in another job: their requests are stored here
        hashes = request_hashes(job, folder)
        if hashes is not None:
            asked |= (was.array == NOWHERE) & hashes.any(axis=1)
    flags: Array = np.isin(codes, bad) & asked
    if cut_off:
        cut = [code for code, finish in enumerate(found.finishes) if finish in CUT]
        good = [CODES.index(status) for status in (Status.SUCCEEDED, Status.REUSED)]
        ended = np.isin(np.frombuffer(found.finish, dtype=np.uint8), cut)
        flags |= ended & np.isin(codes, good) & (was.array >= NOWHERE)
    return flags


def set_aside(
    lines: Iterator[tuple[int, bytes]], left: Array, path: Path
) -> Iterator[tuple[int, bytes]]:
    """The lines without those of the left rows, which are written to a file."""
    with written(path) as file:
        for position, line in lines:
            if left[position]:
                file.write(line)
            else:
                yield position, line


def copy_lines(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, draft: JobDraft, left: Array
) -> None:
    """Copy the left rows' lines into a draft whose own lines have other parameters."""
    with written(draft.folder.left) as file:
        lines = lines_again(job, sources_of(shards, folder), draft.id, left)
        file.writelines(line for _, line in lines)
    if not draft.folder.asked.exists():
        return
    plain, merged = (draft.folder.path / f"asked-{name}.jsonl" for name in ("left", "all"))
    with written(plain) as file:
        lines = lines_again(job, [(0, folder.asked)], draft.id, left)
        file.writelines(line for _, line in lines)
    with written(merged) as file:
        rests = in_row_order(draft.id, [(0, plain), (0, draft.folder.asked)])
        file.writelines(named(draft.id, position, rest) for position, rest in rests)
    plain.unlink()
    merged.replace(draft.folder.asked)


def record_left(
    draft: JobDraft,
    rows: RowFiles,
    job: JobRecord,
    shards: list[ShardRecord],
    parts: Parted,
) -> None:
    """Record the left rows of a draft as failed, each with its reason; rows that are sent have none any more."""
    sent = parts.sent
    kept = [
        msgspec.structs.replace(one, positions=[at for at in one.positions if not sent[at]])
        for one in rows.unsent
    ]
    reasons: dict[str, list[int]] = {}
    if parts.left.any():
        known = {at for one in kept for at in one.positions}
        folder = draft.ledger.folders.of(job.id)
        found = of_job(job, shards, folder, values=False)
        for at in np.flatnonzero(parts.left).tolist():
            if at not in known:
                reasons.setdefault(found.reasons.get(at, ""), []).append(at)
    made = [Unsent(Status.FAILED, reason, at) for reason, at in reasons.items()]
    rows.unsent = [one for one in [*kept, *made] if one.positions]
    originals = [] if draft.sources is None else draft.sources.leaders_of_followers()
    count = int(parts.left.sum()) + int(parts.left[originals].sum())
    draft.record = msgspec.structs.replace(draft.record, inherited=count)
