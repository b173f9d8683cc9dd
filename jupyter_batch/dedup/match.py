"""Matching of rows that need no request: duplicates of rows in the same or in another job.

A request is identified by the hash of its body; only jobs of the same dedup scope (`space`) are
compared. Works on arrays: answers are taken by results/copy_answers.py, requests by apply.py.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jupyter_batch.core.request import Cuts, cuts_of
from jupyter_batch.core.status import Step
from jupyter_batch.dedup.withheld import withheld, write_failures
from jupyter_batch.frames.row_keys import has_repeated
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import read
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.copy_answers import BILLED_FAILURES, carry, onto
from jupyter_batch.row_files.answer_files import References
from jupyter_batch.row_files.hash_index import index_of
from jupyter_batch.row_files.request_hashes import hash_array, matches
from jupyter_batch.row_files.row_columns import changed_of, places_of, request_hashes
from jupyter_batch.row_files.row_sources import NOWHERE
from jupyter_batch.wire.dialects import OPENAI

if TYPE_CHECKING:
    from jupyter_batch.frames.row_keys import KnownRows
    from jupyter_batch.row_files.request_hashes import Array

INHERITED = -1  # in Reuse.whose: the row was answered and billed before, but the answer is unusable
OWN = 0  # in Reuse.whose: the row's request has to be sent
ANSWERED = 1
FOLLOWS = 2
LEFT_OUT = 3
JOINS = 4  # and up: the row is in progress in a shard of another job, the n-th of Reuse.joins


class Join(NamedTuple):
    """A shard of another job, in progress, that has requests of rows of this job."""

    job: str
    shard: int


class Reuse(NamedTuple):
    """The decision for each row. whose: OWN, ... or JOINS + n. leaders: the original of each duplicate.

    cut: the finish reason of each reused answer that was cut off, by row.
    """

    whose: Array
    leaders: Array
    joins: list[Join]
    cut: dict[int, str]

    @property
    def plain(self) -> bool:
        """Whether every row that can be sent has to be sent."""
        return bool(((self.whose == OWN) | (self.whose == LEFT_OUT)).all())

    @property
    def reused(self) -> int:
        """The number of rows answered already: reused, or duplicates of reused rows."""
        return self._how_many(ANSWERED)

    @property
    def inherited(self) -> int:
        """The number of rows that already have an answer that was billed but is unusable."""
        return self._how_many(INHERITED)

    def _how_many(self, what: int) -> int:
        followed = self.leaders[self.whose == FOLLOWS]
        return int((self.whose == what).sum() + (self.whose[followed] == what).sum())

    @property
    def cuts(self) -> Cuts:
        """The reused rows, duplicates included, whose answers were cut off."""
        followed = self.leaders[self.whose == FOLLOWS].tolist()
        return cuts_of(self.cut, [*self.cut, *followed])


Waits = Callable[[ShardRecord], bool]
"""Whether to wait for a shard of another job that is in progress."""


def decide(
    ledger: Ledger,
    record: JobRecord,
    hashes: Array,
    draft: JobFolder,
    waits: Waits,
    failures: bool,
    others: Mapping[str, list[Array]],
    known: KnownRows | None = None,
    *,
    is_sifted: bool = False,
) -> Reuse:
    """Decide how each row gets its answer; the draft gets the existing ones.

    hashes: request hashes, zeros for a row without a request. failures: copy answers that were
    billed but are unusable, too. others: by other kind of hash the request hashes, and those of the
    requests as sent where they differ. known: the places of rows in a job that answered them.
    is_sifted: no two rows have the same request.
    """
    new = record.id
    whose = np.full(len(hashes), OWN, dtype=np.int32)
    whose[~hashes.any(axis=1)] = LEFT_OUT
    leaders = np.broadcast_to(np.int32(0), len(hashes))  # of no row: no memory is needed
    if not is_sifted and has_repeated(hashes[:, 0], but=0):
        leaders = _leaders(hashes, whose)
    joins: list[Join] = []
    cut: dict[int, str] = {}
    references = References.of(draft, len(hashes))
    asked_there: list[tuple[JobRecord, Array, Array]] = []
    sent = hash_array(read(draft.sent)) if draft.sent.exists() else None
    asked = {**others, record.hashing: [hashes] if sent is None else [hashes, sent]}
    every = list(itertools.chain(*asked.values()))
    for job in index_of(ledger).candidates(ledger, record.space, every):
        open_rows = np.flatnonzero(whose == OWN)
        if not len(open_rows):
            break
        folder = ledger.folders.of(job.id)
        mine, *as_sent = asked.get(job.hashing, ()) or (hashes[:0],)
        if not len(mine):  # planned since by another kernel: `store` notices
            continue
        guess = known.likely[open_rows] if known is not None and known.job == job.id else None
        here, there = _asked_there(job, folder, mine, open_rows, guess)
        for sent in as_sent if job.adopted else ():  # its hashes are of requests as they were sent
            here, there = _either(here, there, *_asked_there(job, folder, sent, open_rows))
        if len(here):
            _take_from(ledger, job, here, there, whose, joins, draft, new, waits, cut, references)
            asked_there.append((job, here, there))
    references.write()
    if failures:  # after all answers: a usable one has priority, whichever job has it
        _inherit(ledger, asked_there, whose, draft, new)
        _leave_withheld(ledger, asked_there, whose, draft, new)
    return Reuse(whose, leaders, joins, cut)


def _unanswered(
    asked_there: list[tuple[JobRecord, Array, Array]], whose: Array
) -> Iterator[tuple[JobRecord, Array, Array]]:
    """The jobs with the rows that have no answer so far; `whose` may change between two jobs."""
    for job, here, there in asked_there:
        still = whose[here] == OWN
        if still.any():
            yield job, here[still], there[still]


def _inherit(
    ledger: Ledger,
    asked_there: list[tuple[JobRecord, Array, Array]],
    whose: Array,
    draft: JobFolder,
    new: str,
) -> None:
    """Copy answers billed in other jobs but unusable; only `retry` sends these requests again.

    asked_there: jobs with requests of rows of this job, those rows, and their positions there.
    """
    for job, here, there in _unanswered(asked_there, whose):
        carried = carry(
            job,
            ledger.shards(job.id),
            ledger.folders.of(job.id),
            onto(job.rows, there, here),
            new,
            functools.partial(draft.reused, f"{job.id}.failed"),
            takes=BILLED_FAILURES,
        )
        whose[np.frombuffer(carried, dtype=np.int64)] = INHERITED


def _leave_withheld(
    ledger: Ledger,
    asked_there: list[tuple[JobRecord, Array, Array]],
    whose: Array,
    draft: JobFolder,
    new: str,
) -> None:
    """Skip rows whose answers were counted in another job but not received. See `_inherit`."""
    for job, here, there in _unanswered(asked_there, whose):
        if ledger.child(job.id) is not None:
            continue
        held = withheld(job, ledger.shards(job.id), ledger.folders.of(job.id))
        rows = here[held[there]]
        if len(rows):
            target = draft.reused(f"{job.id}.withheld", OPENAI)
            write_failures(target, job.id, new, rows.tolist())
            whose[rows] = INHERITED


def _leaders(hashes: Array, whose: Array) -> Array:
    """The original of each row; marks rows identical to an earlier one as duplicates."""
    leaders = np.arange(len(hashes), dtype=np.int32)
    asked = np.flatnonzero(whose == OWN)
    _, first, which = np.unique(hashes[asked, 0], return_index=True, return_inverse=True)
    leader = asked[first[which.reshape(-1)]]
    same = (hashes[leader] == hashes[asked]).all(axis=1) & (leader != asked)
    leaders[asked[same]] = leader[same]
    whose[asked[same]] = FOLLOWS
    return leaders


def _asked_there(
    job: JobRecord, folder: JobFolder, hashes: Array, rows: Array, guess: Array | None = None
) -> tuple[Array, Array]:
    """The rows whose requests another job has, and their positions there.

    Compares with the requests both before and after a retry's changes. guess: as in `matches`.
    """
    theirs, changed = request_hashes(job, folder), changed_of(job, folder)
    if theirs is None:
        return rows[:0], rows[:0]
    here, there = matches(hashes, rows, theirs, guess)
    if changed is None:
        return here, there
    also, at = matches(hashes, rows, changed)
    return np.concatenate([here, also]), np.concatenate([there, at])


def _either(here: Array, there: Array, also: Array, at: Array) -> tuple[Array, Array]:
    """The union of two matches, each row once."""
    new = ~np.isin(also, here)
    return np.concatenate([here, also[new]]), np.concatenate([there, at[new]])


def _take_from(
    ledger: Ledger,
    job: JobRecord,
    here: Array,
    there: Array,
    whose: Array,
    joins: list[Join],
    draft: JobFolder,
    new: str,
    waits: Waits,
    cut: dict[int, str],
    references: References,
) -> None:
    """Take a job's answers, and wait for its shards in progress.

    there: the rows' positions in it.
    """
    folder = ledger.folders.of(job.id)
    shards = ledger.shards(job.id)
    carried = carry(
        job,
        shards,
        folder,
        onto(job.rows, there, here),
        new,
        lambda dialect: draft.reused(job.id, dialect),
        cut,
        references=references,
    )
    whose[np.frombuffer(carried, dtype=np.int64)] = ANSWERED
    if job.finished_at:
        return
    places = places_of(job, shards, folder).array[there]
    for shard in shards:
        if shard.step is not Step.COLLECTED and waits(shard):
            waiting = here[(places == shard.number) & (whose[here] == OWN)]
            if len(waiting):
                whose[waiting] = JOINS + len(joins)
                joins.append(Join(job.id, shard.number))


def places_array(reuse: Reuse, shard_of: Array) -> Array:
    """The row sources of a job. shard_of: the shard with a row's request, NOWHERE for none."""
    places: Array = np.where(reuse.whose == FOLLOWS, -2 - reuse.leaders, shard_of)
    places[np.isin(reuse.whose, (INHERITED, ANSWERED, LEFT_OUT))] = NOWHERE
    return places
