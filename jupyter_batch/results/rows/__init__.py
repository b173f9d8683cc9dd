"""Rows of a job, page by page, from its files: filters, counts, search and order. Nothing is written.

Works in any process, for open jobs too. The first page needs a few reads; what needs a look at all
rows waits for an index, which is made in a thread and held in memory (about 60 bytes a row).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from jupyter_batch.core.request import Status
from jupyter_batch.ledger.linked_jobs import Lines
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_preview import words
from jupyter_batch.results.row import Row
from jupyter_batch.results.rows.contents import Contents, plain
from jupyter_batch.results.rows.labels import Agreement, Labels, agreement
from jupyter_batch.results.rows.lines import Array, Line
from jupyter_batch.results.rows.search import SOME, Search
from jupyter_batch.row_files.row_sources import NOWHERE

ALL, CUT_OFF, DISAGREEING = "all", "cut off", "disagreeing"
_STATUSES: dict[str, tuple[Status, ...]] = {
    "answered": (Status.SUCCEEDED, Status.REUSED),
    "failed": (Status.FAILED, Status.EXPIRED, Status.CANCELLED),
    "reused": (Status.REUSED,),
    "running": (Status.RUNNING,),
    "skipped": (Status.SKIPPED,),
}
CHIPS = (ALL, CUT_OFF, DISAGREEING, *_STATUSES)
"""Filters; `disagreeing`: with another answer than that of another model of the group."""
SORTS = ("row", "cost", "tokens", "size")
LONGEST = 600
"""Characters of a text on a page."""
PATIENCE = 0.4
"""Seconds that a page waits for the index, or for a search, before it is returned as it is."""
_SEARCHES = 3


class Query(msgspec.Struct, frozen=True):
    """A selection of rows. text: in prompt, answer or reason. sort: one of SORTS."""

    chip: str = ALL
    text: str = ""
    sort: str = "row"
    descending: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it selects all rows in the source's order."""
        return self == Query()


class RowView(msgspec.Struct, kw_only=True):
    """A row on a page. fields: the answer by the names of a schema's fields. size: bytes of the result line.

    status: "" where it is not known yet. prompt: without the beginning common to all rows.
    """

    position: int
    label: str
    sample: int
    prompt: str | None
    answer: str | None = None
    fields: dict[str, str] | None = None
    status: str = ""
    finish: str | None = None
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    size: int | None = None


class Page(msgspec.Struct, kw_only=True):
    """Some rows of a selection. found: all that it has, so far. searched: share of the files, 0 to 1.

    ready: whether all of the job was read. complete: whether nothing more comes to the selection.
    """

    rows: list[RowView]
    found: int
    counts: dict[str, int | None]
    ready: bool
    searched: float
    complete: bool
    problem: str = ""


