"""Cost of a job: the estimate before it and the actual sum after it, computed from a Price.

Unknown is None, or NaN in arrays of floats; it is never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_batch.core.request import Usage

UNKNOWN = math.nan
"""An unknown cost, where costs are floats in an array."""

Pricer = Callable[[Usage], float]
"""Usage of a request -> US dollars, or UNKNOWN."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per token, by kind. None: unknown, then so is the cost of such requests.

    input: tokens that no other kind of input counts. cached: read from the provider's cache.
    cache_write: written to it; cache_write_1h: those of them stored for an hour. output: tokens
    that no other kind of output counts.
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
        """Return the rates, with the plain one for kinds without, as providers bill them."""
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
"""The kinds of tokens that have a rate."""


class Tier(msgspec.Struct, frozen=True):
    """Rates of a request with more than `above` input tokens (`inclusive`: or as many)."""

    above: int
    rates: Rates


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """The rates, and those of long requests; the tiers in ascending order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    inclusive: bool = False

    def at(self, input_tokens: float) -> Rates:
        """Return the rates of a request with this many input tokens."""
        found = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above or (self.inclusive and input_tokens == tier.above):
                found = tier.rates
        return found


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A model's token prices in a batch and in realtime, stored with the job at its submission.

    batch, standard: None where unknown. tiers: in realtime, by service tier ("flex", "priority");
    None in jobs stored before the tiers were known, whose `standard` is that of the requested one.
    source: the price's origin, in a few words. longest: the model's maximum output tokens, where
    known, which bounds an estimate without max_tokens. Fees other than for tokens (searches) are
    not included.
    """

    batch: Tariff | None = None
    standard: Tariff | None = None
    tiers: dict[str, Tariff] | None = None
    source: str = ""
    longest: int | None = None

    def paid(self, mode: str, tier: str = "") -> Tariff | None:
        """Return the tariff of a job of this mode, and in realtime of this service tier."""
        return self.batch if mode == "batch" else self.served(FLEX if mode == FLEX else tier)

    @property
    def flex(self) -> Tariff | None:
        """Return the tariff of the flex tier; None where unknown."""
        return (self.tiers or {}).get(FLEX)

    def served(self, tier: str | None, asked: str = "") -> Tariff | None:
        """Return the tariff of an answer that names this service tier; asked: the requested one.

        A name without a price of its own, such as Groq's "on_demand", leaves the requested tier.
        """
        if self.tiers is None:
            return self.standard
        tier = asked if (tier or "").lower() not in _NAMED_TIERS else tier
        tier = (tier or "").lower()
        if tier in USUAL_TIERS:
            return self.standard
        return self.tiers.get(_TIER_OF.get(tier, tier))


FLEX = "flex"
"""The service tier at the price of a batch."""
USUAL_TIERS = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand"})
"""Names of the tier at the full price: OpenAI's, Gemini's, Anthropic's, Groq's."""
PRICED_TIERS = (FLEX, "priority")
"""Tiers that litellm's list has prices of."""
_TIER_OF = {"fast": "priority"}
_NAMED_TIERS = {"default", "standard", "scale", *PRICED_TIERS, *_TIER_OF}
"""Tiers that an answer was served at. OpenAI's "scale" is prepaid: its price is unknown."""


FREE = Tariff(rates=Rates(**dict.fromkeys(KINDS, 0.0)))
"""A local model."""


