"""What `job.plot()` draws, as plain values: both drawings (altair, matplotlib) are made of the same. Pure.

Times are seconds since the epoch. All text in it is clean: one line, no controls, cut to a length. What is not known is
None, never 0. Its size is bounded, however many rows, batches and looks at the provider there were.
"""

from __future__ import annotations

import msgspec

from jupyter_batch.core.cost import Bill, money
from jupyter_batch.core.history import Points

NOTHING = "nothing is here yet"
GIVEN = "needed no request"
"""The rows that were reused, skipped, or could not be sent."""
WAITING, THERE, FETCHING = "waiting", "at the provider", "to be fetched"
"""The stages of a batch: not sent yet; sent, and not over; over, and its answers not here yet."""


class Line(msgspec.Struct, frozen=True):
    """Rows done over time of one job: from its plan to its end, or to now."""

    name: str
    points: Points


class Band(msgspec.Struct, frozen=True):
    """The share of one batch in the rows done: `rows` at each of the Graph's `moments`."""

    name: str
    rows: tuple[int, ...]


class Stage(msgspec.Struct, frozen=True):
    """Of a batch: where it was, from when to when."""

    kind: str
    begin: float
    end: float


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch on its way. seconds: from sent to over, or to now; None where it was not sent. words: how it stands."""

    name: str
    stages: tuple[Stage, ...]
    seconds: float | None
    colour: str
    words: str
    id: str = ""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and cost of one model. bill: None where nothing was collected yet."""

    model: str
    tokens_in: int | None
    tokens_out: int | None
    bill: Bill | None

    @property
    def tokens(self) -> str:
        """In words."""
        if self.tokens_in is None or self.tokens_out is None:
            return "not known" if self.bill is not None else NOTHING
        return f"{self.tokens_in:,} in, {self.tokens_out:,} out"

    @property
    def cost(self) -> float | None:
        """US dollars that are known to be paid; None where none are."""
        return (
            self.bill.known
            if self.bill is not None and (self.bill.known or not self.bill.unknown)
            else None
        )

    @property
    def saved(self) -> float | None:
        """US dollars that real time would have cost on top; None where that can't be told, or is nothing."""
        saved = None if self.bill is None else self.bill.saved
        return saved if saved and saved > 0 else None

    @property
    def price(self) -> str:
        """The cost in words."""
        if self.bill is None:
            return NOTHING
        if self.cost is None:
            return "not known"
        if self.bill.unknown:
            return f"at least {money(self.cost)}, not known for {self.bill.unknown:,}"
        return money(self.cost) + (f", saved {money(self.saved)}" if self.saved else "")


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. colour: the job's state's (style.PALETTE).

    begin, end: what the time axis shows. moments, bands: rows done by batch, the first band those that needed none;
    () where there are several jobs, one batch, or too many. ahead: where the pace leads to, from the last point on.
    left_out: batches that are not among `batches`, which are the slowest then. latency: in words, "" where nothing is
    to be told. words: the whole figure for who can't see it.
    """

    title: str
    subtitle: tuple[str, ...]
    colour: str
    begin: float
    end: float
    total: int
    lines: tuple[Line, ...]
    moments: tuple[float, ...] = ()
    bands: tuple[Band, ...] = ()
    ahead: Points = ()
    batches: tuple[Batch, ...] = ()
    left_out: int = 0
    latency: str = ""
    spent: tuple[Spent, ...] = ()
    words: str = ""

    @property
    def batches_title(self) -> str:
        """Over the batches: how long they took from sent to over."""
        some = (
            f"the {len(self.batches)} slowest of {len(self.batches) + self.left_out:,}"
            if self.left_out
            else ""
        )
        said = ", ".join(part for part in (self.latency, some) if part)
        return f"Batches, from sent to over: {said}" if said else "Batches"

    @property
    def costs_title(self) -> str:
        """Over the costs: of several models, the sum where each is known."""
        known = [
            one.cost
            for one in self.spent
            if one.cost is not None and not (one.bill and one.bill.unknown)
        ]
        several = len(self.spent) > 1 and len(known) == len(self.spent)
        return f"Cost: {money(sum(known))} in all" if several else "Cost"
