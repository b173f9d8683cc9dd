"""JobDraft: a job while it is planned, which comes to disk whole or not at all.

Each planner (first call, retry, tool calls, adoption, files of `build`) fills a draft and stores it.
"""

from __future__ import annotations

import contextlib
import secrets
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from jupyter_batch.core.errors import InputError, LedgerError
from jupyter_batch.core.request import Limits, all_cuts, cuts_of
from jupyter_batch.ledger.folder import JobFolder, check_kept
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.recovery import write_manifest
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.max_cost import Priced, all_within
from jupyter_batch.results.copy_answers import carry
from jupyter_batch.row_files.answer_files import References
from jupyter_batch.row_files.row_columns import RowFiles, places_of
from jupyter_batch.row_files.row_sources import NOWHERE, Places

if TYPE_CHECKING:
    from jupyter_batch.dedup.match import Waits
    from jupyter_batch.frames.row_keys import KnownRows
    from jupyter_batch.merging.rendered import Rendered
    from jupyter_batch.row_files.request_hashes import Array

ID_CHARS = "abcdefghijkmnpqrstuvwxyz23456789"  # without characters that look alike


class StaleError(Exception):
    """Another kernel planned a job of the same dedup scope during deduplication: repeat it."""


class JobDraft:
    """A job that is not stored yet.

    folder: where its files are written. record, shards: what the ledger will hold. existing: a
    stored job with the same requests, used instead. refusal: why no row can be sent. rendered: the
    rows of the frame, and their positions in the job. hashes, others, sources: request hashes, those
    of other kinds, and row sources after deduplication. known: the number of the last job that was
    known before it (`Ledger.last_number`). aside: flags of rows whose lines were put
    aside (dedup/sifted_lines.py). is_sifted: no two rows have the same request.
    """

    record: JobRecord

    def __init__(self, ledger: Ledger, job: str, folder: JobFolder) -> None:
        self.ledger, self.id, self.folder = ledger, job, folder
        self.shards: list[ShardRecord] = []
        self.existing: JobRecord | None = None
        self.refusal: InputError | None = None
        self.rendered: Rendered | None = None
        self.hashes: Array | None = None
        self.others: dict[str, Array] = {}
        self.sources: Places | None = None
        self.known: int | None = None
        self.aside: Array | None = None
        self.is_sifted = False

    def deduplicate(
        self,
        hashes: Array,
        limits: Limits,
        *,
        waits: Waits = lambda _: True,
        failures: bool = True,
        others: Mapping[str, list[Array]] | None = None,
        known: KnownRows | None = None,
    ) -> bool:
        """Take the answers that other jobs have, and keep requests for the remaining rows only.

        hashes: request hashes, zeros for a row without a request. waits, failures, others, known:
        as in `arrange`. False where a known row has no answer.
        """
        from jupyter_batch.dedup.apply import arrange

        arranged = arrange(
            self.ledger,
            self.folder,
            self.record,
            self.shards,
            limits,
            hashes,
            waits=waits,
            failures=failures,
            others=others,
            known=known,
            aside=self.aside,
            is_sifted=self.is_sifted,
        )
        if arranged is None:
            return False
        self.record, self.shards, self.hashes, self.others, self.sources = arranged
        return True

    def clear(self) -> None:
        """Remove the files that were written so far."""
        for path in self.folder.path.iterdir():
            path.unlink()
        self.shards, self.aside, self.is_sifted = [], None, False

    def carry_over(
        self,
        job: JobRecord,
        shards: list[ShardRecord],
        *,
        asked: Array,
        wanted: array[int],
        unsent: Sequence[int] = (),
    ) -> Array:
        """Take the answers of the job that this one continues; return the rows that have one now.

        Sets row sources and counts. asked: 1 for each row with a request in this job. wanted: for
        each row of `job` the row that takes its answer, or -1. unsent: rows that get no answer.
        """
        folder, cut = self.ledger.folders.of(job.id), dict[int, str]()
        was = places_of(job, shards, folder).array
        references = References.of(self.folder, len(asked))
        carried = np.frombuffer(
            carry(
                job,
                shards,
                folder,
                wanted,
                self.id,
                lambda dialect: self.folder.reused(job.id, dialect),
                cut,
                references=references,
            ),
            dtype=np.int64,
        )
        references.write()
        at = self._places(asked)
        at = np.where((at == NOWHERE) & (was < NOWHERE), was, at)
        at[np.asarray(unsent, dtype=np.int64)] = NOWHERE
        self.sources = Places(at)
        answered = asked & (at == NOWHERE)
        answered[carried] = True
        answered[at >= 0] = False  # keeps its old answer until then
        leaders = self.sources.leaders_of_followers()
        self.shards = [
            msgspec.structs.replace(shard, followers=len(self.sources.followers(shard.number)[0]))
            for shard in self.shards
        ]
        settled = self.sources.settled([*carried.tolist(), *leaders])
        self.record = msgspec.structs.replace(
            self.record,
            reused=int(answered.sum() + answered[leaders].sum()),
            cuts=all_cuts([self.record.cuts, cuts_of(cut, settled)]),
            finished_at=0.0 if self.shards else self.record.created_at,
        )
        return carried

    def _places(self, asked: Array) -> Array:
        """The shard of each row; `asked` tells which rows of a shard's range have a request."""
        if self.sources is not None:
            return self.sources.array
        at = np.full(len(asked), NOWHERE, dtype=np.int64)
        for shard in self.shards:
            span = slice(shard.first, shard.last + 1)
            at[span][asked[span]] = shard.number
        return at

    def write_rows(self, rows: RowFiles) -> None:
        """Write the files with data by row."""
        rows.others = self.others or rows.others
        rows.write(self.folder)
        if self.sources is not None:
            self.folder.write(self.folder.places, self.sources.to_bytes())

    def store(self, there: Callable[[], JobRecord | None] = lambda: None) -> JobRecord:
        """Record the job in one transaction; return it, or the job that makes it redundant.

        there: finds such a job. Raises StaleError where the dedup scope has jobs that were not known.
        """
        if self.existing is not None:
            return self.existing
        check_kept(self.folder)
        write_manifest(self.folder, self.record, self.shards)
        try:
            return self.ledger.plan(
                self.record,
                self.shards,
                lambda: self.ledger.folders.keep(self.folder, self.id),
                there=lambda: there() or self._unless_stale(),
            )
        except LedgerError:  # nothing was recorded
            self.ledger.folders.drop(self.id)
            raise

    def _unless_stale(self) -> JobRecord | None:
        if self.known is not None and self.ledger.has_new(self.record.space, self.known):
            raise StaleError
        return None

    def take_up(self) -> bool:
        """Record a job that was found at its provider; False where another process was first."""
        return self.ledger.take_up(
            self.record, self.shards, lambda: self.ledger.folders.adopt(self.folder, self.id)
        )


@contextlib.contextmanager
def job_draft(ledger: Ledger, job: str | None = None, *, built: bool = False) -> Iterator[JobDraft]:
    """A draft on disk, with a new id without `job`; on exit it is deleted unless it was stored.

    built: its files are moved elsewhere, to be submitted later.
    """
    job = job or "jb" + "".join(secrets.choice(ID_CHARS) for _ in range(10))
    ledger.sweep()
    with ledger.folders.drafted(job, built=built) as folder:
        yield JobDraft(ledger, job, folder)


def limit_costs(drafts: Sequence[JobDraft], *, hint: str = "") -> None:
    """Give the drafts of one call their shares of its max_cost.

    Raises OptionError where their estimates are above it or unknown. hint: appended to the message.
    """
    priced = [
        Priced(draft.record, draft.shards if draft.existing is None else [], draft.folder)
        for draft in drafts
    ]
    if not drafts:
        return
    for draft, record in zip(drafts, all_within(drafts[0].ledger, priced, hint=hint), strict=True):
        draft.record = record
