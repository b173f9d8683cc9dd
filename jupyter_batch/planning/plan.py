"""Planning of a job: request files from a frame and a prompt, then one ledger transaction.

Data flow: frame.blocks -> template.render -> wire.encode -> shard.pack -> folder.write ->
ledger.plan. One block of rows is in memory at a time. Nothing here uses the network.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from jupyter_batch.config.tool_definitions import names_of
from jupyter_batch.core.errors import InputError, JupyterBatchError, LedgerCorruptError, LedgerError
from jupyter_batch.core.request import Limits, custom_id
from jupyter_batch.core.result import Status
from jupyter_batch.core.schema import without_names
from jupyter_batch.file_checks import request_checks
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.canonical import whole_texts
from jupyter_batch.frames.row_keys import by_content, by_request
from jupyter_batch.ledger.folder import JobFolder, check_kept, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import write_manifest
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.own_cells import ForeignCells
from jupyter_batch.merging.rendered import Rendered, keys_of
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.route import route_of
from jupyter_batch.prompts.cache_control import marked_body, marked_holes
from jupyter_batch.prompts.media_parts import in_pieces, within
from jupyter_batch.prompts.prompt import Prompt, calls_function, param_of, params_of
from jupyter_batch.providers.openai.batches import load_litellm
from jupyter_batch.row_files.request_files import sent_hash, write_requests
from jupyter_batch.row_files.row_columns import Unsent
from jupyter_batch.row_files.row_sources import PRINT_BYTES, request_hash, space_of
from jupyter_batch.templates.template import PLAIN, RowError
from jupyter_batch.wire.dialects import (
    OPENAI,
    encoder,
    headers_of,
    is_mapped,
    may_be_mapped,
    tool_names_of,
)
from jupyter_batch.wire.message_parts import all_in_chat_form
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES, Hole

if TYPE_CHECKING:
    import pandas as pd

_ID_CHARS = "abcdefghijkmnpqrstuvwxyz23456789"  # without characters that look alike
_ONLY = (1 << 128) - 1


def new_id() -> str:
    """Return a new job id, short enough to type."""
    return "jb" + "".join(secrets.choice(_ID_CHARS) for _ in range(10))


class Drafted(NamedTuple):
    """A job before it is stored. there: an existing job with the same requests, used instead.

    rendered: the rows of the frame, and their positions in the job. shards: to be sent or waited
    for; their request files are in the draft. same: raises StaleError where another job of the same
    dedup scope was planned since.
    """

    draft: JobFolder
    record: JobRecord
    shards: list[ShardRecord]
    there: JobRecord | None = None
    rendered: Rendered | None = None
    same: Callable[[], JobRecord | None] = lambda: None


def plan(
    ledger: Ledger,
    ask: Ask,
    frame: pd.DataFrame,
    *,
    now: float,
    reuse: bool,
    accept: Callable[[JobRecord | None], None] = lambda _: None,
) -> JobRecord:
    """Return the job of `plan_rows`."""
    return plan_rows(ledger, ask, frame, now=now, reuse=reuse, accept=accept)[0]


def plan_rows(
    ledger: Ledger,
    ask: Ask,
    frame: pd.DataFrame,
    *,
    now: float,
    reuse: bool,
    accept: Callable[[JobRecord | None], None] = lambda _: None,
) -> tuple[JobRecord, Rendered | None]:
    """Return the job for these rows, and the rendered rows; with `reuse` an existing identical job.

    accept: called with the existing job (None: none) before anything is stored; it may raise.
    Raises InputError where no row can be sent, or the estimate is above `max_cost`; nothing is left
    behind then.
    """
    from jupyter_batch.planning.max_cost import within

    with drafted(ledger, ask, frame, now=now, reuse=reuse, accept=accept) as made:
        if made.there is not None:
            return made.there, made.rendered
        record = within(ledger, made.record, made.shards, made.draft)
        with contextlib.suppress(StaleError):
            record = keep(ledger, made.draft, record, made.shards, there=made.same)
            return record, made.rendered
    return plan_rows(ledger, ask, frame, now=now, reuse=reuse, accept=accept)


@contextlib.contextmanager
def drafted(
    ledger: Ledger,
    ask: Ask,
    frame: pd.DataFrame,
    *,
    now: float,
    reuse: bool,
    accept: Callable[[JobRecord | None], None] = lambda _: None,
) -> Iterator[Drafted]:
    """Draft a job on disk; on exit the draft is deleted unless it was stored as a job."""
    job = new_id()
    ledger.folders.sweep()
    with ledger.folders.drafted(job) as draft:
        lines = _Lines(ask, frame, job, draft.asked)
        # With reuse, whether the rest is too small for a batch is known only after deduplication.
        limits = msgspec.structs.replace(ask.limits, minimum=1) if reuse else ask.limits
        shards = write_requests(draft, job, lines, limits)
        lines.check(shards)
        record = lines.record(now)
        known = known_to(ledger)
        rendered = lines.rendered()
        found: dict[str, Rendered] = {}

        def fits(other: JobRecord) -> bool:
            at = _places_in(other, ledger.folders.of(other.id), rendered) if other.framed else None
            if at is not None:
                found[other.id] = at
            return at is not None or not other.framed

        if reuse:
            check_folder(ledger, record)
        there = ledger.answering(record.fingerprint, fits)
        accept(there)
        if ask.taken:
            cells = ForeignCells(frame, ask.taken)
            cells.look(ledger, record, rendered.keys).check(ask.out, record.model)
        if reuse and there is not None:
            drawn = [draft.requests(shard.number) for shard in shards]
            request_checks.restore(ledger, there, ledger.shards(there.id), drawn, job)
            yield Drafted(draft, record, shards, there, found.get(there.id, rendered))
            return
        draft.write(draft.keys, rendered.keys.to_bytes())
        draft.write(draft.index, frames.index_to_bytes(frames.row_labels(frame)))
        draft.write(draft.unsent, msgspec.json.encode(lines.unsent()))
        if lines.sent != lines.prints:
            draft.write(draft.sent, bytes(lines.sent))
        if not reuse:
            draft.write(draft.prints, bytes(lines.prints))
            alone = msgspec.structs.replace(record, alone=True)
            yield Drafted(draft, alone, shards, rendered=rendered)
            return
        made = settled(ledger, draft, record, shards, ask.limits, lines.prints, known)
        yield made._replace(rendered=rendered)


def _places_in(job: JobRecord, folder: JobFolder, rendered: Rendered) -> Rendered | None:
    """The rows with their positions in an existing job, by request; None where one is missing."""
    try:
        keys = keys_of(job, folder)
        at = (
            by_content(rendered.keys.labels, rendered.keys.prints, keys, alike=True)
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
    jobs = ledger.jobs()
    if ledger.unreadable:
        raise LedgerCorruptError(
            f"{next(iter(ledger.unreadable.values()))}. What it asked is not known, and so not what is paid for "
            "already: nothing was sent; reuse=False sends all rows, paid for or not"
        )
    for other in jobs:
        gone = (
            other.fingerprint == record.fingerprint
            and not ledger.folders.of(other.id).path.is_dir()
        )
        batches = (
            [shard.batch_id for shard in ledger.shards(other.id) if shard.batch_id] if gone else []
        )
        if batches:
            raise InputError(
                f"job {other.id} asked for just this, and its folder {ledger.folders.of(other.id).path} is gone: put "
                f"it back; or fetch its answers from the provider again, `jupyter batch forget {other.id}`, "
                f"`jupyter batch adopt {other.id} --model {other.model}` and this cell; reuse=False pays again "
                f"(its batches: {', '.join(batches[:3])})"
            )


def known_to(ledger: Ledger) -> set[str]:
    """The ids of existing jobs, taken before deduplication in order to detect new ones after it."""
    return {job.id for job in ledger.jobs()}


def settled(
    ledger: Ledger,
    draft: JobFolder,
    record: JobRecord,
    shards: list[ShardRecord],
    limits: Limits,
    prints: bytearray,
    known: set[str],
) -> Drafted:
    """Deduplicate a drafted job. known: the ids of the jobs that were considered."""
    from jupyter_batch.dedup.apply import arrange

    def same() -> JobRecord | None:
        if any(other.space == record.space and other.id not in known for other in ledger.jobs()):
            raise StaleError
        return None

    arranged = arrange(ledger, draft, record, shards, limits, prints)
    return Drafted(draft, arranged.record, arranged.shards, same=same)


class StaleError(Exception):
    """Another kernel planned a job of the same dedup scope during deduplication: repeat it."""


def keep(
    ledger: Ledger,
    draft: JobFolder,
    record: JobRecord,
    shards: list[ShardRecord],
    *,
    there: Callable[[], JobRecord | None],
) -> JobRecord:
    """Store a draft as a job, in one transaction, unless `there` finds an equivalent job."""
    check_kept(draft)
    write_manifest(draft, record, shards)
    try:
        return ledger.plan(
            record, shards, lambda: ledger.folders.keep(draft, record.id), there=there
        )
    except LedgerError:  # nothing was recorded
        ledger.folders.drop(record.id)
        raise


class _Lines:
    """The request lines of a frame, block by block, and the row data to store with the job."""

    def __init__(
        self, ask: Ask, frame: pd.DataFrame, job: str, asked_in: Path | None = None
    ) -> None:
        prompt: Prompt = ask.prompt
        params = params_of(ask.params)
        self._of_params = params.columns
        self._ask, self._frame, self._job, self._prompt = ask, frame, job, prompt
        self._needed = set(prompt.needed)  # a parameter without a value in a row is left out for it
        needed = [*prompt.needed, *self._of_params.values()]  # first: reported if missing
        self._tells = set(needed)
        self.columns = tuple(dict.fromkeys([*needed, *prompt.columns]))
        frames.used(frame, self.columns)
        asked = "input" if ask.endpoint == EMBEDDINGS else "messages"
        body = {"model": ask.body_model, asked: prompt.messages(), **params.body}
        sent = body if ask.cache is None else marked_body(body, ask.cache)
        route = route_of(ask)
        self._mapped = route is not None
        self._encoder = encoder(
            ask.dialect, ask.endpoint, sent, load_litellm, route=route, extra=params.extra
        )
        self._tools = names_of(body.get("tools"))
        # Hash unmapped requests: litellm's mapping may change with its version.
        translated = is_mapped(self._encoder)
        apart = bool(params.extra) and route is not None and route.as_given
        rows_own = isinstance(body.get("messages"), Hole)
        printed = may_be_mapped(self._encoder) or apart or rows_own or sent is not body
        self._printed = (
            encoder(OPENAI, CHAT, body, load_litellm, extra=params.extra) if printed else None
        )
        self._asked_in = asked_in if translated and ask.endpoint != RESPONSES else None
        schema = b"" if ask.schema is None else msgspec.json.encode(without_names(ask.schema))
        self._space = space_of(ask.place, ask.provider, ask.endpoint, schema)
        self._sum = 0
        self._prints = bytearray()
        self._samples = ask.samples
        self.prints = bytearray(PRINT_BYTES * frames.row_count(frame) * ask.samples)
        self.sent = bytearray(PRINT_BYTES * frames.row_count(frame) * ask.samples)
        self._skipped: dict[str, list[int]] = {}
        self._broken: dict[str, list[int]] = {}

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        url = CHAT if self._printed is not None else self._ask.endpoint
        before = len(f'{{"custom_id":"{self._job}-","method":"POST","url":"{url}","body":')
        with contextlib.ExitStack() as stack:
            asked = None if self._asked_in is None else stack.enter_context(written(self._asked_in))
            yield from self._each(before, asked)

    def _each(self, before: int, asked: BinaryIO | None) -> Iterator[tuple[int, bytes]]:
        for block in frames.blocks(self._frame, self.columns):
            self._prints += b"".join(block.fingerprints)
            left_out = {block.start + offset for offset in self._leave_out(block)}
            for piece in in_pieces(self._prompt, self.columns, block):
                yield from self._sent(piece, left_out, before, asked)

    def _sent(
        self, block: frames.Block, left_out: set[int], before: int, asked: BinaryIO | None
    ) -> Iterator[tuple[int, bytes]]:
        lines, printed = self._encoded(block)
        lines = within(self._prompt, lines, self._ask.limits.bytes)
        for position, (line, same) in enumerate(
            zip(lines, printed, strict=True), block.start * self._samples
        ):
            row, number = divmod(position, self._samples)
            if row in left_out:
                continue
            if isinstance(line, RowError) or isinstance(same, RowError):
                reason = line.reason if isinstance(line, RowError) else same.reason  # type: ignore[union-attr]
                self._broken.setdefault(reason, []).append(position)
                continue
            body = same[before + len(str(position)) :]  # the same for the same request in any job
            mark = request_hash(body, number)
            at = slice(position * PRINT_BYTES, (position + 1) * PRINT_BYTES)
            self.prints[at] = mark
            self.sent[at] = mark if same is line else sent_hash(line, number) or mark
            self._sum += int.from_bytes(mark)
            if asked is not None:
                asked.write(same)
            yield position, line

    def _leave_out(self, block: frames.Block) -> dict[int, Any]:
        missing = {
            offset: column for offset, column in block.missing.items() if column in self._needed
        }
        if self._ask.na == "send" or not missing:
            return {}
        if self._ask.na == "raise":
            offset, column = next(iter(missing.items()))
            raise InputError(
                f"row {block.start + offset} (counted from 0) has no value in column {column!r}, and "
                'na="raise"; na="skip" leaves such rows out, na="send" sends an empty text'
            )
        for offset, column in missing.items():
            first = (block.start + offset) * self._samples
            self._skipped.setdefault(frames.missing_reason(column), []).extend(
                range(first, first + self._samples)
            )
        return missing

    def _encoded(
        self, block: frames.Block
    ) -> tuple[list[bytes | RowError], list[bytes | RowError]]:
        """(the lines as sent, the lines to hash)."""
        at = dict(zip(self.columns, block.values, strict=True))
        plain = all(PLAIN.issuperset(map(type, cells)) for cells in at.values())
        with contextlib.nullcontext() if plain else whole_texts():
            holes = self._prompt.holes(
                block.start, [at[label] for label in self._prompt.columns], block.rows
            )
        for hole, column in self._of_params.items():
            holes[hole] = [param_of(hole, value) for value in at[column]]
        n = self._samples
        ids = [custom_id(self._job, block.start * n + offset) for offset in range(block.rows * n)]
        if n > 1:
            holes = {
                name: [value for value in values for _ in range(n)]
                for name, values in holes.items()
            }
        said = holes
        if "messages" in holes:  # the request hash is of the messages as given
            said = {**holes, "messages": all_in_chat_form(holes["messages"])}
        lines = self._encoder.encode(ids, said if self._ask.cache is None else marked_holes(said))
        return lines, lines if self._printed is None else self._printed.encode(ids, holes)

    def check(self, shards: list[ShardRecord]) -> None:
        """Raise InputError where there is nothing to send."""
        if shards:
            return
        groups = {**self._skipped, **self._broken}
        if not groups:
            raise InputError("the frame has no rows: there is nothing to send")
        reason, positions = max(groups.items(), key=lambda item: len(item[1]))
        raise InputError(
            f"none of the {frames.row_count(self._frame)} rows can be sent "
            f"({len(positions) // self._samples}: {reason}); "
            "nothing was sent"
        )

    def record(self, now: float) -> JobRecord:
        """The job record, once all lines were read."""
        ask = self._ask
        digest = blake2b(
            f"{self._space}{frames.row_count(self._frame)}:{self._sum & _ONLY:032x}".encode(),
            digest_size=16,
        )
        if (
            not ask.framed
        ):  # a list's answers are aligned by position only, so the order is part of the fingerprint
            digest.update(self._prints + frames.index_to_bytes(frames.row_labels(self._frame)))
        if ask.schema is not None and ask.schema != without_names(
            ask.schema
        ):  # the same answers into other columns
            digest.update(msgspec.json.encode([field.name for field in ask.schema.fields]))
        return JobRecord(
            id=self._job,
            fingerprint=digest.hexdigest(),
            space=self._space,
            created_at=now,
            model=ask.model,
            provider=ask.provider,
            dialect=ask.dialect,
            endpoint=ask.endpoint,
            body_model=ask.body_model,
            out=ask.out,
            columns=[str(label) for label in self._told_by()],
            rows=frames.row_count(self._frame) * ask.samples,
            samples=ask.samples,
            skipped=sum(map(len, self._skipped.values())),
            unsendable=sum(map(len, self._broken.values())),
            name=ask.name,
            api_base=ask.api_base,
            keyless=ask.keyless,
            completion_window=ask.completion_window,
            poll_interval=ask.poll_interval,
            shard_size=ask.shard_size,
            metadata=ask.metadata,
            notebook=ask.notebook,
            framed=ask.framed,
            mode=ask.mode,
            pace=ask.pace,
            api_version=ask.api_version,
            cloud=ask.cloud,
            mapped=self._mapped,
            headers=headers_of(self._encoder),
            tool_names=tool_names_of(self._encoder),
            tools=self._tools,
            keep=ask.keep,
            schema=ask.schema,
            deadline=now + ask.deadline if ask.deadline else 0.0,
            price=ask.price,
            max_cost=ask.max_cost,
            versions=ask.versions,
        )

    def _told_by(self) -> tuple[Any, ...]:
        """The columns that identify a row: those used by the prompt."""
        read = {*self._tells, *self._prompt.read}
        return tuple(label for label in self.columns if label in read)

    def keys(self) -> frames.Keys:
        """The rows' keys, with the request hashes; rows left out have the hash of their reason."""
        left_out = [row for _, rows in self._left_out_rows() for row in rows]
        told_by, prints = self._told_by(), self._prints
        if told_by != self.columns:  # a row function, whose columns are known only after rendering
            prints = bytearray().join(
                b"".join(block.fingerprints) for block in frames.blocks(self._frame, told_by)
            )
        step = PRINT_BYTES * self._samples
        firsts = (self.prints[at : at + PRINT_BYTES] for at in range(0, len(self.prints), step))
        asks = bytearray(self.prints) if self._samples == 1 else bytearray().join(firsts)
        for reason, rows in self._left_out_rows():
            mark = blake2b(reason.encode(), digest_size=PRINT_BYTES, person=b"unsent").digest()
            for at in rows:
                asks[at * PRINT_BYTES : (at + 1) * PRINT_BYTES] = mark
        return frames.Keys.of(frames.row_labels(self._frame), prints, left_out, asks)

    def _left_out_rows(self) -> Iterator[tuple[str, list[int]]]:
        """(reason, the rows of the frame left out for it)."""
        for reason, positions in (*self._skipped.items(), *self._broken.items()):
            yield reason, list(dict.fromkeys(at // self._samples for at in positions))

    def rendered(self) -> Rendered:
        """The rendered frame, for aligning rows with the answers later."""
        keys = self.keys()
        columns = [str(label) for label in self._told_by()]
        if not calls_function(self._prompt):
            return Rendered(columns, keys, again=self._again)
        witness = frames.copied(self._frame) if keys.ambiguous.any() else None
        return Rendered(columns, keys, witness=witness)

    def _again(self, frame: pd.DataFrame) -> frames.Keys:
        """The keys of a frame's rows as rendered now."""
        lines = _Lines(self._ask, frame, self._job)
        for _ in lines:
            pass
        return lines.keys()

    def unsent(self) -> list[Unsent]:
        """The rows without a request, by reason."""
        return [
            *(Unsent(Status.SKIPPED, reason, at) for reason, at in self._skipped.items()),
            *(Unsent(Status.FAILED, reason, at) for reason, at in self._broken.items()),
        ]
