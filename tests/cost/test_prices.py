"""Where a price comes from, held against litellm's own calculator; and that nothing unknown is ever $0."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from jupyter_batch.core.cost import (
    FREE,
    Bill,
    Range,
    Rates,
    Tariff,
    Tier,
    actual,
    estimate,
    money,
    pricer,
)
from jupyter_batch.core.request import Usage
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers import prices
from jupyter_batch.providers.prices import price_of
from jupyter_batch.results.row_costs import bill_of

WITH = [
    "openai/gpt-4.1-mini",
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "openai/gpt-5-mini",
    "openai/o4-mini",
    "openai/text-embedding-3-small",
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-haiku-4-5",
    "anthropic/claude-opus-4-5",
    "azure/gpt-4.1",
    "xai/grok-4.3",
]
WITHOUT = [
    "openai/gpt-4",
    "azure/gpt-4o",
    "mistral/mistral-small-latest",
    "xai/grok-4.5",
    "openai/no-such-model",
]
SAME_SINCE = (1, 100)
"""Older litellm counts the cache of a batch otherwise; a request without cached tokens it counts as now."""
PLAIN_CACHE = {
    "openai/gpt-4.1-mini": 2e-07,
    "openai/o4-mini": 5.5e-07,
    "openai/gpt-4o": 1.25e-06,
    "azure/gpt-4.1": 1e-06,
}
"""Models without a cached price in a batch, and the batch price of any input token.

OpenAI, "Prompt caching" (FAQ): "Discounting for Prompt Caching is not available on the Batch API". Its price page has a
cached price in the batch table since gpt-5 only, and litellm's list has `cache_read_input_token_cost_batches` for
those. For the others litellm 1.110 takes the cached price of real time, a guess that is too low.
"""


replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def litellm():
    """Litellm, loaded as we load it."""
    from jupyter_batch.http.litellm import load_litellm

    return load_litellm()


def needs(litellm, model):
    """Skip a test about a model that the list of an older litellm does not have."""
    if model not in litellm.model_cost and model.partition("/")[2] not in litellm.model_cost:
        pytest.skip(f"{model} is not in this litellm's list")


def theirs(litellm, model, usage):
    """The cost for the same usage by litellm's own calculation; None where it knows no such model."""
    from litellm.cost_calculator import batch_cost_calculator

    provider, _, name = model.partition("/")
    shown = litellm.Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details={
            "cached_tokens": usage.cached_tokens,
            **(
                {"cache_creation_tokens": usage.cache_write_tokens}
                if usage.cache_write_tokens
                else {}
            ),
        },
        completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens},
    )
    with quiet():  # a warning of pydantic's, made an error, would leave litellm's types half built
        return sum(batch_cost_calculator(shown, name, provider))


USAGES = [
    Usage(1000, 200),
    Usage(1, 0),
    Usage(1000, 200, 512, 64),
    Usage(1000, 200, 300, 0, 400),
    Usage(300_000, 2000, 1000),
]


@pytest.mark.parametrize("model", WITH)
def test_with_batch_prices_we_say_what_litellm_says(litellm, model):
    """Plain, cached, written to the cache, thought, and long: to the last digit but rounding."""
    from importlib.metadata import version

    needs(litellm, model)
    usages = (
        USAGES if tuple(map(int, version("litellm").split(".")[:2])) >= SAME_SINCE else USAGES[:2]
    )
    price = price_of(model)
    if "embedding" in model:
        usages = [Usage(usage.input_tokens) for usage in usages]
    for usage in usages:
        ours = actual(price.batch, usage)
        if usage.cached_tokens and model in PLAIN_CACHE:
            assert ours == pytest.approx(actual(price.batch, replace(usage, cached_tokens=0)))
            continue
        assert ours == pytest.approx(theirs(litellm, model, usage), rel=1e-9), usage
        assert ours > 0


