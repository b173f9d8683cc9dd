"""Planning of a call's jobs, one for each model: all are drafted before the first is stored.

Rows -> request lines -> request files -> deduplication -> one ledger transaction for each job.
Nothing here uses the network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from jupyter_batch.core.cost import Bill, Price
from jupyter_batch.core.errors import InputError, JupyterBatchError, LedgerCorruptError
from jupyter_batch.core.status import Step
from jupyter_batch.file_checks import request_checks
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.digest import digests_of
from jupyter_batch.frames.row_keys import Keys, by_content, by_request
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.columns import keep_more
from jupyter_batch.merging.own_cells import ForeignCells, is_written
from jupyter_batch.merging.rendered import Rendered, keys_of
from jupyter_batch.notebook.kernel import uninterrupted
from jupyter_batch.notebook.progress import progress
from jupyter_batch.planning.ask import Ask, scope_of
from jupyter_batch.planning.draft import JobDraft, StaleError, job_draft, limit_costs
from jupyter_batch.planning.known_frame import Blocks, frame_digest, known_job, known_rows
from jupyter_batch.planning.request_lines import LEAST_ROWS, Record, RequestLines
from jupyter_batch.planning.resolve import Order
from jupyter_batch.process.memory import give_back
from jupyter_batch.providers.prices import OWN
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.results.shard_figures import of_shard
from jupyter_batch.row_files.request_files import write_requests
from jupyter_batch.row_files.request_hashes import further_kinds, hash_array, kind_in
from jupyter_batch.row_files.row_columns import RowFiles, Unsent, places_of
from jupyter_batch.telemetry.spans import attributes_of, beyond_calls, here, span

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.dedup.sifted_lines import SiftedLines
    from jupyter_batch.row_files.request_hashes import Array


class Planned(NamedTuple):
    """A job, the frame to fill (None: there is none), and that frame's rendered rows."""

    record: JobRecord
    frame: pd.DataFrame | None
    rendered: Rendered | None


def plan_all(ledger: Ledger, orders: Sequence[Order], now: float) -> list[Planned]:
    """Return the job of each order: a new one, or an existing one with the same requests.

    Raises InputError where no row can be sent (of several jobs for a column's models: of any), or the
    estimates together are above `max_cost`; none of them is stored then.
    """
    records: list[tuple[JobRecord, Rendered | None]] = []
    rows = sum(frames.row_count(one.rows) for one in orders)
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress(f"Planning {rows:,} rows"))
        drafts = []
        for one in orders:
            draft = stack.enter_context(job_draft(ledger))
            with span("jupyter_batch.plan", beyond_calls(attributes_of(one.ask, draft.id))):
                draft_rows(draft, one.ask, one.rows, now=now, reuse=one.reuse, attach=True)
                if draft.existing is None:
                    draft.record = msgspec.structs.replace(draft.record, trace=here())
            drafts.append(draft)
        _check_any(drafts)
        limit_costs(drafts)
        stack.enter_context(uninterrupted())  # all of the call's jobs are stored, or none
        for one, draft in zip(orders, drafts, strict=True):
            try:
                records.append((draft.store(), draft.rendered))
            except StaleError:  # another kernel planned some of it: plan again, with its share
                ask = msgspec.structs.replace(one.ask, max_cost=draft.record.max_cost)
                planned = plan_all(ledger, [one._replace(ask=ask)], now)[0]
                records.append((planned.record, planned.rendered))
    return [
        Planned(
            _taken_up(ledger, record, asked, now),
            asked.rows if asked.ask.framed else None,
            rendered,
        )
        for asked, (record, rendered) in zip(orders, records, strict=True)
    ]


def _check_any(drafts: Sequence[JobDraft]) -> None:
    """Raise the first job's refusal where all have one."""
    refusals = [one.refusal for one in drafts if one.refusal is not None]
    if refusals and len(refusals) == len(drafts):
        raise refusals[0]


