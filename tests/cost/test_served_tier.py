"""The cost of a row by the service tier that its answer names."""

from __future__ import annotations

import math

import msgspec
import orjson
import pytest

from jupyter_batch.core.cost import actual
from jupyter_batch.core.request import Usage
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.prices import price_of
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_files import columns_of
from jupyter_batch.wire.openai import CHAT, RESPONSES

PRICE = price_of("openai/gpt-5-mini")
TIERS = ("flex", "default", None, "priority", "on_demand", "scale")
USAGE = Usage(1000, 100)


def job(**more):
    """A job in real time, at the list's prices."""
    return JobRecord(
        **{
            "id": "jb1",
            "fingerprint": "",
            "created_at": 0.0,
            "model": "openai/gpt-5-mini",
            "provider": "openai",
            "dialect": "openai",
            "endpoint": CHAT,
            "body_model": "gpt-5-mini",
            "out": "out",
            "columns": [],
            "rows": len(TIERS),
            "mode": "realtime",
            "price": PRICE,
            **more,
        }
    )


def chat(tier):
    """An answer of chat."""
    message = {"role": "assistant", "content": "yes"}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        **({} if tier is None else {"service_tier": tier}),
    }


def response(tier):
    """An answer of responses."""
    content = [{"type": "output_text", "text": "yes"}]
    return {
        "status": "completed",
        "output": [{"type": "message", "content": content}],
        "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        "service_tier": tier,
    }


def refusal(tier):
    """An answer that is a failure with tokens."""
    message = {"role": "assistant", "content": None, "refusal": "no"}
    return {**chat(tier), "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def costs(tmp_path, record, answer, *, times=1):
    """The cost of each row of a file; times: of the same rows, so that its columns are kept."""
    path = tmp_path / "requests-0.output.jsonl"
    rows = [TIERS[number % len(TIERS)] for number in range(len(TIERS) * times)]
    path.write_bytes(
        b"".join(
            orjson.dumps(
                {
                    "custom_id": f"jb1-{number}",
                    "response": {"status_code": 200, "body": answer(tier)},
                    "error": None,
                }
            )
            + b"\n"
            for number, tier in enumerate(rows)
        )
    )
    found = Outcomes(0, len(rows) - 1, values=False, job=record, live=True)
    for columns in columns_of(path, record):
        found.add(columns)
    return found.costs


def at(name):
    """The cost at a tier of the list."""
    return actual(PRICE.standard if name == "default" else PRICE.tiers[name], USAGE)


@pytest.mark.parametrize("answer", [chat, response, refusal])
def test_a_row_costs_what_its_tier_costs(tmp_path, answer):
    """Flex, downgraded, without a name (as requested), upgraded, a name without a price of its own, prepaid."""
    record = job(mode="flex", endpoint=RESPONSES if answer is response else CHAT)
    paid = costs(tmp_path, record, answer)
    expected = [at("flex"), at("default"), at("flex"), at("priority"), at("flex"), None]
    assert [None if math.isnan(cost) else cost for cost in paid.paid] == [
        cost if cost is None else pytest.approx(cost) for cost in expected
    ]
    assert list(paid.live) == [pytest.approx(at("default"))] * len(TIERS)
    assert at("flex") == pytest.approx(at("default") / 2)


def test_the_user_s_own_tier_counts_as_requested(tmp_path):
    """`service_tier="priority"` in real time: a row that was downgraded costs the standard price."""
    paid = costs(tmp_path, job(tier="priority"), chat).paid
    assert [paid[1], paid[2], paid[3]] == [
        pytest.approx(at(name)) for name in ("default", "priority", "priority")
    ]


def test_a_batch_is_billed_as_a_batch(tmp_path):
    """Its answers name the tier "default", and cost the batch price."""
    paid = costs(tmp_path, job(mode="batch", tier="priority"), chat).paid
    assert list(paid) == [pytest.approx(actual(PRICE.batch, USAGE))] * len(TIERS)


def test_a_job_of_before_has_its_one_price(tmp_path):
    """A price stored without tiers is that of the requested one: an answer's name changes nothing."""
    old = msgspec.structs.replace(PRICE, tiers=None)
    paid = costs(tmp_path, job(price=old), chat).paid
    assert list(paid) == [pytest.approx(at("default"))] * len(TIERS)


def priced(tier):
    """An answer that names its cost."""
    return {**(body := chat(tier)), "usage": {**body["usage"], "cost": 0.25}}


@pytest.mark.parametrize(
    ("record", "answer", "cost"),
    [
        (job(mode="flex"), chat, at("flex")),
        (job(provider="openrouter", price=None), priced, 0.25),
        (job(mode="flex"), priced, at("flex")),
    ],
)
def test_kept_columns_know_tiers_and_costs(tmp_path, record, answer, cost):
    """Decoded, and read again from the columns on disk: the same costs."""
    many = 400
    first = list(costs(tmp_path, record, answer, times=many).paid)
    assert list(tmp_path.glob("*.columns"))
    again = list(costs(tmp_path, record, answer, times=many).paid)
    assert str(first) == str(again)
    assert first[0] == pytest.approx(cost)


def test_a_long_request_without_a_price_in_its_tier_is_unknown():
    """The list has a price of long requests for gpt-5.5-pro, and none for them on flex."""
    price, long = price_of("openai/gpt-5.5-pro"), Usage(300_000, 10)
    assert actual(price.flex, USAGE) == pytest.approx(actual(price.standard, USAGE) / 2)
    assert actual(price.standard, long) is not None
    assert actual(price.flex, long) is None
