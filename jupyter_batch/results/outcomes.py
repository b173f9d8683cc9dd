"""Result files -> exactly one outcome for each row, in arrays by position.

No network and no ledger. Rows are matched by `custom_id`, never by position in a file. Memory: a
few bytes a row, plus the values where they are asked for.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.request import CUT, Cuts, Result, Status, Usage, all_cuts
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.columns import CODE, CODES, TOKENS, Columns
from jupyter_batch.results.copy_answers import columns_in
from jupyter_batch.results.lines.builder import Builder
from jupyter_batch.results.missing_lines import LOST, missing_line
from jupyter_batch.results.result_files import columns_of
from jupyter_batch.results.row_costs import NEVER_ASKED, Costs, silence_is_free
from jupyter_batch.results.values import Values
from jupyter_batch.results.vectors import Vectors
from jupyter_batch.row_files.answer_files import reused_files
from jupyter_batch.row_files.row_columns import Unsent, places_of, read_unsent
from jupyter_batch.row_files.row_sources import NOWHERE, Places
from jupyter_batch.wire.openai import EMBEDDINGS

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

NOTHING = 255
_ANSWERED, _REUSED = CODE[Status.SUCCEEDED], CODE[Status.REUSED]
_IS_BILLED = np.isin(np.arange(len(CODES)), [CODE[Status.SUCCEEDED], CODE[Status.FAILED]])
_WAS_NEVER_ASKED = np.isin(np.arange(len(CODES)), NEVER_ASKED)
GOOD = (_ANSWERED, _REUSED)
"""The codes of rows that have an answer."""
_FEW = 8
"""Results that are decoded at a time."""


class Outcomes:
    """The outcomes of the rows `first` to `last`.

    Status (an index into CODES), reasons, tokens, costs, values where asked for. job: whose price
    gives the costs. live: costs of realtime too. endpoint: of the job, where values are kept.
    figures: tokens and costs are wanted, 20 bytes a row; without them there are none of any row.
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
        figures: bool = True,
    ) -> None:
        rows = last - first + 1
        self.first = first
        self.status = bytearray([NOTHING]) * rows
        self._codes = np.frombuffer(self.status, dtype=np.uint8)
        self.answers: Any = Values(rows) if values else []
        self.kept: dict[
            str, list[Any]
        ] = {}  # further content of answers, by name (merging/columns.py)
        if values and endpoint == EMBEDDINGS:
            self.answers = Vectors(rows)
        self._keep = values
        self.finish = bytearray(rows)
        self._finish = np.frombuffer(self.finish, dtype=np.uint8)
        self.finishes: list[str | None] = [None]
        self.reasons: dict[int, str] = {}
        self.raws: dict[int, str] = {}
        self.has_figures = figures
        counted = rows if figures else 0
        self.input_tokens = array("i", [-1]) * counted
        self.output_tokens = array("i", [-1]) * counted
        self.cached_tokens = array("i", [-1]) * counted
        self.costs = Costs(counted, job, live=live)
        self.usage: Usage | None = None
        self.strange = 0
        self.billed = 0

    def take(self, job: str, results: Iterable[Result], *, paid: bool = True) -> None:
        """Store each result at its row; see `add`."""
        left = iter(results)
        while some := list(islice(left, _FEW)):
            made = Builder(job)
            for result in some:
                made.add(result)
            self.add(made.columns(), paid=paid)

    def add(self, columns: Columns, asked: bytearray | None = None, *, paid: bool = True) -> None:
        """Store each line at its row.

        asked: 1 for each row that may have a line. paid: by this job; else the answers were another
        job's before. Of two lines for one row an answer is kept before a failure, else the first.
        Unrequested and surplus lines are counted in `strange`.
        """
        lines, replaced = self._stored(columns, asked)
        at, codes = columns.rows[lines] - self.first, columns.status[lines]
        answered = codes == _ANSWERED
        failed = lines[~answered]
        for row, line in zip(columns.rows[failed].tolist(), failed.tolist(), strict=True):
            self.reasons[row] = columns.reasons[line]
            if self.raws:
                self.raws.pop(row, None)
            if self._keep and line in columns.raws:
                self.raws[row] = columns.raws[line]
        for row in replaced:
            self.reasons.pop(row, None)
            self.raws.pop(row, None)
        self._codes[at] = codes if paid else np.where(answered, _REUSED, codes)
        self._finish[at] = self._finish_codes(columns.finishes)[columns.finish[lines]]
        if self._keep:
            self._put(at[answered], columns, lines[answered])
        if self.has_figures:
            self._count(at, columns, lines, paid=paid)

    def _stored(self, columns: Columns, asked: bytearray | None) -> tuple[Array, list[int]]:
        """The lines to store, in their order, and the rows whose failure an answer replaces."""
        at = columns.rows - self.first
        inside = (at >= 0) & (at < len(self.status))
        if asked is not None:
            inside[inside] = np.frombuffer(asked, dtype=bool)[at[inside]]
        lines = np.flatnonzero(inside)
        if not columns.is_partial:
            self.strange += len(columns) - len(lines)
        at = at[lines]
        first = int(at.min(initial=len(self.status)))  # of the rows: a shard has few of a job's
        span = self._codes[first : int(at.max(initial=-1)) + 1]
        counted = np.bincount(at - first, minlength=len(span)) + (span != NOTHING)
        surplus = counted[at - first] > 1
        if not surplus.any():
            return lines, []
        keep = np.ones(len(lines), dtype=bool)
        now = {row: self.status[row] for row in at[surplus].tolist()}
        for index in np.flatnonzero(surplus).tolist():
            row, code = int(at[index]), int(columns.status[lines[index]])
            was = now[row]
            if was != NOTHING:
                self.strange += 1
                keep[index] = was not in GOOD and code == _ANSWERED
            if keep[index]:
                now[row] = code
        answered = [self.first + row for row, code in now.items() if code == _ANSWERED]
        return lines[keep], answered

    def _put(self, at: Array, columns: Columns, lines: Array) -> None:
        if isinstance(self.answers, Values):
            self.answers.put(at, columns, lines)
            return
        for row, value in zip(at.tolist(), columns.answers(lines), strict=True):
            self.answers[row] = value

    def _count(self, at: Array, columns: Columns, lines: Array, *, paid: bool) -> None:
        """Store the tokens and the costs of lines."""
        has_usage = columns.has_usage[lines]
        rows, from_lines = at[has_usage], lines[has_usage]
        counts = {
            kind: columns.usage[kind][from_lines] if kind in columns.usage else 0 for kind in TOKENS
        }
        for held, kind in (
            (self.input_tokens, "input_tokens"),
            (self.cached_tokens, "cached_tokens"),
            (self.output_tokens, "output_tokens"),
        ):
            np.frombuffer(held, dtype=np.int32)[rows] = counts[kind]
        if not paid:
            self.costs.free(at)
            return
        if len(rows):
            total = Usage(**{kind: int(np.sum(tokens)) for kind, tokens in counts.items()})
            self.usage = total if self.usage is None else self.usage + total
        unbilled, codes = columns.unbilled[lines], columns.status[lines]
        self.billed += int((_IS_BILLED[codes] & ~unbilled).sum())
        tiers = [columns.tiers[code] for code in np.unique(columns.tier[from_lines]).tolist()]
        by_tier = {tier: columns.tier[from_lines] == columns.tiers.index(tier) for tier in tiers}
        free = unbilled | _WAS_NEVER_ASKED[codes]
        named = None if columns.cost is None else columns.cost[from_lines]
        self.costs.take(at, counts, by_tier, has_usage, free, named)

    def _finish_codes(self, finishes: list[str | None]) -> Array:
        return np.array([self._finish_code(finish) for finish in finishes], dtype=np.uint8)

    def _finish_code(self, finish: str | None) -> int:
        """The index of a finish reason in `finishes`, which holds as many as a byte can number."""
        if finish not in self.finishes:
            if len(self.finishes) > NOTHING:
                return 0
            self.finishes.append(finish)
        return self.finishes.index(finish)

    def count_as(self, other: Outcomes) -> None:
        """Take over the tokens and costs of the same rows."""
        self.input_tokens, self.output_tokens = other.input_tokens, other.output_tokens
        self.cached_tokens, self.costs = other.cached_tokens, other.costs
        self.usage, self.billed, self.has_figures = other.usage, other.billed, True

    def cuts(self, rows: Iterable[int]) -> Cuts:
        """The number of truncated answers at these offsets, by finish reason.

        A row may be named twice.
        """
        cut = {code for code, finish in enumerate(self.finishes) if finish in CUT}
        if not cut:
            return ()
        counted = Counter(
            self.finish[at] for at in rows if self.finish[at] in cut and self.status[at] in GOOD
        )
        return all_cuts([((str(self.finishes[code]), count),) for code, count in counted.items()])

    def hush(self, shard: ShardRecord, asked: bytearray) -> None:
        """Set the reason for each request of a finished shard that has no result line."""
        status, reason = missing_line(shard)
        wanted = np.flatnonzero(np.frombuffer(asked, dtype=bool)) + (shard.first - self.first)
        silent = wanted[self._codes[wanted] == NOTHING]
        if not len(silent):
            return
        if self.has_figures:
            answered = sum(map(self._was_answered, wanted.tolist()))
            if silence_is_free(shard, answered, strange=self.strange):
                self.costs.free(silent)
        self._codes[silent] = CODE[status]
        at_fault = dict(shard.at_fault)
        for row in (silent + self.first).tolist():
            self.reasons[row] = at_fault.get(row, reason)

    def _was_answered(self, at: int) -> bool:
        """Whether the provider counts a row as answered, even if unusable (a refusal has usage)."""
        code = self.status[at]
        return code == _ANSWERED or (code not in (NOTHING, _REUSED) and self.input_tokens[at] >= 0)

    def follow(self, places: Places) -> None:
        """Copy each original's outcome to its duplicates; the answer is not paid again."""
        rows, leaders = places.followers()
        if not len(rows):
            return
        codes = self._codes[leaders]
        self._codes[rows] = np.where(codes == _ANSWERED, _REUSED, codes)
        self._free(rows)
        self._finish[rows] = self._finish[leaders]
        if isinstance(self.answers, Values):
            self.answers.copy(rows, leaders)
        elif self._keep:
            for row, leader in zip(rows.tolist(), leaders.tolist(), strict=True):
                self.answers[row] = self.answers[leader]
        for held in (self.reasons, self.raws):
            if held:
                for row, leader in zip(rows.tolist(), leaders.tolist(), strict=True):
                    if leader in held:
                        held[row] = held[leader]

    def fall_back(self, columns: Columns, places: Places) -> None:
        """Keep the answer that a row had before it was sent again, where nothing better came.

        A row that is still running shows it until then, and a row that was not sent again keeps it
        for good.
        """
        finishes = self._finish_codes(columns.finishes)
        for line, position in enumerate(columns.rows.tolist()):
            if columns.is_partial and columns.status[line] != _ANSWERED:
                continue
            at = position - self.first
            if position < 0 or not 0 <= at < len(self.status) or self.status[at] in GOOD:
                continue
            asked = places.array[position] > NOWHERE
            if self.status[at] != NOTHING or not asked:
                self.status[at] = _REUSED
            if not asked:
                self._free(at)
            self.finish[at] = finishes[columns.finish[line]]
            self.reasons.pop(position, None)
            self.raws.pop(position, None)
            if self._keep:
                self._put(np.array([at]), columns, np.array([line]))

    def leave_out(self, unsent: Iterable[Unsent]) -> None:
        """Mark the rows that have no request."""
        for group in unsent:
            if group.status is Status.REUSED:  # their answers are there
                continue
            code = CODE[group.status]
            for position in group.positions:
                self.status[position - self.first] = code
                self.reasons[position] = group.reason
                self._free(position - self.first)

    def _free(self, at: Any) -> None:
        """Record that these rows had no request in this job."""
        if self.has_figures:
            self.costs.free(at)

    def close(self, *, over: bool = False) -> None:
        """Set each missing outcome: running, or in a finished job, lost on this disk."""
        code = CODE[Status.FAILED if over else Status.RUNNING]
        missing = np.flatnonzero(self._codes == NOTHING)
        self._codes[missing] = code
        if over:
            self.reasons.update(dict.fromkeys((missing + self.first).tolist(), LOST))