def draft_rows(
    draft: JobDraft,
    ask: Ask,
    frame: pd.DataFrame,
    *,
    now: float,
    reuse: bool,
    attach: bool = False,
    digest: bool = True,
    record: Record | None = None,
) -> None:
    """Fill a draft from the rows of a frame; with `reuse` an existing identical job is found.

    attach: an existing job may be found without rendering the rows, and rows that an earlier job
    answered are not rendered: then the draft has no request of them.
    digest: store the frame's digest, by which the job is found later. record: as for `RequestLines`.
    Raises InputError where no row can be sent, and ColumnError where cells of the user would be
    replaced.
    """
    ledger = draft.ledger
    kind = kind_in(ledger, scope_of(ask))
    kinds = further_kinds(ledger, scope_of(ask), kind) if reuse else []
    lines = RequestLines(ask, frame, draft.id, draft.folder.asked, kind, kinds, record)
    digests = digests_of(frame, lines.columns) if digest else None
    lines.digest = "" if digests is None else digests.whole
    known_by = frame_digest(ask, lines.digest)
    if reuse and attach and _attached(draft, ask, frame, lines, known_by):
        return
    blocks = Blocks.of(ask, lines, digests)
    if reuse and attach and blocks is not None:
        lines.known = known_rows(ledger, blocks)
    # With reuse, whether the rest is too small for a batch is known only after deduplication.
    limits = msgspec.structs.replace(ask.limits, minimum=1) if reuse else ask.limits
    # A preview shows requests that are not sent, too.
    sifted = _sifted(draft, ask, lines) if reuse and attach else None
    # Files that are written again without the rows that are not sent, or dropped, are not synced.
    draft.shards = write_requests(draft.folder, draft.id, sifted or lines, limits, synced=not reuse)
    rows = frames.row_count(frame)
    give_back(rows)
    _check_written(draft, ask, lines, sifted, rows)
    if not _drafted(draft, ask, frame, lines, blocks, known_by, now=now, reuse=reuse):
        draft.clear()  # known answers are gone since: all rows are rendered
        draft_rows(draft, ask, frame, now=now, reuse=reuse, digest=digest)


def _sifted(draft: JobDraft, ask: Ask, lines: RequestLines) -> SiftedLines | None:
    """The lines without those that are probably not sent; None for few rows."""
    if len(lines.marks.array) < LEAST_ROWS:
        return None
    from jupyter_batch.dedup.sifted_lines import SiftedLines

    return SiftedLines.of(lines, lines.marks, draft.ledger, scope_of(ask), draft.folder)


def _check_written(
    draft: JobDraft, ask: Ask, lines: RequestLines, sifted: SiftedLines | None, rows: int
) -> None:
    """Note which lines were put aside, if any. Raises InputError where there are none at all."""
    if sifted is not None and sifted.aside.any():
        draft.aside = sifted.aside
    draft.is_sifted = sifted is not None and draft.aside is None and lines.known is None
    if not draft.shards and lines.known is None and draft.aside is None:
        _refuse(draft, ask, lines, rows)


def _drafted(
    draft: JobDraft,
    ask: Ask,
    frame: pd.DataFrame,
    lines: RequestLines,
    blocks: Blocks | None,
    known_by: str,
    *,
    now: float,
    reuse: bool,
) -> bool:
    """Complete the draft, or find the job with the same requests; False where a known row has no answer."""
    ledger, folder = draft.ledger, draft.folder
    draft.rendered = rendered = lines.rendered()
    draft.record = record = msgspec.structs.replace(
        lines.record(now),
        frame_digest=known_by,
        rows_digest=rendered.digest,
        asked_digest="" if blocks is None else blocks.asked,
    )
    others = _search(draft, lines, now) if reuse else []
    keys = [rendered.keys, *(one.keys() for one in others)]
    _check_cells(ledger, ask, frame, record, keys)
    if draft.existing is not None:
        _keep_digests(ledger, draft.existing, record, keys)
        drawn = [folder.requests(shard.number) for shard in draft.shards]
        was = ledger.shards(draft.existing.id)
        request_checks.restore(ledger, draft.existing, was, folder, drawn, draft.id)
        return True
    if (sent := lines.marks.as_sent) is not None:
        folder.write(folder.sent, sent)
    draft.hashes = hash_array(lines.hashes)
    if not reuse:
        draft.record = msgspec.structs.replace(record, alone=True)
    elif not draft.deduplicate(
        draft.hashes, ask.limits, others=_by_kind(others), known=lines.known
    ):
        return False
    index, known = frames.index_to_bytes(frames.row_labels(frame)), lines.known
    before = None if known is None else (ledger.folders.of(known.job), known.likely)
    draft.write_rows(RowFiles(lines.unsent(), rendered.keys, index, draft.hashes, before=before))
    if blocks is not None:
        blocks.write(folder, rendered.keys)
    return True


