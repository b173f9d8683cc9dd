"""Model prices: the user's own, else litellm's price list, else a known discount, else unknown.

litellm's list is read from the file in its package, so that no submission waits for litellm's
import; where it is imported, its list in memory counts (the user may have registered a model).
No network.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.cost import (
    FLEX,
    FREE,
    KINDS,
    PRICED_TIERS,
    USUAL_TIERS,
    Price,
    Rates,
    Tariff,
    Tier,
)
from jupyter_batch.http.litellm import price_list
from jupyter_batch.providers.record import RECORDS, Record, is_embedded
from jupyter_batch.providers.table import BATCH, REALTIME, runs_here

OWN = "your own prices"
"""The source of a price given by the user."""

_KEYS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
    "input_audio": "input_cost_per_audio_token",
    "input_image": "input_cost_per_image_token",
    "output_audio": "output_cost_per_audio_token",
    "output_image": "output_cost_per_image_token",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
_THRESHOLD = re.compile(r"_above_(\d+)(k?)_tokens")
_BATCHES = "_batches"
_MORE = ("input_cost_per_request", "tiered_pricing", "off_peak_pricing")
"""Fields besides the token prices, or other rules: with these, tokens alone don't give the cost."""


def price_of(
    model: str,
    *,
    mode: str = BATCH,
    api_base: str | None = None,
    prices: Mapping[str, Mapping[str, Any]] | None = None,
    service_tier: str = "",
) -> Price:
    """Return the token prices of a model, in a batch and in real time; None where unknown.

    model: a litellm id. mode: of the job. prices: the user's own prices, as in `options.prices`.
    service_tier: of its requests in real time, in OpenAI's terms.
    """
    known = _known(*_split(model), api_base)
    tier = FLEX if mode == FLEX else service_tier if mode == REALTIME else ""
    for key in (model, _split(model)[1], ""):
        if prices and key in prices:
            return _own(prices[key], known, mode, tier)
    return known


def _own(prices: Mapping[str, Any], known: Price, mode: str, tier: str) -> Price:
    """US dollars per million tokens for the job's mode; those of others: in `realtime`, `flex`."""
    paid, live = _tariff_of(prices), prices.get("realtime")
    tiers = dict(known.tiers or {})
    if tier not in USUAL_TIERS:
        mode, tiers[tier] = tier, paid
    if FLEX in prices:
        tiers[FLEX] = _tariff_of(prices[FLEX])
    standard = _tariff_of(live) if live else paid if mode == REALTIME else known.standard
    return Price(batch=paid, standard=standard, tiers=tiers, source=OWN, longest=known.longest)


def _tariff_of(prices: Mapping[str, Any]) -> Tariff:
    return Tariff(
        rates=Rates(**{kind: prices[kind] / 1e6 for kind in KINDS if kind in prices}).filled()
    )


def _known(provider: str, name: str, api_base: str | None) -> Price:
    if is_embedded(provider):
        if "/" not in name:
            return _here()
        # The embedded server calls a model in real time, at that price: a batch saves nothing.
        upstream = _known(*_split(name), None)
        return msgspec.structs.replace(upstream, batch=upstream.standard)
    if runs_here(provider, api_base):
        return _here()
    record = RECORDS.get(provider)
    entry = _entry(provider, name)
    if entry is None:
        return _recorded(record, name) or Price(
            tiers={}, source=f"{provider}/{name} is in no price list"
        )
    return _in_list(entry, record, api_base)


def _in_list(entry: Mapping[str, Any], record: Record | None, api_base: str | None) -> Price:
    """The price in an entry of litellm's list, with the batch discount of the provider's record."""
    discount = None if record is None else record.price
    if record is not None and record.default_base and api_base not in (None, record.default_base):
        discount = None  # another server of the same API: its discount is unknown
    inclusive = record is not None and record.long_inclusive
    cached_apart = record is not None and record.cached_apart
    longest = entry.get("max_output_tokens")
    live = functools.partial(_standard, entry, inclusive=inclusive, cached_apart=cached_apart)
    batch = _batch(entry, discount, inclusive=inclusive)
    source = f"litellm {_litellm()}'s price list"
    if batch is not None and _rate(entry, _KEYS["input"] + _BATCHES) is None and record is not None:
        source = f"{discount:g} of the real-time price in {source} ({record.source})"
    return Price(
        batch=batch,
        standard=live("").get(""),
        tiers=live(*PRICED_TIERS),
        source=source,
        longest=longest if isinstance(longest, int) and longest > 0 else None,
    )


def _recorded(record: Record | None, name: str) -> Price | None:
    """The price of a model in its provider's own record."""
    if record is None or name not in record.prices:
        return None
    rates = record.prices[name]
    batch = (
        None
        if record.price is None
        else _tariff_of({kind: rate * record.price for kind, rate in rates.items()})
    )
    return Price(batch=batch, standard=_tariff_of(rates), tiers={}, source=record.source)


