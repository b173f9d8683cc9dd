"""Retry of a job's unanswered rows as a new job: only those are sent, other answers are copied.

Works on files of the ledger, line by line, without the frame; nothing is rendered.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jupyter_batch.core.cost import FLEX, Price
from jupyter_batch.core.errors import LedgerCorruptError, NothingToRetryError, OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.core.status import Step
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.file_checks.request_checks import check_all_found, check_whole
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import RESTORE
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.draft import JobDraft, job_draft, limit_costs
from jupyter_batch.planning.escalation import Destination, EscalatedLines
from jupyter_batch.planning.files.left_rows import (
    Parted,
    copy_lines,
    missed_rows,
    parts_of,
    record_left,
    set_aside,
)
from jupyter_batch.planning.max_cost import Priced, all_within, left_of, spent
from jupyter_batch.planning.resent_lines import ChangedLines, changes_of, unchanged
from jupyter_batch.planning.target import check_flex
from jupyter_batch.providers.table import BATCH, REALTIME, check_live, facts_of
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.row_files.request_files import write_requests
from jupyter_batch.row_files.row_columns import RowFiles, places_of, request_hashes
from jupyter_batch.row_files.row_sources import Places
from jupyter_batch.wire.dialects import OPENAI
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array

_MORE = "; job.retry(max_cost=...) allows more"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are sent again.

    changes: chat parameters to send them with; then answers that were cut off are sent again, too.
    to: another model. invalid: with the error of an answer that does not fit the schema. at_once:
    the mode in which they are asked at once; "" as in the job. max_cost: its limit in US dollars;
    else the rest of the job's own. rows: the positions of the only rows to send; None for all.
    """

    now: float
    changes: Mapping[str, Any] = {}
    to: Destination | None = None
    invalid: bool = False
    at_once: str = ""
    max_cost: float | None = None
    rows: Sequence[int] | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """What differs from the job that is retried, by which the same retry is found again."""
        more = {} if self.to is None else {"model": self.to.model}
        return {**self.changes, **more, **({"invalid": True} if self.invalid else {})}


def limits_of(job: JobRecord, *, at_once: str = "") -> Limits:
    """The limits of a batch of a job's successor; in realtime there is no minimum."""
    limits = facts_of(job.provider, job.api_base).limits.at_most(job.shard_size)
    return msgspec.structs.replace(limits, minimum=1) if at_once or job.mode != BATCH else limits


def plan_again(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    *,
    now: float,
    max_cost: float | None = None,
    at_once: str = "",
    changes: Mapping[str, Any] | None = None,
    to: Destination | None = None,
    invalid: bool = False,
    rows: Sequence[int] | None = None,
) -> JobRecord:
    """Return the job that sends the missed rows of `job` again; the existing one if there is one.

    See `Way` for the options; with other changes than before, or with chosen rows, it is based on
    the last retry. Raises NothingToRetryError where the job is not finished or has no missed row,
    and OptionError where the estimate is above the limit.
    """
    way = Way(
        now=now,
        changes=changes or {},
        to=to,
        invalid=invalid,
        at_once=at_once,
        max_cost=max_cost,
        rows=rows,
    )
    latest, there = _latest(ledger, job, way.recorded)
    if there is not None and rows is None:
        return there
    if rows is not None:
        latest = last_retry(ledger, job)
    if latest.id != job.id:
        job, shards = latest, ledger.shards(latest.id)
    with _drafted(ledger, job, shards, way) as draft:
        limit_costs([draft], hint=_MORE)
        return draft.store(there=lambda: ledger.child(job.id))


def last_retry(ledger: Ledger, job: JobRecord) -> JobRecord:
    """The last of the jobs that retry a job one after the other; the job itself without any."""
    while (there := ledger.child(job.id)) is not None:
        job = there
    return job


def _latest(
    ledger: Ledger, job: JobRecord, changes: Mapping[str, Any] | None
) -> tuple[JobRecord, JobRecord | None]:
    """(the job that such a retry is based on, the retry itself where it exists already)."""
    while (there := ledger.child(job.id)) is not None:
        if not changes or there.changes == changes:
            return job, there
        job = there
    return job, None