def _taken(
    found: Outcomes, job: JobRecord, shard: ShardRecord, folder: JobFolder, asked: bytearray | None
) -> None:
    """Store all results of a shard."""
    for dialect, path in folder.taken_over(shard):
        for columns in columns_of(path, job, dialect):
            found.add(columns, asked, paid=False)
    for path in (folder.output(shard.number), folder.errors(shard.number)):
        for columns in columns_of(path, job):
            found.add(columns, asked)


def reused(found: Outcomes, job: JobRecord, folder: JobFolder) -> None:
    """Store the answers of other jobs that the job had when it was planned."""
    for file in reused_files(folder, job.id):
        for columns in columns_in(file, job):
            found.add(columns, paid=False)


def _fall_back(found: Outcomes, job: JobRecord, folder: JobFolder, places: Places) -> None:
    """Keep the earlier answers of a job that sends rows again with other parameters."""
    for file in reused_files(folder, job.id) if job.changes else ():
        for columns in columns_in(file, job):
            found.fall_back(columns, places)


def read_shard(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places, *, values: bool
) -> Outcomes:
    """The outcomes of the rows from a fetched shard's first to its last."""
    found = Outcomes(
        shard.first, shard.last, values=values, job=job, endpoint=job.endpoint, live=True
    )
    asked = places.asked(shard)
    _taken(found, job, shard, folder, asked)
    found.hush(shard, asked)
    _fall_back(found, job, folder, places)
    return found


def of_job(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    *,
    values: bool = True,
    figures: bool = True,
) -> Outcomes:
    """The outcomes of all rows of a job, also a running one, from the files on this disk."""
    found = Outcomes(
        0, job.rows - 1, values=values, job=job, endpoint=job.endpoint, figures=figures
    )
    places = places_of(job, shards, folder)
    if not job.changes:
        reused(found, job, folder)
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
