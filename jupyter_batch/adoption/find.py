"""Search for our batches at a provider that are in no ledger of this machine, by their tags.

Read-only for provider and ledger.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeVar

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.status import State
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.style import AS_TEXT
from jupyter_batch.providers.protocol import TAG, TAG_OF, Listed
from jupyter_batch.providers.shown import aligned, html_table

MOST_ROWS = 50_000_000
"""A tag with more rows, or more shards, is not ours."""

_TAG = re.compile(r"(jb[a-km-np-z2-9]{10})(?:/(\d{1,7}))?")
_OF = re.compile(r"(\d{1,7})/(\d{1,8})(?:x(\d{1,3}))?/(\d{1,8})-(\d{1,8})(?:/([0-9a-f]{32}))?")
_DAY, _HOUR, _MINUTE = 86400.0, 3600.0, 60.0


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of a job that is not in the ledger. number: of its shard; None where unknown.

    shards, rows: of the whole job; None where the batch lacks them. first, last: the positions of
    the rows of its first and its last request. samples: requests for each row of the frame. schema:
    the hash of what counts as an answer (places.space_of); "" for any text.
    """

    batch: BatchView
    job: str
    number: int | None = None
    shards: int | None = None
    rows: int | None = None
    first: int | None = None
    last: int | None = None
    samples: int = 1
    schema: str = ""


_T = TypeVar("_T")


class _Batches(list[_T]):
    """Batches at a provider, displayed as a table. place: the address."""

    head: tuple[str, ...]

    def __init__(self, found: Iterable[_T] = (), *, place: str = "", now: float = 0.0) -> None:
        super().__init__(found)
        self.place = place
        self._now = now

    def __repr__(self) -> str:
        lines = aligned([self.head, *self._cells()]) if self else []
        return "\n".join([*lines, *self._words()])

    def _repr_html_(self) -> str:
        words = "".join(f"<p>{escape(word)}</p>" for word in self._words())
        table = html_table(self.head, self._cells()) if self else ""
        return f'<div class="{AS_TEXT}">{table}{words}</div>'

    def _words(self) -> list[str]:
        return [] if self else [f"No batch at {self.place} is missing from this ledger."]

    @abstractmethod
    def _cells(self) -> list[tuple[str, ...]]:
        """The cells of each batch's row."""


class Orphans(_Batches[Orphan]):
    """Our batches that are missing here. hidden: running batches that have no tag yet."""

    head = ("batch", "job", "part", "state", "requests", "answered", "failed", "age", "endpoint")

    def __init__(
        self, found: Iterable[Orphan] = (), *, place: str = "", hidden: int = 0, now: float = 0.0
    ) -> None:
        super().__init__(found, place=place, now=now)
        self.hidden = hidden

    def jobs(self) -> dict[str, list[Orphan]]:
        """The orphans by job, those with the newest batches first."""
        by_job: dict[str, list[Orphan]] = {}
        for orphan in self:
            by_job.setdefault(orphan.job, []).append(orphan)
        return by_job

    def _words(self) -> list[str]:
        messages = super()._words()
        if self.hidden:
            messages.append(
                f"{self.hidden:,} under way at {self.place} are not known yet: their jobs are shown when "
                "they have ended. Look again then."
            )
        return messages

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (one.batch.id, one.job, _part(one), *_progress(one.batch, self._now)) for one in self
        ]


class RemoteBatches(_Batches[BatchView]):
    """The provider's batches that no job of the ledger has, from any software."""

    head = ("batch", "state", "requests", "answered", "failed", "age", "endpoint")

    def _words(self) -> list[str]:
        return super()._words() or [
            '`jupyter_batch.adopt("ID")` reads one of them; nothing is sent.'
        ]

    def _cells(self) -> list[tuple[str, ...]]:
        return [(view.id, *_progress(view, self._now)) for view in self]


def _progress(batch: BatchView, now: float) -> tuple[str, ...]:
    return (
        batch.status,
        f"{batch.total:,}",
        f"{batch.completed:,}",
        f"{batch.failed:,}",
        _age(batch.created_at, now),
        batch.endpoint or "",
    )


async def orphans(
    ledger: Ledger, provider: Listed, *, place: str, since: float, now: float
) -> Orphans:
    """The provider's batches since then with our tag that are in no job of the ledger.

    Raises ProviderError.
    """
    views = await provider.tagged(since=since)
    known = _Known(ledger)
    found = [orphan for view in views if (orphan := read(view)) is not None and known.lacks(orphan)]
    hidden = sum(not view.tag and view.id not in known.batches for view in views)
    return Orphans(found, place=place, hidden=hidden, now=now)


def read(view: BatchView) -> Orphan | None:
    """The orphan described by a batch's tag; None for a tag that is not ours."""
    tag = _TAG.fullmatch(view.tag.get(TAG, ""))
    if tag is None:
        return None
    number = None if tag[2] is None else int(tag[2])
    of = _OF.fullmatch(view.tag.get(TAG_OF, ""))
    if of is None:
        return Orphan(batch=view, job=tag[1], number=number) if (number or 0) < MOST_ROWS else None
    shards, rows, first, last = (int(of[at]) for at in (1, 2, 4, 5))
    samples = int(of[3] or 1)
    if number is None or not (
        number < shards <= rows <= MOST_ROWS and first <= last < rows and 0 < samples <= rows
    ):
        return None
    return Orphan(
        batch=view,
        job=tag[1],
        number=number,
        shards=shards,
        rows=rows,
        first=first,
        last=last,
        samples=samples,
        schema=of[6] or "",
    )


class _Known:
    """The batches and shards in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.batches: set[str] = set()
        self._missing: dict[
            str, set[int] | None
        ] = {}  # the shards that an adopted job has; None: all are its own
        for job in ledger.jobs():
            shards = ledger.shards(job.id, replaced=True)
            self.batches.update(
                one for shard in shards for one in (shard.batch_id, *shard.refused) if one
            )
            self._missing[job.id] = (
                {s.number for s in shards if not s.absent} if job.adopted else None
            )

    def lacks(self, orphan: Orphan) -> bool:
        if orphan.batch.id in self.batches:
            return False
        if orphan.job not in self._missing:
            return True
        there = self._missing[orphan.job]
        return there is not None and orphan.number not in there and not refused(orphan.batch)


def refused(view: BatchView) -> bool:
    """Whether the provider refused the batch for quota: its sender replaces it by another."""
    return view.ending is State.FAILED and view.quota


def _part(orphan: Orphan) -> str:
    if orphan.number is None:
        return "?"
    return str(orphan.number + 1) + (f" of {orphan.shards}" if orphan.shards else "")


def _age(created_at: float | None, now: float) -> str:
    if created_at is None:
        return "?"
    seconds = max(0.0, now - created_at)
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.0f} days"
    return f"{seconds / _HOUR:.0f} h" if seconds >= 2 * _HOUR else f"{seconds / _MINUTE:.0f} min"


def jobs_of(found: Orphans, wanted: str | None) -> Sequence[tuple[str, list[Orphan]]]:
    """The jobs to adopt: by id (a prefix is enough) or by a batch's id; all for None."""
    by_job = found.jobs()
    if wanted is None:
        return list(by_job.items())
    return [
        (job, group)
        for job, group in by_job.items()
        if job.startswith(wanted) or any(orphan.batch.id == wanted for orphan in group)
    ]
