"""Retry of a job's unanswered rows as a new job: only those are sent, other answers are copied.

Works on files of the ledger, line by line, without the frame; nothing is rendered.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from jupyter_batch.core.errors import InputError, LedgerCorruptError
from jupyter_batch.core.finish import CUT, Cuts, added, counted
from jupyter_batch.core.request import Limits, custom_id
from jupyter_batch.core.result import Status
from jupyter_batch.core.status import Step
from jupyter_batch.file_checks.refetch import reopen
from jupyter_batch.file_checks.request_checks import check_all_found, check_whole, lines_of
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import RESTORE
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.changed_lines import ChangedLines
from jupyter_batch.planning.max_cost import Draft, all_within, left_of, spent, within
from jupyter_batch.planning.plan import Drafted, keep, new_id
from jupyter_batch.planning.remap import Remapped, is_unmapped
from jupyter_batch.providers.table import REALTIME, facts_of
from jupyter_batch.results.copy_answers import carry
from jupyter_batch.results.outcomes import CODES, of_job
from jupyter_batch.row_files.request_files import write_requests
from jupyter_batch.row_files.row_columns import copy_row_files, places_of, prints_of, sent_prints
from jupyter_batch.row_files.row_sources import NOWHERE, Places
from jupyter_batch.wire.dialects import OPENAI
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES

if TYPE_CHECKING:
    import numpy as np

    from jupyter_batch.dedup.apply import Arranged

    Array: TypeAlias = np.ndarray[Any, Any]

_MORE = "; job.retry(max_cost=...) allows more"
MISSED = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})


def limits_of(job: JobRecord, *, at_once: bool) -> Limits:
    """The limits of a batch of a job's successor; in realtime there is no minimum."""
    limits = facts_of(job.provider, job.api_base).limits.at_most(job.shard_size)
    return msgspec.structs.replace(limits, minimum=1) if at_once or job.mode == REALTIME else limits