def _refuse(draft: JobDraft, ask: Ask, lines: RequestLines, rows: int) -> None:
    """Keep the reason why there is nothing to send; raise it, unless rows of other models may be sent."""
    draft.refusal = _refusal(lines.unsent(), ask, rows)
    if not ask.models_from:
        raise draft.refusal


def _refusal(unsent: list[Unsent], ask: Ask, rows: int) -> InputError:
    """The reason why there is nothing to send."""
    if not unsent:
        return InputError("the frame has no rows: there is nothing to send")
    most = max(unsent, key=lambda group: len(group.positions))
    return InputError(
        f"none of the {rows} rows can be sent ({len(most.positions) // ask.samples}: {most.reason}); "
        "nothing was sent"
    )


def _search(draft: JobDraft, lines: RequestLines, now: float) -> list[RequestLines]:
    """Look for a job with the same requests; return these by the scope's other kinds of hashes."""
    ledger, record, rendered = draft.ledger, draft.record, draft.rendered
    assert rendered is not None  # noqa: S101 - the caller has set it
    draft.known = ledger.last_number()
    others = [lines.in_kind(kind) for kind in further_kinds(ledger, record.space, record.hashing)]
    for same, rows in ((record, rendered), *((one.record(now), one.rendered()) for one in others)):
        check_folder(ledger, same)
        draft.existing, there = _existing(ledger, same, rows)
        if draft.existing is not None:
            draft.rendered = there
            break
    return others


def _by_kind(others: list[RequestLines]) -> dict[str, list[Array]]:
    """The request hashes by kind, and those of the requests as sent where they are others."""
    found = {one.hashing: [one.hashes, one.marks.as_sent] for one in others}
    return {kind: [hash_array(one) for one in hashes if one] for kind, hashes in found.items()}


def _attached(
    draft: JobDraft, ask: Ask, frame: pd.DataFrame, lines: RequestLines, digest: str
) -> bool:
    """Whether the frame is known: then the draft has the existing job, and the rows in it."""
    ledger = draft.ledger
    found = known_job(ledger, digest, lines)
    if found is None:
        return False
    job, rendered = found
    check_folder(ledger, job)
    existing, there = _existing(ledger, job, rendered)
    if existing is None:
        return False
    kept = msgspec.structs.replace(job, keep=ask.keep)
    _check_cells(ledger, ask, frame, kept, [rendered.keys])
    draft.record = draft.existing = existing
    draft.rendered = there
    return True


def _keep_digests(ledger: Ledger, job: JobRecord, record: JobRecord, keys: list[Keys]) -> None:
    """Store the frame's digests with an existing job of another version, which has none of them.

    Only where the frame has the job's rows in their order: a known frame is not searched.
    """
    digests = {"frame_digest": record.frame_digest, "rows_digest": record.rows_digest}
    if job.frame_digest == record.frame_digest or not record.frame_digest or not job.aligned:
        return
    with contextlib.suppress(JupyterBatchError, OSError, ValueError):
        mine = [one.to_bytes() for one in keys if one.hashing == job.hashing]
        if keys_of(job, ledger.folders.of(job.id)).to_bytes() in mine:
            ledger.amend(job.id, **digests)


def _check_cells(
    ledger: Ledger, ask: Ask, frame: pd.DataFrame, record: JobRecord, keys: list[Keys]
) -> None:
    """Raise ColumnError where cells to fill are the user's own."""
    if ask.taken and not is_written(record, frame, ask.taken):
        cells = ForeignCells(frame, ask.taken)
        cells.look(ledger, record, *keys).check(ask.out, record.model)


