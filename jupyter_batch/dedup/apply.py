"""Drafted jobs after deduplication: existing answers are taken, the remaining requests packed.

Works on the draft's files and on arrays by row position; match.py decides which answers can be
reused.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from jupyter_batch.core.request import Limits
from jupyter_batch.dedup.match import (
    ANSWERED,
    FOLLOWS,
    JOINS,
    LEFT_OUT,
    OWN,
    Reuse,
    Waits,
    decide,
    places_array,
)
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.row_files.answer_files import link
from jupyter_batch.row_files.request_files import (
    PART_BYTES,
    Blocks,
    Lines,
    filled,
    sync,
    write_requests,
)
from jupyter_batch.row_files.request_hashes import further_kinds, rehashed
from jupyter_batch.row_files.row_sources import NOWHERE, Places
from jupyter_batch.wire.openai import whole_lines

if TYPE_CHECKING:
    from jupyter_batch.frames.row_keys import KnownRows
    from jupyter_batch.row_files.request_hashes import Array


class Arranged(NamedTuple):
    """A deduplicated job. hashes: of the requests that it has itself. others: of other kinds.

    sources: the row sources; None where each shard has all requests between its first and last.
    """

    record: JobRecord
    shards: list[ShardRecord]
    hashes: Array
    others: dict[str, Array]
    sources: Places | None


def arrange(
    ledger: Ledger,
    draft: JobFolder,
    record: JobRecord,
    shards: list[ShardRecord],
    limits: Limits,
    hashes: Array,
    *,
    waits: Waits = lambda _: True,
    failures: bool = True,
    others: Mapping[str, list[Array]] | None = None,
    known: KnownRows | None = None,
    aside: Array | None = None,
    is_sifted: bool = False,
) -> Arranged | None:
    """Return the job with existing answers, and requests only for the remaining rows.

    Rewrites the draft's request files accordingly, unless they are as `aside` expected. waits:
    whether to wait for a shard of another job that is in progress. failures: do not send requests
    again whose earlier answers were billed but unusable. others: the request hashes of each other
    kind that jobs of the scope have, and those of the requests as sent where they differ; else they
    are made from the request lines. known: rows that have no line in the draft, since an
    earlier job answered them; None is returned where no job has the answer of one. aside: flags of
    rows whose lines are in the draft's file `aside`, if there is one. is_sifted: no two rows have the
    same request.
    """
    if others is None:
        others = _rehashed(ledger, draft, record, shards, hashes)
    reuse = decide(
        ledger, record, hashes, draft, waits, failures, others, known, is_sifted=is_sifted
    )
    drafted = reuse.whose != LEFT_OUT
    if known is not None:
        if not np.isin(reuse.whose[known.flags], (ANSWERED, FOLLOWS)).all():
            return None
        drafted &= ~known.flags
    if reuse.plain and aside is None:
        sync(draft.requests(shard.number) for shard in shards)
        made = filled(draft, record.id, shards, limits)
        further = {kind: arrays[0] for kind, arrays in others.items()}
        return Arranged(record, made, hashes, further, None)
    is_others = np.isin(reuse.whose, (FOLLOWS, LEFT_OUT))[:, None]
    own = np.where(is_others, 0, hashes)
    further = {kind: np.where(is_others, 0, arrays[0]) for kind, arrays in others.items()}
    # Shards waited for may fail; a retry then sends their requests from the lines of all rows.
    keep = bool(record.tools or reuse.inherited or reuse.joins)
    lines = _Drafted(draft, record.id, shards, drafted, aside)
    made, places = _packed(lines, reuse, limits, keep=keep)
    record = msgspec.structs.replace(
        record,
        reused=reuse.reused,
        inherited=reuse.inherited,
        cuts=reuse.cuts,
        finished_at=0.0 if made else record.created_at,  # nothing is sent
    )
    return Arranged(record, made, own, further, None if reuse.plain else Places(places))


def _rehashed(
    ledger: Ledger, draft: JobFolder, record: JobRecord, shards: list[ShardRecord], hashes: Array
) -> dict[str, list[Array]]:
    """The request hashes of the other kinds of the scope's jobs, from the draft's lines."""
    kinds = further_kinds(ledger, record.space, record.hashing)
    paths = [draft.requests(shard.number) for shard in shards] if kinds else []
    paths = [draft.asked] if draft.asked.exists() else paths
    return {kind: [rehashed(record, paths, hashes, kind)] for kind in kinds}


class _Drafted(NamedTuple):
    """The request lines of a draft. rows: flags of those that have one. aside: as for `arrange`."""

    folder: JobFolder
    job: str
    shards: list[ShardRecord]
    rows: Array
    aside: Array | None

    def as_expected(self, own: Array) -> bool:
        """Whether the request files have the lines of just these rows."""
        return self.aside is not None and bool((self.rows & ~self.aside == own).all())

    def chosen(self, paths: list[Path], wanted: Array) -> Iterable[tuple[int, bytes]] | Blocks:
        """The lines of these rows, in order. paths: the request files."""
        if self.aside is None:
            return _Chosen(paths, np.flatnonzero(self.rows), wanted)
        own = _Chosen(paths, np.flatnonzero(self.rows & ~self.aside), wanted)
        others = _Chosen([self.folder.aside], np.flatnonzero(self.rows & self.aside), wanted)
        if not (wanted & self.rows & ~self.aside).any():
            return others
        each = (itertools.chain.from_iterable(map(Lines.each, one)) for one in (own, others))
        return heapq.merge(*each, key=itemgetter(0))


def _packed(
    lines: _Drafted, reuse: Reuse, limits: Limits, *, keep: bool
) -> tuple[list[ShardRecord], Array]:
    """Write the request files; return the shards to send or wait for, and the row sources.

    keep: store all lines of the draft too; tool calls and retries start from them, whichever job
    sent the row.
    """
    draft, own = lines.folder, reuse.whose == OWN
    drafted = [draft.requests(shard.number) for shard in lines.shards]
    made: list[ShardRecord] = []
    shard_of = np.full(len(reuse.whose), NOWHERE, dtype=np.int64)
    if is_done := lines.as_expected(own):
        sync(drafted)
        made = filled(draft, lines.job, lines.shards, limits)
        drafted = [draft.requests(shard.number) for shard in made]
        for shard in made:
            _place(shard_of, shard, own)
    else:
        drafted = [path.rename(draft.every(at)) for at, path in enumerate(drafted)]
    for kind in (*([] if is_done else [OWN]), *range(JOINS, JOINS + len(reuse.joins))):
        wanted = reuse.whose == kind
        if not wanted.any():
            continue
        # A shard that is waited for is sent only if the other job fails, so it may be small.
        within = limits if kind == OWN else msgspec.structs.replace(limits, minimum=1)
        joins = "" if kind == OWN else reuse.joins[kind - JOINS].job
        some = lines.chosen(drafted, wanted)
        for shard in write_requests(draft, lines.job, some, within, len(made)):
            _place(shard_of, shard, wanted)
            made.append(msgspec.structs.replace(shard, joins=joins))
    _keep(draft, drafted, are_sent=is_done, keep=keep)
    places = places_array(reuse, shard_of)
    followed = places[
        -2 - places[places < NOWHERE]
    ]  # the shard, if any, of each row that has duplicates
    counted = np.bincount(followed[followed >= 0], minlength=len(made)).tolist()
    return [
        msgspec.structs.replace(shard, followers=counted[shard.number]) for shard in made
    ], places


def _place(shard_of: Array, shard: ShardRecord, wanted: Array) -> None:
    """Set the shard of its rows. wanted: flags of those that it has, and maybe of others."""
    span = slice(shard.first, shard.last + 1)
    shard_of[span][wanted[span]] = shard.number


def _keep(draft: JobFolder, drafted: list[Path], *, are_sent: bool, keep: bool) -> None:
    """Store the lines of all rows, or remove those that are not sent. are_sent: `drafted` are."""
    every = [draft.every(at) for at in range(len(drafted))]
    if not keep:
        for path in (draft.aside, *([] if are_sent else drafted)):
            path.unlink(missing_ok=True)
        return
    if are_sent:
        for path, target in zip(drafted, every, strict=True):
            link(path, target)
    if draft.aside.exists():
        every.append(draft.aside.rename(draft.every(len(every))))
    sync(every)


class _Chosen(Blocks):
    """The lines of drafted request files whose rows are wanted, in blocks.

    asked: the row of each line. wanted: a flag for each row of the job.
    """

    def __init__(self, paths: list[Path], asked: Array, wanted: Array) -> None:
        self._paths, self._asked, self._wanted = paths, asked, wanted

    def __iter__(self) -> Iterator[Lines]:
        done = 0
        for path in self._paths:
            with path.open("rb") as file:
                for block in whole_lines(iter(lambda: file.read(PART_BYTES), b""), PART_BYTES):
                    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
                    rows = self._asked[done : done + len(ends)]
                    done += len(ends)
                    if self._wanted[rows].any():
                        lines = Lines(rows.tolist(), block, np.append(0, ends))
                        yield lines.where(self._wanted[rows])
        if done != len(self._asked):
            raise ValueError(f"the draft has {done} request lines, not {len(self._asked)}")
