"""Row costs of a job, in arrays by position, from the results and the job's stored price."""

from __future__ import annotations

from array import array
from itertools import compress

from jupyter_batch.core.cost import UNKNOWN, Bill, bill, pricer
from jupyter_batch.core.result import Result, Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.ledger.records import JobRecord, ShardRecord

UNSURE = (
    "cancelled before it was known whether the batch was created: the provider's list of batches does not show it, or "
    "can't be read; look there before it is sent again (job.retry() sends it)"
)
"""The message about a cancelled shard whose batch may exist all the same."""
_NEVER_ASKED = (Status.EXPIRED, Status.CANCELLED)
"""Providers bill answers alone, and these rows never reached the model."""


class Costs:
    """US dollars by row: `paid`, and, if asked for, `live`: in realtime; NaN where unknown.

    A row without a request of its own costs nothing: left out, a duplicate, or answered before.
    """

    def __init__(self, rows: int, job: JobRecord | None, *, live: bool = False) -> None:
        self.price = price = job.price if job is not None else None
        self.paid = array("d", [UNKNOWN]) * rows
        self.live = array("d", [UNKNOWN]) * rows if live else None
        self._paid = pricer(price.paid(job.mode) if price is not None and job is not None else None)
        self._live = pricer(price.standard if price is not None else None)

    def take(self, at: int, result: Result, usage: Usage | None) -> None:
        """Add a result that this job paid for; usage: as the provider reported it, if plausible."""
        if usage is not None:
            self.paid[at] = self._paid(usage)
            if self.live is not None:
                self.live[at] = self._live(usage)
        elif result.unbilled or result.status in _NEVER_ASKED:
            self.free(at)
        else:
            self.paid[at] = UNKNOWN  # a failure may have been stored here before
            if self.live is not None:
                self.live[at] = UNKNOWN

    def free(self, at: int) -> None:
        """Record that the row had no request in this job."""
        self.paid[at] = 0.0
        if self.live is not None:
            self.live[at] = 0.0

    def bill(self, asked: bytearray) -> Bill:
        """The bill for the rows whose flag in `asked` is set."""
        return bill(
            compress(self.paid, asked),
            [UNKNOWN] if self.live is None else compress(self.live, asked),
        )


def silence_is_free(shard: ShardRecord, told_of: int) -> bool:
    """Whether a request without a result line was certainly not billed.

    told_of: answers received. Not certain where the batch was completed, nor where the provider
    counts more answers.
    """
    return shard.ending is not State.COMPLETED and shard.completed <= told_of and not shard.unsure
