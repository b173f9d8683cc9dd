"""Result files -> exactly one outcome for each row, in arrays by position.

No network and no ledger. Rows are matched by `custom_id`, never by position in a file. Memory: a
few bytes a row, plus the values where they are asked for.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.finish import CUT, Cuts, added
from jupyter_batch.core.request import custom_id, position_of
from jupyter_batch.core.result import Result, Status, Usage
from jupyter_batch.core.schema import Schema
from jupyter_batch.core.status import Counts, State, Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.row_costs import Costs, silence_is_free
from jupyter_batch.results.vectors import Vectors
from jupyter_batch.row_files.row_columns import Unsent, places_of, read_unsent
from jupyter_batch.row_files.row_sources import NOWHERE, Places
from jupyter_batch.schema import Parser
from jupyter_batch.wire.dialects import decode_lines
from jupyter_batch.wire.openai import BLOCK_BYTES, EMBEDDINGS, whole_lines

CODES = tuple(Status)
_CODE = {status: code for code, status in enumerate(CODES)}
_NOTHING = 255
_ANSWERED, _REUSED = _CODE[Status.SUCCEEDED], _CODE[Status.REUSED]
_BILLED = (Status.SUCCEEDED, Status.FAILED)
_GOOD = (_ANSWERED, _REUSED)
_MOST_TOKENS = (1 << 31) - 1  # of one row; a larger or negative count is ignored

LOST = (
    "the answer of this row was taken from another job, and its file on this disk is gone or damaged: job.files are "
    "the job's files"
)
_SILENCE: dict[State, tuple[Status, str]] = {
    State.COMPLETED: (Status.FAILED, "the provider sent no result for this row"),
    State.FAILED: (Status.FAILED, "the batch failed"),
    State.EXPIRED: (Status.EXPIRED, "the batch expired before this row was answered"),
    State.CANCELLED: (Status.CANCELLED, "the batch was cancelled before this row was answered"),
}


class Outcomes:
    """The outcomes of the rows `first` to `last`.

    Status (an index into CODES), reasons, tokens, costs, values where asked for. job: whose price
    gives the costs. live: costs of realtime too. endpoint: of the job, where values are kept.
    """

    def __init__(
        self,
        first: int,
        last: int,
        *,
        values: bool,
        job: JobRecord | None = None,
        endpoint: str = "",
        live: bool = False,
    ) -> None:
        rows = last - first + 1
        self.first = first
        self.status = bytearray([_NOTHING]) * rows
        self.answers: Any = [None] * rows if values else []
        self.kept: dict[
            str, list[Any]
        ] = {}  # further content of answers, by name (merging/kept_columns.py)
        if values and endpoint == EMBEDDINGS:
            self.answers = Vectors(rows)
        self._keep = values
        self.finish = bytearray(rows)
        self.finishes: list[str | None] = [None]
        self.reasons: dict[int, str] = {}
        self.raws: dict[int, str] = {}
        self.input_tokens = array("i", [-1]) * rows
        self.output_tokens = array("i", [-1]) * rows
        self.cached_tokens = array("i", [-1]) * rows
        self.costs = Costs(rows, job, live=live)
        self.usage: Usage | None = None
        self.strange = 0
        self.billed = 0

    def take(
        self,
        job: str,
        results: Iterable[Result],
        asked: bytearray | None = None,
        *,
        paid: bool = True,
    ) -> None:
        """Store each line at its row.

        asked: 1 for each row that may have a line. paid: by this job; else the answers were another
        job's before. Of two lines for one row an answer is kept before a failure, else the first.
        Unrequested and surplus lines are counted in `strange`.
        """
        first, status, rows = self.first, self.status, len(self.status)
        for result in results:
            position = position_of(job, result.custom_id)
            at = -1 if position is None else position - first
            if not 0 <= at < rows or (asked is not None and not asked[at]):
                self.strange += 1
                continue
            code = _CODE[result.status]
            if status[at] != _NOTHING:
                self.strange += 1
                if status[at] in _GOOD or code != _ANSWERED:
                    continue
                self.reasons.pop(first + at, None)
                self.raws.pop(first + at, None)
            status[at] = _REUSED if code == _ANSWERED and not paid else code
            self.billed += paid and result.status in _BILLED and not result.unbilled
            self.finish[at] = self._finish_code(result.finish)
            if code == _ANSWERED:
                if self._keep:
                    self.answers[at] = result.value
            else:
                self.reasons[first + at] = result.error or str(result.status)
                if self._keep and result.raw is not None:
                    self.raws[first + at] = result.raw
            usage = result.usage if result.usage is not None and _is_sane(result.usage) else None
            if usage is not None:
                self.input_tokens[at] = usage.input_tokens
                self.cached_tokens[at] = usage.cached_tokens
                self.output_tokens[at] = usage.output_tokens
                if paid:
                    self.usage = usage if self.usage is None else self.usage + usage
            if paid:
                self.costs.take(at, result, usage)
            else:
                self.costs.free(at)

    def _finish_code(self, finish: str | None) -> int:
        """The index of a finish reason in `finishes`, which holds as many as a byte can number."""
        if finish not in self.finishes:
            if len(self.finishes) > _NOTHING:
                return 0
            self.finishes.append(finish)
        return self.finishes.index(finish)

    def cuts(self, rows: Iterable[int]) -> Cuts:
        """The number of truncated answers at these offsets, by finish reason.

        A row may be named twice.
        """
        cut = {code for code, finish in enumerate(self.finishes) if finish in CUT}
        if not cut:
            return ()
        counted = Counter(
            self.finish[at] for at in rows if self.finish[at] in cut and self.status[at] in _GOOD
        )
        return added([((str(self.finishes[code]), count),) for code, count in counted.items()])

    def hush(self, shard: ShardRecord, asked: bytearray) -> None:
        """Set the reason for each request of a finished shard that has no result line."""
        status, reason = _SILENCE[shard.ending or State.FAILED]
        if shard.why and shard.ending is State.FAILED:
            reason = f"{reason}: {shard.why}"
        elif (
            shard.why and shard.ending is State.CANCELLED and not shard.batch_id
        ):  # by us, before it was sent
            reason = shard.why
        if unfetched := _unfetched(shard):
            status, reason = Status.FAILED, unfetched
        code, start = _CODE[status], shard.first - self.first
        silent = [
            offset
            for offset, was_asked in enumerate(asked)
            if was_asked and self.status[start + offset] == _NOTHING
        ]
        free = bool(silent) and silence_is_free(
            shard,
            sum(
                1
                for offset, was_asked in enumerate(asked)
                if was_asked and self._was_answered(start + offset)
            ),
        )
        at_fault = dict(shard.at_fault)
        for offset in silent:
            self.status[start + offset] = code
            self.reasons[shard.first + offset] = at_fault.get(shard.first + offset, reason)
            if free:
                self.costs.free(start + offset)

    def _was_answered(self, at: int) -> bool:
        """Whether the provider counts a row as answered, even if unusable (a refusal has usage)."""
        code = self.status[at]
        return code == _ANSWERED or (code not in (_NOTHING, _REUSED) and self.input_tokens[at] >= 0)

    def follow(self, places: Places) -> None:
        """Copy each original's outcome to its duplicates; the answer is not paid again."""
        rows, leaders = places.followers()
        for row, leader in zip(rows.tolist(), leaders.tolist(), strict=True):
            code = self.status[leader]
            self.status[row] = _REUSED if code == _ANSWERED else code
            self.costs.free(row)
            self.finish[row] = self.finish[leader]
            if self._keep:
                self.answers[row] = self.answers[leader]
            if leader in self.reasons:
                self.reasons[row] = self.reasons[leader]
            if leader in self.raws:
                self.raws[row] = self.raws[leader]

    def fall_back(self, job: str, results: Iterable[Result], places: Places) -> None:
        """Keep the answer that a row had before it was sent again, where nothing better came.

        A row that is still running shows it until then, and a row that was not sent again keeps it
        for good.
        """
        for result in results:
            position = position_of(job, result.custom_id)
            at = -1 if position is None else position - self.first
            if position is None or not 0 <= at < len(self.status) or self.status[at] in _GOOD:
                continue
            asked = places.array[position] > NOWHERE
            if self.status[at] != _NOTHING or not asked:
                self.status[at] = _REUSED
            if not asked:
                self.costs.free(at)
            self.finish[at] = self._finish_code(result.finish)
            self.reasons.pop(position, None)
            self.raws.pop(position, None)
            if self._keep:
                self.answers[at] = result.value

    def leave_out(self, unsent: Iterable[Unsent]) -> None:
        """Mark the rows that have no request."""
        for group in unsent:
            if group.status is Status.REUSED:  # their answers were copied
                continue
            code = _CODE[group.status]
            for position in group.positions:
                self.status[position - self.first] = code
                self.reasons[position] = group.reason
                self.costs.free(position - self.first)

    def result(self, job: str, position: int, status: Status, row: int | None = None) -> Result:
        """The outcome at a position, as a Result of that row, or of `row`, which duplicates it."""
        at = position - self.first
        told = self.input_tokens[at] >= 0 and status is not Status.REUSED
        usage = (
            Usage(self.input_tokens[at], self.output_tokens[at], self.cached_tokens[at])
            if told
            else None
        )
        return Result(
            custom_id(job, position if row is None else row),
            status,
            self.answers[at],
            self.reasons.get(position),
            usage,
            self.finishes[self.finish[at]],
            raw=self.raws.get(position),
        )

    def close(self, *, over: bool = False) -> None:
        """Set each missing outcome: running, or in a finished job, lost on this disk."""
        code = _CODE[Status.FAILED if over else Status.RUNNING]
        for at, was in enumerate(self.status):
            if was != _NOTHING:
                continue
            self.status[at] = code
            if over:
                self.reasons[self.first + at] = LOST


