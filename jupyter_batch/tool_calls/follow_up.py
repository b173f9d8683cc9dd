"""A round of tool calls: the rows waiting for calls, and the job that sends their outcomes.

The follow-up's requests are made from the job's own lines on disk and the log of calls, without
rendering; final answers are carried over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
import orjson

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import Limits, Status, ToolCalls, custom_id
from jupyter_batch.frames.hashing import HASH_BYTES
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.draft import JobDraft, job_draft, limit_costs
from jupyter_batch.planning.files.left_rows import MISSED
from jupyter_batch.planning.max_cost import left_of
from jupyter_batch.planning.retry import live
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.copy_answers import answer_files, lines_in, onto
from jupyter_batch.results.outcomes import of_job
from jupyter_batch.results.result_files import results_in
from jupyter_batch.row_files.line_index import Held, requests_of
from jupyter_batch.row_files.request_files import write_requests
from jupyter_batch.row_files.request_hashes import hash_array, matches
from jupyter_batch.row_files.row_columns import (
    RowFiles,
    Unsent,
    places_of,
    read_unsent,
    request_hashes,
)
from jupyter_batch.tool_calls.call_log import CallLog, Entry, entries, entry_at
from jupyter_batch.tool_calls.execute import OpenCalls, Slots
from jupyter_batch.wire.dialects import OPENAI, next_turn, request_in, tools_in
from jupyter_batch.wire.turns import ToolOutput

if TYPE_CHECKING:
    from typing import TypeAlias

    Array: TypeAlias = np.ndarray[Any, Any]

_TOO_LONG = "with the results of its tools, its request is too long for this provider"
_GONE = "its request is not on this disk any more, so that its tool calls can't be answered"


class Waiting:
    """The rows of a finished job whose answers are tool calls.

    A context manager that closes its files.
    """

    def __init__(self, ledger: Ledger, job: JobRecord) -> None:
        self.ledger, self.job = ledger, job
        self.shards = ledger.shards(job.id)
        self.folder = ledger.folders.of(job.id)
        self._answers = Held(job.rows)
        self._dialects: dict[str, str] = {}
        counts = np.zeros(job.rows, dtype=np.int32)
        answered = np.zeros(job.rows, dtype=bool)
        for file in answer_files(job, self.shards, self.folder) if job.tools else ():
            self._dialects[file.path.name] = file.dialect
            for start, row, _, result in lines_in(file, job):
                if (
                    row is None
                    or row >= job.rows
                    or answered[row]
                    or result.status is not Status.SUCCEEDED
                ):
                    continue
                answered[row] = True
                if result.calls:
                    counts[row] = len(result.calls)
                    self._answers.put(row, file.path, start)
        self.final = np.flatnonzero(answered & (counts == 0))
        self.slots = Slots(counts)
        self._asked = requests_of(ledger, job, counts > 0, job.dialect) if job.own_tools else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._answers.close()
        if self._asked is not None:
            self._asked.close()

    def __bool__(self) -> bool:
        return bool(len(self.slots.rows))

    def answer(self, row: int) -> tuple[str, bytes, ToolCalls]:
        """(the answer's dialect, its line, the calls in it)."""
        line = self._answers.line(row)
        dialect = self._dialects[self._answers.paths[self._answers.which[row]].name]
        return dialect, line, next(results_in(line, self.job, dialect)).calls or ToolCalls()

    def open_calls(self) -> Iterator[OpenCalls]:
        """Each row with calls that have no outcome yet."""
        for row in self.slots.open_rows():
            yield OpenCalls(row, self.answer(row)[2], self._offered(row))

    def called(self) -> set[str]:
        """The names of the tools that are still to be run, without names that no row's request has."""
        return {
            call["name"]
            for _, calls, offered in self.open_calls()
            for call in calls
            if call["name"] in offered
        }

    def _offered(self, row: int) -> tuple[str, ...]:
        """The names of a row's tools; none where it has its own and its request is gone."""
        if self._asked is None:
            return self.job.tools
        body = request_in(self._asked.line(row)) if row in self._asked else {}
        return tuple(self.job.tool_names.get(name, name) for name in tools_in(body))

    def take_over(self, log: CallLog) -> None:
        """Read the calls' outcomes from this job's log, and from other jobs with the same answer.

        A grown frame, or a retry, reuses answers of an earlier job: calls run for that one are not
        run again.
        """
        self.slots.read(self.folder.calls)
        for other in self.ledger.jobs():
            folder = self.ledger.folders.of(other.id)
            rows = np.asarray(self.slots.open_rows(), dtype=np.int64)
            if (
                other.id == self.job.id
                or other.space != self.job.space
                or not len(rows)
                or not folder.calls.exists()
                or (theirs := request_hashes(other, folder)) is None
                or (mine := request_hashes(self.job, self.folder, other.hashing)) is None
            ):
                continue
            here, there = matches(mine, rows, theirs)
            place = dict(zip(there.tolist(), here.tolist(), strict=True))
            for _, entry in entries(folder.calls):
                row = place.get(entry.row)
                if row is None or entry.id is None:
                    continue
                calls = self.answer(row)[2]
                if entry.call < len(calls) and calls[entry.call]["id"] == entry.id:
                    log.put(msgspec.structs.replace(entry, row=row))
            self.slots.read(self.folder.calls)


def plan_round(
    waiting: Waiting,
    limits: Limits,
    *,
    now: float,
    max_cost: float | None = None,
    at_once: str = "",
) -> JobRecord:
    """The job that answers the calls, planned once. All calls must have an outcome.

    at_once: the mode, realtime or flex, also of the rounds after it. max_cost: US dollars that it may cost; else the
    rest of the job's own. Raises InputError for fewer requests than a batch must have, and
    OptionError where it may cost more.
    """
    job, ledger = waiting.job, waiting.ledger
    waiting.slots.read(waiting.folder.calls)
    if waiting.slots.open_rows():
        raise InputError(f"not all tool calls of job {job.id} were run: job.run_tools() goes on")
    dialect = OPENAI if at_once else job.dialect
    with (
        job_draft(ledger) as draft,
        _Following(waiting, draft, limits, dialect, at_once=bool(at_once)) as lines,
    ):
        few = msgspec.structs.replace(limits, minimum=1)
        draft.shards = write_requests(draft.folder, draft.id, lines, few)
        left = _left_out(waiting, lines.left)
        record = job.going_on(
            draft.id,
            now,
            round=job.round + 1,
            unsendable=job.unsendable + sum(len(one.positions) for one in left),
            max_cost=left_of(job, waiting.shards) if max_cost is None else max_cost,
        )
        draft.record = live(record, at_once) if at_once else record
        draft.deduplicate(hash_array(lines.hashes), limits)
        carried = draft.carry_over(
            job,
            waiting.shards,
            asked=lines.sent,
            wanted=onto(job.rows, waiting.final, waiting.final),
            unsent=[at for group in left for at in group.positions],
        )
        draft.write_rows(_rows(waiting, draft, left, carried))
        limit_costs([draft], hint="; job.run_tools(max_cost=...) allows more")
        return draft.store(there=lambda: ledger.child(job.id, rounds=1))


class _Following:
    """The follow-up's request lines, in the order of the rows.

    hashes: request hashes, 16 bytes a row. sent: the rows with a request. left: those that can have
    none, by reason.
    """

    def __init__(
        self,
        waiting: Waiting,
        draft: JobDraft,
        limits: Limits,
        dialect: str,
        *,
        at_once: bool,
    ) -> None:
        job, rows = waiting.job, waiting.slots.rows
        self._waiting, self._new, self._limits, self._dialect = waiting, draft.id, limits, dialect
        self.hashes = bytearray(HASH_BYTES * job.rows)
        self.sent = np.zeros(job.rows, dtype=bool)
        self.left: dict[str, list[int]] = {}
        wanted = np.zeros(job.rows, dtype=bool)
        wanted[rows] = True
        self._asked = requests_of(waiting.ledger, job, wanted, dialect, given=at_once)
        # Also in the user's form, where it differs from the one sent: realtime continues from it.
        apart = dialect != OPENAI or (not at_once and waiting.folder.asked.exists())
        self._plain = (
            requests_of(waiting.ledger, job, wanted, OPENAI, given=True) if apart else None
        )
        self._draft = draft.folder
        was = request_hashes(job, waiting.folder)
        self._were = bytes(HASH_BYTES * job.rows) if was is None else was.astype("<u8").tobytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for held in (self._asked, self._plain):
            if held is not None:
                held.close()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        job = self._waiting.job
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(opened(self._waiting.folder.calls))
            plain = None if self._plain is None else stack.enter_context(written(self._draft.asked))
            for row in self._waiting.slots.rows.tolist():
                if row not in self._asked:
                    self.left.setdefault(_GONE, []).append(row)
                    continue
                dialect, answer, calls = self._waiting.answer(row)
                places = self._waiting.slots.start[self._waiting.slots.span(row)].tolist()
                outputs = [
                    _output_of(row, number, call, entry_at(log, start))
                    for number, (call, start) in enumerate(zip(calls, places, strict=True))
                ]
                ours = custom_id(self._new, row)
                line = next_turn(
                    self._asked.line(row),
                    ours,
                    self._dialect,
                    job.endpoint,
                    answer if dialect == self._dialect else None,
                    calls,
                    outputs,
                )
                if len(line) > self._limits.bytes:
                    self.left.setdefault(_TOO_LONG, []).append(row)
                    continue
                self._note(row, calls, outputs)
                if plain is not None and self._plain is not None and row in self._plain:
                    plain.write(
                        next_turn(self._plain.line(row), ours, OPENAI, "", None, calls, outputs)
                    )
                yield row, line

    def _note(self, row: int, calls: ToolCalls, outputs: list[ToolOutput]) -> None:
        self.sent[row] = True
        span = slice(row * HASH_BYTES, (row + 1) * HASH_BYTES)
        was = (
            self._were[span]
            if any(self._were[span])
            else custom_id(self._waiting.job.id, row).encode()
        )
        extra = orjson.dumps([calls, calls.text, [tuple(one) for one in outputs]])
        self.hashes[span] = blake2b(was + extra, digest_size=HASH_BYTES).digest()


def _output_of(row: int, number: int, call: dict[str, Any], entry: Entry) -> ToolOutput:
    return ToolOutput(str(call["id"] or f"call_{row}_{number}"), entry.text or "", entry.failed)


def _left_out(waiting: Waiting, left: dict[str, list[int]]) -> list[Unsent]:
    """The rows that are not sent again: failures of the job and of this round, and duplicates."""
    job, folder = waiting.job, waiting.folder
    found = of_job(job, waiting.shards, folder, values=False)
    known = {at for group in read_unsent(folder, job) for at in group.positions}
    reasons = {
        at: found.reasons[at]
        for at, code in enumerate(found.status)
        if CODES[code] in MISSED and at not in known
    }
    hint = f' (jupyter_batch.open("{job.id}").retry().run_tools() sends it again)'
    groups: dict[str, list[int]] = {}
    for at, reason in reasons.items():
        groups.setdefault(reason + hint, []).append(at)
    rows, leaders = places_of(job, waiting.shards, folder).followers()
    for reason, positions in left.items():
        also = rows[np.isin(leaders, positions)].tolist()
        groups.setdefault(reason, []).extend([*positions, *also])
    return [
        Unsent(Status.FAILED, reason, sorted(positions)) for reason, positions in groups.items()
    ]


def _rows(waiting: Waiting, draft: JobDraft, left: list[Unsent], carried: Array) -> RowFiles:
    """The follow-up's data by row: a carried-over answer belongs to its earlier request."""
    rows = RowFiles.of(waiting.job, waiting.folder)
    hashes = draft.hashes
    if rows.hashes is not None and hashes is not None:
        hashes = hashes.copy()
        hashes[carried] = rows.hashes[carried]
    return RowFiles([*rows.unsent, *left], rows.keys, rows.index, hashes)