@pytest.mark.parametrize("model", PLAIN_CACHE)
def test_a_batch_without_a_cached_price_bills_cached_tokens_as_any_input(model):
    """Issue 9, item 0: no discount where the provider has none, with every litellm from the floor on."""
    price = price_of(model)
    assert price.batch.rates.cached == pytest.approx(PLAIN_CACHE[model])
    assert price.batch.rates.cached == pytest.approx(price.batch.rates.input)


def test_gpt_4_1_mini_with_512_cached_tokens_costs_36_hundredths_of_a_cent(litellm):
    """1,000 in, 512 of them cached, 200 out: 1,000 x $0.20 + 200 x $0.80 per million; never below litellm's sum."""
    usage = Usage(1000, 200, 512)
    assert actual(price_of("openai/gpt-4.1-mini").batch, usage) == pytest.approx(0.00036)
    assert theirs(litellm, "openai/gpt-4.1-mini", usage) <= 0.00036 + 1e-12


@pytest.mark.parametrize("model", WITHOUT)
def test_without_batch_prices_we_say_the_same_or_unknown(litellm, model):
    """Half only where the provider says half of all; else unknown, and never $0, where litellm says $0 or guesses."""
    for usage in USAGES:
        ours = actual(price_of(model).batch, usage)
        assert ours is None or ours == pytest.approx(theirs(litellm, model, usage), rel=1e-9)
        assert ours != 0


def test_what_is_unknown_of_those_without():
    """All prices are halved by litellm: xAI's discount is another, and an unknown model costs something."""
    usage = Usage(1000, 200)
    assert actual(price_of("openai/gpt-4").batch, usage) == pytest.approx(0.021)
    mistral = price_of("mistral/mistral-small-latest")
    assert actual(mistral.batch, usage) == pytest.approx(actual(mistral.standard, usage) / 2)
    assert price_of("xai/grok-4.5").batch is None
    assert price_of("openai/no-such-model").batch is None
    assert price_of("openai/gpt-4", api_base="https://gateway.example/v1").batch is None
    assert (
        actual(price_of("openai/gpt-4").batch, Usage(1000, 200, 500)) is None
    )  # its cache has no price


@pytest.mark.parametrize("model", [*WITH[:5], *WITH[6:], "xai/grok-4.5"])
def test_real_time_is_what_litellm_says(litellm, model):
    """The standard price of the same models, long requests included."""
    from litellm.cost_calculator import generic_cost_per_token

    needs(litellm, model)
    provider, _, name = model.partition("/")
    for usage in (Usage(1000, 200), Usage(150_000, 200)):
        shown = litellm.Usage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        )
        live = sum(generic_cost_per_token(name, shown, provider))
        assert actual(price_of(model).standard, usage) == pytest.approx(live, rel=1e-9)


def test_what_the_cache_keeps_for_an_hour_has_its_own_rate(litellm):
    """Anthropic's writes to the cache for an hour: in real time what litellm says, in a batch half of that."""
    from litellm.cost_calculator import generic_cost_per_token

    usage = Usage(1000, 100, cache_write_tokens=500, cache_write_1h_tokens=200)
    shown = litellm.Usage(
        prompt_tokens=1000,
        completion_tokens=100,
        total_tokens=1100,
        prompt_tokens_details={
            "cache_creation_tokens": 500,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": 300,
                "ephemeral_1h_input_tokens": 200,
            },
        },
    )
    live = sum(generic_cost_per_token("claude-haiku-4-5", shown, "anthropic"))
    price = price_of("anthropic/claude-haiku-4-5")
    assert actual(price.standard, usage) == pytest.approx(live, rel=1e-9)
    assert actual(price.batch, usage) == pytest.approx(live / 2, rel=1e-9)
    assert live > actual(price.standard, Usage(1000, 100, cache_write_tokens=500))
    listed = price_of("anthropic/claude-haiku-4-5", api_base="https://gateway.example/v1").batch
    assert actual(listed, usage) is None, (
        "listed without a batch price, and of another server no discount is known"
    )


