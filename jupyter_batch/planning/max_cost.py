"""Enforcement of max_cost, by the estimate when planning and by the real cost between batches.

A job with a higher estimate is not planned; a job with higher costs sends no further batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.cost import money
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.status import Step
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.estimate import (
    Count,
    Estimate,
    at_most,
    counter,
    estimated,
    is_free,
    usual_answer,
)

ROUNDING = 1e-9


class Priced(NamedTuple):
    """A job to estimate: its record, the shards to be sent, and the folder of their files."""

    record: JobRecord
    shards: list[ShardRecord]
    folder: JobFolder


def all_within(ledger: Ledger, drafts: Sequence[Priced], *, hint: str = "") -> list[JobRecord]:
    """Return the jobs of one call with their limits: max_cost is for their sum, each gets a share.

    Shares are proportional to the estimates, so that each job can stop by itself where its real
    cost is higher. Raises OptionError where the sum is above max_cost or unknown.
    """
    kept = [draft.record for draft in drafts]
    limited = {
        at: draft
        for at, draft in enumerate(drafts)
        if draft.record.max_cost is not None and not is_free(draft.record)
    }
    paying = _where(limited, lambda shard: not shard.joins)
    # Rows that another job pays for, if it answers them.
    waiting = _where(limited, lambda shard: bool(shard.joins))
    for draft in (*paying.values(), *waiting.values()):
        _check_price(draft.record)
    # max_cost is the same for all jobs of a call.
    limit = max((draft.record.max_cost or 0.0 for draft in paying.values()), default=0.0)
    made = _estimates(ledger, paying, lambda _: at_most)
    if _sum(made) > limit:  # at_most is an upper bound: counted with litellm it is lower
        made = _estimates(ledger, paying, lambda record: counter(record.body_model, load_litellm))
    if _sum(made) > limit + ROUNDING:
        raise OptionError(
            _above(limit, {paying[at].record.model: one for at, one in made.items()}) + hint
        )
    for at, share in _shares(limit, made).items():
        kept[at] = msgspec.structs.replace(kept[at], most=made[at].cost.high, max_cost=share)
    for at, draft in waiting.items():
        more = estimated(*draft, counter(draft.record.body_model, load_litellm)).cost.high or 0.0
        kept[at] = msgspec.structs.replace(kept[at], most=(kept[at].most or 0.0) + more)
    return kept


def _check_price(record: JobRecord) -> None:
    """Raise OptionError for a job with max_cost whose price is not known."""
    if record.tariff is None:
        raise OptionError(
            f"max_cost={record.max_cost:g}: what {record.model} costs is not known, so nothing was sent; give its "
            f'price, in US dollars per million tokens: prices={{"{record.model}": {{"input": ..., "output": '
            "...}}, or once for all calls with %config LLMBatch.prices"
        )


def _shares(limit: float, made: Mapping[int, Estimate]) -> dict[int, float]:
    """The share of max_cost for each job: proportional to its estimate, equal where all are 0."""
    whole = _sum(made)
    if len(made) == 1 or not whole:
        return dict.fromkeys(made, limit / max(1, len(made)))
    return {at: limit * (one.expected or 0.0) / whole for at, one in made.items()}


def _where(
    drafts: Mapping[int, Priced], wanted: Callable[[ShardRecord], bool]
) -> dict[int, Priced]:
    """The drafts that have wanted shards, with these shards only."""
    found = {
        at: draft._replace(shards=[shard for shard in draft.shards if wanted(shard)])
        for at, draft in drafts.items()
    }
    return {at: draft for at, draft in found.items() if draft.shards}


def _estimates(
    ledger: Ledger, paying: Mapping[int, Priced], count: Callable[[JobRecord], Count]
) -> dict[int, Estimate]:
    return {
        at: estimated(*draft, count(draft.record), usual=usual_answer(ledger, draft.record))
        for at, draft in paying.items()
    }


def _sum(made: Mapping[Any, Estimate]) -> float:
    """The US dollars compared with max_cost; infinite where one of them is not known."""
    return math.fsum(math.inf if one.expected is None else one.expected for one in made.values())


def left_of(job: JobRecord, shards: list[ShardRecord]) -> float | None:
    """US dollars left of a job's max_cost, with unknown costs at their maximum."""
    return None if job.max_cost is None else max(0.0, job.max_cost - spent(job, shards))


def spent(job: JobRecord, shards: list[ShardRecord], *, of_open: bool = True) -> float:
    """US dollars spent by a job, unknown costs at their maximum.

    of_open: include uncollected shards.
    """
    total = sum(shard.bytes for shard in shards) or 1
    return sum(
        spent_on(shard, share_of(job, shard, total))
        for shard in shards
        if of_open or shard.step is Step.COLLECTED
    )


def _above(limit: float, made: Mapping[str, Estimate]) -> str:
    """The message with the estimate; for several models, each and the sum."""
    whole, first = _sum(made), next(iter(made.values()))
    if len(made) == 1:
        cost = _likely(first) if first.expected is not None else "what it may cost is not known"
        cost = f"{first.requests:,} requests with {first.tokens} tokens of input; {cost}"
    else:
        each = "; ".join(
            f"{model}: {_likely(one)}" for model, one in made.items() if one.expected is not None
        )
        together = (
            f"{money(whole)} together" if math.isfinite(whole) else "together it is not known"
        )
        cost = f"{each}; {together}"
    longest = max(
        one.output.high / one.requests if one.output.high and one.requests else 0
        for one in made.values()
    )
    hint = (
        f", with answers of up to {longest:,.0f} tokens: max_tokens= says how long they may be"
        if longest
        else ""
    )
    return f"max_cost={limit:g}: {cost}{hint}. Nothing was sent"


def _likely(made: Estimate) -> str:
    if made.likely is not None and made.expected == made.likely:
        return f"it is likely to cost {money(made.likely)}, by what earlier answers took"
    return f"it may cost up to {money(made.expected or 0.0)}"


def share_of(job: JobRecord, shard: ShardRecord, total: int) -> float:
    """A shard's share of the job's maximum cost."""
    return 0.0 if shard.joins else (job.most or 0.0) * shard.bytes / total


def spent_on(shard: ShardRecord, share: float) -> float:
    """The known cost of a shard, plus the maximum share of its rows of unknown cost."""
    if shard.bill is None:
        return share
    return shard.bill.known + share * shard.bill.unknown / max(1, shard.requests)