def _unfetched(shard: ShardRecord) -> str:
    """Why a row has no line though the provider may have its answer; "" where it has none."""
    if shard.lost and shard.step is Step.COLLECTED:
        return f"{shard.lost} on this disk is gone or damaged, and the provider has no copy of it any more"
    if shard.lost:
        return (
            f"{shard.lost} on this disk is gone or damaged: it is fetched again while the provider keeps it; "
            "job.resume() tries at once"
        )
    if shard.missing and shard.ending is State.COMPLETED:
        return (
            "the provider sent no result for this row, though it was counted: job.resume(), or the cell again, "
            "fetches the result file again"
        )
    return ""


def _is_sane(usage: Usage) -> bool:
    told: tuple[int, ...] = msgspec.structs.astuple(usage)
    return min(told) >= 0 and max(told) <= _MOST_TOKENS


def decoded(path: Path, job: JobRecord, dialect: str | None = None) -> Iterator[Result]:
    """The results in a file of a job's folder, if it exists; by default in the job's dialect."""
    with opened_if_there(path) as file:
        if file is None:
            return
        for block in whole_lines(iter(lambda: file.read(BLOCK_BYTES), b"")):
            yield from results_in(block, job, dialect)


def results_in(block: bytes, job: JobRecord, dialect: str | None = None) -> Iterator[Result]:
    """The results in whole lines of a job; an answer that violates the schema is a failure.

    In a job with tools an answer may consist of tool calls alone, whatever the schema requires of
    the final one.
    """
    results = decode_lines(dialect or job.dialect, block, job.endpoint, job.tool_names)
    parser = None if job.schema is None else _parser(msgspec.json.encode(job.schema))
    if job.tools:
        return (
            _called(result)
            if result.calls
            else result
            if parser is None
            else next(parser.read([result]))
            for result in results
        )
    return results if parser is None else parser.read(results)