def _existing(
    ledger: Ledger, record: JobRecord, rendered: Rendered
) -> tuple[JobRecord | None, Rendered]:
    """(a job with the same requests, the rows with their positions in it)."""
    found: dict[str, Rendered] = {}

    def fits(other: JobRecord) -> bool:
        if other.id == record.id:  # the job from which the rows' keys were read
            return True
        at = _places_in(other, ledger.folders.of(other.id), rendered) if other.framed else None
        if at is not None:
            found[other.id] = at
        return at is not None or not other.framed

    there = ledger.answering(record.fingerprint, fits)
    return there, rendered if there is None else found.get(there.id, rendered)


def _places_in(job: JobRecord, folder: JobFolder, rendered: Rendered) -> Rendered | None:
    """The rows with their positions in an existing job, by request; None where one is missing."""
    try:
        keys = keys_of(job, folder)
        at = (
            by_content(rendered.keys.labels, rendered.keys.fingerprints, keys, alike=True)
            if keys.asks is None
            else by_request(rendered.keys, keys)
        )
    except (JupyterBatchError, OSError, ValueError):  # a deleted folder
        return None
    return msgspec.structs.replace(rendered, positions=at) if (at >= 0).all() else None


def check_folder(ledger: Ledger, record: JobRecord) -> None:
    """Raise InputError where the folder of a paid job with the same requests is missing.

    Raises LedgerCorruptError where a job's record is unreadable.
    """
    if damage := ledger.damage():
        raise LedgerCorruptError(
            f"{damage}. What it asked is not known, and so not what is paid for "
            "already: nothing was sent; reuse=False sends all rows, paid for or not"
        )
    for other in ledger.same_requests(record.fingerprint):
        if ledger.folders.of(other.id).path.is_dir():
            continue
        batches = [shard.batch_id for shard in ledger.shards(other.id) if shard.batch_id]
        if batches:
            raise InputError(
                f"job {other.id} asked for just this, and its folder {ledger.folders.of(other.id).path} is gone: put "
                f"it back; or fetch its answers from the provider again, `jupyter batch forget {other.id}`, "
                f"`jupyter batch adopt {other.id} --model {other.model}` and this cell; reuse=False pays again "
                f"(its batches: {', '.join(batches[:3])})"
            )


def _taken_up(ledger: Ledger, record: JobRecord, asked: Order, now: float) -> JobRecord:
    """Set a job's price, deadline and further columns to fill, which may differ by call."""
    record = repriced(ledger, record, asked.ask.price)
    record = _hastened(ledger, record, asked.ask, now)
    return keep_more(ledger, record, asked.ask.keep)


def _hastened(ledger: Ledger, record: JobRecord, ask: Ask, now: float) -> JobRecord:
    """Set the deadline of a job in progress, counted from now, where that is earlier.

    Only a deadline that is new in the call changes it; running the same cell again does not.
    """
    due = now + (ask.deadline or 0.0)
    is_late = not ask.deadline or record.finished_at or 0 < record.deadline <= due
    if is_late or record.mode in (REALTIME, ask.rush_to):
        return record
    changes: dict[str, Any] = {"deadline": due, "rush_to": ask.rush_to, "overdue": ""}
    ledger.amend(record.id, **changes)
    return msgspec.structs.replace(record, **changes)


def repriced(ledger: Ledger, job: JobRecord, price: Price | None) -> JobRecord:
    """The job with the user's price; any other price leaves the recorded cost unchanged."""
    if price is None or price.source != OWN or price == job.price:
        return job
    job = msgspec.structs.replace(job, price=price)
    shards, folder = ledger.shards(job.id), ledger.folders.of(job.id)
    places = places_of(job, shards, folder)
    bills: dict[int, Bill] = {}
    for shard in shards:
        if shard.step is Step.COLLECTED:
            fields = of_shard(job, shard, folder, places)
            bills[shard.number] = fields["bill"]
    ledger.reprice(job.id, price, bills)
    return job