class Rows:
    """The rows of a job, by its id. Thread-safe. Raises JobNotFoundError, LedgerError.

    differing: whether each row has another answer than another model gave it; None outside of groups.
    """

    def __init__(self, ledger: Ledger, job: str) -> None:
        self._ledger = ledger
        self._name = job
        self._lock = threading.RLock()
        self._contents: Contents | None = None
        self._stamp: object = None
        self._searches: OrderedDict[str, Search] = OrderedDict()
        self._order: tuple[object, Array] | None = None
        self.differing: Callable[[], Array] | None = None
        self._differing: Array | None = None

    def standing(self) -> tuple[JobRecord, list[ShardRecord]]:
        """The job that continues it now, and its shards."""
        record = self._ledger.job(self._name)
        last = Lines(self._ledger.jobs()).last(record.id) if record.rush_at else record
        record = last or record
        return record, self._ledger.shards(record.id)

    def contents(self) -> Contents:
        """The job's rows as they are now; they are read again where results have come."""
        record, shards = self.standing()
        stamp = (
            record.id,
            bool(record.finished_at),
            record.price,
            *((one.number, one.step, one.kept, one.lost) for one in shards),
        )
        with self._lock:
            if self._contents is None or stamp != self._stamp:
                self.close()
                self._contents, self._stamp = Contents(self._ledger, record, shards), stamp
            return self._contents

    def labels(self) -> Labels:
        """The corrected labels of its rows."""
        record, _ = self.standing()
        return Labels(record, self._ledger.folders.of(record.id))

    def agreements(self) -> dict[str, Agreement]:
        """The agreement of labels and answers, by column; columns without a label are left out."""
        contents = self.contents()
        found = {}
        for number, (column, labels) in enumerate(self.labels().read().items()):
            rows = views(contents, sorted(labels), whole=True)
            pairs = [
                (answer, labels[row.position])
                for row in rows
                if (answer := answer_in(contents, row, number)) is not None
            ]
            if labels:
                found[column] = agreement(pairs)
        return found

    def close(self) -> None:
        """End what is under way in threads."""
        with self._lock:
            if self._contents is not None:
                self._contents.stop()
            for search in self._searches.values():
                search.stopped = True
            self._searches.clear()
            self._order = None

    def row(self, position: int, patience: float = 60.0) -> Row:
        """One row whole, once all of the job was read. Raises IndexError, TimeoutError."""
        contents = self.contents()
        if not 0 <= position < contents.job.rows:
            raise IndexError(position)
        _wait(contents, patience)
        if contents.found is None:
            raise contents.error or TimeoutError("the job's files are still being read")
        return contents.row(position)

    def page(self, query: Query, offset: int = 0, limit: int = 100) -> Page:
        """Rows `offset` to `offset + limit` of a selection."""
        contents = self.contents()
        if not query.is_plain:
            _wait(contents, PATIENCE)
        chosen, searched = self.select(contents, query, PATIENCE, offset + limit)
        rows = views(contents, [int(at) for at in chosen[offset : offset + limit]])
        contents.start()  # behind the first page, whose reads it would slow down
        ready = contents.found is not None
        return Page(
            rows=rows,
            found=len(chosen),
            counts=self.counts(contents),
            ready=ready,
            searched=searched,
            complete=query.is_plain or (ready and searched >= 1),
            problem=str(contents.error or ""),
        )

    def counts(self, contents: Contents) -> dict[str, int | None]:
        """The number of rows of each chip, by the ledger until all was read.

        Of disagreeing rows it is None until that chip is used, which reads all models' answers.
        """
        made = self._counts(contents)
        if self.differing is None:
            return {**made}
        known = self._differing
        return {**made, DISAGREEING: None if known is None else int(known.sum())}

    def _counts(self, contents: Contents) -> dict[str, int]:
        if contents.found is None:
            seen = snapshot_of(contents.job, contents.shards, 0.0)
            made = {
                chip: sum(getattr(seen.counts, status) for status in statuses)
                for chip, statuses in _STATUSES.items()
            }
            return {ALL: contents.job.rows, **made, CUT_OFF: seen.cut_off}
        status = np.bincount(contents.status(), minlength=len(CODES))
        made = {
            chip: int(sum(status[CODES.index(one)] for one in statuses))
            for chip, statuses in _STATUSES.items()
        }
        return {ALL: contents.job.rows, **made, CUT_OFF: int(contents.is_cut().sum())}

    def select(
        self, contents: Contents, query: Query, patience: float, first: int | None = None
    ) -> tuple[range | Array, float]:
        """The positions of a selection in order, and the share of the files that was searched.

        first: the number of positions that are used, where not all are: they may come before the search is over.
        """
        if query.is_plain:
            return range(contents.job.rows), 1.0
        search = self._search(contents, query.text) if query.text else None
        if search is not None:
            early = first is not None and first <= SOME and query == Query(text=query.text)
            search.wait(patience, early=early)
            if search.error is not None:
                raise search.error
        if contents.found is None:
            return range(0), 0.0 if search is None else search.done
        searched = 1.0 if search is None or search.over.is_set() else min(search.done, 0.999)
        with self._lock:
            key = (id(contents), query, searched)
            if self._order is None or self._order[0] != key:
                among = self._read_differing() if query.chip == DISAGREEING else None
                self._order = key, _ordered(contents, query, search, among)
            return self._order[1], searched

    def _read_differing(self) -> Array:
        rows = self.contents().job.rows
        found = np.zeros(rows, dtype=bool)
        if self.differing is not None:
            differs = self.differing()[:rows]
            found[: len(differs)] = differs
            self._differing = found
        return found

    def _search(self, contents: Contents, text: str) -> Search:
        with self._lock:
            if text not in self._searches:
                while len(self._searches) >= _SEARCHES:
                    self._searches.popitem(last=False)[1].stopped = True
                self._searches[text] = contents.search(text)
            self._searches.move_to_end(text)
            return self._searches[text]