def plan_all_again(
    ledger: Ledger,
    jobs: Sequence[JobRecord],
    *,
    now: float,
    max_cost: float,
    params: Mapping[str, Any],
) -> None:
    """Retry each of several jobs with missed rows.

    max_cost: of all together, else none is stored. params: chat parameters to change. Raises OptionError.
    """
    changes = changes_of(params)
    way = Way(now=now, changes=changes, max_cost=max_cost)
    with contextlib.ExitStack() as stack:
        drafts = []
        for first in jobs:
            job, there = _latest(ledger, first, changes)
            if there is not None:
                continue
            try:
                drafts.append(
                    stack.enter_context(_drafted(ledger, job, ledger.shards(job.id), way))
                )
            except NothingToRetryError:  # `Job.retry` reports why
                continue
        limit_costs(drafts, hint=_MORE)
        for draft in drafts:
            parent = str(draft.record.parent)
            draft.store(there=lambda parent=parent: ledger.child(parent))  # type: ignore[misc]


@contextlib.contextmanager
def _drafted(
    ledger: Ledger, job: JobRecord, shards: list[ShardRecord], way: Way
) -> Iterator[JobDraft]:
    """Draft the missed rows as a new job; on exit the draft is deleted unless it was stored."""
    _check_over(ledger, job, shards, way)
    folder = ledger.folders.of(job.id)
    was = places_of(job, shards, folder)
    parts = parts_of(job, shards, folder, was, way.rows, cut_off=bool(way.changes))
    missed = parts.sent | parts.left
    asking = set(was.array[missed].tolist())
    check_whole(folder, [shard for shard in shards if shard.number in asking])
    with job_draft(ledger) as draft:
        limits = limits_of(job, at_once=way.at_once) if way.to is None else way.to.limits
        shared = request_hashes(job, folder) is not None and not job.alone
        few = msgspec.structs.replace(limits, minimum=1) if shared else limits
        rows = RowFiles.of(job, folder)
        record = _record(job, shards, draft.id, way)
        if way.recorded:
            missed = parts.sent
            lines = _changed_lines(ledger, job, shards, record, missed, way)
            with lines.writing(draft.folder):
                draft.shards = write_requests(draft.folder, draft.id, lines, few)
            gone = int((lines.gone & (was.array >= 0)).sum())
            check_all_found(int(missed.sum()), int(missed.sum()) - gone, job, folder)
            missed, rows.changed = lines.sent, lines.changed
            record = msgspec.structs.replace(
                record, headers=lines.headers, tool_names=lines.tool_names
            )
            if parts.left.any():
                copy_lines(job, shards, folder, draft, parts.left)
        else:
            again = unchanged(job, shards, folder, draft, missed, at_once=bool(way.at_once))
            if parts.left.any():
                again, missed = set_aside(again, parts.left, draft.folder.left), parts.sent
            draft.shards = write_requests(draft.folder, draft.id, again, few)
            found = sum(shard.requests for shard in draft.shards)
            check_all_found(int(missed.sum()), found, job, folder)
        if not draft.shards:
            raise _nothing(job, shards, folder, was, way)
        draft.record = record
        if shared:  # other jobs may have the same requests since
            _deduplicate(draft, rows, folder, missed, limits, at_once=bool(way.at_once))
        wanted = array("q", range(job.rows))
        draft.carry_over(job, shards, asked=missed, wanted=wanted)
        record_left(draft, rows, job, shards, Parted(missed, parts.left))
        draft.write_rows(rows)
        yield draft


def _changed_lines(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    new: JobRecord,
    missed: Array,
    way: Way,
) -> ChangedLines | EscalatedLines:
    """The requests of the missed rows with the changes of a retry."""
    if way.to is None and not way.invalid:
        return ChangedLines(ledger, job, new.id, missed, way.changes)
    if way.invalid and job.schema is None:
        raise OptionError(
            f"retry: job {job.id} has no schema that an answer could fail: leave invalid= out"
        )
    misfits = of_job(job, shards, ledger.folders.of(job.id)) if way.invalid else None
    return EscalatedLines(ledger, job, new, missed, way.changes, misfits)