# -- after -----------------------------------------------------------------------------------------------------------


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of some requests, in US dollars.

    known: the sum of all known costs. unknown: the number of requests without one. standard: the
    realtime cost of the same tokens; None where unknown.
    """

    known: float = 0.0
    unknown: int = 0
    standard: float | None = 0.0

    @property
    def cost(self) -> float | None:
        """Return the total; None where any part is unknown."""
        return None if self.unknown else self.known

    @property
    def saved(self) -> float | None:
        """Return the saving against realtime; None where unknown."""
        return None if self.unknown or self.standard is None else self.standard - self.known

    def __add__(self, other: Bill) -> Bill:
        both = self.standard is not None and other.standard is not None
        return Bill(
            known=self.known + other.known,
            unknown=self.unknown + other.unknown,
            standard=(self.standard or 0.0) + (other.standard or 0.0) if both else None,
        )


def actual(tariff: Tariff | None, usage: Usage | None) -> float | None:
    """Return the cost of a request; None where its price or its usage is unknown."""
    cost = UNKNOWN if usage is None else pricer(tariff)(usage)
    return None if math.isnan(cost) else cost


def pricer(tariff: Tariff | None) -> Pricer:
    """Return the cost function for a tariff, made once for a job and called for each request."""
    if tariff is None:
        return _unknown
    flat = linear(tariff.rates)
    if not tariff.tiers:
        return flat
    step = 0 if tariff.inclusive else 1
    tiers = [(tier.above + step, linear(tier.rates)) for tier in reversed(tariff.tiers)]

    def tiered(usage: Usage) -> float:
        for least, price in tiers:
            if usage.input_tokens >= least:
                return price(usage)
        return flat(usage)

    return tiered


def _unknown(usage: Usage) -> float:  # noqa: ARG001 - a Pricer
    return UNKNOWN


def _part(tokens: int, rate: float) -> float:
    return tokens * rate if tokens > 0 else 0.0


def linear(rates: Rates, part: Callable[[Any, float], Any] = _part) -> Pricer:
    """Return the cost function for flat rates; part: the cost of a number of tokens, or of many.

    Kinds of tokens are parts of the total: those with a rate are subtracted from it.
    """
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

    def price(usage: Usage) -> Any:
        longer_tokens = usage.cache_write_1h_tokens
        text = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        text = text - usage.input_audio_tokens - usage.input_image_tokens
        plain_output = usage.output_tokens - usage.output_audio_tokens - usage.output_image_tokens
        cost = (
            part(usage.cached_tokens, cached)
            + part(longer_tokens, longer)
            + part(usage.cache_write_tokens - longer_tokens, written)
            + part(usage.input_audio_tokens, audio_in)
            + part(usage.input_image_tokens, image_in)
        )
        if thinks:
            cost = cost + part(usage.reasoning_tokens, thought)
            plain_output = plain_output - usage.reasoning_tokens
        cost = cost + part(usage.output_audio_tokens, audio_out)
        cost = cost + part(usage.output_image_tokens, image_out)
        return cost + part(text, plain_in) + part(plain_output, plain_out)

    return price


def _rate(rate: float | None) -> float:
    return UNKNOWN if rate is None else rate


# -- before ----------------------------------------------------------------------------------------------------------


class Range(msgspec.Struct, frozen=True):
    """A range from `low` to `high`, inclusive; each None where unknown."""

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
    """Return the cost range of this many requests, in US dollars.

    input_tokens, output_tokens: their sums. longest_input: tokens of the longest request, which
    decides whether the upper bound includes the price of long requests.
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


# -- of an action ----------------------------------------------------------------------------------------------------

_OUTPUT_KINDS = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens")


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of an action, in US dollars.

    action: its name, as in `Snapshot.offers`. about: by the answers so far, or an earlier job's;
    most: an upper bound; each None where unknown. limited: max_tokens limits each answer's length;
    else `most` assumes the model's longest answer.
    """

    action: str
    rows: int
    about: float | None = None
    most: float | None = None
    limited: bool = True


class Pattern(msgspec.Struct, frozen=True):
    """Answered requests by which similar ones are estimated. bytes: of their request lines."""

    usage: Usage
    answers: int
    bytes: int

    @property
    def output(self) -> float:
        """The mean output tokens of an answer."""
        return self.usage.output_tokens / self.answers

    def cost(self, tariff: Tariff | None, requests: float, size: float) -> float | None:
        """The cost of similar requests, whose lines have `size` bytes together; None where unknown."""
        if tariff is None:
            return None
        price = linear(tariff.at(self.usage.input_tokens / self.answers))
        sent = price(msgspec.structs.replace(self.usage, **dict.fromkeys(_OUTPUT_KINDS, 0)))
        answered = price(Usage(**{name: getattr(self.usage, name) for name in _OUTPUT_KINDS}))
        scale = size / self.bytes if self.bytes else requests / self.answers
        cost = float(sent * scale + answered * requests / self.answers)
        return None if math.isnan(cost) else cost


def added_spends(spends: list[Spend]) -> Spend:
    """The same action on several jobs as one. Raises IndexError without any."""
    abouts, mosts = ([getattr(one, end) for one in spends] for end in ("about", "most"))
    return Spend(
        action=spends[0].action,
        rows=sum(one.rows for one in spends),
        about=None if None in abouts else math.fsum(abouts),
        most=None if None in mosts else math.fsum(mosts),
        limited=all(one.limited for one in spends),
    )


def money(dollars: float) -> str:
    """Format an amount: `$12.34`, `$0.0123`, `$0.000012`; never $0 for a positive one."""
    if dollars < 0:
        return f"-{money(-dollars)}"
    if dollars == 0:
        return "$0"
    if dollars >= 1:
        return f"${dollars:,.2f}"
    digits = 4 if dollars >= 0.01 else 1 - math.floor(math.log10(dollars))  # noqa: PLR2004 - a cent
    return f"${dollars:.{digits}f}"