def _split(model: str) -> tuple[str, str]:
    provider, _, name = model.partition("/")
    return provider, name


def _here() -> Price:
    return Price(batch=FREE, standard=FREE, tiers={FLEX: FREE}, source="a model on this machine")


# -- litellm's list ----------------------------------------------------------------------------------------------------


def _entry(provider: str, name: str) -> Mapping[str, Any] | None:
    """The entry in litellm's list for a provider's model; None without a credible price."""
    name = name.removeprefix("responses/")  # part of litellm's ids: the endpoint, not the model
    tuned = (
        ":".join(name.split(":")[:2]) if name.startswith("ft:") else name
    )  # a tuned model costs the same as its base
    for key in dict.fromkeys((f"{provider}/{name}", name, f"{provider}/{tuned}", tuned)):
        entry = _listed(key)
        if entry is not None and str(entry.get("litellm_provider", "")).startswith(provider):
            # Unknown prices are listed as 0: a free model of a paid provider is not credible.
            priced = any(_rate(entry, _KEYS[kind]) for kind in ("input", "output"))
            return entry if priced else None
    return None


def _listed(key: str) -> Mapping[str, Any] | None:
    loaded = getattr(sys.modules.get("litellm"), "model_cost", None)
    if isinstance(loaded, Mapping):
        found = loaded.get(key)
        return found if isinstance(found, Mapping) else None
    path = price_list()
    if path is None:
        return None
    raw = _packaged(path).get(key)
    return None if raw is None else msgspec.json.decode(raw, type=dict[str, Any])


@functools.lru_cache(maxsize=1)
def _packaged(path: Path) -> dict[str, msgspec.Raw]:
    """The list in litellm's package, its entries not decoded."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])


def in_short(model: str) -> str:
    """`$0.20 in, $0.80 out a million in a batch; 1,047,576 tokens`; "" where no price is known."""
    provider, name = _split(model)
    known, entry = price_of(model), _entry(provider, name) or {}
    tariff, where = (known.batch, " in a batch") if known.batch else (known.standard, "")
    if tariff is None or tariff.rates.input is None or tariff.rates.output is None:
        return ""
    if tariff is FREE:
        return "free, on this machine"
    context = entry.get("max_input_tokens")
    room = f"; context {context:,}" if isinstance(context, int) else ""
    return f"{per_million(tariff)}{where}{room}"


def per_million(tariff: Tariff | None) -> str:
    """`$0.20 in, $0.80 out per million`; an unknown price is named as such."""
    if tariff is None or tariff.rates.input is None or tariff.rates.output is None:
        return "an unknown price"
    into, out = (f"${rate * 1e6:,.2f}" for rate in (tariff.rates.input, tariff.rates.output))
    return f"{into} in, {out} out per million"


def _litellm() -> str:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return "?"


def _rate(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _thresholds(entry: Mapping[str, Any], suffix: str) -> list[tuple[int, str]]:
    """Return (tokens, key suffix), rising, for the kinds of tokens that are priced."""
    found: dict[int, str] = {}
    for key, value in entry.items():
        at = _THRESHOLD.search(key)
        if (
            at
            and value is not None
            and key[: at.start()] in _KEYS.values()
            and key[at.end() :] == suffix
        ):
            found[int(at[1]) * (1000 if at[2] else 1)] = at[0]
    return sorted(found.items())


def _standard(
    entry: Mapping[str, Any], *service_tiers: str, inclusive: bool, cached_apart: bool
) -> dict[str, Tariff]:
    """Real-time prices by service tier, without the tiers that the list does not have."""
    found = {tier: _live(entry, tier, inclusive, cached_apart) for tier in service_tiers}
    return {tier: tariff for tier, tariff in found.items() if tariff is not None}


def _live(
    entry: Mapping[str, Any], service_tier: str, inclusive: bool, cached_apart: bool
) -> Tariff | None:
    """Real-time prices as in litellm's calculator: a kind without a rate has the plain one."""
    suffix = service_tier and f"_{service_tier}"
    if any(entry.get(key) for key in _MORE) or _rate(entry, _KEYS["input"] + suffix) is None:
        return None

    by_tier = {"input", "output"}
    if _rate(entry, _KEYS["reasoning"]) == _rate(entry, _KEYS["output"]):
        by_tier.add("reasoning")  # thinking is billed as output, which has a price in each tier

    def rates(above: str, below: Rates | None) -> Rates:
        own = {
            kind: _first(
                _rate(entry, f"{key}{above}{suffix}"),
                getattr(below, kind) if below is not None else _rate(entry, f"{key}{suffix}"),
                _rate(entry, key) if below is None and kind not in by_tier else None,
            )
            for kind, key in _KEYS.items()
        }
        return _billed(Rates(**own), entry)

    flat = rates("", None)
    tiers: list[Tier] = []
    for at, above in _thresholds(entry, suffix):
        tiers.append(Tier(at, rates(above, tiers[-1].rates if tiers else flat)))
    if service_tier and not tiers:  # litellm would take the plain price of long requests
        tiers = [Tier(at, Rates()) for at, _ in _thresholds(entry, "")]
    if cached_apart and _rate(entry, _KEYS["cached"]) is None:
        flat = msgspec.structs.replace(flat, cached=None)
    return Tariff(rates=flat, tiers=tuple(tiers), inclusive=inclusive)


