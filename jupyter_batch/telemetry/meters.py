"""Counters of rows, tokens and US dollars, and the histograms of the GenAI conventions for calls in real time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.version import VERSION
from jupyter_batch.telemetry.spans import NAME, attributes_of_job, is_default

_OF_METRICS = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
"""The attributes of few values: a job's id would make a series for each job."""


def _meter() -> Any:
    module = sys.modules.get("opentelemetry.metrics")
    if module is None:
        return None
    provider = module.get_meter_provider()
    return None if is_default(provider) else provider.get_meter(NAME, VERSION)


def is_active() -> bool:
    """Whether the user has configured a provider of meters."""
    return _meter() is not None


def count(*, rows: Mapping[str, int], tokens: Mapping[str, int], dollars: float | None) -> None:
    """Add what a batch has answered. rows: by status; tokens: by type; dollars: None where unknown."""
    meter = _meter()
    if meter is None:
        return
    about = {name: value for name, value in attributes_of_job().items() if name in _OF_METRICS}
    counter = meter.create_counter(f"{NAME}.rows", "{row}", "Rows by status")
    for status, number in rows.items():
        if number:
            counter.add(number, {**about, f"{NAME}.status": status})
    counter = meter.create_counter(f"{NAME}.tokens", "{token}", "Tokens by type")
    for kind, number in tokens.items():
        if number:
            counter.add(number, {**about, "gen_ai.token.type": kind})
    if dollars is not None:
        meter.create_counter(f"{NAME}.cost", "USD", "US dollars, where the price is known").add(
            dollars, about
        )


def call(seconds: float, tokens: Mapping[str, int], failed: str = "") -> None:
    """Record a call in real time: its duration, and its tokens by type."""
    meter = _meter()
    if meter is None:
        return
    about = {name: value for name, value in attributes_of_job().items() if name in _OF_METRICS}
    duration = meter.create_histogram(
        "gen_ai.client.operation.duration", "s", "GenAI operation duration."
    )
    duration.record(seconds, {**about, **({"error.type": failed} if failed else {})})
    usage = meter.create_histogram(
        "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used."
    )
    for kind, number in tokens.items():
        usage.record(number, {**about, "gen_ai.token.type": kind})
