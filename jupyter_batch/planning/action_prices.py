"""The actions that a job offers, their prices, and its cost as expected while it runs, from the ledger's files.

No tokens are counted: what is expected follows from answered requests, the bound from bytes.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from jupyter_batch.core.cost import Pattern, Price, Range, Spend, Tariff, estimate
from jupyter_batch.core.errors import LedgerError, NothingToRetryError
from jupyter_batch.core.status import Snapshot, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.estimate import (
    Estimate,
    assumed_pattern,
    at_most,
    earlier_pattern,
    estimated,
    pattern_of,
)
from jupyter_batch.providers.table import REALTIME

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array

LARGEST = 256_000_000
"""Bytes of request files; those of a larger job are not read for an upper bound."""


class Prices(NamedTuple):
    """expected, most: US dollars for the whole job; limited: as in Spend; actions: for each that costs money."""

    expected: float | None = None
    most: float | None = None
    limited: bool = True
    actions: tuple[Spend, ...] = ()


class ActionPrices:
    """Reads the request files once for each set of open batches. One per job; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = ""
        self._pattern: Pattern | None = None
        self._of: tuple[object, ...] | None = None
        self._bound: Estimate | None = None
        self._left: tuple[object, tuple[Spend, ...]] = (None, ())

    def look(self, ledger: Ledger, job: JobRecord, shards: list[ShardRecord]) -> Prices:
        """The prices now. Never raises for missing or damaged files: they are unknown then."""
        over = bool(job.finished_at)
        if over and job.inherited:
            return Prices(actions=self._of_left_rows(ledger, job, shards))
        chosen = [one for one in shards if (_lost(one) if over else one.step is not Step.COLLECTED)]
        if not chosen or not all(shard.requests for shard in chosen):
            return Prices()
        with self._lock, contextlib.suppress(LedgerError, OSError, ValueError):
            pattern, bound = self._read(ledger, job, shards, chosen)
            return _prices(job, shards, chosen, pattern, bound)
        return Prices()

    def _of_left_rows(
        self, ledger: Ledger, job: JobRecord, shards: list[ShardRecord]
    ) -> tuple[Spend, ...]:
        """The retry of a job with rows whose requests are not in its batches; read once."""
        from jupyter_batch.planning.files.left_rows import rows_to_send
        from jupyter_batch.row_files.row_columns import places_of

        key = (job.id, sum(map(_lost, shards)))
        if self._left[0] != key:
            spends: tuple[Spend, ...] = ()
            with contextlib.suppress(LedgerError, NothingToRetryError, OSError, ValueError):
                rows = rows_to_send(ledger, job, shards, None, cut_off=False)
                places = places_of(job, shards, ledger.folders.of(job.id)).array[rows]
                spends = (self.retry_of(ledger, job, shards, places),) if len(rows) else ()
            self._left = (key, spends)
        return self._left[1]

    def retry_of(
        self,
        ledger: Ledger,
        job: JobRecord,
        shards: list[ShardRecord],
        places: Array,
        max_tokens: int | None = None,
    ) -> Spend:
        """The price of a retry of some rows. places: the shard of each row's request, or below 0.

        max_tokens: a new limit, since earlier answers were cut off: their usual length says nothing then.
        """
        import numpy as np  # imported here: `jupyter batch list` imports this module, too

        by_number = {shard.number: shard for shard in shards}
        numbers, counts = np.unique(places[places >= 0], return_counts=True)
        chosen = [by_number[int(number)] for number in numbers]
        mean = sum(one.bytes for one in shards) / max(1, sum(one.requests for one in shards))
        size = mean * float((places < 0).sum()) + sum(
            one.bytes / max(1, one.requests) * int(rows)
            for one, rows in zip(chosen, counts, strict=True)
        )
        pattern, bound = None, None
        with self._lock, contextlib.suppress(LedgerError, OSError, ValueError):
            pattern, bound = self._read(
                ledger, job, shards, chosen, others=bool((places < 0).any())
            )
        if max_tokens is not None:
            pattern = None
            if bound is not None:
                bound = msgspec.structs.replace(bound, longest=max_tokens, unlimited=False)
        paid = (job.price or Price()).paid(job.mode)
        return spend("retry", len(places), size, paid, pattern, bound)

    def _read(
        self,
        ledger: Ledger,
        job: JobRecord,
        shards: list[ShardRecord],
        chosen: list[ShardRecord],
        *,
        others: bool = False,
    ) -> tuple[Pattern | None, Estimate | None]:
        """The answers to estimate by, and the bound of the chosen shards. Raises LedgerError.

        others: and of the requests that are not in the job's batches.
        """
        if job.id != self._job:
            self._job, self._of = job.id, None
            self._pattern = earlier_pattern(ledger, job)
        key = (others, *(shard.number for shard in chosen))
        if key != self._of:
            self._of, self._bound = key, None
            folder = ledger.folders.of(job.id)
            files = folder.unsent_files() if others else []
            size = sum(shard.bytes for shard in chosen) + sum(path.stat().st_size for path in files)
            if (chosen or files) and size <= LARGEST:
                self._bound = estimated(job, chosen, folder, at_most, others=files)
        pattern = pattern_of(shards) or self._pattern
        if pattern is None and self._bound is not None:
            pattern = assumed_pattern(self._bound)
        return pattern, self._bound