def _wait(contents: Contents, patience: float) -> None:
    contents.start()
    contents.ready.wait(patience)


def _ordered(contents: Contents, query: Query, search: Search | None, among: Array | None) -> Array:
    """The positions of a selection, in order. among: the rows of the chip `disagreeing`."""
    chosen = np.ones(contents.job.rows, dtype=bool)
    if among is not None:
        chosen = among
    elif query.chip == CUT_OFF:
        chosen = contents.is_cut()
    elif query.chip != ALL:
        codes = [CODES.index(status) for status in _STATUSES[query.chip]]
        chosen = np.isin(contents.status(), codes)
    if search is not None:
        hits = contents.by_request(search.hits.copy())  # a duplicate is found where its original is
        reasons = contents.found.reasons if contents.found is not None else {}
        matches = {reason: search.matches(reason) for reason in set(reasons.values())}
        hits[[at for at, reason in reasons.items() if matches[reason]]] = True
        chosen = chosen & hits
    rows = np.flatnonzero(chosen).astype(np.int32)
    if query.sort == "row":
        return rows[::-1] if query.descending else rows
    columns = {"cost": contents.costs, "tokens": contents.tokens, "size": contents.sizes}
    key = columns[query.sort]()[rows].astype(np.float32)  # single precision: half the memory
    if query.descending:
        np.negative(key, out=key)
    return rows[np.argsort(key, kind="stable")]


def views(contents: Contents, positions: list[int], *, whole: bool = False) -> list[RowView]:
    """The rows at some positions, for a page; whole: with texts of any length, for a file."""
    if not positions:
        return []
    prompts = contents.prompts(positions)
    lines = contents.results(positions)
    longest = None if whole else LONGEST
    return [_view(contents, at, prompts.get(at), lines, longest) for at in positions]


def answer_in(contents: Contents, row: RowView, number: int) -> str | None:
    """The answer of a row for the column of this number; None where it has none."""
    schema = contents.job.schema
    if schema is None:
        return row.answer
    return None if row.fields is None else row.fields.get(schema.fields[number].name)


def _view(
    contents: Contents,
    position: int,
    prompt: str | None,
    lines: dict[int, list[Line]],
    longest: int | None,
) -> RowView:
    asked = contents.asked(position)
    samples = contents.job.samples
    row = RowView(
        position=position,
        label=str(contents.label(position)),
        sample=position % samples if samples > 1 else 0,
        prompt=None if prompt is None else prompt[:longest],
    )
    own = contents.outcome(position, lines.get(asked, ()))
    if own is not None:
        _add_figures(row, own, asked)
        _add_answer(row, own.answers[0], longest, by_field=contents.job.schema is not None)
        row.size = len(lines[asked][0].data)
        if asked != position and row.status == Status.SUCCEEDED:
            row.status = Status.REUSED
        if contents.places[position] <= NOWHERE:
            row.cost = 0.0
    found = contents.found
    if found is not None and (own is None or CODES[found.status[position]] != Status.RUNNING):
        _add_figures(row, found, position)
    return row


def _add_answer(row: RowView, value: Any, longest: int | None, *, by_field: bool) -> None:
    shorten = plain if longest is None else words
    row.answer = None if value is None else shorten(value)[:longest]
    if by_field and isinstance(value, dict):
        row.fields = {str(name): shorten(held) for name, held in value.items()}


def _add_figures(row: RowView, found: Outcomes, position: int) -> None:
    at = position - found.first
    row.status = CODES[found.status[at]]
    row.finish = found.finishes[found.finish[at]]
    row.error = found.reasons.get(position)
    into, out, cost = found.input_tokens[at], found.output_tokens[at], found.costs.paid[at]
    row.input_tokens = into if into >= 0 else None
    row.output_tokens = out if out >= 0 else None
    row.cost = None if np.isnan(cost) else float(cost)
