"""The data of `job.plot()`, as plain values. Pure.

Times are seconds since the epoch. Texts are clean: a single line, no control characters, cut to a
length. Unknown values are None, never 0. The size is bounded, however many rows, batches and polls
there were.
"""

from __future__ import annotations

import msgspec

from jupyter_batch.core.cost import Bill, money
from jupyter_batch.core.history import Points

NOTHING = "nothing is here yet"
GIVEN = "needed no request"
"""The name of the rows that were reused, skipped, or could not be sent."""
WAITING, THERE, FETCHING = "waiting", "at the provider", "to be fetched"
"""The stages of a batch: not sent; sent, and not ended; ended, and its results not fetched."""


class Line(msgspec.Struct, frozen=True):
    """Rows done over time in a job: from its plan to its end, or to now."""

    name: str
    points: Points


class Band(msgspec.Struct, frozen=True):
    """A batch's share of the rows done: `rows` at each of the Graph's `moments`."""

    name: str
    rows: tuple[int, ...]


class Stage(msgspec.Struct, frozen=True):
    """A stage of a batch, with its times."""

    kind: str
    begin: float
    end: float


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. seconds: from sent to ended, or to now; None if it was not sent. is_over: it has ended.

    words: its state.
    """

    name: str
    stages: tuple[Stage, ...]
    seconds: float | None
    is_over: bool
    colour: str
    words: str


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and cost of a model. bill: None before the first results."""

    model: str
    tokens_in: int | None
    tokens_out: int | None
    bill: Bill | None

    @property
    def tokens(self) -> str:
        """The tokens in words."""
        if self.tokens_in is None or self.tokens_out is None:
            return "not known" if self.bill is not None else NOTHING
        return f"{self.tokens_in:,} in, {self.tokens_out:,} out"

    @property
    def cost(self) -> float | None:
        """US dollars known to be paid; None where none are."""
        return (
            self.bill.known
            if self.bill is not None and (self.bill.known or not self.bill.unknown)
            else None
        )

    @property
    def saved(self) -> float | None:
        """US dollars that real time would have cost in addition; None if unknown or zero."""
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
    """A figure. colour: of the job's state (style.PALETTE).

    begin, end: of the time axis. moments, bands: rows done by batch, the first band those that
    needed none; () with several jobs, a single batch, or too many. ahead: extrapolation from the
    last point. left_out: the number of batches missing in `batches`, which are the slowest then.
    latency: in words, or "". words: the alternative text of the figure.
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
        """The title over the batches, with their latency from sent to ended."""
        some = (
            f"the {len(self.batches)} slowest of {len(self.batches) + self.left_out:,}"
            if self.left_out
            else ""
        )
        caption = ", ".join(part for part in (self.latency, some) if part)
        return f"Batches, from sent to over: {caption}" if caption else "Batches"

    @property
    def costs_title(self) -> str:
        """The title over the costs: of several models, with the sum if each is known."""
        known = [
            one.cost
            for one in self.spent
            if one.cost is not None and not (one.bill and one.bill.unknown)
        ]
        several = len(self.spent) > 1 and len(known) == len(self.spent)
        return f"Cost: {money(sum(known))} in all" if several else "Cost"