def _check_over(ledger: Ledger, job: JobRecord, shards: list[ShardRecord], way: Way) -> None:
    """Raise NothingToRetryError where a job is not over, or its rows or answers are not known here."""
    collected = all(shard.step is Step.COLLECTED for shard in shards)
    if not job.finished_at and not (collected and (way.at_once or not job.rush_at)):
        raise NothingToRetryError(f"job {job.id} is not over yet: there is nothing to send again")
    own = job.own_ids and ledger.folders.of(job.id).requests(0).exists()
    if not (job.aligned or own):
        raise NothingToRetryError(
            f"which rows job {job.id} has is not known, since it was adopted without its ledger: run its "
            "cell again, which sends the rows alone that have no answer"
        )
    if job.finished_at and reopen(ledger, job, shards, now=way.now):
        raise NothingToRetryError(
            f"answers of job {job.id} are at the provider, and not on this disk (any more): they are fetched "
            "again first; ask once more when the job is complete"
        )


def _nothing(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, was: Places, way: Way
) -> NothingToRetryError:
    """The error where no row is left to be sent again, with what can be done."""
    left = 0 if way.changes else int(missed_rows(job, shards, folder, was, cut_off=True).sum())
    if left:
        return NothingToRetryError(
            f"in job {job.id} no row failed; {left:,} that were cut off would be so again with the "
            "same request: job.retry(max_tokens=...), or another parameter, sends them again"
        )
    earlier = (
        "; how those of earlier rounds are is in job.errors" if job.round and job.unsendable else ""
    )
    return NothingToRetryError(f"in job {job.id} no row is left to be sent again{earlier}")


def _record(job: JobRecord, shards: list[ShardRecord], new: str, way: Way) -> JobRecord:
    """The record of a retry before deduplication."""
    if job.mode == FLEX and "service_tier" in way.changes:
        raise OptionError("the job is on the flex tier: leave service_tier= out")
    record = job.going_on(
        new,
        way.now,
        changes=way.recorded,
        mapped=True,
        max_cost=left_of(job, shards) if way.max_cost is None else way.max_cost,
        before=job.bill(shards) if job.rush_at else None,
        used=job.usage(shards) if job.rush_at else None,
        tier=str(way.changes.get("service_tier", job.tier) or ""),
    )
    if way.to is not None:
        record = way.to.moved(record)
    return live(record, way.at_once) if way.at_once else record


def _deduplicate(
    draft: JobDraft,
    rows: RowFiles,
    folder: JobFolder,
    missed: Array,
    limits: Limits,
    *,
    at_once: bool,
) -> None:
    """Deduplicate the missed rows; in realtime without waiting for other jobs.

    A shard that itself waits for another job is not waited for: that may be the one sent again.
    """
    asked = rows.sent_hashes()
    if asked is None:
        raise LedgerCorruptError(f"{folder.request_hashes} is gone: {RESTORE}")
    draft.deduplicate(
        np.where(missed[:, None], asked, 0),
        limits,
        waits=lambda shard: not (at_once or shard.joins),
        failures=False,
    )


def check_finish(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    *,
    mode: str,
    api_key: str | None = None,
    max_cost: float | None = None,
) -> None:
    """Raise an InputError where the open rows can't be asked at once, before they are cancelled."""
    if mode == FLEX:
        check_flex(job.model, job.price or Price())
    if job.finished_at or job.mode == mode:
        return
    if job.mode == REALTIME:
        raise OptionError(f"job {job.id} is asked in real time already")
    check_live(job.model, job.provider, job.api_base, api_key)
    check_rest(ledger, job, shards, max_cost, mode=mode)


def check_rest(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    max_cost: float | None = None,
    *,
    mode: str,
) -> None:
    """Raise OptionError where the open rows may cost more than max_cost at once, in this mode.

    Called before the batch is cancelled. Without max_cost, the limit is the rest of the job's own.
    """
    if max_cost is None and job.max_cost is not None:
        max_cost = max(0.0, job.max_cost - spent(job, shards, of_open=False))
    rest = [
        msgspec.structs.replace(shard, joins="")
        for shard in shards
        if shard.step is not Step.COLLECTED
    ]
    record = msgspec.structs.replace(live(job, mode), max_cost=max_cost)
    all_within(
        ledger,
        [Priced(record, rest, ledger.folders.of(job.id))],
        hint="; the batch goes on; job.finish(max_cost=...) allows more",
    )


def live(record: JobRecord, mode: str = REALTIME) -> JobRecord:
    """The same job asked at once; chat requests are then in one dialect for all providers."""
    return msgspec.structs.replace(
        record,
        mode=mode,
        dialect=OPENAI,
        headers={},
        endpoint=record.endpoint if record.endpoint in (EMBEDDINGS, RESPONSES) else CHAT,
    )