def _called(result: Result) -> Result:
    return msgspec.structs.replace(result, value=result.calls)


@lru_cache(maxsize=64)
def _parser(schema: bytes) -> Parser:
    return Parser(msgspec.json.decode(schema, type=Schema))


def _taken(
    found: Outcomes, job: JobRecord, shard: ShardRecord, folder: JobFolder, asked: bytearray | None
) -> None:
    """Store all results of a shard."""
    for dialect, path in folder.taken_over(shard.number):
        found.take(job.id, decoded(path, job, dialect), asked, paid=False)
    found.take(job.id, decoded(folder.output(shard.number), job), asked)
    found.take(job.id, decoded(folder.errors(shard.number), job), asked)


def _fall_back(found: Outcomes, job: JobRecord, folder: JobFolder, places: Places) -> None:
    """Keep the earlier answers of a job that sends rows again with other parameters."""
    for dialect, path in folder.taken_over() if job.changes else ():
        found.fall_back(job.id, decoded(path, job, dialect), places)


def of_shard(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places
) -> dict[str, Any]:
    """The figures of a fetched shard: fields for the ledger."""
    asked = places.asked(shard)
    found = Outcomes(shard.first, shard.last, values=False, job=job, live=True)
    _taken(found, job, shard, folder, asked)
    found.hush(shard, asked)
    _fall_back(found, job, folder, places)
    tally = Counter(code for code, was_asked in zip(found.status, asked, strict=True) if was_asked)
    reasons = Counter(reason for at, reason in found.reasons.items() if asked[at - shard.first])
    firsts: dict[str, int] = {}
    for at, reason in found.reasons.items():
        if asked[at - shard.first] and at < firsts.get(reason, job.rows):
            firsts[reason] = at
    leaders = places.followers(shard.number)[1].tolist()
    for leader in leaders:
        code = found.status[leader - shard.first]
        tally[_REUSED if code == _ANSWERED else code] += 1
        if leader in found.reasons:
            reasons[found.reasons[leader]] += 1
    counts = Counts(**{str(CODES[code]): rows for code, rows in tally.items()})
    note = shard.why
    if found.strange:
        note = f"{found.strange} lines came that nobody asked for, or twice: kept in {folder.output(shard.number).name}"
    common = tuple(reasons.most_common(5))
    return {
        "counts": counts,
        "usage": found.usage,
        "reasons": common,
        "note": note,
        "examples": tuple((reason, firsts[reason]) for reason, _ in common),
        "bill": found.costs.bill(asked),
        "billed": found.billed,
        "cuts": found.cuts(
            [
                *(at for at, was_asked in enumerate(asked) if was_asked),
                *(leader - shard.first for leader in leaders),
            ]
        ),
    }


