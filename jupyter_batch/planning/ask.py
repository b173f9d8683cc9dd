"""Ask: a job's checked options with defaults filled in, before its rows are read."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.config.settings import Options
from jupyter_batch.core.cost import Price
from jupyter_batch.core.request import Limits
from jupyter_batch.core.schema import Schema, without_names
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.row_sources import space_of
from jupyter_batch.wire.openai import CHAT


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a job but its rows. na: skip, send, raise. place: the address, if known.

    samples: requests for each row. cache: the part to mark for the provider's cache
    (prompts/additions.py). taken: the columns to fill that the frame has already, in which only
    cells written by this package may be replaced. models_from: the columns that name each
    row's model or endpoint; then only rows with one of model_names there belong to this job.
    called: the model's name as the user gave it.
    """

    prompt: Any
    params: dict[str, Any]
    model: str
    provider: str
    dialect: str
    body_model: str
    limits: Limits
    out: str
    models_from: tuple[Any, ...] = ()
    model_names: tuple[tuple[Any, ...], ...] = ()
    called: str = ""
    taken: tuple[str, ...] = ()
    schema: Schema | None = None
    lax: bool = False
    keep: dict[str, str] = {}
    samples: int = 1
    cache: str | None = None
    na: str = "skip"
    name: str | None = None
    api_base: str | None = None
    keyless: bool = False
    place: str | None = None
    completion_window: str = "24h"
    output_expires_after: float | None = None
    poll_interval: float | None = None
    shard_size: int | None = None
    metadata: dict[str, str] = {}
    notebook: str | None = None
    framed: bool = True
    endpoint: str = CHAT
    mode: str = "batch"
    tier: str = ""
    pace: dict[str, float] = {}
    api_version: str | None = None
    cloud: dict[str, str] = {}
    price: Price | None = None
    max_cost: float | None = None
    deadline: float | None = None
    rush_to: str = "realtime"
    versions: dict[str, str] = {}


_OPTIONS = (
    "model",
    "out",
    "completion_window",
    "output_expires_after",
    "deadline",
    "poll_interval",
    "shard_size",
    "max_cost",
)


def taken_over(opts: Options) -> dict[str, Any]:
    """The fields that are options of the same name."""
    return {name: getattr(opts, name) for name in _OPTIONS}


_SAME = sorted({*Ask.__struct_fields__} & {*JobRecord.__struct_fields__} - {"deadline"})
"""The fields that a job's record takes over."""


def scope_of(ask: Ask) -> str:
    """The dedup scope of a call's jobs."""
    schema = b"" if ask.schema is None else msgspec.json.encode(without_names(ask.schema))
    return space_of(ask.place, ask.provider, ask.endpoint, schema)


def record_of(ask: Ask, job: str, now: float, **more: Any) -> JobRecord:
    """The record of a job that is asked for now; more: its other fields."""
    return JobRecord(
        id=job,
        created_at=now,
        deadline=now + ask.deadline if ask.deadline else 0.0,
        **{name: getattr(ask, name) for name in _SAME},
        **more,
    )