def _billed(rates: Rates, entry: Mapping[str, Any]) -> Rates:
    if entry.get("mode") == "embedding":  # there is no output
        rates = msgspec.structs.replace(rates, output=0.0)
    return rates.filled()


def _batch(entry: Mapping[str, Any], discount: float | None, *, inclusive: bool) -> Tariff | None:
    """Batch prices as in litellm's batch_cost_calculator, except that its guesses are unknown here.

    It uses half for every provider, zero for a kind of token without a rate, and the plain rate for
    long requests where only the real-time price is listed.
    """
    input_rate = _rate(entry, _KEYS["input"] + _BATCHES)
    if input_rate is None:
        return _discounted(entry, discount, inclusive=inclusive)

    def rates(above: str, below: Rates | None) -> Rates:
        own = {
            kind: _first(
                _rate(entry, f"{key}{above}{_BATCHES}"),
                _rate(entry, f"{key}{_BATCHES}") if below is None else getattr(below, kind),
            )
            for kind, key in _KEYS.items()
        }
        if below is not None:
            return Rates(**own)
        for kind in ("output", "cache_write_1h"):  # the list has no batch price of the latter
            if (
                own[kind] is None
                and discount is not None
                and (full := _rate(entry, _KEYS[kind])) is not None
            ):
                own[kind] = full * discount
        if own["output"] == 0 and _rate(entry, _KEYS["output"]):
            own["output"] = None
        return _unlike(Rates(**own), entry)

    flat, steps = rates("", None), _thresholds(entry, _BATCHES)
    tiers: list[Tier] = []
    for at, above in steps:
        tiers.append(Tier(at, rates(above, tiers[-1].rates if tiers else flat)))
    tiers += [
        Tier(at, Rates()) for at, _ in _thresholds(entry, "") if not steps or at > steps[-1][0]
    ]
    return Tariff(
        rates=flat, tiers=tuple(sorted(tiers, key=lambda tier: tier.above)), inclusive=inclusive
    )


def _discounted(
    entry: Mapping[str, Any], discount: float | None, *, inclusive: bool
) -> Tariff | None:
    if discount is None or any(entry.get(key) for key in _MORE):
        return None
    plain = _rate(entry, _KEYS["input"])
    if plain is None:
        return None

    def cut(key: str) -> float | None:
        rate = _rate(entry, key)
        return None if rate is None else rate * discount

    # Cache reads without a rate of their own stay unknown: litellm counts zero for them.
    rates = Rates(
        input=plain * discount,
        output=cut(_KEYS["output"]),
        cached=cut(_KEYS["cached"]),
        cache_write=_first(cut(_KEYS["cache_write"]), plain * discount),
        cache_write_1h=cut(_KEYS["cache_write_1h"]),
        output_image=cut(_KEYS["output_image"]),
    )
    return Tariff(
        rates=_unlike(rates, entry, fill_cached=False),
        inclusive=inclusive,
        tiers=tuple(Tier(at, Rates()) for at, _ in _thresholds(entry, "")),
    )


def _unlike(rates: Rates, entry: Mapping[str, Any], *, fill_cached: bool = True) -> Rates:
    """The plain rate for kinds without their own, except where a real-time rate alone is listed."""
    full = _billed(rates, entry)
    unknown: dict[str, None] = {}
    for kind, of in (
        ("input_audio", "input"),
        ("input_image", "input"),
        ("output_audio", "output"),
        ("output_image", "output"),
        ("cache_write_1h", "cache_write"),
    ):
        listed = _rate(entry, _KEYS[kind])
        if (
            getattr(rates, kind) is None
            and listed is not None
            and listed != _rate(entry, _KEYS[of])
        ):
            unknown[kind] = None
    if not fill_cached and rates.cached is None:
        unknown["cached"] = None
    return msgspec.structs.replace(full, **unknown)


def _first(*rates: float | None) -> float | None:
    return next((rate for rate in rates if rate is not None), None)
