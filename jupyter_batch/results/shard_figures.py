"""Figures of a fetched shard for the ledger: counts, usage, costs, the most frequent failures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from jupyter_batch.core.request import Status
from jupyter_batch.core.status import Counts
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.results.columns import ANSWERED, CODE, CODES
from jupyter_batch.results.outcomes import Outcomes, read_shard
from jupyter_batch.row_files.row_sources import Places

_REASONS = 5
"""Reasons of a shard's failures that the ledger has, the most frequent ones."""


def of_shard(
    job: JobRecord, shard: ShardRecord, folder: JobFolder, places: Places
) -> dict[str, Any]:
    """The figures of a fetched shard: fields for the ledger."""
    asked = places.asked(shard)
    found = read_shard(job, shard, folder, places, values=False)
    codes, own = np.frombuffer(found.status, dtype=np.uint8), np.frombuffer(asked, dtype=bool)
    copies = places.followers(shard.number)[1] - shard.first
    of_copies = np.where(codes[copies] == ANSWERED, CODE[Status.REUSED], codes[copies])
    tally = np.bincount(np.concatenate([codes[own], of_copies]), minlength=len(CODES))
    note = shard.why
    if found.strange:
        lines = "1 line" if found.strange == 1 else f"{found.strange:,} lines"
        name = folder.output(shard.number).name
        note = f"{lines} without a row of this batch, or twice: kept in {name}"
    return {
        "counts": Counts(**{str(CODES[code]): int(tally[code]) for code in np.flatnonzero(tally)}),
        "usage": found.usage,
        **_reasons(found, asked, copies.tolist()),
        "note": note,
        "bill": found.costs.bill(asked),
        "billed": found.billed,
        "cuts": found.cuts([*np.flatnonzero(own).tolist(), *copies.tolist()]),
    }


def _reasons(found: Outcomes, asked: bytearray, copies: list[int]) -> dict[str, Any]:
    """The most frequent reasons of a shard's failures, each with its first row."""
    own = {row: reason for row, reason in found.reasons.items() if asked[row - found.first]}
    counted = Counter(own.values())
    firsts = {
        reason: row for row, reason in sorted(own.items(), reverse=True)
    }  # the first comes last
    counted.update(
        found.reasons[row] for at in copies if (row := at + found.first) in found.reasons
    )
    common = tuple(counted.most_common(_REASONS))
    examples = tuple((reason, firsts[reason]) for reason, _ in common)
    return {"reasons": common, "examples": examples}
