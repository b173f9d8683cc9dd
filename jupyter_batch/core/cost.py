"""What a job costs: an estimate before, the real sum after, out of a Price that is given as data. Pure.

Unknown is None, or NaN where floats are in an array; it is never 0. It knows no provider, and not where a price comes
from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec

from jupyter_batch.core.result import Usage

UNKNOWN = math.nan
"""A cost that is not known, where costs are floats in an array."""

Pricer = Callable[[Usage], float]
"""Usage of one request -> US dollars, or UNKNOWN."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars a token, by its kind. None: not known, and so is the cost of a request that has such tokens.

    input: tokens that none of the other kinds of input counts. cached: read from the provider's cache. cache_write:
    written to it; cache_write_1h: those of them that are kept for an hour. output: tokens that none of the other kinds
    of output counts.
    """

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    input_audio: float | None = None
    input_image: float | None = None
    output_audio: float | None = None
    output_image: float | None = None
    cache_write_1h: float | None = None

    def filled(self) -> Rates:
        """With the plain rate for each kind of token that has none of its own, as providers bill them."""
        plain = {name: self.output if name in _OUTPUT else self.input for name in _INPUT + _OUTPUT}
        if self.cache_write is not None:
            plain["cache_write_1h"] = self.cache_write
        return Rates(
            input=self.input,
            output=self.output,
            **{
                name: rate if getattr(self, name) is None else getattr(self, name)
                for name, rate in plain.items()
            },
        )


_INPUT = ("cached", "cache_write", "input_audio", "input_image", "cache_write_1h")
_OUTPUT = ("reasoning", "output_audio", "output_image")
KINDS: tuple[str, ...] = Rates.__struct_fields__
"""The kinds of tokens that have a price."""


class Tier(msgspec.Struct, frozen=True):
    """The rates of a whole request whose input has more than `above` tokens (or as many, where that is `inclusive`)."""

    above: int
    rates: Rates


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """The rates, and those of long requests; the tiers in rising order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    inclusive: bool = False

    def at(self, input_tokens: float) -> Rates:
        """The rates of a request with so many tokens of input."""
        found = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above or (self.inclusive and input_tokens == tier.above):
                found = tier.rates
        return found


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's tokens cost in a batch and in real time, fixed when a job is submitted and kept with it.

    batch, standard: None where not known. source: in a few words, where it comes from. longest: the most tokens that
    the model gives in one answer, where known: without max_tokens an estimate is bounded by it. It is about tokens:
    what a provider asks for searches and the like is not in it.
    """

    batch: Tariff | None = None
    standard: Tariff | None = None
    source: str = ""
    longest: int | None = None

    def paid(self, mode: str) -> Tariff | None:
        """What a job of this mode ("batch" or "realtime") pays."""
        return self.batch if mode == "batch" else self.standard


FREE = Tariff(rates=Rates(**dict.fromkeys(KINDS, 0.0)))
"""A model on one's own machine."""


# -- after -------------------------------------------------------------------------------------------------------------


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid for some requests, in US dollars.

    known: the sum of all costs that are known. unknown: requests whose cost is not. standard: what the same tokens
    would have cost in real time; None where that is not known.
    """

    known: float = 0.0
    unknown: int = 0
    standard: float | None = 0.0

    @property
    def cost(self) -> float | None:
        """The whole; None where any part of it is unknown."""
        return None if self.unknown else self.known

    @property
    def saved(self) -> float | None:
        """Against real time; None where it can't be told."""
        return None if self.unknown or self.standard is None else self.standard - self.known

    def __add__(self, other: Bill) -> Bill:
        both = self.standard is not None and other.standard is not None
        return Bill(
            known=self.known + other.known,
            unknown=self.unknown + other.unknown,
            standard=(self.standard or 0.0) + (other.standard or 0.0) if both else None,
        )


def bill(costs: Iterable[float], standard: Iterable[float]) -> Bill:
    """The bill of requests out of what each cost, and would have cost in real time."""
    there = list(costs)
    known = [cost for cost in there if cost == cost]  # noqa: PLR0124 - NaN is not itself: unknown
    live = math.fsum(standard)
    return Bill(
        known=math.fsum(known),
        unknown=len(there) - len(known),
        standard=live if math.isfinite(live) else None,
    )


def actual(tariff: Tariff | None, usage: Usage | None) -> float | None:
    """What one request cost; None where its price or its usage is not known."""
    cost = UNKNOWN if usage is None else pricer(tariff)(usage)
    return None if math.isnan(cost) else cost


