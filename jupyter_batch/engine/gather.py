"""Result files -> exactly one outcome for each row, in arrays by position. It touches no network and no ledger.

Rows are matched by `custom_id`, never by position in a file. Memory: a few bytes a row, and the values themselves
where they are asked for.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.request import custom_id, position_of
from jupyter_batch.core.result import Result, Status, Usage
from jupyter_batch.core.status import Counts, State, Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.wire.dialects import decode_lines
from jupyter_batch.wire.openai import BLOCK_BYTES, whole_lines

CODES = tuple(Status)
_CODE = {status: code for code, status in enumerate(CODES)}
_NOTHING = 255
_ANSWERED = _CODE[Status.SUCCEEDED]
_MOST_TOKENS = (1 << 31) - 1  # of one row; what tells of more, or of fewer than none, tells nothing

_SILENCE: dict[State, tuple[Status, str]] = {
    State.COMPLETED: (Status.FAILED, "the provider sent no result for this row"),
    State.FAILED: (Status.FAILED, "the batch failed"),
    State.EXPIRED: (Status.EXPIRED, "the batch expired before this row was answered"),
    State.CANCELLED: (Status.CANCELLED, "the batch was cancelled before this row was answered"),
}


class Unsent(msgspec.Struct, frozen=True):
    """Rows without a request, by the reason why."""

    status: Status
    reason: str
    positions: list[int]


class Outcomes:
    """What became of the rows `first` to `last`: status (an index into CODES), reasons, tokens, perhaps values."""

    def __init__(self, first: int, last: int, *, values: bool) -> None:
        rows = last - first + 1
        self.first = first
        self.status = bytearray([_NOTHING]) * rows
        self.answers: list[Any] = [None] * rows if values else []
        self._keep = values
        self.reasons: dict[int, str] = {}
        self.input_tokens = array("i", [-1]) * rows
        self.output_tokens = array("i", [-1]) * rows
        self.usage: Usage | None = None
        self.strange = 0

    def take(self, job: str, results: Iterable[Result], asked: bytearray | None = None) -> None:
        """Put each line at its row.

        Of two lines for one row an answer is kept before a failure, else the first. A line that nobody asked for, or
        that is one too many, is counted in `strange`.
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
                if status[at] == _ANSWERED or code != _ANSWERED:
                    continue
                self.reasons.pop(first + at, None)
            status[at] = code
            if code == _ANSWERED:
                if self._keep:
                    self.answers[at] = result.value
            else:
                self.reasons[first + at] = result.error or str(result.status)
            if result.usage is not None and _is_sane(result.usage):
                self.usage = result.usage if self.usage is None else self.usage + result.usage
                self.input_tokens[at] = result.usage.input_tokens
                self.output_tokens[at] = result.usage.output_tokens

    def hush(self, shard: ShardRecord) -> None:
        """Give each request of a shard that is over and came back without a line its reason."""
        status, reason = _SILENCE[shard.ending or State.FAILED]
        if shard.why and shard.ending is State.FAILED:
            reason = f"{reason}: {shard.why}"
        code = _CODE[status]
        for position in range(shard.first, shard.last + 1):
            if self.status[position - self.first] == _NOTHING:
                self.status[position - self.first] = code
                self.reasons[position] = reason

    def reuse(self) -> None:
        """What was taken so far was answered in an earlier job."""
        self.status = self.status.replace(bytes([_ANSWERED]), bytes([_CODE[Status.REUSED]]))
        self.usage = None  # and paid there

    def leave_out(self, unsent: Iterable[Unsent]) -> None:
        """Mark the rows that have no request."""
        for group in unsent:
            if group.status is Status.REUSED:  # their answers were taken
                continue
            code = _CODE[group.status]
            for position in group.positions:
                self.status[position - self.first] = code
                self.reasons[position] = group.reason

    def close(self) -> None:
        """What nothing was heard of is still running."""
        code = _CODE[Status.RUNNING]
        for at, was in enumerate(self.status):
            if was == _NOTHING:
                self.status[at] = code


def _is_sane(usage: Usage) -> bool:
    told: tuple[int, ...] = msgspec.structs.astuple(usage)
    return min(told) >= 0 and max(told) <= _MOST_TOKENS


def lines_of(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> Iterator[Result]:
    """The results in both files of a shard, as they lie there: unordered, perhaps doubled, perhaps strange."""
    for path in (folder.output(shard.number), folder.errors(shard.number)):
        yield from _decoded(path, job)


def _decoded(path: Path, job: JobRecord) -> Iterator[Result]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for block in whole_lines(iter(lambda: file.read(BLOCK_BYTES), b"")):
            yield from decode_lines(job.dialect, block, job.endpoint, job.tool_names)


def of_shard(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> tuple[Counts, dict[str, object], int]:
    """A fetched shard in figures: (its counts, fields for the ledger, how many rows its output file tells of)."""
    unsent = read_unsent(folder)
    asked = bytearray(b"\1") * (shard.last - shard.first + 1)
    for group in unsent:
        for position in group.positions:
            if shard.first <= position <= shard.last:
                asked[position - shard.first] = 0
    found = Outcomes(shard.first, shard.last, values=False)
    found.take(job.id, _decoded(folder.output(shard.number), job), asked)
    told_of = len(found.status) - found.status.count(_NOTHING)
    found.take(job.id, _decoded(folder.errors(shard.number), job), asked)
    found.hush(shard)
    tally = Counter(code for code, was_asked in zip(found.status, asked, strict=True) if was_asked)
    counts = Counts(**{str(CODES[code]): rows for code, rows in tally.items()})
    reasons = Counter(reason for at, reason in found.reasons.items() if asked[at - shard.first]).most_common(5)
    note = shard.why
    if found.strange:
        note = f"{found.strange} lines came that nobody asked for, or twice: kept in {folder.output(shard.number).name}"
    return counts, {"counts": counts, "usage": found.usage, "reasons": tuple(reasons), "note": note}, told_of


def of_job(job: JobRecord, shards: Iterable[ShardRecord], folder: JobFolder, *, values: bool = True) -> Outcomes:
    """All rows of a job, from what is on this disk now: also of one that is still under way."""
    found = Outcomes(0, job.rows - 1, values=values)
    found.take(job.id, _decoded(folder.reused, job))
    found.reuse()
    for shard in shards:
        found.take(job.id, lines_of(job, shard, folder))
    found.leave_out(read_unsent(folder))
    for shard in shards:
        if shard.step is Step.COLLECTED:
            found.hush(shard)
    found.close()
    return found


def results_of(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> Iterator[Result]:
    """One Result for each request of a collected shard, in the order of its rows."""
    found = Outcomes(shard.first, shard.last, values=True)
    found.take(job.id, lines_of(job, shard, folder))
    found.hush(shard)
    unsent = {position for group in read_unsent(folder) for position in group.positions}
    for at, code in enumerate(found.status):
        position = shard.first + at
        if position in unsent:
            continue
        told = found.input_tokens[at] >= 0
        yield Result(custom_id(job.id, position), CODES[code], found.answers[at], found.reasons.get(position),
                     Usage(found.input_tokens[at], found.output_tokens[at]) if told else None)


def read_unsent(folder: JobFolder) -> list[Unsent]:
    """The rows that were planned without a request."""
    if not folder.unsent.exists():
        return []
    return msgspec.json.decode(folder.unsent.read_bytes(), type=list[Unsent])