def _prices(
    job: JobRecord,
    shards: list[ShardRecord],
    chosen: list[ShardRecord],
    pattern: Pattern | None,
    bound: Estimate | None,
) -> Prices:
    price = job.price or Price()
    paid = job.tariff
    if job.finished_at:
        lost = sum(map(_lost, chosen))
        size = sum(shard.bytes * _lost(shard) / shard.requests for shard in chosen)
        return Prices(actions=(spend("retry", lost, size, paid, pattern, bound),))
    # Answers that the provider has and that are not collected are billed, and not in `bill` yet.
    unbilled = [shard for shard in chosen if not shard.joins]
    rest = spend(
        "",
        sum(shard.requests for shard in unbilled),
        sum(shard.bytes for shard in unbilled),
        paid,
        pattern,
        bound,
    )
    finish = spend(
        "finish",
        sum(map(_open, chosen)),
        sum(shard.bytes * _open(shard) / shard.requests for shard in chosen),
        price.standard,
        pattern,
        bound,
    )
    bill = job.bill(shards)
    spent = bill.cost if bill is not None else 0.0
    most = _added(spent, rest.most) if job.most is None else job.most
    actions = (finish,) if job.mode != "realtime" else ()
    return Prices(_added(spent, rest.about), most, rest.limited, actions)


def _added(spent: float | None, more: float | None) -> float | None:
    """A sum of US dollars; None where one of them is unknown."""
    return None if spent is None or more is None else spent + more


def spend(
    action: str,
    requests: int,
    size: float,
    tariff: Tariff | None,
    pattern: Pattern | None,
    bound: Estimate | None,
) -> Spend:
    """The cost of an action on this many of the requests in `bound`, with `size` bytes together."""
    about = None if pattern is None else pattern.cost(tariff, requests, size)
    if bound is None:
        return Spend(action=action, rows=requests, about=about)
    longest = bound.tokens.longest
    tokens = min(bound.tokens.range.high or 0.0, float(longest * requests))
    most = estimate(
        tariff,
        requests,
        input_tokens=Range(0.0, tokens),
        longest_input=longest,
        output_tokens=Range(0.0, float(bound.longest * requests)),
    ).high
    if about is not None and most is not None:
        about = min(about, most)
    return Spend(action=action, rows=requests, about=about, most=most, limited=not bound.unlimited)


def _lost(shard: ShardRecord) -> int:
    counts = shard.row_counts()
    return min(shard.requests, counts.failed + counts.expired + counts.cancelled)


def _open(shard: ShardRecord) -> int:
    """The requests that are not answered yet, as far as the provider reports."""
    return max(0, shard.requests - shard.completed - shard.failed)


def offers(
    job: JobRecord, snapshot: Snapshot, again: Snapshot | None, *, fillable: bool
) -> tuple[str, ...]:
    """The names of the buttons of the actions that are possible now, other than cancelling.

    again: the snapshot of the job that retries this one. fillable: a frame waits for answers, or
    refused them.
    """
    missed = (
        snapshot.counts.failed
        + snapshot.counts.expired
        + snapshot.counts.cancelled
        - job.unsendable
    )
    able = {
        "retry": snapshot.is_complete and missed > 0 if again is None else "retry" in again.offers,
        "finish": job.mode != REALTIME and not snapshot.is_complete and not job.cancel_at,
        "merge": fillable,
    }
    return tuple(name for name, is_so in able.items() if is_so)


def with_prices(snapshot: Snapshot, prices: Prices, offered: tuple[str, ...]) -> Snapshot:
    """The snapshot with the prices of the actions that it offers."""
    return msgspec.structs.replace(
        snapshot,
        expected=prices.expected,
        most=prices.most if prices.most is not None else snapshot.most,
        limited=prices.limited,
        prices=tuple(one for one in prices.actions if one.action in offered),
    )