def pricer(tariff: Tariff | None) -> Pricer:
    """Made once for a job, asked for each of its requests."""
    if tariff is None:
        return _unknown
    flat = _linear(tariff.rates)
    if not tariff.tiers:
        return flat
    step = 0 if tariff.inclusive else 1
    tiers = [(tier.above + step, _linear(tier.rates)) for tier in reversed(tariff.tiers)]

    def tiered(usage: Usage) -> float:
        for least, price in tiers:
            if usage.input_tokens >= least:
                return price(usage)
        return flat(usage)

    return tiered


def _unknown(usage: Usage) -> float:  # noqa: ARG001 - a Pricer
    return UNKNOWN


def _linear(rates: Rates) -> Pricer:
    """Kinds of tokens are parts of the whole: what has its own rate is taken out. Run for each row: it is unrolled."""
    plain_in, plain_out = _rate(rates.input), _rate(rates.output)
    cached, written, longer = (
        _rate(rates.cached),
        _rate(rates.cache_write),
        _rate(rates.cache_write_1h),
    )
    audio_in, image_in = _rate(rates.input_audio), _rate(rates.input_image)
    audio_out, image_out, thought = (
        _rate(rates.output_audio),
        _rate(rates.output_image),
        _rate(rates.reasoning),
    )
    thinks = thought != plain_out

    def price(usage: Usage) -> float:
        text, said, cost = usage.input_tokens, usage.output_tokens, 0.0
        if tokens := usage.cached_tokens:
            cost, text = cost + tokens * cached, text - tokens
        if tokens := usage.cache_write_tokens:
            text -= tokens
            if hour := usage.cache_write_1h_tokens:
                cost, tokens = cost + hour * longer, tokens - hour
            cost = cost + tokens * written if tokens else cost
        if tokens := usage.input_audio_tokens:
            cost, text = cost + tokens * audio_in, text - tokens
        if tokens := usage.input_image_tokens:
            cost, text = cost + tokens * image_in, text - tokens
        if thinks and (tokens := usage.reasoning_tokens):
            cost, said = cost + tokens * thought, said - tokens
        if tokens := usage.output_audio_tokens:
            cost, said = cost + tokens * audio_out, said - tokens
        if tokens := usage.output_image_tokens:
            cost, said = cost + tokens * image_out, said - tokens
        if text > 0:
            cost += text * plain_in
        return cost + said * plain_out if said > 0 else cost

    return price


def _rate(rate: float | None) -> float:
    return UNKNOWN if rate is None else rate


# -- before ------------------------------------------------------------------------------------------------------------


class Range(msgspec.Struct, frozen=True):
    """From at least `low` to at most `high`; each None where it is not known."""

    low: float | None
    high: float | None


def estimate(
    tariff: Tariff | None,
    requests: int,
    *,
    input_tokens: Range,
    longest_input: float,
    output_tokens: Range,
) -> Range:
    """What so many requests cost, in US dollars.

    input_tokens, output_tokens: of all of them together. longest_input: tokens of the longest one, which decides
    whether the price of long requests is in the upper bound.
    """
    if tariff is None:
        return Range(None, None)
    if not requests:
        return Range(0.0, 0.0)
    low = tariff.at((input_tokens.low or 0.0) / requests)
    options = [tariff.at((input_tokens.high or 0.0) / requests), tariff.at(longest_input)]
    highest = [_together(rates, input_tokens.high, output_tokens.high) for rates in options]
    return Range(
        _together(low, input_tokens.low, output_tokens.low),
        None if None in highest else max(cost for cost in highest if cost is not None),
    )


def _together(rates: Rates, into: float | None, out: float | None) -> float | None:
    cost = 0.0
    for tokens, rate in ((into, rates.input), (out, rates.output)):
        if rate == 0:
            continue
        if tokens is None or (rate is None and tokens):
            return None
        cost += tokens * (rate or 0.0)
    return cost


def money(dollars: float) -> str:
    """`$12.34`, `$0.0123`, `$0.000012`: never $0 for what is more than nothing."""
    if dollars < 0:
        return f"-{money(-dollars)}"
    if dollars == 0:
        return "$0"
    if dollars >= 1:
        return f"${dollars:,.2f}"
    digits = 4 if dollars >= 0.01 else 1 - math.floor(math.log10(dollars))  # noqa: PLR2004 - a cent
    return f"${dollars:.{digits}f}"