def test_real_time_in_another_tier_has_that_tier_s_price():
    """Each tier in the list has its own rates; one that the list does not have is unknown."""
    price = price_of("openai/gpt-5-mini")
    assert actual(price.paid("realtime", "flex"), Usage(1000)) == pytest.approx(0.000125)
    assert actual(price.paid("realtime", "fast"), Usage(1000)) == pytest.approx(0.00045)
    assert actual(price.paid("realtime"), Usage(1000)) == pytest.approx(0.00025)
    assert price.paid("batch", "flex") == price.batch
    assert price_of("openai/gpt-4").paid("realtime", "flex") is None
    own = {"": {"input": 1.0, "output": 1.0}}
    flex = price_of("openai/gpt-5-mini", mode="flex", prices=own)
    assert actual(flex.paid("flex", "flex"), Usage(1000)) == pytest.approx(0.001)
    assert actual(flex.standard, Usage(1000)) == pytest.approx(0.00025)


def test_a_model_that_is_listed_at_nothing_is_unknown(monkeypatch):
    """A 0 in litellm's list is an unknown price, unless the model runs on the user's machine."""
    entry = {
        "litellm_provider": "gemini",
        "mode": "chat",
        "input_cost_per_token": 0,
        "output_cost_per_token": 0.0,
    }
    monkeypatch.setattr(prices, "_listed", lambda key: entry)
    price = price_of("gemini/some-experiment")
    assert (price.batch, price.standard) == (None, None)
    halves = {
        **entry,
        "input_cost_per_token": 1e-6,
        "input_cost_per_token_batches": 5e-7,
        "output_cost_per_token": 2e-6,
        "output_cost_per_token_batches": 0,
    }
    monkeypatch.setattr(prices, "_listed", lambda key: halves)
    assert actual(price_of("gemini/some-experiment").batch, Usage(1000)) == pytest.approx(0.0005)
    assert actual(price_of("gemini/some-experiment").batch, Usage(1000, 10)) is None


def test_one_s_own_machine_costs_nothing_and_a_model_behind_it_its_price():
    """`local/echo` and ollama here: $0, known. What the embedded server asks of another: that one's price."""
    for model in ("local/echo", "ollama/llama3.2", "local/ollama/llama3.2"):
        assert price_of(model).batch == price_of(model).standard == FREE
    assert price_of("hosted_vllm/m", api_base="http://localhost:8000/v1").batch == FREE
    assert price_of("ollama/llama3.2", api_base="http://gpu.example:11434").batch is None
    assert price_of("local/openai/gpt-4.1-mini").batch == price_of("openai/gpt-4.1-mini").standard


def test_the_person_s_own_price_comes_first():
    """In dollars per million tokens, by the model's id or bare name, or for whichever model it is."""
    mine = {"input": 0.2, "output": 0.8, "cached": 0.1, "realtime": {"input": 0.4, "output": 1.6}}
    for given in ({"openai/mine": mine}, {"mine": mine}, {"": mine}):
        price = price_of("openai/mine", prices=given)
        assert actual(price.batch, Usage(1_000_000, 500_000, 400_000)) == pytest.approx(
            0.12 + 0.04 + 0.4
        )
        assert actual(price.standard, Usage(1_000_000)) == pytest.approx(0.4)
    flat = {"openai/gpt-4o": {"input": 1, "output": 1}}
    assert actual(
        price_of("openai/gpt-4o", prices=flat).standard, Usage(1_000_000)
    ) == pytest.approx(2.5)
    assert (
        actual(price_of("openai/gpt-4o", prices=flat, mode="realtime").standard, Usage(1_000_000))
        == 1
    )
    assert price_of("openai/other", prices={"openai/mine": mine}).batch is None


