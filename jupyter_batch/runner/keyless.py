"""Cancel of a job for which this process has no key: its batches that were never sent are ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from jupyter_batch.core.status import Step
from jupyter_batch.providers.table import facts_of
from jupyter_batch.runner.step import Mover

if TYPE_CHECKING:
    from jupyter_batch.ledger.records import JobRecord
    from jupyter_batch.ledger.store import Ledger
    from jupyter_batch.providers.protocol import Facts, Provider


class _Unreachable(NamedTuple):
    """A provider that can't be called; only its facts are known."""

    facts: Facts


async def cancel_unsent(
    ledger: Ledger, job: JobRecord, holder: str, clock: Callable[[], float]
) -> bool:
    """End the unsent batches of a cancelled job. Whether all of the job's batches are over then.

    The caller holds the job's lease.
    """
    provider = cast("Provider", _Unreachable(facts_of(job.provider, job.api_base)))
    mover = Mover(ledger, provider, job, holder, clock=clock)
    for shard in ledger.shards(job.id):
        if shard.step in (Step.PLANNED, Step.WAITING):
            await mover.advance(shard)
    return all(shard.step is Step.COLLECTED for shard in ledger.shards(job.id))