def of_job(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, *, values: bool = True
) -> Outcomes:
    """The outcomes of all rows of a job, also a running one, from the files on this disk."""
    found = Outcomes(0, job.rows - 1, values=values, job=job, endpoint=job.endpoint)
    places = places_of(job, shards, folder)
    if not job.changes:
        for dialect, path in folder.taken_over():
            found.take(job.id, decoded(path, job, dialect), paid=False)
    for shard in shards:
        _taken(found, job, shard, folder, None)
    found.leave_out(read_unsent(folder, job))
    collected = all(shard.step is Step.COLLECTED for shard in shards)
    for shard in shards:
        if shard.step is Step.COLLECTED or shard.lost:
            found.hush(shard, places.asked(shard))
    _fall_back(found, job, folder, places)
    found.follow(places)
    found.close(over=bool(job.finished_at) and collected)
    return found


def carried_over(job: JobRecord, folder: JobFolder, places: Places) -> Iterator[Result]:
    """One Result for each row already answered when the job was planned, in row order."""
    found = Outcomes(0, job.rows - 1, values=True, endpoint=job.endpoint)
    for dialect, path in folder.taken_over():
        found.take(job.id, decoded(path, job, dialect), paid=False)
    if job.changes:  # rows that were sent again are returned with their new results
        for at in (places.array > NOWHERE).nonzero()[0].tolist():
            found.status[at] = _NOTHING
    found.follow(places)
    for at, code in enumerate(found.status):
        if code != _NOTHING:
            yield found.result(job.id, at, CODES[code])


def results_of(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places
) -> Iterator[Result]:
    """One Result for each row that a collected shard answers, duplicates of its rows included.

    In row order; duplicates come after the originals.
    """
    asked = places.asked(shard)
    found = Outcomes(shard.first, shard.last, values=True, endpoint=job.endpoint)
    _taken(found, job, shard, folder, asked)
    found.hush(shard, asked)
    _fall_back(found, job, folder, places)
    for at, code in enumerate(found.status):
        if asked[at]:
            yield found.result(job.id, shard.first + at, CODES[code])
    for row, leader in zip(
        *(rows.tolist() for rows in places.followers(shard.number)), strict=True
    ):
        status = CODES[found.status[leader - shard.first]]
        yield found.result(
            job.id, leader, Status.REUSED if status is Status.SUCCEEDED else status, row
        )