def test_a_price_is_read_without_litellm():
    """The list is a file in its package: no submission waits seconds for an import."""
    code = (
        "import sys; from jupyter_batch.providers.prices import price_of; "
        "assert price_of('openai/gpt-4.1-mini').batch.rates.input == 2e-07; "
        "assert not {'litellm', 'openai', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kinds_of_tokens_are_parts_of_the_whole():
    """Tokens with a rate of their own are not billed at the plain one, too."""
    rates = Rates(
        input=1, output=10, cached=0.5, cache_write=2, reasoning=20, input_image=3, output_audio=100
    )
    usage = Usage(
        100,
        50,
        cached_tokens=10,
        cache_write_tokens=20,
        input_image_tokens=5,
        reasoning_tokens=4,
        output_audio_tokens=6,
    )
    assert actual(Tariff(rates=rates.filled()), usage) == 65 * 1 + 5 + 40 + 15 + 40 * 10 + 80 + 600
    hour = Usage(100, 0, cache_write_tokens=20, cache_write_1h_tokens=5)
    assert actual(Tariff(rates=rates.filled()), hour) == 80 + 40, (
        "as any write, where it has no rate of its own"
    )
    assert actual(Tariff(rates=rates), Usage(1, 1)) == 11
    assert actual(Tariff(rates=rates), Usage(1, 1, input_audio_tokens=1)) is None
    assert actual(Tariff(rates=rates), None) is None
    assert actual(None, Usage(1, 1)) is None


def test_a_long_request_has_its_own_rates():
    """Above the threshold for all of its tokens; xAI from the threshold on."""
    tariff = Tariff(
        rates=Rates(input=1, output=1),
        tiers=(Tier(10, Rates(input=2, output=2)), Tier(20, Rates())),
    )
    assert pricer(tariff)(Usage(10, 1)) == 11
    assert pricer(tariff)(Usage(11, 1)) == 24
    assert actual(tariff, Usage(21, 1)) is None
    assert (
        pricer(Tariff(rates=tariff.rates, tiers=tariff.tiers, inclusive=True))(Usage(10, 1)) == 22
    )


def test_a_sum_with_an_unknown_part_is_unknown():
    """The known part is shown, and the number of missing costs."""
    nan = float("nan")
    some = bill_of(np.array([1.0, nan, 2.0]), np.array([2.0, nan, 4.0]))
    assert (some.known, some.unknown, some.cost, some.saved, some.standard) == (
        3.0,
        1,
        None,
        None,
        None,
    )
    whole = bill_of(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert (whole.cost, whole.saved) == (3.0, 3.0)
    assert (whole + some).unknown == 1
    assert (whole + whole).saved == 6.0
    assert Bill().cost == 0.0
    many = np.array([0.1, nan] * 1000)
    assert (bill_of(many, None).known, bill_of(many, many[:1]).standard) == (
        pytest.approx(100),
        0.1,
    )


def test_an_estimate_is_a_range():
    """From no output to the longest; what can't be bounded has no upper bound, what has no price neither."""
    tariff = Tariff(rates=Rates(input=1, output=10), tiers=(Tier(10, Rates(input=2, output=20)),))
    into = Range(80.0, 100.0)
    assert estimate(
        tariff, 10, input_tokens=into, longest_input=10, output_tokens=Range(0, 5)
    ) == Range(80, 150)
    assert estimate(
        tariff, 10, input_tokens=into, longest_input=11, output_tokens=Range(0, 5)
    ) == Range(80, 300)
    assert estimate(
        tariff, 10, input_tokens=into, longest_input=1, output_tokens=Range(0, None)
    ) == Range(80, None)
    assert estimate(
        None, 10, input_tokens=into, longest_input=1, output_tokens=Range(0, 5)
    ) == Range(None, None)
    assert estimate(
        FREE, 10, input_tokens=into, longest_input=1, output_tokens=Range(0, None)
    ) == Range(0, 0)
    assert estimate(
        tariff, 0, input_tokens=Range(0, 0), longest_input=0, output_tokens=Range(0, 0)
    ) == Range(0, 0)


@pytest.mark.parametrize(
    ("dollars", "message"),
    [
        (0, "$0"),
        (1234.5, "$1,234.50"),
        (0.0123, "$0.0123"),
        (0.5, "$0.5000"),
        (0.0000123, "$0.000012"),
        (-0.5, "-$0.5000"),
        (0.00099, "$0.00099"),
    ],
)
def test_money_never_reads_as_nothing(dollars, message):
    """However little it is."""
    assert money(dollars) == message
