"""Row costs of a job, in arrays by position, from the results and the job's stored price."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import fsum, isfinite
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jupyter_batch.core.cost import UNKNOWN, Bill, Tariff, linear
from jupyter_batch.core.request import Status
from jupyter_batch.core.status import State
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.prices import OWN
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.results.columns import CODE

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

UNSURE = (
    "cancelled before it was known whether the batch was created: the provider's list of batches does not show it, or "
    "can't be read; look there before it is sent again (job.retry() sends it)"
)
"""The message about a cancelled shard whose batch may exist all the same."""
_MANY = 1000
"""Costs of which an exact sum takes long."""
NEVER_ASKED = tuple(CODE[status] for status in (Status.EXPIRED, Status.CANCELLED))
"""Providers bill answers alone, and these rows never reached the model."""


class Costs:
    """US dollars by row: `paid`, and, if asked for, `live`: in realtime; NaN where unknown.

    A row without a request of its own costs nothing: left out, a duplicate, or answered before.
    """

    def __init__(self, rows: int, job: JobRecord | None, *, live: bool = False) -> None:
        self.price = price = job.price if job is not None else None
        self.paid = array("d", [UNKNOWN]) * rows
        self.live = array("d", [UNKNOWN]) * rows if live else None
        self._job = job
        self._live = price.standard if price is not None else None
        record = None if job is None else RECORDS.get(job.provider)
        own = price is not None and price.source == OWN
        self._names = record is not None and record.names_cost and not own

    def take(
        self,
        at: Array,
        counts: Mapping[str, Any],
        by_tier: Mapping[str | None, Array],
        counted: Array,
        free: Array,
        named: Array | None,
    ) -> None:
        """Set the costs of rows that this job paid for.

        counts: the tokens, by kind, of the rows that are `counted`. by_tier: the flags of those that
        name a service tier. free: nothing was billed, though no tokens are reported.
        named: the costs that the answers of `counted` name, NaN where there is none.
        """
        for held, tiers in ((self.paid, self._tariffs(by_tier)), (self.live, [(self._live, True)])):
            if held is not None:
                known: Any = UNKNOWN
                for tariff, flags in tiers:
                    known = np.where(flags, _priced(tariff, counts), known)
                if named is not None and held is self.paid and self._names:
                    known = np.where(np.isnan(named), known, named)
                costs = np.where(free, 0.0, UNKNOWN)
                costs[counted] = known
                np.frombuffer(held, dtype=np.float64)[at] = costs

    def _tariffs(self, by_tier: Mapping[str | None, Array]) -> list[tuple[Tariff | None, Any]]:
        """The tariffs of the answers, each with the flags of its answers.

        In a batch the tier that an answer names is not what is billed.
        """
        price, job = self.price, self._job
        if price is None or job is None or job.mode == "batch":
            return [(None if job is None else job.tariff, True)]
        return [(price.served(tier, job.asked_tier), flags) for tier, flags in by_tier.items()]

    def free(self, at: Any) -> None:
        """Record that the row, or each of the rows, had no request in this job."""
        for held in (self.paid, self.live):
            if held is not None:
                np.frombuffer(held, dtype=np.float64)[at] = 0.0

    def bill(self, asked: bytearray) -> Bill:
        """The bill for the rows whose flag in `asked` is set."""
        rows = np.frombuffer(asked, dtype=bool)
        live = None if self.live is None else np.frombuffer(self.live, dtype=np.float64)[rows]
        return bill_of(np.frombuffer(self.paid, dtype=np.float64)[rows], live)


def silence_is_free(shard: ShardRecord, answers: int, *, strange: int = 0) -> bool:
    """Whether a request without a result line was certainly not billed.

    told_of: answers received. strange: lines that answer none of the requests. Not certain where
    the batch was completed, nor where the provider counts more answers; of a provider without
    counts, nor where its file of answers was not read whole.
    """
    uncounted = shard.output_file_id and not shard.completed and not shard.failed
    if uncounted and (strange or not answers):
        return False
    return shard.ending is not State.COMPLETED and shard.completed <= answers and not shard.unsure


def _priced(tariff: Tariff | None, counts: Mapping[str, Any]) -> Any:
    """The cost of each request by its tokens, as core.cost.pricer has it for a single one."""
    if tariff is None:
        return UNKNOWN
    usage: Any = SimpleNamespace(**counts)
    costs: Any = linear(tariff.rates, _part)(usage)
    for tier in tariff.tiers:
        least = tier.above + (not tariff.inclusive)
        costs = np.where(usage.input_tokens >= least, linear(tier.rates, _part)(usage), costs)
    return costs


def bill_of(paid: Array, live: Array | None) -> Bill:
    """The bill of requests from the actual and the realtime cost of each."""
    known = paid[~np.isnan(paid)]
    standard = UNKNOWN if live is None else _sum(live)
    return Bill(
        known=_sum(known),
        unknown=len(paid) - len(known),
        standard=standard if isfinite(standard) else None,
    )


def _sum(costs: Array) -> float:
    """The sum, exact to the last digit or almost so; NaN where one is unknown."""
    if len(costs) < _MANY:
        return fsum(costs.tolist())
    return float(costs.sum(dtype=np.longdouble))


def _part(tokens: Any, rate: float) -> Any:
    return np.where(tokens > 0, tokens * rate, 0.0)