def plan_again(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    *,
    now: float,
    max_cost: float | None = None,
    at_once: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> JobRecord:
    """Return the job that sends the missed rows of `job` again; the existing one if there is one.

    changes: chat parameters to send them with, and the answers that were cut off too; with other
    changes than before, it is based on the last retry. at_once: in realtime. max_cost: its limit in
    US dollars; else the rest of the job's own. Raises InputError where the job is not finished or
    has no missed row, and OptionError where the estimate is above the limit.
    """
    latest, there = _latest(ledger, job, changes)
    if there is not None:
        return there
    if latest.id != job.id:
        job, shards = latest, ledger.shards(latest.id)
    with _drafted(
        ledger, job, shards, now=now, max_cost=max_cost, at_once=at_once, changes=changes
    ) as made:
        record = within(ledger, made.record, made.shards, made.draft, hint=_MORE)
        return keep(ledger, made.draft, record, made.shards, there=made.same)


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
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Retry each of several jobs with missed rows.

    max_cost: of all together, else none is stored.
    """
    with contextlib.ExitStack() as stack:
        made = []
        for first in jobs:
            job, there = _latest(ledger, first, changes)
            if there is None:
                try:
                    made.append(
                        stack.enter_context(
                            _drafted(
                                ledger,
                                job,
                                ledger.shards(job.id),
                                now=now,
                                max_cost=max_cost,
                                at_once=False,
                                changes=changes,
                            )
                        )
                    )
                except InputError as e:
                    if type(e) is not InputError:  # a plain InputError: no row is left to retry
                        raise
        records = all_within(
            ledger, [Draft(one.record, one.shards, one.draft) for one in made], hint=_MORE
        )
        for one, record in zip(made, records, strict=True):
            keep(ledger, one.draft, record, one.shards, there=one.same)


@contextlib.contextmanager
def _drafted(
    ledger: Ledger,
    job: JobRecord,
    shards: list[ShardRecord],
    *,
    now: float,
    max_cost: float | None,
    at_once: bool,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[Drafted]:
    """Draft the missed rows as a new job; on exit the draft is deleted unless it was stored."""
    collected = all(shard.step is Step.COLLECTED for shard in shards)
    if not job.finished_at and not (collected and (at_once or not job.rush_at)):
        raise InputError(f"job {job.id} is not over yet: there is nothing to send again")
    if not job.aligned:
        raise InputError(
            f"which rows job {job.id} has is not known, since it was adopted without its ledger: run its "
            "cell again, which sends the rows alone that have no answer"
        )
    if job.finished_at and reopen(ledger, job, shards, now=now):
        raise InputError(
            f"answers of job {job.id} are at the provider, and not on this disk (any more): they are fetched "
            "again first; ask once more when the job is complete"
        )
    folder = ledger.folders.of(job.id)
    limits = limits_of(job, at_once=at_once)
    was = places_of(job, shards, folder)
    missed = _missed(job, shards, folder, was, cut_off=bool(changes))
    asking = set(was.array[missed].tolist())
    check_whole(folder, [shard for shard in shards if shard.number in asking])
    new = new_id()
    with ledger.folders.drafted(new) as draft:
        shared = prints_of(job, folder) is not None and not job.alone
        few = msgspec.structs.replace(limits, minimum=1) if shared else limits
        headers = job.headers
        if changes:
            lines = ChangedLines(ledger, job, new, missed, changes)
            with lines.writing(draft):
                made = write_requests(draft, new, lines, few)
            gone = int((lines.gone & (was.array >= 0)).sum())
            check_all_found(int(missed.sum()), int(missed.sum()) - gone, job, folder)
            missed, headers = lines.sent, lines.headers
        else:
            again = _unchanged(job, shards, folder, draft, new, missed, at_once=at_once)
            made = write_requests(draft, new, again, few)
            found = sum(shard.requests for shard in made)
            check_all_found(int(missed.sum()), found, job, folder)
        if (
            not made
            and not changes
            and (left := _missed(job, shards, folder, was, cut_off=True)).any()
        ):
            raise InputError(
                f"in job {job.id} no row failed; {int(left.sum()):,} that were cut off would be so again with the "
                "same request: job.retry(max_tokens=...), or another parameter, sends them again"
            )
        if not made:
            earlier = (
                "; how those of earlier rounds are is in job.errors"
                if job.round and job.unsendable
                else ""
            )
            raise InputError(f"in job {job.id} no row is left to be sent again{earlier}")
        cuts: list[Cuts] = []
        if shared:  # other jobs may have the same requests since
            arranged = _arranged(
                ledger,
                draft,
                job,
                msgspec.structs.replace(job, id=new, cuts=()),
                made,
                limits,
                draft if changes else folder,
                missed,
                at_once=at_once,
            )
            made, cuts = arranged.shards, [arranged.record.cuts]
        cut: dict[int, str] = {}
        carried = carry(
            job,
            shards,
            folder,
            array("q", range(job.rows)),
            new,
            lambda dialect: draft.reused(job.id, dialect),
            cut,
        )
        made, places, reused = _placed(draft, was, missed, made, carried)
        draft.write(draft.places, places.to_bytes())
        copy_row_files(job, folder, draft, changed=not changes)
        record = job.going_on(
            new,
            now,
            reused=reused,
            cuts=added(
                [*cuts, counted(cut, places.settled([*carried, *places.leaders_of_followers()]))]
            ),
            changes=dict(changes or {}),
            mapped=True,
            headers=headers,
            finished_at=0.0 if made else now,
            max_cost=left_of(job, shards) if max_cost is None else max_cost,
            before=job.bill(shards) if job.rush_at else None,
            used=job.usage(shards) if job.rush_at else None,
        )
        yield Drafted(
            draft, live(record) if at_once else record, made, same=lambda: ledger.child(job.id)
        )


def _unchanged(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    draft: JobFolder,
    new: str,
    missed: Array,
    *,
    at_once: bool,
) -> Iterator[tuple[int, bytes]]:
    """The unchanged requests of the missed rows; written in OpenAI's dialect too, for realtime."""
    sources = [(0, folder.asked)] if folder.asked.exists() else []
    foreign = (
        bool(sources) and not at_once
    )  # the requests are in a dialect that realtime does not support
    if foreign:
        with written(draft.asked) as file:
            file.writelines(line for _, line in _asked_again(job, sources, new, missed))
    if foreign or not sources:
        sources = _sources(shards, folder)
    lines = _asked_again(job, sources, new, missed)
    return lines if at_once or not is_unmapped(job) else _mapped(job, draft, lines)


def _mapped(
    job: JobRecord, draft: JobFolder, lines: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """The lines with mapped parameters; the unmapped ones are written to the draft."""
    remapped = Remapped(job)
    with written(draft.asked) as asked:
        for position, line in lines:
            asked.write(line)
            yield position, remapped.line(line)


def check_rest(
    ledger: Ledger, job: JobRecord, shards: list[ShardRecord], max_cost: float | None = None
) -> None:
    """Raise OptionError where the open rows may cost more than max_cost in realtime.

    Called before the batch is cancelled. Without max_cost, the limit is the rest of the job's own.
    """
    if max_cost is None and job.max_cost is not None:
        max_cost = max(0.0, job.max_cost - spent(job, shards, of_open=False))
    rest = [
        msgspec.structs.replace(shard, joins="")
        for shard in shards
        if shard.step is not Step.COLLECTED
    ]
    within(
        ledger,
        msgspec.structs.replace(live(job), max_cost=max_cost),
        rest,
        ledger.folders.of(job.id),
        hint="; the batch goes on; job.finish(max_cost=...) allows more",
    )


def live(record: JobRecord) -> JobRecord:
    """The same job in realtime, where chat requests are in one dialect for all providers."""
    return msgspec.structs.replace(
        record,
        mode=REALTIME,
        dialect=OPENAI,
        headers={},
        endpoint=record.endpoint if record.endpoint in (EMBEDDINGS, RESPONSES) else CHAT,
    )


def _arranged(
    ledger: Ledger,
    draft: JobFolder,
    job: JobRecord,
    record: JobRecord,
    made: list[ShardRecord],
    limits: Limits,
    folder: JobFolder,
    missed: Array,
    *,
    at_once: bool,
) -> Arranged:
    """The deduplicated job; in realtime without waiting for other jobs.

    A shard that itself waits for another job is not waited for: that may be the one sent again.
    """
    import numpy as np

    from jupyter_batch.dedup.apply import arrange

    asked = sent_prints(job, folder)
    if asked is None:
        raise LedgerCorruptError(f"{folder.prints} is gone: {RESTORE}")
    prints = np.where(missed[:, None], asked, 0)
    return arrange(
        ledger,
        draft,
        record,
        made,
        limits,
        prints.astype("<u8").tobytes(),
        waits=lambda shard: not (at_once or shard.joins),
        failures=False,
    )


def _missed(
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
    import numpy as np

    bad = [code for code, status in enumerate(CODES) if status in MISSED]
    found = of_job(job, shards, folder, values=False)
    codes = np.frombuffer(found.status, dtype=np.uint8)
    asked = was.array >= 0
    if job.inherited:  # billed in another job: their requests are stored here
        prints = prints_of(job, folder)
        if prints is not None:
            asked |= (was.array == NOWHERE) & prints.any(axis=1)
    flags: Array = np.isin(codes, bad) & asked
    if cut_off:
        cut = [code for code, finish in enumerate(found.finishes) if finish in CUT]
        good = [CODES.index(status) for status in (Status.SUCCEEDED, Status.REUSED)]
        ended = np.isin(np.frombuffer(found.finish, dtype=np.uint8), cut)
        flags |= ended & np.isin(codes, good) & (was.array >= NOWHERE)
    return flags


def _sources(shards: list[ShardRecord], folder: JobFolder) -> list[tuple[int, Path]]:
    """The files with the requests of a job's rows, each with the first row that it may have."""
    if every := sorted(folder.path.glob("all-*.jsonl")):
        return [(0, path) for path in every]
    return [(shard.first, folder.requests(shard.number)) for shard in shards]


def _placed(
    draft: JobFolder, was: Places, missed: Array, made: list[ShardRecord], carried: array[int]
) -> tuple[list[ShardRecord], Places, int]:
    """(the shards with their duplicate counts, the row sources, the number of rows answered)."""
    import numpy as np

    places = Places(np.where(was.array < NOWHERE, was.array, NOWHERE))
    if draft.places.exists():
        places.array[missed] = np.frombuffer(draft.places.read_bytes(), "<i8").astype(np.int64)[
            missed
        ]
    else:
        for shard in made:
            span = slice(shard.first, shard.last + 1)
            places.array[span][missed[span]] = shard.number
    answered = missed & (places.array == NOWHERE)
    answered[np.frombuffer(carried, dtype=np.int64)] = True
    answered[places.array >= 0] = False  # keeps its old answer until then
    reused = int(answered.sum() + answered[places.followers()[1]].sum())
    followed = [
        msgspec.structs.replace(shard, followers=len(places.followers(shard.number)[0]))
        for shard in made
    ]
    return followed, places, reused


def _asked_again(
    job: JobRecord, sources: list[tuple[int, Path]], new: str, missed: Array
) -> Iterator[tuple[int, bytes]]:
    """The request lines of the missed rows, with the new job's ids, in row order.

    sources: files with the first row that each may have. Requests that were waited for are in files
    of their own.
    """
    flags = missed.tolist()
    for position, rest in _in_order(job, sources):
        if flags[position]:
            yield position, b'{"custom_id":"%b"%b' % (custom_id(new, position).encode(), rest)


def _in_order(job: JobRecord, sources: list[tuple[int, Path]]) -> Iterator[tuple[int, bytes]]:
    """(row, rest of the line after its id) of all files, each of which is in order by itself.

    A file is opened when its rows are due, as there may be many.
    """
    closed = sorted(sources, reverse=True)
    heads: list[tuple[int, int, bytes, Iterator[tuple[int, bytes]]]] = []
    while closed or heads:
        if closed and not (heads and heads[0][0] < closed[-1][0]):
            lines = lines_of(closed.pop()[1], job.id)
        else:
            position, _, rest, lines = heappop(heads)
            yield position, rest
        if (head := next(lines, None)) is not None:
            heappush(heads, (head[0], id(lines), head[1], lines))
