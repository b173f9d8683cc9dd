"""Recomputation of a job's cost from its result files, where the user gives a price for it."""

from __future__ import annotations

import msgspec

from jupyter_batch.core.cost import Bill, Price
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.prices import OWN
from jupyter_batch.results.outcomes import of_shard
from jupyter_batch.row_files.row_columns import places_of


def repriced(ledger: Ledger, job: JobRecord, price: Price | None) -> JobRecord:
    """The job with the user's price; any other price leaves the recorded cost unchanged."""
    if price is None or price.source != OWN or price == job.price:
        return job
    job = msgspec.structs.replace(job, price=price)
    shards, folder = ledger.shards(job.id), ledger.folders.of(job.id)
    places = places_of(job, shards, folder)
    bills: dict[int, Bill] = {}
    for shard in shards:
        if shard.step is Step.COLLECTED:
            fields = of_shard(job, shard, folder, places)
            bills[shard.number] = fields["bill"]
    ledger.reprice(job.id, price, bills)
    return job
