"""Planning of a call's jobs, one for each model: all are drafted before the first is stored.

max_cost is checked for all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.kept_columns import keep_more
from jupyter_batch.merging.rendered import Rendered
from jupyter_batch.planning.max_cost import Draft, all_within
from jupyter_batch.planning.plan import StaleError, drafted, keep, plan_rows
from jupyter_batch.planning.reprice import repriced
from jupyter_batch.planning.resolve import Order
from jupyter_batch.providers.table import BATCH

if TYPE_CHECKING:
    import pandas as pd


class Planned(NamedTuple):
    """A job, the frame to fill (None: there is none), and that frame's rendered rows."""

    record: JobRecord
    frame: pd.DataFrame | None
    rendered: Rendered | None


def plan_all(ledger: Ledger, orders: Sequence[Order], now: float) -> list[Planned]:
    """Return the job of each order.

    Raises InputError where no row of a job can be sent, or the estimates together are above
    `max_cost`; none of them is stored then.
    """
    records = []
    with ExitStack() as stack:
        made = [
            stack.enter_context(drafted(ledger, one.ask, one.rows, now=now, reuse=one.reuse))
            for one in orders
        ]
        drafts = [
            Draft(one.record, one.shards if one.there is None else [], one.draft) for one in made
        ]
        for asked, one, record in zip(orders, made, all_within(ledger, drafts), strict=True):
            if one.there is not None:
                records.append((one.there, one.rendered))
                continue
            try:
                kept = keep(ledger, one.draft, record, one.shards, there=one.same)
                records.append((kept, one.rendered))
            except StaleError:  # another kernel planned some of it: plan again, with its share
                ask = msgspec.structs.replace(asked.ask, max_cost=record.max_cost)
                records.append(plan_rows(ledger, ask, asked.rows, now=now, reuse=asked.reuse))
    return [
        Planned(
            _taken_up(ledger, record, asked, now),
            asked.rows if asked.ask.framed else None,
            rendered,
        )
        for asked, (record, rendered) in zip(orders, records, strict=True)
    ]


def _taken_up(ledger: Ledger, record: JobRecord, asked: Order, now: float) -> JobRecord:
    """Set a job's price, deadline and further columns to fill, which may differ by call."""
    record = repriced(ledger, record, asked.ask.price)
    record = _hastened(ledger, record, asked.ask.deadline, now)
    return keep_more(ledger, record, asked.ask.keep)


def _hastened(ledger: Ledger, record: JobRecord, seconds: float | None, now: float) -> JobRecord:
    """Set the deadline of a job in progress, counted from now, where that is earlier.

    Only a deadline that is new in the call changes it; running the same cell again does not.
    """
    due = now + (seconds or 0.0)
    if not seconds or record.finished_at or record.mode != BATCH or 0 < record.deadline <= due:
        return record
    ledger.amend(record.id, deadline=due, overdue="")
    return msgspec.structs.replace(record, deadline=due, overdue="")
